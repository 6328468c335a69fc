"""From the start of a server's process to its first verdict, after kill -9, on a record of a million inspections.

    python -m benchmarks.restart [--models DIR] [--folder DIR] [--inspections N] [--rounds N]

`benchmarks.plant` writes the record, in one or two minutes: into DIR, where it is kept, or into a folder that goes at
the end. In each round frames come for some seconds, the server is killed amid them, the system forgets what it has in
memory of the database, and a server starts: it takes the log into the database, looks whether that is sound, loads the
model and answers a frame.
"""

import argparse
import os
import signal
import statistics
import tempfile
from contextlib import ExitStack
from pathlib import Path

from app.store.database import SQLITE_FILE
from benchmarks.asking import forgetting
from benchmarks.million import filled
from benchmarks.plant import Version
from benchmarks.serving import ROOT, requests_of, served
from model.registry import Registry, models_folder

LOAD_S, CONNECTIONS = 3.0, 8
BOUND_S = 8.0


def main() -> None:
    """Measure and print; exit code 1 if a start took longer than the bound."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=models_folder(), metavar="DIR")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="where the record is, or shall be kept")
    parser.add_argument("--inspections", type=int, default=1_000_000, metavar="N", help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    arguments = parser.parse_args()

    registry = Registry(arguments.models)
    version = registry.require_active()
    manifest = registry.manifest(version)
    serving = Version(version, manifest.thresholds.review, manifest.thresholds.defect)
    with ExitStack() as held:
        folder = arguments.folder or Path(held.enter_context(tempfile.TemporaryDirectory()))
        filled(folder, arguments.inspections, serving).close()
        frame = requests_of(manifest.network.input_size, folder)["raw"]
        home = str(folder.absolute())
        seconds, logs = [], []
        for _ in range(arguments.rounds):
            with served(ROOT, arguments.models, frame, STEELSIGHT_HOME=home) as server:
                server.load(frame, CONNECTIONS, LOAD_S)
                os.kill(server.pid, signal.SIGKILL)
            logs.append((folder / f"{SQLITE_FILE}-wal").stat().st_size)
            with forgetting(folder / SQLITE_FILE) as forget:
                forget()
            with served(ROOT, arguments.models, frame, STEELSIGHT_HOME=home) as server:
                seconds.append(server.start_seconds)
        size = (folder / SQLITE_FILE).stat().st_size
    print(
        f"{arguments.inspections:,} inspections, a file of {size / 1e6:,.0f} MB, a log of {max(logs) / 1e6:.1f} MB at "
        f"most: first verdict {statistics.median(seconds):.1f} s after the start (median of {len(seconds)}), "
        f"{max(seconds):.1f} s at most; allowed are {BOUND_S:g} s."
    )
    raise SystemExit(max(seconds) > BOUND_S)


if __name__ == "__main__":
    main()
