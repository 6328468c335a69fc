"""What it costs that image files are decoded in processes of their own: whole requests, with and without.

    python -m benchmarks.isolation [--models DIR] [--seconds S] [--rounds N]

A tile of 128 x 128 px and a block of strip of 4096 x 512 px, as PNG and as JPEG, over one connection and over eight, to
two servers in turns, STEELSIGHT_DECODE=inside and =isolated. Processor time of a request is that of the server and all
its processes, user and system. Medians of the rounds; one before them warms up. No record is kept.
"""

import argparse
import io
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.frames import strip
from benchmarks.serving import ROOT, Server, request_file, served
from model.registry import models_folder

WHERE = ("inside", "isolated")
CONNECTIONS = (1, 8)
TICKS_PER_S = 100


def family(pid: int) -> Iterator[int]:
    """A process and all that descend from it."""
    yield pid
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield from family(int(child))


def processor_s(pid: int) -> float:
    """Seconds that a process and its living descendants have taken."""
    ticks = 0
    for each in family(pid):
        fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / TICKS_PER_S


def resident_mb(pid: int) -> float:
    """Memory of a process and its descendants, 10^6 bytes; what they share counts once."""
    lines = [
        line for each in family(pid) for line in Path(f"/proc/{each}/smaps_rollup").read_text().splitlines()
    ]  # fmt: skip
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024 / 1e6


def requests(folder: Path) -> dict[str, Path]:
    """Files with the bytes of one request each."""
    tile = np.random.default_rng(0).normal(110, 20, (128, 128)).clip(0, 255).astype(np.uint8)
    made = {}
    for size, grey in (("128 x 128", tile), ("4096 x 512", strip())):
        for kind in ("PNG", "JPEG"):
            target = io.BytesIO()
            Image.fromarray(grey).save(target, kind)
            path = folder / f"{size} {kind}"
            made[path.name] = request_file(path, "", f"image/{kind.lower()}", target.getvalue())
    return made


def cost(server: Server, request: Path, connections: int, seconds: float) -> tuple[float, float]:
    """Milliseconds of the processor for a request, and its median time."""
    before = processor_s(server.pid)
    seen = server.load(request, connections, seconds)
    answered = seen["per_second"] * seen["seconds"]
    return (processor_s(server.pid) - before) / answered * 1e3, seen["p50_ms"]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--models", type=Path, default=models_folder())
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as running:
        files = requests(Path(folder))
        png = files["128 x 128 PNG"]
        servers = {
            where: running.enter_context(
                served(ROOT, asked.models, png, STEELSIGHT_DECODE=where, STEELSIGHT_RECORD="off")
            )
            for where in WHERE
        }
        print("| request | connections | processor ms inside | isolated | ratio | p50 ms inside | isolated |")
        print("|---|---|---|---|---|---|---|")
        for name, request in files.items():
            for connections in CONNECTIONS:
                rounds = [
                    [cost(servers[where], request, connections, asked.seconds) for where in WHERE]
                    for _ in range(asked.rounds + 1)
                ][1:]
                inside, isolated = (statistics.median(each[side][0] for each in rounds) for side in (0, 1))
                ratio = statistics.median(each[1][0] / each[0][0] for each in rounds)
                p50s = [statistics.median(each[side][1] for each in rounds) for side in (0, 1)]
                print(
                    f"| {name} | {connections} | {inside:.2f} | {isolated:.2f} | {ratio:.2f} | {p50s[0]:.1f} "
                    f"| {p50s[1]:.1f} |",
                    flush=True,
                )
        told = ", ".join(
            f"{where} {server.start_seconds:.1f} s and {resident_mb(server.pid):.0f} MB"
            for where, server in servers.items()
        )
        print(f"\nFrom start to first verdict, and memory afterwards with all processes: {told}.")


if __name__ == "__main__":
    main()
