"""How many inspections a worker takes on, and the threads that do them: away from the event loop, in one hop each."""

import asyncio
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from app.bodies import Body
from app.errors import Refusal, ServiceCode
from app.metrics import Metrics
from app.settings import Settings
from model.image import Limits
from model.inspector import Inspection, Inspector


@dataclass(frozen=True)
class Inspected:
    """One frame's inspection, its id, and the milliseconds of each stage: queue, decode, inference."""

    inspection_id: str
    inspection: Inspection
    stages_ms: dict[str, float]


class InspectionPool:
    """A bounded number of places, and fewer threads.

    A place is held from the headers to the reply, so that it bounds the bodies in memory as well.
    """

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._free = self._places = settings.max_in_flight
        self._limits = settings.limits
        self._metrics = metrics
        self._threads = ThreadPoolExecutor(settings.concurrency, thread_name_prefix="inspect")

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold one place. Raises `Refusal` (overloaded) at once if there is none; used on the event loop only."""
        if not self._free:
            raise Refusal(
                ServiceCode.OVERLOADED,
                f"{self._places} inspections are in progress, which is all this server takes; try again in a moment",
            )
        self._free -= 1
        self._metrics.in_flight.inc()
        try:
            yield
        finally:
            self._free += 1
            self._metrics.in_flight.dec()

    async def inspect(self, inspector: Inspector, body: Body) -> Inspected:
        """Decode and inspect one frame in a thread. Raises what `Body.frame` raises."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, _inspect, inspector, body, self._limits, time.perf_counter())

    def close(self) -> None:
        """Let the threads go; what is running runs to its end."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _inspect(inspector: Inspector, body: Body, limits: Limits, submitted: float) -> Inspected:
    started = time.perf_counter()
    frame = body.frame(limits)
    decoded = time.perf_counter()
    inspection = inspector.inspect(frame)
    finished = time.perf_counter()
    seconds = {"queue": started - submitted, "decode": decoded - started, "inference": finished - decoded}
    return Inspected(uuid.uuid4().hex, inspection, {stage: duration * 1000 for stage, duration in seconds.items()})
