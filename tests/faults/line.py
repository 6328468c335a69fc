"""Cameras that send frames to a server which may fail in any way, and remember what they were told and when.

Every frame is different and follows from its id: a camera sends one again until it has a verdict.
"""

import asyncio
import itertools
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

import httpx
import numpy as np

CAMERAS = 8
TILE = 64
# Of one camera. Together with the others as much as leaves room on two cores for whatever makes the fault.
EVERY_S = 0.04
AGAIN_S = 0.05
# A server that hangs is noticed, also on a machine that is busy with other things.
WITHIN_S = 180.0


@dataclass(frozen=True)
class Told:
    """What became of one sending. sent, at: `time.monotonic()`. code: of a refusal, or the name of what broke the
    connection; None is a verdict.
    """

    request_id: str
    sent: float
    at: float
    code: str | None
    status: int
    said: dict[str, Any] = field(default_factory=dict, repr=False)


class Line:
    """The cameras, in a thread of their own. answers: verdicts by request id."""

    def __init__(self, url: str, every_s: float = EVERY_S, again_s: float = AGAIN_S, seed: int = 0) -> None:
        self.url = url
        self.answers: dict[str, Told] = {}
        self.told: list[Told] = []
        self._open: set[str] = set()
        self._every_s = every_s
        self._again_s = again_s
        self._count: Iterator[int] = itertools.count(seed * 10_000_000)
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._failed: BaseException | None = None

    @staticmethod
    def body(request_id: str) -> bytes:
        """The pixels of a frame: noise, of all brightnesses and contrasts, so that the verdicts differ."""
        rng = np.random.default_rng(int(request_id.removeprefix("r")))
        low, high = sorted(rng.integers(0, 256, 2))
        return rng.integers(low, high + 1, TILE * TILE, np.uint8).tobytes()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Send while this lasts; at the end what is open is sent until it has a verdict."""
        self._over.clear()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        try:
            yield
        finally:
            self._over.set()
            self._thread.join(3 * WITHIN_S)
        assert not self._thread.is_alive(), "a camera was never answered"
        if self._failed is not None:
            raise self._failed
        assert not self._open, f"{len(self._open)} frames never had a verdict"

    def until_verdicts(self, count: int, after: float = 0.0, within_s: float = WITHIN_S) -> float:
        """Wait for so many verdicts to frames that were sent after that moment; when the last of them came."""
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            # The latest alone are looked at, of which there are few however long this has run.
            latest = takewhile(lambda each: each.at >= after, reversed(list(self.answers.values())))
            came = sorted(each.at for each in latest if each.sent >= after)
            if len(came) >= count:
                return came[count - 1] if count else time.monotonic()
            time.sleep(0.01)
        codes = Counter(each.code for each in list(self.told) if each.sent >= after)
        raise AssertionError(f"no {count} verdicts within {within_s:g} s; told meanwhile: {dict(codes)}")

    def _run(self) -> None:
        try:
            asyncio.run(self._send_all())
        except BaseException as error:  # noqa: BLE001 - told in the thread that waits for this one
            self._failed = error

    async def _send_all(self) -> None:
        limits = httpx.Limits(max_connections=CAMERAS, max_keepalive_connections=CAMERAS)
        async with httpx.AsyncClient(base_url=self.url, timeout=WITHIN_S, limits=limits) as http:
            await asyncio.gather(*(self._camera(http, number) for number in range(CAMERAS)))

    async def _camera(self, http: httpx.AsyncClient, number: int) -> None:
        gives_up_at = float("inf")
        while not self._over.is_set():
            request_id = f"r{next(self._count)}"
            self._open.add(request_id)
            while not await self._sent(http, request_id, number):
                if self._over.is_set():
                    gives_up_at = min(gives_up_at, time.monotonic() + WITHIN_S)
                if time.monotonic() > gives_up_at:
                    return
                await asyncio.sleep(self._again_s)
            self._open.discard(request_id)
            await asyncio.sleep(self._every_s)

    async def _sent(self, http: httpx.AsyncClient, request_id: str, number: int) -> bool:
        """One frame, once; whether it has its verdict."""
        query = {
            "width": TILE, "height": TILE, "pixel_format": "Mono8", "request_id": request_id, "coil_id": "C1",
            "camera_id": f"c{number}", "sequence": request_id.removeprefix("r"),
        }  # fmt: skip
        headers = {"content-type": "application/octet-stream"}
        begun = time.monotonic()
        try:
            answer = await http.post("/v1/inspect", params=query, content=self.body(request_id), headers=headers)
            said = answer.json()
            code = None if answer.status_code == 200 else str(said["code"])
            told = Told(request_id, begun, time.monotonic(), code, answer.status_code, said)
        except httpx.TransportError as error:
            told = Told(request_id, begun, time.monotonic(), type(error).__name__, 0)
        self.told.append(told)
        if told.code is None:
            self.answers[request_id] = told
        return told.code is None
