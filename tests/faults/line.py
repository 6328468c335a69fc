"""Cameras that send frames to a server which may die at any moment, and remember what they were told."""

import asyncio
import itertools
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np

ROOT = Path(__file__).parents[2]
WITHIN_S = 60
CAMERAS = 8
TILE = 64


class Server:
    """A real server process on a data root; started, killed and started again on one port."""

    def __init__(self, home: Path, models: Path, **settings: str) -> None:
        self.home = home
        self._environment = {
            "PATH": os.environ["PATH"],
            "STEELSIGHT_HOME": str(home),
            "STEELSIGHT_MODELS": str(models),
            "STEELSIGHT_PORT": "0",
        } | {f"STEELSIGHT_{name.upper()}": value for name, value in settings.items()}
        self.url = ""
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Until it listens."""
        with (self.home / "server.log").open("a") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "app", "serve"],
                cwd=ROOT, env=self._environment, stdout=log, stderr=subprocess.PIPE, text=True,
            )  # fmt: skip
        assert self._process.stderr is not None
        told = self._process.stderr.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+)", told)
        assert found, told + self._process.stderr.read()
        self.url = found[0]
        # The next one listens where the cameras send to.
        self._environment["STEELSIGHT_PORT"] = found[1]

    def kill(self, how: signal.Signals = signal.SIGKILL) -> int:
        """Its exit code."""
        assert self._process is not None
        self._process.send_signal(how)
        code = self._process.wait(WITHIN_S)
        assert self._process.stderr is not None
        self._process.stderr.close()
        self._process = None
        return code

    @contextmanager
    def running(self) -> Iterator[None]:
        """Killed at the end, if it runs still."""
        self.start()
        try:
            yield
        finally:
            if self._process is not None:
                self.kill()


@dataclass
class Line:
    """Frames that were sent, all different, and what each was answered. answers: by request id."""

    url: str
    answers: dict[str, dict[str, Any]] = field(default_factory=dict)
    open: set[str] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)
    _count: Iterator[int] = field(default_factory=itertools.count)

    def body(self, request_id: str) -> bytes:
        """The pixels of a frame: they follow from its id, so that it can be sent again."""
        seed = int(request_id.removeprefix("r"))
        return np.random.default_rng(seed).integers(0, 256, TILE * TILE, np.uint8).tobytes()

    async def send(self, http: httpx.AsyncClient, request_id: str) -> None:
        """One frame, once; `open` keeps what was not answered."""
        self.open.add(request_id)
        query = {
            "width": TILE, "height": TILE, "pixel_format": "Mono8", "request_id": request_id, "coil_id": "C1",
            "camera_id": "c1", "sequence": request_id.removeprefix("r"),
        }  # fmt: skip
        headers = {"content-type": "application/octet-stream"}
        try:
            answer = await http.post("/v1/inspect", params=query, content=self.body(request_id), headers=headers)
        except httpx.TransportError:
            return
        if answer.status_code == 200:
            self.answers[request_id] = answer.json()
            self.open.discard(request_id)
        elif answer.status_code != 503:
            self.faults.append(f"{request_id}: {answer.status_code} {answer.text}")

    async def run(self, until: asyncio.Event) -> None:
        """All cameras, until told; a camera sends what was not answered again before it goes on."""
        async with httpx.AsyncClient(base_url=self.url, timeout=WITHIN_S) as http:
            await asyncio.gather(*(self._camera(http, until) for _ in range(CAMERAS)))

    async def _camera(self, http: httpx.AsyncClient, until: asyncio.Event) -> None:
        request_id = f"r{next(self._count)}"
        while not until.is_set():
            await self.send(http, request_id)
            if request_id in self.answers:
                request_id = f"r{next(self._count)}"
            else:
                await asyncio.sleep(0.02)

    async def settle(self) -> None:
        """Send what was never answered once more, to a server that lives."""
        async with httpx.AsyncClient(base_url=self.url, timeout=WITHIN_S) as http:
            async with asyncio.timeout(WITHIN_S):
                while (await http.get("/readyz")).status_code != 200:
                    await asyncio.sleep(0.05)
            for request_id in sorted(self.open):
                await self.send(http, request_id)
