"""What the gate costs a frame: processor time of POST /v1/inspect with a key, beside the same on an open server.

    python -m benchmarks.key_cost [--models DIR] [--requests N] [--rounds N] [--json FILE]

The applications run in this process, without sockets, so that nothing but the service is counted, and take turns of
`--requests` frames of one tile each. The figure is processor time of the whole process, all its threads included: what
else the machine does hardly counts. A third application gives its key a rate, which is counted too; and the gate
is timed by itself.
"""

import argparse
import asyncio
import io
import json
import statistics
import time
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from fastapi import FastAPI
from PIL import Image
from starlette.types import Message

from app.access.gate import Gate
from app.access.keys import Keys, create_key
from app.access.principal import Scope
from app.access.rates import Rates
from app.logs import configure
from app.main import create_app
from app.settings import load
from model.registry import models_folder

LOADED_WITHIN_S = 120
GATE_CALLS = 5000


async def asked(app: FastAPI, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    """One request; its reply must be a verdict."""
    scope: dict[str, Any] = {
        "type": "http",
        "method": "POST",
        "path": "/v1/inspect",
        "raw_path": b"/v1/inspect",
        "query_string": b"camera_id=top-1",
        "headers": [
            (b"host", b"line"),
            (b"content-length", b"%d" % len(body)),
            (b"content-type", b"image/png"),
            *headers,
        ],
        "client": ("127.0.0.1", 1),
        "state": {},
    }
    statuses: list[int] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    await app(scope, receive, send)
    if statuses != [200]:
        raise SystemExit(f"the server answered {statuses}")


async def measured(arguments: argparse.Namespace, root: Path) -> dict[str, list[float]]:
    """Microseconds of processor time a request, by kind, for each round."""
    apps: dict[str, tuple[FastAPI, list[tuple[bytes, bytes]]]] = {}
    async with AsyncExitStack() as running:
        for kind in ("open", "key", "key with a rate"):
            home = root / kind.replace(" ", "-")
            home.mkdir()
            headers = []
            if kind != "open":
                rate = 1_000_000 if kind == "key with a rate" else None
                _, token = create_key(home, "camera", [Scope.INSPECT], cameras=["top-1"], rate_per_minute=rate)
                headers = [(b"authorization", b"Bearer " + token.encode())]
            app = create_app(load({}, {"home": home, "models": arguments.models, "record": "off"}))
            await running.enter_async_context(app.router.lifespan_context(app))
            async with asyncio.timeout(LOADED_WITHIN_S):
                while app.state.service.slot.serving is None:
                    await asyncio.sleep(0.1)
            apps[kind] = app, headers
        body = tile()
        taken: dict[str, list[float]] = {kind: [] for kind in apps}
        for counted in range(arguments.rounds + 1):
            for kind, (app, headers) in apps.items():
                begun = time.process_time()
                for _ in range(arguments.requests):
                    await asked(app, body, headers)
                took = (time.process_time() - begun) / arguments.requests * 1e6
                # The first round warms up.
                if counted:
                    taken[kind].append(took)
        return taken


def gate_alone() -> float:
    """Microseconds of processor time in which the gate lets a key in."""
    with TemporaryDirectory() as folder:
        _, token = create_key(Path(folder), "camera", [Scope.INSPECT])
        gate = Gate("keys", "127.0.0.1", [Keys(Path(folder))], Rates(0))
        gate.refresh()
    headers = [
        (b"host", b"line"),
        (b"content-length", b"16384"),
        (b"content-type", b"image/png"),
        (b"accept", b"*/*"),
        (b"authorization", b"Bearer " + token.encode()),
    ]
    begun = time.process_time()
    for _ in range(GATE_CALLS):
        gate.admit(headers, Scope.INSPECT)
    return (time.process_time() - begun) / GATE_CALLS * 1e6


def tile() -> bytes:
    """A grey PNG of 128 x 128 px."""
    target = io.BytesIO()
    pixels = np.random.default_rng(0).integers(90, 160, (128, 128), np.uint8)
    Image.fromarray(pixels).save(target, "PNG")
    return target.getvalue()


def main() -> None:
    """Measure, print, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=models_folder(), metavar="DIR", help="default: %(default)s")
    parser.add_argument("--requests", type=int, default=100, metavar="N", help="of a turn (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=40, metavar="N", help="default: %(default)s")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    arguments = parser.parse_args()
    configure("warning")
    with TemporaryDirectory() as root:
        taken = asyncio.run(measured(arguments, Path(root)))
    print("| server | µs of processor time a request | beside open |\n|---|---|---|")
    figures = {}
    for kind, each in taken.items():
        ratio = statistics.median(one / beside for one, beside in zip(each, taken["open"], strict=True))
        figures[kind] = {"microseconds": statistics.median(each), "ratio": ratio}
        print(f"| {kind} | {statistics.median(each):.0f} | {ratio:.3f} |")
    alone = statistics.median(gate_alone() for _ in range(arguments.rounds))
    figures["gate"] = {"microseconds": alone, "ratio": alone / figures["open"]["microseconds"]}
    print(f"| the gate by itself | {alone:.1f} | {figures['gate']['ratio']:.4f} |")
    print(f"\nMedians of {arguments.rounds} rounds of {arguments.requests} requests.")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
