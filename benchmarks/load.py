"""A load generator: keep-alive connections that each send the next request when the last answer is whole.

It speaks just enough HTTP/1.1 for the answers of this service, because it shares the machine with the server
it measures. Run as a program it is a process of its own: python -m benchmarks.load PORT CONNECTIONS SECONDS FILE,
where FILE holds the bytes of one request; it prints one JSON object.
"""

import asyncio
import json
import sys
import time
from pathlib import Path

import numpy as np
import uvloop


async def _connection(port: int, request: bytes, until: float, latencies: list[float]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        while (start := time.perf_counter()) < until:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            await reader.readexactly(int(length.split(b":")[1]))
            if not head.startswith(b"HTTP/1.1 200"):
                raise SystemExit(f"the server answered {head.splitlines()[0].decode()}")
            latencies.append(time.perf_counter() - start)
    finally:
        writer.close()


async def _load(port: int, connections: int, seconds: float, request: bytes) -> dict[str, float]:
    latencies: list[float] = []
    start = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(_connection(port, request, start + seconds, latencies))
    p50, p99 = np.quantile(latencies, [0.5, 0.99]) * 1e3
    return {"per_second": len(latencies) / (time.perf_counter() - start), "p50_ms": p50, "p99_ms": p99}


if __name__ == "__main__":
    port, connections, seconds, file = sys.argv[1:]
    print(json.dumps(uvloop.run(_load(int(port), int(connections), float(seconds), Path(file).read_bytes()))))
