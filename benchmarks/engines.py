"""Tiles and megapixels a second of each engine a version offers, alone, beside the arithmetic limit.

    python -m benchmarks.engines [--models DIR] [--version VERSION] [--seconds S] [--rounds N]

The limit is the machine's measured float32 matrix-multiply rate over 2 x multiply-adds of one tile; reduced precision
may pass it. Tiles go in batches of 1, 8 and 32, asked for by one thread and by two, each with a single-threaded engine
behind it, as the server does; a frame of 4096 x 512 px is scored at half-tile stride, with shared convolutions where
the version has them. Every figure is the median of the rounds; rounds of all engines are interleaved. Takes about two
minutes.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import numpy as np

from benchmarks.figures import keep_figures
from benchmarks.machine import Machine, measure
from model.engine import ENGINES
from model.errors import SteelsightError
from model.inspector import Inspector
from model.precision import offered
from model.registry import Registry, models_folder

BATCHES = (1, 8, 32)
THREADS = (1, 2)
FRAME = (512, 4096)

Rates = dict[str, dict[str, float]]


def inspectors(registry: Registry, version: str) -> Iterator[tuple[str, Inspector]]:
    """Every engine that this version offers and this machine runs, on tiles half a tile apart."""
    manifest = registry.manifest(version)
    for name in offered(manifest):
        if ENGINES[name].runs_here():
            try:
                yield name, Inspector.load(registry, version, name, threads=1, stride=manifest.fitting.tile // 2)
            except SteelsightError as error:
                print(f"{name}: {error.message}")


def rates(loaded: dict[str, Inspector], seconds: float, rounds: int) -> Rates:
    """Engine -> what was done -> how much of it a second."""
    seen: dict[str, dict[str, list[float]]] = {name: {} for name in loaded}
    for _ in range(rounds + 1):
        for name, inspector in loaded.items():
            for label, amount, work in _tasks(inspector):
                for threads in THREADS:
                    rate = amount * calls_per_second(work, seconds, threads)
                    seen[name].setdefault(f"{label}, {threads} thread{'s' * (threads > 1)}", []).append(rate)
    # The first round warms every engine up.
    return {name: {label: statistics.median(each[1:]) for label, each in rows.items()} for name, rows in seen.items()}


def _tasks(inspector: Inspector) -> Iterator[tuple[str, float, Callable[[], object]]]:
    """What is done, how much of it one call does, and the call."""
    rng, tile = np.random.default_rng(0), inspector.fitting.tile
    tiles = rng.integers(0, 256, (max(BATCHES), tile, tile), np.uint8)
    for batch in BATCHES:
        yield f"tiles/s, batches of {batch}", batch, lambda batch=batch: inspector.engine.logits(tiles[:batch])
    frame = rng.integers(0, 256, FRAME, np.uint8)
    yield "Mpx/s of frames", frame.size / 1e6, lambda: inspector.inspect(frame)


def calls_per_second(work: Callable[[], object], seconds: float, threads: int) -> float:
    """Calls of all threads together; each goes on for so many seconds, and makes at least one."""

    def repeat(_: int) -> int:
        calls, end = 0, time.perf_counter() + seconds
        while not calls or time.perf_counter() < end:
            work()
            calls += 1
        return calls

    start = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        calls = sum(pool.map(repeat, range(threads)))
    return calls / (time.perf_counter() - start)


def table(machine: Machine, limit: float, found: Rates, frames: dict[str, str]) -> str:
    """The figures as Markdown; frames: how each engine scores them."""
    labels = list(next(iter(found.values())))
    lines = [
        f"{machine.cores} cores of {machine.processor}, float32 matrix multiply {machine.gflops:.0f} GFLOP/s, "
        f"which is {limit:,.0f} tiles/s",
        "",
        "| engine | " + " | ".join(labels) + " | frames |",
        "|---" * (len(labels) + 2) + "|",
    ]
    for name, row in found.items():
        cells = (f"{row[label]:,.1f}" if label.startswith("Mpx") else f"{row[label]:,.0f}" for label in labels)
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {frames[name]} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, print, write JSON beside the models."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=models_folder(), metavar="DIR")
    parser.add_argument("--version", help="default: the active one")
    parser.add_argument("--seconds", type=float, default=0.5, help="of each measurement (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="after one to warm up (default: %(default)s)")
    arguments = parser.parse_args()

    registry = Registry(arguments.models)
    version = arguments.version or registry.require_active()
    machine = measure()
    limit = machine.gflops * 1e9 / (2 * registry.manifest(version).network.multiply_adds())
    loaded = dict(inspectors(registry, version))
    found = rates(loaded, arguments.seconds, arguments.rounds)
    frames = {name: "shared" if inspector.shared else "tile by tile" for name, inspector in loaded.items()}
    print(table(machine, limit, found, frames))
    results = {
        "version": version,
        "machine": asdict(machine),
        "limit_tiles_per_second": limit,
        "engines": found,
        "frames": frames,
    }
    keep_figures(arguments.models, "engines", results)


if __name__ == "__main__":
    main()
