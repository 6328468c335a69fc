"""Frames of many requests judged together: a bounded number of places, one queue, and a thread for each core.

A thread takes what waits, decodes it, has it judged in one call, makes the replies and hands them back in one hop.
Nothing waits for company: a batch is whatever came while the threads were busy. See docs/decisions/0013.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

import structlog
from starlette.requests import ClientDisconnect
from starlette.types import Receive

from app.bodies import Body, RawPixels
from app.decoding import Decoded, Decoder, Decoding
from app.metrics import Drop, Metrics
from app.parameters import InspectQuery
from app.recording import Sampling, entry
from app.refusals import Refusal, ServiceCode
from app.replies import Stages, answered, heat_map, reply
from app.settings import Settings
from app.store.entries import Committed, Entry, Outcome, Repeat
from app.store.numbers import Numbers, inspection_id
from app.store.record import Record
from app.store.writer import unavailable
from model.image import Frame, Limits
from model.inspector import Inspection, Inspector

# Frames judged in one call. It spreads what a call costs beside its tiles; past eight it spread nothing more, and
# the first of them waits for the last.
BATCH_FRAMES = 8
# Pixels, or bytes not decoded yet, past which a frame gains nothing from company: 32 tiles of 128 x 128 px are as
# many as the engine is given at a time.
BATCH_PIXELS = 32 * 128 * 128
# How often what waits is looked through for deadlines that passed and clients that left. An answer in less needs
# neither a timer nor a task of its own, which is most of them.
SWEEP_S = 0.05
# A frame that was handed to the record is answered within so long, whatever became of the database: a little more than
# the record itself waits for a lock.
RECORDED_WITHIN_S = 40.0
LOOK_AFTER_S = 1.0
# Past its deadline a frame that was begun in time has so long to be answered. A verdict that comes later still belongs
# to steel that is past the last place where anyone could act on it.
ANSWERED_WITHIN_S = 5.0

T = TypeVar("T")

log = structlog.get_logger("steelsight.batching")


@dataclass(eq=False, slots=True)
class Order:
    """What one request wants judged, by when, and how to learn that its client has left.

    started, deadline: `time.perf_counter()` of the request's arrival, and of the moment past which nothing is begun.
    """

    started: float
    deadline: float
    receive: Receive
    watcher: "asyncio.Task[None] | None" = None


@dataclass(frozen=True, slots=True)
class Inspected:
    """What a frame's request is answered: the reply, as it goes out, and the verdict and the times in it."""

    reply: bytes
    verdict: str
    stages: Stages


@dataclass(eq=False, slots=True)
class Ticket:
    """One frame of an order, from the queue to its answer."""

    order: Order
    inspector: Inspector
    body: Body
    query: InspectQuery
    answer: "asyncio.Future[Inspected]"
    submitted: float = field(default_factory=time.perf_counter)
    decode_s: float = 0.0

    @property
    def heft(self) -> int:
        """Bytes of the body: of what the frame will cost, all that is known before it is decoded."""
        return len(self.body.data)

    def accepted(self, decoded: Decoded) -> Frame:
        """The frame that the body holds. Raises `Refusal` (parameters_invalid)."""
        frame = decoded.frame
        if self.query.overlap_rows >= len(frame):
            raise Refusal(
                ServiceCode.PARAMETERS_INVALID,
                f"overlap_rows: received {self.query.overlap_rows}; the frame has {len(frame)} rows, and at least one "
                "of them must be new",
            )
        self.decode_s = decoded.seconds
        return frame


@dataclass(frozen=True, slots=True)
class Judged:
    """A frame that is judged and not answered yet: what it will be told, once that is in the record.

    queue_s, inference_s: as in `Stages`. at: `time.perf_counter()`.
    """

    ticket: Ticket
    number: int
    said: dict[str, Any]
    more: dict[str, Any]
    queue_s: float
    inference_s: float
    at: float


@dataclass(eq=False, slots=True)
class Errand:
    """Other work of an order for the same threads; done by itself."""

    order: Order
    work: Callable[[], Any]
    answer: "asyncio.Future[Any]"
    heft: int = BATCH_PIXELS


Waiting = Ticket | Errand
Settled = tuple[Waiting, Any]
# Told of every frame judged, in the thread that did, before its reply goes out: it must return at once, and not fail.
Offer = Callable[[Inspector, Frame, InspectQuery, str, Inspection], None]


class InspectionPool:
    """A bounded number of places, and as many threads as the processor has cores for this worker.

    A place is held from the whole body to the reply, so that it bounds the bodies in memory as well; those on their way
    are bounded by `app.arriving`. Everything but the methods named `_work` and below is for the event loop's thread.
    """

    def __init__(self, settings: Settings, metrics: Metrics, decoding: Decoding) -> None:
        self._decoding = decoding
        self._free = self._places = settings.max_in_flight
        # How many requests have asked for a place so far, granted or not.
        self.asked = 0
        self._deadline_s = settings.deadline_ms / 1000
        self._limits = settings.limits
        self._metrics = metrics
        self._threads = settings.concurrency
        self._waiting: deque[Waiting] = deque()
        self._arrived = threading.Condition()
        self._idle = 0
        self._closed = False
        self._sweep_at: asyncio.TimerHandle | None = None
        self._look_at: asyncio.TimerHandle | None = None
        # By number, what the record has not answered yet.
        self._filed: dict[int, Judged] = {}
        self._sampling = Sampling(settings)
        self._loop: asyncio.AbstractEventLoop
        self._numbers: Numbers
        self._offers: Sequence[Offer]
        self._record: Record | None

    def open(self, offers: Sequence[Offer], record: Record | None) -> None:
        """Start the threads; their answers go to the loop that runs now, and what they judged is offered to each.

        record: told to `recorded` what became of each inspection; None where none is kept.
        """
        self._loop, self._offers, self._record = asyncio.get_running_loop(), offers, record
        self._numbers = record.numbers if record else Numbers()
        if record:
            self._look_at = self._loop.call_later(LOOK_AFTER_S, self._look_after_filed)
        for number in range(self._threads):
            decoder = self._decoding.decoder()
            threading.Thread(target=self._work, args=(decoder,), name=f"inspect-{number}").start()

    @property
    def free(self) -> int:
        """How many places nobody holds."""
        return self._free

    @property
    def full_of(self) -> str:
        """What is said where none is left."""
        return (
            f"{self._places} of the {self._places} inspections that this server takes are in progress; try again in a "
            "moment"
        )

    def spare(self) -> bool:
        """Whether a thread, and with it a core, has nothing to do."""
        return self._idle > 0

    def close(self) -> None:
        """Let the threads go. What is running runs to its end; nobody waits for its answer any more."""
        with self._arrived:
            self._closed = True
            left = list(self._waiting)
            self._waiting.clear()
            self._arrived.notify_all()
        self._settle([(waiting, _stopped()) for waiting in left])
        for timer in (self._sweep_at, self._look_at):
            if timer is not None:
                timer.cancel()

    def require_place(self, count: int = 1) -> None:
        """For what is about to ask for places, such as a body on its way. Raises `Refusal` (overloaded)."""
        if self._free < count:
            self._metrics.dropped(Drop.OVERLOADED)
            raise Refusal(
                ServiceCode.OVERLOADED,
                f"{self._places - self._free} of the {self._places} inspections that this server takes are in "
                "progress; try again in a moment",
            )

    @contextmanager
    def place(self, count: int = 1) -> Iterator[None]:
        """Hold places. Raises `Refusal` (overloaded) at once if there are too few."""
        self.asked += 1
        self.require_place(count)
        self._free -= count
        self._metrics.in_flight.inc(count)
        try:
            yield
        finally:
            self._free += count
            self._metrics.in_flight.dec(count)

    def order(self, started: float, receive: Receive) -> Order:
        """What a request that arrived at `started` may want. Deadlines count from there.

        Raises `Refusal` (deadline_exceeded) where it has passed: the process stood still since then.
        """
        order = Order(started, started + self._deadline_s, receive)
        if order.deadline <= time.perf_counter():
            raise self._too_late()
        return order

    def submit(self, order: Order, inspector: Inspector, body: Body, query: InspectQuery) -> Ticket:
        """Put one frame at the end of the queue."""
        ticket = Ticket(order, inspector, body, query, self._loop.create_future())
        self._put(ticket)
        return ticket

    async def inspect(self, order: Order, inspector: Inspector, body: Body, query: InspectQuery) -> Inspected:
        """Judge one frame.

        Raises what `Ticket.frame` raises, `Refusal` (deadline_exceeded) and ClientDisconnect.
        """
        ticket = self.submit(order, inspector, body, query)
        try:
            inspected = await ticket.answer
        finally:
            self._done(order, [ticket])
        if too_late := self._answered_too_late(order):
            raise too_late
        return inspected

    async def inspect_each(
        self, order: Order, inspector: Inspector, bodies: Iterable[Body], query: InspectQuery
    ) -> list[Inspected | BaseException]:
        """Judge several frames, in order: each gets an answer or what it failed of, `ClientDisconnect` too."""
        tickets = [self.submit(order, inspector, body, query) for body in bodies]
        try:
            answers = await asyncio.gather(*(ticket.answer for ticket in tickets), return_exceptions=True)
        finally:
            self._done(order, tickets)
        if too_late := self._answered_too_late(order):
            return [too_late if isinstance(answer, Inspected) else answer for answer in answers]
        return answers

    async def run(self, order: Order, work: Callable[[], T]) -> T:
        """Do other work in one of the threads. Raises what it raises, and what `inspect` does."""
        errand = Errand(order, work, self._loop.create_future())
        self._put(errand)
        try:
            result: T = await errand.answer
            return result
        finally:
            self._done(order, [errand])

    def _put(self, waiting: Waiting) -> None:
        if self._closed:
            raise _stopped()
        with self._arrived:
            self._waiting.append(waiting)
            self._arrived.notify()
        self._metrics.queue_depth.set(len(self._waiting))
        if self._sweep_at is None:
            self._sweep_at = self._loop.call_later(SWEEP_S, self._sweep)

    def _done(self, order: Order, asked: Sequence[Waiting]) -> None:
        if order.watcher is not None:
            order.watcher.cancel()
            order.watcher = None
        # A request that was cancelled would leave what it asked for behind.
        if any(waiting.answer.cancelled() for waiting in asked):
            self._withdraw(lambda waiting: waiting in asked)

    def _sweep(self) -> None:
        """Answer those whose deadline has passed, and watch the clients of those that wait for long."""
        self._sweep_at = None
        now = time.perf_counter()
        late = self._withdraw(lambda waiting: waiting.order.deadline <= now)
        self._settle([(waiting, self._too_late()) for waiting in late])
        with self._arrived:
            orders = {id(waiting.order): waiting.order for waiting in self._waiting}
        for order in orders.values():
            if order.watcher is None:
                order.watcher = self._loop.create_task(self._watch(order))
        if self._waiting:
            self._sweep_at = self._loop.call_later(SWEEP_S, self._sweep)

    def _look_after_filed(self) -> None:
        """Answer frames that the record has kept for too long: it hangs, and their cameras must know."""
        overdue = time.perf_counter() - RECORDED_WITHIN_S
        late = [judged for judged in list(self._filed.values()) if judged.at < overdue]
        for judged in late:
            self._filed.pop(judged.number, None)
        hangs = unavailable(f"it has not answered within {RECORDED_WITHIN_S:g} s")
        self._settle([(judged.ticket, hangs) for judged in late])
        self._look_at = self._loop.call_later(LOOK_AFTER_S, self._look_after_filed)

    async def _watch(self, order: Order) -> None:
        # The body is whole: there is nothing else to be received.
        if (await order.receive())["type"] != "http.disconnect":
            return
        left = self._withdraw(lambda waiting: waiting.order is order)
        for _ in left:
            self._metrics.dropped(Drop.CLIENT_LEFT)
        self._settle([(waiting, ClientDisconnect()) for waiting in left])

    def _withdraw(self, which: Callable[[Waiting], bool]) -> list[Waiting]:
        """Take out of the queue, unbegun."""
        if not self._waiting:
            return []
        with self._arrived:
            out = [waiting for waiting in self._waiting if which(waiting)]
            for waiting in out:
                self._waiting.remove(waiting)
        self._metrics.queue_depth.set(len(self._waiting))
        return out

    def _too_late(self) -> Refusal:
        self._metrics.dropped(Drop.DEADLINE)
        return Refusal(
            ServiceCode.DEADLINE_EXCEEDED,
            f"the frame was not begun within {self._deadline_s * 1000:g} ms of the request's arrival, and is dropped; "
            "send fewer frames at a time, or raise STEELSIGHT_DEADLINE_MS",
        )

    def _answered_too_late(self, order: Order) -> Refusal | None:
        """What is said instead of verdicts that nobody can act on any more. The last step before a reply is sent: a
        process may stand still anywhere.
        """
        now = time.perf_counter()
        if now <= order.deadline + ANSWERED_WITHIN_S:
            return None
        return Refusal(
            ServiceCode.DEADLINE_EXCEEDED,
            f"the frame was inspected, but only {now - order.started:.0f} s after the request's arrival, of which "
            f"{self._deadline_s + ANSWERED_WITHIN_S:g} s are allowed: the server or its record was held up. Whoever "
            "needs the verdict still gets it by sending the frame again with the same request_id",
        )

    @staticmethod
    def _settle(settled: Sequence[Settled]) -> None:
        for waiting, answer in settled:
            if waiting.answer.done():
                continue
            if isinstance(answer, BaseException):
                waiting.answer.set_exception(_fit_for_a_request(answer))
            else:
                waiting.answer.set_result(answer)

    def _work(self, decoder: Decoder) -> None:
        """One thread's life. No frame and no model outlives the batch, or an idle thread would hold it."""
        while share := self._share():
            begun: list[Waiting] = []
            # Whatever it is that nobody foresaw: those it was begun for are answered with it, logged and counted as
            # internal errors by the middleware, and the thread goes on.
            try:
                self._serve(share, begun, decoder)
            except BaseException as error:  # noqa: BLE001
                self._hand_back([(waiting, error) for waiting in begun])
            del begun
        decoder.close()

    def _share(self) -> int:
        """Wait until something waits; how many of it are this thread's. 0 once the pool is closed."""
        with self._arrived:
            while not self._waiting:
                if self._closed:
                    return 0
                self._idle += 1
                self._arrived.wait()
                self._idle -= 1
            # An idle thread was called for each frame that came, and comes for its own.
            return min(BATCH_FRAMES, -(-len(self._waiting) // (self._idle + 1)))

    def _next(self, heft: int) -> Waiting | None:
        """The first that waits, unless it would keep the company in this thread waiting."""
        with self._arrived:
            if not self._waiting or (heft and heft + self._waiting[0].heft > BATCH_PIXELS):
                return None
            return self._waiting.popleft()

    def _serve(self, share: int, begun: list[Waiting], decoder: Decoder) -> None:
        """Take a share of what waits, into `begun`, and answer it."""
        files: list[tuple[Ticket, bytes]] = []
        frames: list[tuple[Ticket, Frame]] = []
        settled: list[Settled] = []
        heft = 0
        while len(begun) < share and heft < BATCH_PIXELS and (waiting := self._next(heft)):
            begun.append(waiting)
            heft += waiting.heft
            # A broken body's refusal and our own fault alike belong to one request, where they are told apart.
            try:
                if waiting.order.deadline <= time.perf_counter():
                    raise self._too_late()
                if isinstance(waiting, Errand):
                    settled.append((waiting, waiting.work()))
                    break
                if isinstance(waiting.body, RawPixels):
                    frames.append((waiting, waiting.accepted(_of_raw(waiting.body, self._limits))))
                else:
                    files.append((waiting, waiting.body.file()))
            except BaseException as error:  # noqa: BLE001
                settled.append((waiting, error))
        if files:
            begun_on = self._decode(files, decoder, frames, settled)
            self._put_back([ticket for ticket, _ in files[begun_on:]], begun)
        self._metrics.queue_depth.set(len(self._waiting))
        self._hand_back(settled)
        for group in _groups(frames):
            self._hand_back(self._judge(group))

    def _decode(
        self,
        files: Sequence[tuple[Ticket, bytes]],
        decoder: Decoder,
        frames: list[tuple[Ticket, Frame]],
        settled: list[Settled],
    ) -> int:
        """Decode the first of the files, as many as make up a batch, into frames or refusals; how many these were."""
        decoded = decoder.decode([file for _, file in files])
        for (ticket, _), each in zip(files, decoded, strict=False):
            try:
                if isinstance(each, Exception):
                    raise each
                frames.append((ticket, ticket.accepted(each)))
            except Exception as error:  # noqa: BLE001 - as in `_serve`
                settled.append((ticket, error))
        return len(decoded)

    def _put_back(self, tickets: Sequence[Ticket], begun: list[Waiting]) -> None:
        """Frames that were taken and not come to: whichever thread is free first has them first."""
        if tickets:
            for ticket in tickets:
                begun.remove(ticket)
            with self._arrived:
                self._waiting.extendleft(reversed(tickets))
                self._arrived.notify(len(tickets))

    def _judge(self, group: Sequence[tuple[Ticket, Frame]]) -> list[Settled]:
        """Inspect frames of one model together; if that fails each alone, so that only the one at fault does."""
        begun = time.perf_counter()
        inspector = group[0][0].inspector
        try:
            inspections = _inspect(inspector, group)
            took = time.perf_counter() - begun
            judged = [
                self._judged(ticket, inspection, took)
                for (ticket, _), inspection in zip(group, inspections, strict=True)
            ]
            entries = (
                [] if self._record is None else [self._entry(*each) for each in zip(judged, inspections, strict=True)]
            )
        except BaseException as error:  # noqa: BLE001 - as in `_serve`
            if len(group) == 1:
                return [(group[0][0], error)]
            return [settled for each in group for settled in self._judge([each])]
        self._metrics.batch_inspected(inspections, [ticket.query.camera_id for ticket, _ in group])
        if self._record is not None:
            # Before it is offered: what others write of a frame comes after its own row.
            self._filed.update((each.number, each) for each in judged)
            self._record.file(entries)
        for (ticket, frame), inspection, each in zip(group, inspections, judged, strict=True):
            for offer in self._offers:
                offer(inspector, frame, ticket.query, inspection_id(each.number), inspection)
        return [] if self._record else [(each.ticket, self._answer(each, Committed())) for each in judged]

    def _judged(self, ticket: Ticket, inspection: Inspection, inference_s: float) -> Judged:
        now = time.perf_counter()
        # What is neither this frame's decoding nor its batch's inference is waiting: for a thread, and for company.
        queue_s = max(0.0, now - ticket.submitted - ticket.decode_s - inference_s)
        number = self._numbers.draw()
        said = answered(inspection_id(number), ticket.inspector, inspection, ticket.query)
        return Judged(ticket, number, said, heat_map(inspection, ticket.query), queue_s, inference_s, now)

    def _entry(self, judged: Judged, inspection: Inspection) -> Entry:
        ticket = judged.ticket
        sampled = self._sampling.draws(inspection.verdict)
        return entry(
            judged.number, ticket.inspector, inspection, ticket.body, ticket.query, sampled=sampled, token=judged
        )

    def recorded(self, settled: Sequence[tuple[Entry, Outcome]]) -> None:
        """Answer frames of which is known now whether they are in the record. From any thread."""
        for each, _ in settled:
            self._filed.pop(each.number, None)
        self._hand_back([(each.token.ticket, self._answer(each.token, outcome)) for each, outcome in settled])

    def _answer(self, judged: Judged, outcome: Outcome) -> Inspected | BaseException:
        if isinstance(outcome, BaseException):
            return outcome
        now = time.perf_counter()
        ticket = judged.ticket
        stages = Stages(
            judged.queue_s, ticket.decode_s, judged.inference_s, now - judged.at, now - ticket.order.started
        )
        self._metrics.frame_timed(stages)
        said = outcome.said if isinstance(outcome, Repeat) else judged.said
        return Inspected(reply(said, stages, judged.more), said["verdict"], stages)

    def _hand_back(self, settled: Sequence[Settled]) -> None:
        if settled:
            # Of a loop that was closed while this was done, nobody waits for the answer.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._settle, settled)


def _of_raw(body: RawPixels, limits: Limits) -> Decoded:
    begun = time.perf_counter()
    return Decoded(body.frame(limits), time.perf_counter() - begun)


def _fit_for_a_request(error: BaseException) -> Exception:
    """What a request may fail of: an exit that some library asked for in a thread must not end the process."""
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    fault = RuntimeError(f"an inspecting thread was left by {type(error).__name__}")
    fault.__cause__ = error
    return fault


def _stopped() -> Refusal:
    return Refusal(ServiceCode.SHUTTING_DOWN, "the server stops, and did not come to this frame")


def _groups(frames: Sequence[tuple[Ticket, Frame]]) -> list[list[tuple[Ticket, Frame]]]:
    """Frames that are judged in one call: of one model, and those that are a batch by themselves last and alone."""
    together: dict[int, list[tuple[Ticket, Frame]]] = {}
    alone = []
    for ticket, frame in frames:
        if frame.size >= BATCH_PIXELS:
            alone.append([(ticket, frame)])
        else:
            together.setdefault(id(ticket.inspector), []).append((ticket, frame))
    return [*together.values(), *alone]


def _inspect(inspector: Inspector, group: Sequence[tuple[Ticket, Frame]]) -> list[Inspection]:
    frames = [frame for _, frame in group]
    overlaps = [ticket.query.overlap_rows for ticket, _ in group]
    return inspector.inspect_all(frames, overlaps) if any(overlaps) else inspector.inspect_all(frames)
