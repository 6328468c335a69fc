"""Tiles a second of each engine, and requests a second of POST /v1/inspect, beside the arithmetic limit.

    python -m benchmarks.serving [--models DIR] [--seconds S] [--rounds N]

The limit is the machine's measured float32 matrix-multiply rate over 2 x multiply-adds of one tile: no
float32 engine can score more tiles a second. Requests carry one tile as PNG; the load generator shares the machine.
Takes about a minute and a half. Every figure is the median of the rounds; rounds of all rows are interleaved.
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
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.machine import Machine, measure
from model.engine import ENGINES, open_engine
from model.registry import Registry, models_folder

CONNECTIONS = (1, 8, 32)
BATCHES = (1, 32)
START_SECONDS = 60


def engine_rates(folder: Path, tile: int, seconds: float, rounds: int, cores: int) -> dict[str, float]:
    """Tiles a second of each engine at each batch size, on all cores."""
    tiles = np.random.default_rng(0).integers(0, 256, (max(BATCHES), tile, tile), np.uint8)
    engines = {name: open_engine(name, folder, cores) for name in sorted(ENGINES)}
    seen: dict[str, list[float]] = {}
    for _ in range(rounds + 1):
        for name, engine in engines.items():
            for batch in BATCHES:
                start, scored = time.perf_counter(), 0
                while (elapsed := time.perf_counter() - start) < seconds:
                    engine.logits(tiles[:batch])
                    scored += batch
                seen.setdefault(f"{name}, batches of {batch}", []).append(scored / elapsed)
    # The first round warms every engine up.
    return {name: statistics.median(rates[1:]) for name, rates in seen.items()}


def request_rates(models: Path, tile: int, seconds: float, rounds: int) -> dict[int, dict[str, float]]:
    """Requests a second and latencies in ms, by number of connections."""
    grey = np.random.default_rng(0).normal(110, 20, (tile, tile)).clip(0, 255).astype(np.uint8)
    body = io.BytesIO()
    Image.fromarray(grey).save(body, "PNG")
    head = (
        f"POST /v1/inspect HTTP/1.1\r\nHost: bench\r\nContent-Type: image/png\r\nContent-Length: {body.tell()}\r\n\r\n"
    )
    seen: dict[int, list[dict[str, float]]] = {number: [] for number in CONNECTIONS}
    with tempfile.NamedTemporaryFile() as request, served(models) as port:
        request.write(head.encode() + body.getvalue())
        request.flush()
        for _ in range(rounds + 1):
            for number in CONNECTIONS:
                command = [sys.executable, "-m", "benchmarks.load", port, number, seconds, request.name]
                done = subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True)
                seen[number].append(json.loads(done.stdout))
    return {
        number: {figure: statistics.median(one[figure] for one in rows[1:]) for figure in rows[0]}
        for number, rows in seen.items()
    }


@contextmanager
def served(models: Path) -> Iterator[int]:
    """The real server on a port of its own, with a data root of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as home:
        command = [sys.executable, "-m", "app", "serve", "--port", str(port), "--models", str(models)]
        # The request log is written, as in a plant, but not to this terminal.
        with (Path(home) / "log").open("wb") as log:
            environment = {**os.environ, "STEELSIGHT_HOME": home}
            server = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
            try:
                _wait_until_ready(port, server)
                yield port
            finally:
                server.terminate()
                server.wait()


def _wait_until_ready(port: int, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz").close()
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.05)
        else:
            return
    raise SystemExit("the server did not become ready")


def table(machine: Machine, limit: float, engines: dict[str, float], requests: dict[int, dict[str, float]]) -> str:
    """The figures as Markdown."""
    lines = [
        f"{machine.cores} cores of {machine.processor}, float32 matrix multiply {machine.gflops:.0f} GFLOP/s",
        "",
        "| engine | tiles/s | share of the limit |",
        "|---|---|---|",
        f"| arithmetic limit | {limit:,.0f} | 100 % |",
        *(f"| {name} | {rate:,.0f} | {100 * rate / limit:.0f} % |" for name, rate in engines.items()),
        "",
        "| POST /v1/inspect, one tile as PNG | requests/s | share of the limit | p50 ms | p99 ms |",
        "|---|---|---|---|---|",
        *(
            f"| {number} connections | {row['per_second']:,.0f} | {100 * row['per_second'] / limit:.0f} % "
            f"| {row['p50_ms']:.1f} | {row['p99_ms']:.1f} |"
            for number, row in requests.items()
        ),
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure, print, write JSON beside the models."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=models_folder(), metavar="DIR")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="after one to warm up (default: %(default)s)")
    arguments = parser.parse_args()

    registry = Registry(arguments.models)
    version = registry.require_active()
    network = registry.manifest(version).network
    machine = measure()
    limit = machine.gflops * 1e9 / (2 * network.multiply_adds())
    engines = engine_rates(
        registry.folder(version), network.input_size, arguments.seconds, arguments.rounds, machine.cores
    )
    requests = request_rates(arguments.models, network.input_size, arguments.seconds, arguments.rounds)
    print(table(machine, limit, engines, requests))
    results = {
        "version": version,
        "machine": asdict(machine),
        "limit_tiles_per_second": limit,
        "engines_tiles_per_second": engines,
        "requests_by_connections": requests,
    }
    output = arguments.models.parent / "benchmarks" / "serving.json"
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(results, indent=2) + "\n")
    print(f"\nwritten to {output}")


if __name__ == "__main__":
    main()
