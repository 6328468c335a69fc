"""A load generator: keep-alive connections that each send the next request when the last answer is whole.

It speaks just enough HTTP/1.1 for the answers of this service, on bare protocols and not on streams, because it
shares the machine with the server it measures: what it takes of the cores, the server lacks.

Run as a program it is a process of its own: python -m benchmarks.load PORT CONNECTIONS SECONDS FILE [RATE], where FILE
holds the bytes of one request, or is a folder of such files, drawn at random; it prints one JSON object. With RATE the
connections together send so many requests a second, as far as answers come in time, and refusals (503, 504) are
counted beside the answers; without it a refusal ends the program.
"""

import asyncio
import json
import random
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import cast

import numpy as np
import uvloop

HEAD_END = b"\r\n\r\n"
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)


@dataclass
class Seen:
    """Seconds from request to whole answer: of verdicts, of refusals, and of what was dropped at its deadline."""

    answered: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    dropped: list[float] = field(default_factory=list)


class Connection(asyncio.Protocol):
    """One camera. pace: seconds between the beginnings of two requests, at least; 0: as fast as answers come.

    done: ends when the time is over, or with what went wrong.
    """

    def __init__(self, requests: Sequence[bytes], until: float, pace: float, seen: Seen) -> None:
        self._requests, self._until, self._pace, self._seen = requests, until, pace, seen
        self._loop = asyncio.get_running_loop()
        self.done: asyncio.Future[None] = self._loop.create_future()
        self._received = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's are of no class of asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        self._send()

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(HEAD_END)
        if end < 0:
            return
        length = LENGTH.search(self._received, 0, end + 2)
        if length is None:
            self._end(f"the server answered without a length: {self._received[:end]!r}")
        elif len(self._received) >= end + len(HEAD_END) + int(length[1]):
            status = int(self._received[9:12])
            self._received = b""
            self._answered(status)

    def connection_lost(self, _: Exception | None) -> None:
        self._end("the server hung up")

    def _send(self) -> None:
        self._start = time.perf_counter()
        if self._start >= self._until:
            self._end()
        else:
            self._transport.write(random.choice(self._requests))

    def _answered(self, status: int) -> None:
        took = time.perf_counter() - self._start
        if status == HTTPStatus.OK:
            self._seen.answered.append(took)
        elif self._pace and status == HTTPStatus.SERVICE_UNAVAILABLE:
            self._seen.refused.append(took)
        elif self._pace and status == HTTPStatus.GATEWAY_TIMEOUT:
            self._seen.dropped.append(took)
        else:
            self._end(f"the server answered {status}")
            return
        if self._pace > took:
            self._loop.call_later(self._pace - took, self._send)
        else:
            self._send()

    def _end(self, fault: str | None = None) -> None:
        self._transport.close()
        if self.done.done():
            return
        if fault is None:
            self.done.set_result(None)
        else:
            self.done.set_exception(ConnectionError(fault))


async def _load(
    port: int, connections: int, seconds: float, requests: Sequence[bytes], rate: float
) -> dict[str, float]:
    seen = Seen()
    pace = connections / rate if rate else 0.0
    loop, start, begun = asyncio.get_running_loop(), time.perf_counter(), []
    for _ in range(connections):
        _, connection = await loop.create_connection(
            lambda: Connection(requests, start + seconds, pace, seen), "127.0.0.1", port
        )
        begun.append(connection.done)
        # Paced connections begin one after another, or they would all send at the same moment.
        await asyncio.sleep(pace / connections)
    await asyncio.gather(*begun)
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
    try:
        print(json.dumps(uvloop.run(load)))
    except ConnectionError as error:
        raise SystemExit(str(error)) from None
