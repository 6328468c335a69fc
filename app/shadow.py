"""The shadow: a second version that scores a share of the live frames, after their replies and in spare capacity.

Its verdicts are compared with the live ones: pairs are counted, differences kept. Nothing here can delay or fail a
reply: frames wait in a bounded queue for one thread, and what finds no room there is dropped and counted.
"""

import asyncio
import random
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import structlog

from app.loading import Loader
from app.metrics import Metrics
from app.parameters import InspectQuery
from app.refusals import Refusal, ServiceCode
from app.serving import POLL_S, RETRY_S
from model import shadow
from model.errors import SteelsightError
from model.image import Frame
from model.inspector import Inspection, Inspector
from model.verdict import Verdict

# Frames that wait are memory: at most so many, and so many pixels (one frame may always wait, however large).
QUEUE_FRAMES = 32
QUEUE_PIXELS = 16_000_000
# The latest differences of one worker; each has a few hundred bytes.
KEPT_DIFFERENCES = 1000
# How often a waiting frame looks for spare capacity.
LOOK_S = 0.005

log = structlog.get_logger("steelsight.shadow")


@dataclass(frozen=True)
class Judgement:
    """What one version said of a frame."""

    version: str
    verdict: Verdict
    defect_probability: float


@dataclass(frozen=True)
class Difference:
    """A frame that the two versions judged differently."""

    at: datetime
    inspection_id: str
    live: Judgement
    shadow: Judgement


@dataclass(frozen=True)
class Running:
    """A version that shadows in this worker, and what came of it since it began: pairs are (live, shadow)."""

    inspector: Inspector
    choice: shadow.Choice
    pairs: Counter[tuple[Verdict, Verdict]] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Offered:
    """A frame that waits for the shadow."""

    running: Running
    frame: Frame
    overlap_rows: int
    inspection_id: str
    live: Judgement


class Shadow:
    """What one worker does of it. All workers follow one small file; see `model.shadow`.

    spare: whether a core is free, asked before each frame is scored. told: of each difference, in the shadow's thread.
    """

    def __init__(
        self,
        loader: Loader,
        metrics: Metrics,
        spare: Callable[[], bool],
        kept: int = KEPT_DIFFERENCES,
        told: Callable[[Difference], None] | None = None,
    ) -> None:
        self.running: Running | None = None
        self.failure: str | None = None
        self._loader = loader
        self._metrics = metrics
        self._spare = spare
        self._told = told
        self._changing = asyncio.Lock()
        self._waiting: deque[Offered] = deque()
        self._waiting_pixels = 0
        self._filled = threading.Condition()
        self._kept: deque[Difference] = deque(maxlen=kept)
        self._thread: threading.Thread | None = None
        self._closed = False
        self._tried: shadow.Choice | None = None
        self._retry_at = 0.0

    def differences(self) -> list[Difference]:
        """The latest differences, latest first."""
        with self._filled:
            return list(self._kept)[::-1]

    def offer(
        self, live: Inspector, frame: Frame, query: InspectQuery, inspection_id: str, inspection: Inspection
    ) -> None:
        """A frame that `live` has judged. From any thread; returns at once. The frame must not be written to later."""
        running = self.running
        if running is None or running.choice.version == live.version or random.random() >= running.choice.share:  # noqa: S311 - a sample of frames, not a secret
            return
        judged = Judgement(live.version, inspection.verdict, inspection.defect_probability)
        with self._filled:
            if self._waiting and (
                len(self._waiting) >= QUEUE_FRAMES or self._waiting_pixels + frame.size > QUEUE_PIXELS
            ):
                running.lost["dropped"] += 1
                self._metrics.shadow_dropped.inc()
                return
            self._waiting.append(Offered(running, frame, query.overlap_rows, inspection_id, judged))
            self._waiting_pixels += frame.size
            self._filled.notify()

    async def watch(self) -> None:
        """Follow the choice until cancelled."""
        while True:
            await self.refresh()
            await asyncio.sleep(POLL_S)

    async def refresh(self) -> None:
        """Look once at which version is to shadow, and let it if it is another one or has another share."""
        async with self._changing:
            try:
                choice = await asyncio.to_thread(shadow.chosen, self._loader.registry)
                if choice is None:
                    self._let_go()
                    self.failure = None
                elif self._is_news(choice):
                    self._tried = choice
                    self._retry_at = time.monotonic() + RETRY_S
                    self._begin(choice, await self._opened(choice.version))
            except SteelsightError as error:
                self._let_go()
                if error.message != self.failure:
                    log.error("shadow_load_failed", reason=error.message, exc_info=error)
                self.failure = error.message

    async def start(self, version: str, share: float) -> None:
        """Let a version shadow, in all workers. Raises as `ModelSlot.activate`, and changes nothing then."""
        async with self._changing:
            opened = await self._opened(version)
            try:
                choice = await self._loader.run(shadow.choose, self._loader.registry, version, share)
            except OSError as error:
                raise _unwritable(error) from error
            self._begin(choice, opened)

    async def stop(self, version: str) -> None:
        """Let the version shadow no longer. Raises `Refusal` (not_found) if it does not."""
        async with self._changing:
            choice = await self._loader.run(shadow.chosen, self._loader.registry)
            if choice is None or choice.version != version:
                raise Refusal(ServiceCode.NOT_FOUND, f"model version {version} does not shadow; see GET /v1/models")
            try:
                await self._loader.run(shadow.stop, self._loader.registry)
            except OSError as error:
                raise _unwritable(error) from error
            self._let_go()
            self.failure = None

    def close(self) -> None:
        """Score nothing more."""
        self._let_go()
        self._closed = True
        with self._filled:
            self._filled.notify()

    def _is_news(self, choice: shadow.Choice) -> bool:
        """Another choice than the one that runs; one that failed, again after a while."""
        if self.running is not None and self.running.choice == choice:
            return False
        return self._tried != choice or self.failure is None or time.monotonic() >= self._retry_at

    async def _opened(self, version: str) -> Inspector:
        """The version, loaded; the one that is there already if only its share changes."""
        if self.running is not None and self.running.choice.version == version:
            return self.running.inspector
        return await self._loader.run(self._loader.open, version)

    def _begin(self, choice: shadow.Choice, opened: Inspector) -> None:
        before = self.running
        if before is not None and before.inspector is opened:
            self.running = Running(opened, choice, before.pairs, before.lost)
        else:
            self._let_go()
            self.running = Running(opened, choice)
        self.failure = None
        self._metrics.shadow_share.labels(choice.version).set(choice.share)
        log.info("shadow_running", version=choice.version, share=choice.share)
        if self._thread is None:
            self._thread = threading.Thread(target=self._score_all, name="shadow", daemon=True)
            self._thread.start()

    def _let_go(self) -> None:
        """Of the version and of what waits for it: their memory returns."""
        if self.running is None:
            return
        self._metrics.shadow_share.labels(self.running.choice.version).set(0)
        log.info("shadow_stopped", version=self.running.choice.version)
        self.running = None
        self._loader.let_go()
        with self._filled:
            self._waiting.clear()
            self._waiting_pixels = 0

    def _score_all(self) -> None:
        while not self._closed:
            with self._filled:
                while not self._waiting and not self._closed:
                    self._filled.wait()
            while not self._closed and not self._spare():
                time.sleep(LOOK_S)
            self._score_next()

    def _score_next(self) -> None:
        """Score the frame that has waited longest. Nothing of it outlives this call in the thread."""
        with self._filled:
            if not self._waiting:
                return
            offered = self._waiting.popleft()
            self._waiting_pixels -= offered.frame.size
        running = offered.running
        try:
            (inspection,) = running.inspector.inspect_all([offered.frame], [offered.overlap_rows])
        # Whatever a version on trial does, the service goes on: counted, and logged whole once in a row of them.
        except Exception as error:
            if not running.lost["failed"]:
                log.error("shadow_failed", version=running.choice.version, exc_info=error)
            running.lost["failed"] += 1
            self._metrics.shadow_failures.inc()
            return
        judged = Judgement(running.choice.version, inspection.verdict, inspection.defect_probability)
        running.pairs[offered.live.verdict, judged.verdict] += 1
        self._metrics.shadow_verdicts.labels(offered.live.verdict.value, judged.verdict.value).inc()
        if judged.verdict is not offered.live.verdict:
            difference = Difference(datetime.now(UTC), offered.inspection_id, offered.live, judged)
            with self._filled:
                self._kept.append(difference)
            if self._told is not None:
                self._told(difference)


def _unwritable(error: OSError) -> Refusal:
    message = f"the choice of the shadow cannot be written ({error.strerror}); nothing has changed"
    return Refusal(ServiceCode.MODEL_UNAVAILABLE, message)
