"""100 changes of model under load: replies lost or mislabelled, p99 beside the steady one, growth of memory.

    python -m benchmarks.swap [--models DIR] [--swaps N] [--between S ...] [--connections N] [--rounds N]

A real server with a models folder of its own serves two versions in turn: copies of one network, the second calibrated
otherwise, so that the probability in each reply tells which one computed it. Neither calls a frame: called frames are
archived, and if one version alone did so its time would be taken for that of the swaps. The load generator
shares the machine. Swaps and steady load take turns of the same length, and their p99 are compared round by round.
Opening a version takes its processor time whatever the pace: half a second apart it goes on during nearly half of all
replies, five seconds apart during one in twenty. Takes about three minutes, twenty with `--between 5`.
"""

import argparse
import asyncio
import io
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import uvloop
from PIL import Image

from benchmarks.figures import keep_figures
from model.artifact import MANIFEST, read_manifest, staging, write_manifest
from model.registry import Registry, models_folder

START_S = 120
# From one swap to the next: far more haste than any plant has.
BETWEEN_S = 0.5
# A server returns the memory of a version at its next look at the registry, a second apart, after its last frame.
SETTLE_S = 3.0


@dataclass
class Load:
    """What the cameras saw: seconds of each answer, and by version the probabilities that came with its name."""

    latencies_s: list[float] = field(default_factory=list)
    failed: int = 0
    probabilities: dict[str, set[float]] = field(default_factory=dict)
    seconds: float = 0.0

    def p99_ms(self) -> float:
        """The latency that one answer in a hundred exceeds."""
        return float(np.quantile(self.latencies_s, 0.99) * 1e3)


@dataclass
class Round:
    """One steady part and one with swaps."""

    steady_p99_ms: float
    swapping_p99_ms: float
    resident_mb: float


@dataclass(frozen=True)
class Turns:
    """Two versions that take turns: how many changes are counted, over how many rounds, and how far apart they are."""

    names: tuple[str, str]
    swaps: int
    rounds: int
    between_s: float


def two_versions(source: Registry, version: str, models: Path) -> tuple[str, str]:
    """Copies of a version in a folder of their own that call nothing, the second with another calibrator."""
    names = f"{version[:80]}-a", f"{version[:80]}-b"
    for number, name in enumerate(names):
        with staging(models, name) as folder:
            shutil.copytree(source.folder(version), folder, dirs_exist_ok=True)
            manifest = read_manifest(source.folder(version))
            (folder / MANIFEST).unlink()
            calibrator = {"kind": "platt", "slope": 1.0, "intercept": 0.5 * number}
            fields = manifest.model_dump() | {
                "version": name, "calibrator": calibrator, "thresholds": {"review": 1.0, "defect": 1.0},
            }  # fmt: skip
            write_manifest(folder, type(manifest).model_validate(fields))
    Registry(models).activate(names[0])
    return names


async def camera(port: int, request: bytes, stop: asyncio.Event, load: Load) -> None:
    """Send the next frame when the last answer is whole, until told to stop."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while not stop.is_set():
        start = time.perf_counter()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        body = await reader.readexactly(int(length.split(b":")[1]))
        load.latencies_s.append(time.perf_counter() - start)
        if head.startswith(b"HTTP/1.1 200"):
            reply = json.loads(body)
            load.probabilities.setdefault(reply["model"]["version"], set()).add(reply["defect_probability"])
        else:
            load.failed += 1
    writer.close()


async def swapping(port: int, request: bytes, connections: int, turns: Turns) -> Load:
    """Load during the swaps of one round."""

    async def swap() -> None:
        for number in range(max(2, turns.swaps // turns.rounds)):
            await asyncio.to_thread(activate, port, turns.names[(number + 1) % 2])
            await asyncio.sleep(turns.between_s)

    return await under_load(port, request, connections, swap())


async def under_load(port: int, request: bytes, connections: int, meanwhile: Coroutine[Any, Any, None]) -> Load:
    """Load for as long as something else takes."""
    stop, load, start = asyncio.Event(), Load(), time.perf_counter()
    async with asyncio.TaskGroup() as cameras:
        for _ in range(connections):
            cameras.create_task(camera(port, request, stop, load))
        await meanwhile
        stop.set()
    load.seconds = time.perf_counter() - start
    return load


def activate(port: int, version: str) -> None:
    """Change the model as an operator would; it must succeed."""
    address = f"http://127.0.0.1:{port}/v1/models/{version}/activate"
    with urllib.request.urlopen(urllib.request.Request(address, method="POST")) as answer:
        assert json.loads(answer.read())["active"] == version


async def measure(
    port: int, server: int, request: bytes, connections: int, turns: Turns
) -> tuple[list[Round], list[Load]]:
    """Swapping, steady, swapping, steady ...; the first round warms both versions up and counts for nothing."""
    loads: list[Load] = []
    seen = []
    for number in range(turns.rounds + 1):
        swapped = await swapping(port, request, connections, turns)
        steady = await under_load(port, request, connections, asyncio.sleep(swapped.seconds))
        loads += [swapped, steady]
        await asyncio.sleep(SETTLE_S)
        seen.append(Round(steady.p99_ms(), swapped.p99_ms(), resident_mb(server)))
        print(
            f"round {number}: {len(swapped.latencies_s)} + {len(steady.latencies_s)} replies, {seen[-1]}",
            file=sys.stderr,
        )
    return seen, loads


def resident_mb(process: int) -> float:
    """Memory of a process that is in use, in 10^6 bytes."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def expected(models: Path, names: tuple[str, str], png: bytes) -> dict[str, float]:
    """Each version's probability of the frame, by the command line."""
    found = {}
    with tempfile.NamedTemporaryFile(suffix=".png") as file:
        file.write(png)
        file.flush()
        for name in names:
            command = [sys.executable, "-m", "model", "inspect", name, file.name, "--models", str(models)]
            # By the engine that the server is told to take: another one's rounding would look like another version.
            command += ["--engine", os.environ.get("STEELSIGHT_ENGINE", "auto")]
            line = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            found[name] = json.loads(line)["defect_probability"]
    return found


@contextmanager
def served(models: Path, home: Path) -> Iterator[tuple[int, int]]:
    """The real server: its port, and its process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    command = [sys.executable, "-m", "app", "serve", "--port", str(port), "--models", str(models)]
    with (home / "log").open("wb") as log:
        environment = {**os.environ, "STEELSIGHT_HOME": str(home)}
        server = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        try:
            deadline = time.monotonic() + START_S
            while not ready(port):
                if time.monotonic() > deadline or server.poll() is not None:
                    raise SystemExit("the server did not become ready")
                time.sleep(0.05)
            yield port, server.pid
        finally:
            server.terminate()
            server.wait()


def ready(port: int) -> bool:
    """Whether the server inspects."""
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz").close()
    except (urllib.error.URLError, ConnectionError):
        return False
    return True


def result(rounds: list[Round], loads: list[Load], truth: dict[str, float], turns: Turns) -> dict[str, Any]:
    """The figures that are claimed. A reply is mislabelled if its probability is not that of the version it names."""
    said = {(name, value) for load in loads for name, values in load.probabilities.items() for value in values}
    counted = rounds[1:]
    return {
        "swaps": turns.swaps,
        "between_s": turns.between_s,
        "failed": sum(load.failed for load in loads),
        "mislabelled": sorted((name, value) for name, value in said if abs(value - truth[name]) > 1e-5),
        "versions_seen": sorted({name for name, _ in said}),
        "p99_ratio": statistics.median(each.swapping_p99_ms / each.steady_p99_ms for each in counted),
        "memory_growth_mb": counted[-1].resident_mb - rounds[0].resident_mb,
        "rounds": [asdict(each) for each in rounds],
    }


def table(figures: dict[str, Any]) -> str:
    """The figures as Markdown, beside what is promised."""
    rows = [
        ("failed replies", f"{figures['failed']}", "0"),
        ("mislabelled replies", f"{len(figures['mislabelled'])}", "0"),
        ("p99 while swapping / steady", f"{figures['p99_ratio']:.2f}", "at most 1.2"),
        ("growth of memory", f"{figures['memory_growth_mb']:.1f} MB", "under 50 MB"),
    ]
    return "\n".join(
        [f"| {figures['swaps']} swaps, {figures['between_s']:g} s apart | measured | promised |", "|---|---|---|"]
        + [f"| {' | '.join(row)} |" for row in rows]
    )


def main() -> None:
    """Measure, print, write JSON beside the models."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=models_folder(), metavar="DIR")
    parser.add_argument("--swaps", type=int, default=100, help="counted ones (default: %(default)s)")
    parser.add_argument(
        "--between", type=float, nargs="+", default=[BETWEEN_S], metavar="S", help="seconds; each pace is measured"
    )
    parser.add_argument("--connections", type=int, default=8, help="cameras (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=4, help="after one to warm up (default: %(default)s)")
    arguments = parser.parse_args()
    source = Registry(arguments.models)
    version = source.require_active()
    tile = source.manifest(version).network.input_size
    grey = np.random.default_rng(0).normal(110, 20, (tile, tile)).clip(0, 255).astype(np.uint8)
    png = io.BytesIO()
    Image.fromarray(grey).save(png, "PNG")
    head = (
        f"POST /v1/inspect HTTP/1.1\r\nHost: bench\r\nContent-Type: image/png\r\nContent-Length: {png.tell()}\r\n\r\n"
    )
    request = head.encode() + png.getvalue()
    paces = []
    with tempfile.TemporaryDirectory() as home:
        models = Path(home) / "models"
        names = two_versions(source, version, models)
        truth = expected(models, names, png.getvalue())
        for between_s in arguments.between:
            turns = Turns(names, arguments.swaps, arguments.rounds, between_s)
            with served(models, Path(home)) as (port, process):
                rounds, loads = uvloop.run(measure(port, process, request, arguments.connections, turns))
            paces.append(result(rounds, loads, truth, turns))
    print("\n\n".join(map(table, paces)))
    keep_figures(arguments.models, "swap", {"paces": paces})


if __name__ == "__main__":
    main()
