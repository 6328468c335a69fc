"""A load generator: keep-alive connections that each send the next request when the last answer is whole.

It speaks just enough HTTP/1.1 for the answers of this service, because it shares the machine with the server
it measures. Run as a program it is a process of its own: python -m benchmarks.load PORT CONNECTIONS SECONDS FILE
[RATE], where FILE holds the bytes of one request, or is a folder of such files, drawn at random; it prints one JSON
object. With RATE the connections together send
so many requests a second, as far as answers come in time, and refusals (503, 504) are counted beside the answers;
without it a refusal ends the program.
"""

import asyncio
import json
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path

import numpy as np
import uvloop


@dataclass
class Seen:
    """Seconds from request to whole answer: of verdicts, of refusals, and of what was dropped at its deadline."""

    answered: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    dropped: list[float] = field(default_factory=list)


async def _connection(port: int, requests: Sequence[bytes], until: float, pace: float, seen: Seen) -> None:
    """pace: seconds between the beginnings of two requests, at least."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        while (start := time.perf_counter()) < until:
            writer.write(random.choice(requests))
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            await reader.readexactly(int(length.split(b":")[1]))
            status = int(head.split(b" ", 2)[1])
            took = time.perf_counter() - start
            if status == HTTPStatus.OK:
                seen.answered.append(took)
            elif pace and status == HTTPStatus.SERVICE_UNAVAILABLE:
                seen.refused.append(took)
            elif pace and status == HTTPStatus.GATEWAY_TIMEOUT:
                seen.dropped.append(took)
            else:
                raise SystemExit(f"the server answered {head.splitlines()[0].decode()}")
            if pace > took:
                await asyncio.sleep(pace - took)
    finally:
        writer.close()


async def _load(
    port: int, connections: int, seconds: float, requests: Sequence[bytes], rate: float
) -> dict[str, float]:
    seen = Seen()
    pace = connections / rate if rate else 0.0
    start = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(_connection(port, requests, start + seconds, pace, seen))
            # Paced connections begin one after another, or they would all send at the same moment.
            await asyncio.sleep(pace / connections)
    elapsed = time.perf_counter() - start
    p50, p99 = np.quantile(seen.answered or [0], [0.5, 0.99]) * 1e3
    figures = {"per_second": len(seen.answered) / elapsed, "p50_ms": p50, "p99_ms": p99, "seconds": elapsed}
    if rate:
        figures["dropped_per_second"] = len(seen.dropped) / elapsed
        figures["refused_per_second"] = len(seen.refused) / elapsed
        figures["refused_p99_ms"] = float(np.quantile(seen.refused or [0], 0.99)) * 1e3
    return figures


if __name__ == "__main__":
    port, connections, seconds, file, *rate = sys.argv[1:]
    files = sorted(Path(file).iterdir()) if Path(file).is_dir() else [Path(file)]
    requests = [each.read_bytes() for each in files]
    load = _load(int(port), int(connections), float(seconds), requests, float(rate[0]) if rate else 0.0)
    print(json.dumps(uvloop.run(load)))
