"""Requests a second of one tile each: this service and five others with the same ONNX file.

    python -m benchmarks.peers [--models DIR] [--connections N ...] [--rounds N] [--seconds S]

Every peer is installed in an environment of its own, is checked to answer as this service does, and is tried with
each of its settings; the best for each number of connections is then measured, in rounds that go through all servers
in turn. The load generator shares the machine. With the numbers as they are it takes about half an hour, and some
minutes more the first time, for the installations. Nothing is sent anywhere but to this machine.
"""

import argparse
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from benchmarks.document import PERFORMANCE, write_section
from benchmarks.figures import keep_figures
from benchmarks.machine import measure
from benchmarks.peers.contenders import Contender, contenders
from benchmarks.peers.environments import NotInstalled, environment, version
from benchmarks.peers.measuring import TOLERANCE, Measured, Tiles, choose, one_round
from benchmarks.peers.report import Run, figures, plot, table
from benchmarks.peers.running import adopt_orphans
from model.calibration import IdentityCalibrator
from model.engine import open_engine
from model.inspector import Inspector
from model.registry import Registry, models_folder
from synthetic.series import plan_series, shoot

TILES = 24
TILE = 128
# A server that says the same of every tile could be right by chance if they were all alike.
LEAST_SPREAD = 0.01
PICTURE = "pictures/peers.png"


def main() -> None:
    """Install, try, measure, and write the table, the plot and the JSON."""
    arguments = _arguments()
    adopt_orphans()
    # Ended from outside it must still end the server that it has started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    registry = Registry(arguments.models)
    active = registry.require_active()
    model = registry.folder(active) / "model.onnx"
    expected = _expected(registry, active, arguments.engines)

    entries = [_installed(one, arguments.venvs) for one in _chosen(arguments)]
    for entry in (entry for entry in entries if not entry.reason):
        print(f"trying {entry.contender.name}", flush=True)
        choose(entry, model, expected[entry.contender.engine], arguments.connections, arguments.trial_seconds)
        for label, reason in entry.failed.items():
            print(f"  not with {label}: {reason}", flush=True)
    for number in range(arguments.rounds):
        # Each round begins with another server: none is always the one after the slowest to end.
        first = number % len(entries)
        for entry in entries[first:] + entries[:first]:
            if not entry.reason:
                print(f"round {number + 1} of {arguments.rounds}: {entry.contender.name}", flush=True)
                tiles = expected[entry.contender.engine]
                one_round(entry, model, tiles, arguments.connections, arguments.seconds)
    _write(Run(measure(), active, arguments.rounds, arguments.seconds, arguments.connections, entries), arguments)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    cache = Path(tempfile.gettempdir()) / "steelsight-peers"
    parser.add_argument("--models", type=Path, default=models_folder(), metavar="DIR", help="its active version")
    parser.add_argument("--venvs", type=Path, default=cache, metavar="DIR", help="(default: %(default)s)")
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 8, 32], metavar="N")
    parser.add_argument("--rounds", type=int, default=3, help="(default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement (default: %(default)s)")
    parser.add_argument("--trial-seconds", type=float, default=2.0, help="of each setting (default: %(default)s)")
    parser.add_argument("--engines", nargs="+", default=["onnx", "auto"], metavar="NAME", help="of this service")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="servers whose name begins so")
    parser.add_argument("--document", type=Path, default=PERFORMANCE, metavar="FILE", help="(default: %(default)s)")
    return parser.parse_args()


def _chosen(arguments: argparse.Namespace) -> list[Contender]:
    everyone = contenders(arguments.models.resolve(), arguments.engines)
    if arguments.only is None:
        return everyone
    wanted = tuple(name.lower() for name in arguments.only)
    chosen = [one for one in everyone if one.name.lower().startswith(wanted)]
    if not chosen:
        raise SystemExit(f"--only {' '.join(arguments.only)}: there are {', '.join(one.name for one in everyone)}")
    return chosen


def _expected(registry: Registry, active: str, engines: Sequence[str]) -> dict[str | None, Tiles]:
    """Different tiles with the calibrated probabilities of each engine; under None with the network's own, of peers."""
    manifest = registry.manifest(active)
    if (manifest.network.input_size, manifest.network.channels, manifest.network.outputs) != (TILE, 1, 1):
        raise SystemExit(f"{active}: the peers take networks of 128 x 128 grey pixels with one output")
    images = np.stack([image for series in plan_series(0, TILES, 0.5) for image, _ in shoot(0, series, TILE)])
    bodies = [image.tobytes() for image in images]
    plain = IdentityCalibrator().probabilities(open_engine("onnx", registry.folder(active), 1).logits(images))
    if np.ptp(plain) < LEAST_SPREAD:
        raise SystemExit(f"{active} says nearly the same of every tile, so right answers could not be told from wrong")
    expected: dict[str | None, Tiles] = {None: Tiles(bodies, plain)}
    for name in engines:
        inspector = Inspector.load(registry, active, name, threads=1)
        # A reduced precision rounds otherwise in other company, by no more than it differs from the Keras model.
        tolerance = max(TOLERANCE, manifest.parity[inspector.engine.name].max_probability_difference)
        expected[name] = Tiles(bodies, inspector.probabilities(images), tolerance)
    return expected


def _installed(contender: Contender, venvs: Path) -> Measured:
    if contender.requirements is None or contender.distribution is None:
        return Measured(contender)
    print(f"environment of {contender.name}", flush=True)
    try:
        venv = environment(venvs, contender.requirements)
    except NotInstalled as reason:
        return Measured(contender, reason=f"not installed: {reason}")
    return Measured(contender, venv, version(venv, contender.distribution))


def _write(run: Run, arguments: argparse.Namespace) -> None:
    text = table(run)
    print(f"\n{text}\n")
    keep_figures(arguments.models, "peers", {"machine": asdict(run.machine), **figures(run)})
    picture = arguments.document.parent / PICTURE
    picture.parent.mkdir(parents=True, exist_ok=True)
    plot(run, picture)
    write_section(arguments.document, "peers", f"{text}\n\n![Requests a second and p99 of each server]({PICTURE})")
    print(f"written to {arguments.document} and {picture}")


if __name__ == "__main__":
    main()
