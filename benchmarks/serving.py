"""Single tiles over HTTP at 1, 8 and 32 connections; ten times the load that can be served; start and memory.

    python -m benchmarks.serving [--models DIR] [--seconds S] [--rounds N] [--overload-seconds S] [--against CHECKOUT]

Requests carry one tile, as raw Mono8 or as PNG; the load generator shares the machine. Every figure is the median of
the rounds, and the rounds of all rows are interleaved. With --against another checkout's server is measured in the
same rounds, and the table has the ratio. For the overload frames of 1024 x 1024 px are offered, which cost a server
much and the load generator little: at ten times the rate at which answers come (the peak), which is measured before
and after. Takes about a minute and a half, and one and a half times the overload's time.
"""

import argparse
import io
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.figures import keep_figures
from benchmarks.machine import Machine, measure
from model.registry import Registry, models_folder

ROOT = Path(__file__).parents[1]
CONNECTIONS = (1, 8, 32)
START_SECONDS = 60
# Of a plant, some; ten times the load comes over as many connections as keep the server's places full.
OVERLOAD = 10
OVERLOAD_CONNECTIONS = 256
OVERLOAD_SIDE = 1024
PEAK_CONNECTIONS = 8

Figures = dict[str, float]


@dataclass(frozen=True)
class Server:
    """A running server. start_seconds: from the start of its process to the first verdict."""

    port: int
    pid: int
    start_seconds: float

    def load(self, request: Path, connections: int, seconds: float, rate: float | None = None) -> Figures:
        """What `benchmarks.load` saw, in a process of its own."""
        command = [sys.executable, "-m", "benchmarks.load", self.port, connections, seconds, request]
        command += [] if rate is None else [rate]
        done = subprocess.run(list(map(str, command)), cwd=ROOT, check=True, capture_output=True, text=True)
        seen: Figures = json.loads(done.stdout)
        return seen

    def resident_mb(self) -> float:
        """Memory of the one worker, 10^6 bytes."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return next(float(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) * 1024 / 1e6


def requests_of(tile: int, folder: Path) -> dict[str, Path]:
    """Files with the bytes of one request each: a tile in two forms, and the frame of the overload."""
    grey = np.random.default_rng(0).normal(110, 20, (tile, tile)).clip(0, 255).astype(np.uint8)
    ramp = np.linspace(60, 180, OVERLOAD_SIDE).astype(np.uint8)
    query = f"?width={tile}&height={tile}&pixel_format=Mono8"
    return {
        "raw": request_file(folder / "raw", query, "application/octet-stream", grey.tobytes()),
        "PNG": request_file(folder / "png", "", "image/png", _png(grey)),
        "overload": request_file(folder / "overload", "", "image/png", _png(np.tile(ramp, (OVERLOAD_SIDE, 1)))),
    }


def _png(grey: np.ndarray) -> bytes:
    target = io.BytesIO()
    Image.fromarray(grey).save(target, "PNG")
    return target.getvalue()


def request_file(path: Path, query: str, content_type: str, body: bytes) -> Path:
    head = (
        f"POST /v1/inspect{query} HTTP/1.1\r\nHost: bench\r\n"
        f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    path.write_bytes(head.encode() + body)
    return path


def tile_rates(
    servers: dict[str, Server], requests: dict[str, Path], seconds: float, rounds: int
) -> dict[str, dict[str, Figures]]:
    """By server and by row, "raw, 8 connections": requests a second and latencies."""
    seen: dict[str, dict[str, list[Figures]]] = {name: {} for name in servers}
    for _ in range(rounds + 1):
        for kind in ("raw", "PNG"):
            for number in CONNECTIONS:
                for name, server in servers.items():
                    figures = server.load(requests[kind], number, seconds)
                    seen[name].setdefault(f"{kind}, {number} connection{'s'[: number > 1]}", []).append(figures)
    # The first round warms everything up.
    return {name: {row: _medians(rounds[1:]) for row, rounds in rows.items()} for name, rows in seen.items()}


def _medians(rounds: list[Figures]) -> Figures:
    return {figure: statistics.median(each[figure] for each in rounds) for figure in rounds[0]}


def overloaded(server: Server, request: Path, seconds: float) -> Figures:
    """The peak, what is answered and refused at ten times that, and how long a single frame takes before and after."""
    before = server.load(request, 1, 2)
    short = max(2, seconds / 4)
    peak = server.load(request, PEAK_CONNECTIONS, short)["per_second"]
    offered = server.load(request, OVERLOAD_CONNECTIONS, seconds, OVERLOAD * peak)
    after = server.load(request, 1, 2)
    # On both sides of the overload: over a minute these machines drift by more than what refusing costs.
    peak = statistics.mean([peak, server.load(request, PEAK_CONNECTIONS, short)["per_second"]])
    return {
        "peak_per_second": peak,
        "goodput_share": offered["per_second"] / peak,
        "refused_per_second": offered["refused_per_second"],
        "dropped_per_second": offered["dropped_per_second"],
        "refused_p99_ms": offered["refused_p99_ms"],
        "alone_before_p50_ms": before["p50_ms"],
        "alone_after_p50_ms": after["p50_ms"],
    }


@contextmanager
def served(checkout: Path, models: Path, request: Path, **settings: str) -> Iterator[Server]:
    """The checkout's server on a port of its own, with a data root of its own, from its first verdict on.

    settings: by the names of their variables.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as home:
        command = [sys.executable, "-m", "app", "serve", "--port", str(port), "--models", str(models.resolve())]
        # The request log is written, as in a plant, but not to this terminal.
        with (Path(home) / "log").open("wb") as log:
            environment = {**os.environ, "STEELSIGHT_HOME": home, **settings}
            began = time.monotonic()
            server = subprocess.Popen(command, cwd=checkout, stdout=log, stderr=log, env=environment)
            try:
                _first_verdict(port, request, server)
                yield Server(port, server.pid, time.monotonic() - began)
            finally:
                server.terminate()
                server.wait()


def _no_record(checkout: Path) -> dict[str, str]:
    """The setting for no record; an earlier release has neither."""
    return {"STEELSIGHT_RECORD": "off"} if (checkout / "app" / "recording.py").exists() else {}


def _first_verdict(port: int, request: Path, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    head, _, body = request.read_bytes().partition(b"\r\n\r\n")
    path = head.split(b" ")[1].decode()
    headers = {"Content-Type": "application/octet-stream" if "width" in path else "image/png"}
    while time.monotonic() < deadline and server.poll() is None:
        try:
            urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{port}{path}", body, headers)).close()
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.02)
        else:
            return
    raise SystemExit("the server gave no verdict")


def table(
    machine: Machine, rates: dict[str, dict[str, Figures]], overload: Figures, ours: Server, memory: float
) -> str:
    """The figures as Markdown."""
    here, *others = rates.values()
    ratio = [" of the other checkout |"] if others else []
    lines = [
        f"{machine.cores} cores of {machine.processor}, float32 matrix multiply {machine.gflops:.0f} GFLOP/s",
        "",
        "| POST /v1/inspect, one tile | requests/s | p50 ms | p99 ms |"
        + "".join(f" times that{each}" for each in ratio),
        "|---|---|---|---|" + "---|" * len(ratio),
        *(
            f"| {row} | {seen['per_second']:,.0f} | {seen['p50_ms']:.1f} | {seen['p99_ms']:.1f} |"
            + "".join(f" {seen['per_second'] / other[row]['per_second']:.2f} |" for other in others)
            for row, seen in here.items()
        ),
        "",
        "| | |",
        "|---|---|",
        f"| start to first verdict | {ours.start_seconds:.1f} s |",
        f"| resident memory of the worker, after the load | {memory:.0f} MB |",
        f"| peak, frames of 1 Mpx | {overload['peak_per_second']:.1f} frames/s |",
        f"| answered at {OVERLOAD} times that | {100 * overload['goodput_share']:.0f} % of the peak |",
        f"| refused at once, and dropped at the deadline | {overload['refused_per_second']:.1f}, "
        f"{overload['dropped_per_second']:.1f} frames/s |",
        f"| refused, p99 | {overload['refused_p99_ms']:.1f} ms |",
        f"| a frame alone, p50 before and right after | {overload['alone_before_p50_ms']:.1f}, "
        f"{overload['alone_after_p50_ms']:.1f} ms |",
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure, print, write JSON beside the models."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=models_folder(), metavar="DIR")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="after one to warm up (default: %(default)s)")
    parser.add_argument("--overload-seconds", type=float, default=60.0, help="(default: %(default)s)")
    parser.add_argument("--against", type=Path, metavar="CHECKOUT", help="another working tree, served in turns")
    arguments = parser.parse_args()

    registry = Registry(arguments.models)
    version = registry.require_active()
    machine = measure()
    checkouts = {"this": ROOT} | ({"other": arguments.against} if arguments.against else {})
    with ExitStack() as held:
        folder = Path(held.enter_context(tempfile.TemporaryDirectory()))
        requests = requests_of(registry.manifest(version).network.input_size, folder)
        servers = {
            # What the record costs is measured by benchmarks.record.
            name: held.enter_context(served(checkout, arguments.models, requests["raw"], **_no_record(checkout)))
            for name, checkout in checkouts.items()
        }
        rates = tile_rates(servers, requests, arguments.seconds, arguments.rounds)
        memory = servers["this"].resident_mb()
        overload = overloaded(servers["this"], requests["overload"], arguments.overload_seconds)
    print(table(machine, rates, overload, servers["this"], memory))
    results = {
        "version": version,
        "machine": asdict(machine),
        "tiles": rates,
        "overload": overload,
        "start_seconds": servers["this"].start_seconds,
        "resident_mb": memory,
    }
    keep_figures(arguments.models, "serving", results)


if __name__ == "__main__":
    main()
