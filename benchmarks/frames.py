"""Frames of 4096 x 512 px over HTTP beside the bare engine, for each engine that a version offers.

    python -m benchmarks.frames [--models DIR] [--version VERSION] [--seconds S] [--rounds N]

Raw Mono8 at half-tile overlap, over as many connections as keep the cores busy; bare is `Inspector.inspect` on the
same frame in as many threads as there are cores, each with a single-threaded engine behind it, as the server has
them. Both are measured in turns in one run, figures are medians and the share is the median of the rounds' shares; the
load generator shares the machine. Takes about half a minute an engine.
"""

import argparse
import os
import statistics
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.engines import FRAME, calls_per_second, inspectors
from benchmarks.figures import keep_figures
from benchmarks.machine import measure
from benchmarks.serving import ROOT, Server, request_file, served
from model.image import Frame
from model.inspector import Inspector
from model.registry import Registry, models_folder

# With two frames a core one is read from the socket while the other is scored.
CONNECTIONS_PER_CORE = 2


class Rates(NamedTuple):
    """Megapixels a second over HTTP and bare, and the first as a share of the second."""

    http: float
    bare: float
    share: float


def strip() -> Frame:
    """A frame with shading, streaks along the strip and noise, uint8 (512, 4096)."""
    rng = np.random.default_rng(0)
    height, width = FRAME
    shading = 110 + 30 * np.sin(np.linspace(0, 3, width))
    streaks = rng.normal(0, 8, width)
    return (shading + streaks + rng.normal(0, 6, (height, width))).clip(0, 255).astype(np.uint8)


def rates(inspector: Inspector, server: Server, request: Path, seconds: float, rounds: int) -> Rates:
    """Medians of the rounds; one before them warms up."""
    cores, frame = len(os.sched_getaffinity(0)), strip()
    megapixels = frame.size / 1e6
    seen = []
    for _ in range(rounds + 1):
        answered = server.load(request, CONNECTIONS_PER_CORE * cores, seconds)["per_second"]
        bare = calls_per_second(lambda: inspector.inspect(frame), seconds, cores)
        seen.append(Rates(megapixels * answered, megapixels * bare, answered / bare))
    return Rates(*(statistics.median(each) for each in zip(*seen[1:], strict=True)))


def main() -> None:
    """Measure, print, write JSON beside the models."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=models_folder(), metavar="DIR")
    parser.add_argument("--version", help="default: the active one")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="after one to warm up (default: %(default)s)")
    arguments = parser.parse_args()

    registry = Registry(arguments.models)
    version = arguments.version or registry.require_active()
    stride = registry.manifest(version).fitting.tile // 2
    machine = measure()
    found: dict[str, Rates] = {}
    with tempfile.TemporaryDirectory() as folder:
        query = f"?width={FRAME[1]}&height={FRAME[0]}&pixel_format=Mono8"
        request = request_file(Path(folder) / "frame", query, "application/octet-stream", strip().tobytes())
        for name, inspector in inspectors(registry, version):
            settings = {"STEELSIGHT_ENGINE": name, "STEELSIGHT_STRIDE": str(stride), "STEELSIGHT_RECORD": "off"}
            with served(ROOT, arguments.models, request, **settings) as server:
                found[name] = rates(inspector, server, request, arguments.seconds, arguments.rounds)
    print(
        f"{machine.cores} cores of {machine.processor}, float32 matrix multiply {machine.gflops:.0f} GFLOP/s, {version}"
    )
    print("\n| engine | over HTTP, Mpx/s | bare, Mpx/s | share |\n|---|---|---|---|")
    for name, row in found.items():
        print(f"| {name} | {row.http:.1f} | {row.bare:.1f} | {row.share:.0%} |")
    results = {
        "version": version,
        "machine": asdict(machine),
        "frames": {name: row._asdict() for name, row in found.items()},
    }
    keep_figures(arguments.models, "frames", results)


if __name__ == "__main__":
    main()
