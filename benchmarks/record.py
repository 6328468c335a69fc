"""What the record costs: single tiles over HTTP without one, with SQLite and, where it is installed, with PostgreSQL.

    python -m benchmarks.record [--models DIR] [--called SHARE] [--seconds S] [--rounds N]

Tiles are generated steel, a share of which the model calls: these images are archived, as are the sampled ones. Every
request names its coil, camera and place. All servers run at once and are loaded in turns, in each round; a figure is
the median of the rounds, a ratio the median of the rounds' ratios. The disk's own pace is told: each commit is one
flush. Takes about two minutes.
"""

import argparse
import os
import statistics
import tempfile
import time
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import numpy as np

from benchmarks.figures import keep_figures
from benchmarks.machine import measure
from benchmarks.serving import CONNECTIONS, ROOT, Figures, request_file, served
from model.inspector import Inspector
from model.registry import Registry, models_folder
from model.verdict import Verdict, decide
from synthetic.series import plan_series, shoot
from tests.app import databases, postgresql

TILES = 400
REQUESTS = 100
FLUSHES = 200
# As a plant would run it: a commit is on the disk when it is told.
DURABLE = "-c max_connections=20"
WITHOUT = "no record"


def requests_of(models: Path, called: float, folder: Path) -> Path:
    """A folder of requests, so many of a hundred with tiles that the model calls."""
    registry = Registry(models)
    inspector = Inspector.load(registry, registry.require_active(), "onnx", threads=1)
    side = inspector.fitting.tile
    images = np.stack([image for series in plan_series(0, TILES, 0.5) for image, _ in shoot(0, series, side)])
    verdicts = [decide(float(each), inspector.thresholds) for each in inspector.probabilities(images)]
    ok = [image for image, verdict in zip(images, verdicts, strict=True) if verdict is Verdict.OK]
    bad = [image for image, verdict in zip(images, verdicts, strict=True) if verdict is not Verdict.OK]
    if not ok or not bad:
        raise SystemExit("the active version gives all generated tiles one verdict; train one that does not")
    folder.mkdir()
    for number in range(REQUESTS):
        chosen = bad if number < called * REQUESTS else ok
        query = (
            f"?width={side}&height={side}&pixel_format=Mono8&coil_id=C1&camera_id=c{number % 4}&side=top"
            f"&sequence={number}&position_mm={number * 64}&mm_per_pixel=0.5"
        )
        body = chosen[number % len(chosen)].tobytes()
        request_file(folder / f"{number:03}", query, "application/octet-stream", body)
    return folder


def flushes_per_second(folder: Path) -> float:
    """How many times a second this disk makes a few bytes safe."""
    with (folder / "flushed").open("wb") as file:
        started = time.perf_counter()
        for _ in range(FLUSHES):
            file.write(b"x" * 4096)
            file.flush()
            os.fsync(file.fileno())
        return FLUSHES / (time.perf_counter() - started)


def main() -> None:
    """Measure, print, write JSON beside the models."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=models_folder(), metavar="DIR")
    parser.add_argument("--called", type=float, default=0.02, metavar="SHARE", help="(default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="after one to warm up (default: %(default)s)")
    parser.add_argument("--engine", default="onnx", metavar="NAME", help="(default: %(default)s)")
    parser.add_argument("--workers", default="1", metavar="N", help="(default: %(default)s)")
    arguments = parser.parse_args()
    engine = {"STEELSIGHT_ENGINE": arguments.engine, "STEELSIGHT_WORKERS": arguments.workers}
    machine = measure()
    with ExitStack() as held:
        folder = Path(held.enter_context(tempfile.TemporaryDirectory()))
        requests = requests_of(arguments.models, arguments.called, folder / "requests")
        settings = {WITHOUT: {"STEELSIGHT_RECORD": "off"}, "SQLite": {}}
        if postgresql.installed():
            database = held.enter_context(postgresql.server(DURABLE))
            url = held.enter_context(databases.postgresql(database, "template0")).url
            told = url.set(drivername="postgresql").render_as_string(hide_password=False)
            settings["PostgreSQL"] = {"DATABASE_URL": told}
        first = next(iter(requests.iterdir()))
        servers = {
            name: held.enter_context(served(ROOT, arguments.models, first, **engine, **chosen))
            for name, chosen in settings.items()
        }
        seen: dict[int, dict[str, list[Figures]]] = {}
        for number in range(arguments.rounds + 1):
            for connections in CONNECTIONS:
                for name, server in servers.items():
                    figures = server.load(requests, connections, arguments.seconds)
                    if number:
                        seen.setdefault(connections, {}).setdefault(name, []).append(figures)
        flushes = flushes_per_second(folder)
    print(
        f"{machine.cores} cores of {machine.processor}; the disk makes {flushes:,.0f} flushes a second. "
        f"{100 * arguments.called:g} % of the tiles are called.\n"
    )
    print("| connections | record | requests/s | p50 ms | p99 ms | of the rate without |\n|---|---|---|---|---|---|")
    results = []
    for connections, by_name in seen.items():
        for name, rounds in by_name.items():
            pairs = zip(rounds, by_name[WITHOUT], strict=True)
            share = statistics.median(each["per_second"] / other["per_second"] for each, other in pairs)
            middle = {figure: statistics.median(each[figure] for each in rounds) for figure in rounds[0]}
            results.append({"connections": connections, "record": name, "share": share, **middle})
            print(
                f"| {connections} | {name} | {middle['per_second']:,.0f} | {middle['p50_ms']:.1f} | "
                f"{middle['p99_ms']:.1f} | {100 * share:.0f} % |"
            )
    told = {"machine": asdict(machine), "flushes_per_second": flushes, "called": arguments.called, "rates": results}
    keep_figures(arguments.models, "record", told)


if __name__ == "__main__":
    main()
