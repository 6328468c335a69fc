"""The live feed: each row of the record that any process commits, as a server-sent event to whoever listens here.

One task of this process looks for new rows, for all its listeners together, and only while there are some.
"""

import asyncio
import re
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson
import structlog
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from sqlalchemy import Connection, select
from sqlalchemy.exc import SQLAlchemyError

from app.complaints import echo
from app.live.tail import INSPECTIONS, NOTES, Tail
from app.refusals import Refusal, ServiceCode
from app.schemas_record import InspectionRow
from app.store.numbers import TAG_BITS, inspection_id, number_of
from app.store.queries import inspections_of
from app.store.schema import EPOCH, MICROSECOND, outbox

# How soon after its commit a row is told: a person at the desk sees no delay, and the database no load.
LOOK_S = 0.2
# While the database does not answer.
RETRY_S = 2.0
# A comment, so that nobody between takes a quiet line for a dead connection.
KEEP_ALIVE_S = 15.0
# A browser that lost its connection comes back after so long.
RECONNECT_MS = 1000
# Each has a connection, and a queue: a few hundred bytes for each event in it.
MAX_LISTENERS = 64
# A listener that is further behind, some ten seconds of a busy line, loses the oldest.
MOST_WAITING = 1000

WRITTEN_POSITION = re.compile(r"([0-7][0-9a-f]{15})\.([0-9]{1,18})")

Reading = Callable[[], AbstractContextManager[Connection]]

log = structlog.get_logger("steelsight.live")


class Position(NamedTuple):
    """How far a listener has come: the greatest number of an inspection, and of a note."""

    inspection: int
    note: int

    def __str__(self) -> str:
        """As the id of an event."""
        return f"{inspection_id(self.inspection)}.{self.note}"

    @classmethod
    def of(cls, written: str) -> "Position":
        """Read back from a `Last-Event-ID`. Raises `Refusal` (parameters_invalid).

        >>> Position.of(str(Position(5, 7)))
        Position(inspection=5, note=7)
        """
        match = WRITTEN_POSITION.fullmatch(written)
        if match is None:
            raise Refusal(
                ServiceCode.PARAMETERS_INVALID,
                f"Last-Event-ID: received {echo(written)}; expected the id of an event of this feed, or no such header",
            )
        return cls(number_of(match[1]), int(match[2]))


@dataclass(eq=False)
class Listener:
    """One client of the feed. after: what it has seen already, until it was told what it missed."""

    after: Position | None = None
    _waiting: deque[bytes] = field(default_factory=deque)
    _lost: int = 0
    _filled: asyncio.Event = field(default_factory=asyncio.Event)
    _ended: bool = False

    def tell(self, events: Sequence[bytes], lost: int = 0) -> None:
        """Put events into its queue; the oldest ones make room. lost: how many were before these."""
        self._lost += lost + max(0, len(self._waiting) + len(events) - MOST_WAITING)
        self._waiting.extend(events)
        while len(self._waiting) > MOST_WAITING:
            self._waiting.popleft()
        if events or lost:
            self._filled.set()

    def end(self) -> None:
        """What waits is the last that it is told."""
        self._ended = True
        self._filled.set()

    async def stream(self, keep_alive_s: float = KEEP_ALIVE_S) -> AsyncIterator[bytes]:
        """What goes over the wire, until `end`."""
        yield format_sse_event(retry=RECONNECT_MS)
        while not (self._ended and not self._waiting):
            try:
                async with asyncio.timeout(keep_alive_s):
                    await self._filled.wait()
            except TimeoutError:
                yield KEEPALIVE_COMMENT
                continue
            if events := self._taken():
                yield events

    def _taken(self) -> bytes:
        parts = [_event("lost", {"events": self._lost})] if self._lost else []
        parts += self._waiting
        self._waiting.clear()
        self._lost = 0
        if not self._ended:
            self._filled.clear()
        return b"".join(parts)


class _Tails(NamedTuple):
    """How far this process has read."""

    inspections: Tail = INSPECTIONS
    notes: Tail = NOTES

    @property
    def position(self) -> Position:
        return Position(self.inspections.highest, self.notes.highest)


class _News(NamedTuple):
    """One look: what everybody is told, and what listeners that came since the last one missed before."""

    events: list[bytes]
    left_out: int
    missed: list[tuple[Listener, list[bytes], int]]


class Feed:
    """The listeners of one process, and the task that looks for them. For the event loop's thread."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._listeners: set[Listener] = set()
        self._looking: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()

    @property
    def listeners(self) -> int:
        """How many there are."""
        return len(self._listeners)

    def listening(self, after: Position | None = None) -> AbstractAsyncContextManager[Listener]:
        """A listener, told of everything that is committed from here on, and before that of all since `after`.

        Raises `Refusal` (overloaded; record_unavailable).
        """
        return self._listening(Listener(after))

    def close(self) -> None:
        """End every stream."""
        for listener in self._listeners:
            listener.end()

    @asynccontextmanager
    async def _listening(self, listener: Listener) -> AsyncIterator[Listener]:
        if len(self._listeners) >= MAX_LISTENERS:
            raise Refusal(
                ServiceCode.OVERLOADED,
                f"{MAX_LISTENERS} clients listen to this worker already, which is as many as it serves; close one",
            )
        self._listeners.add(listener)
        try:
            async with self._starting:
                if self._looking is None:
                    self._looking = asyncio.create_task(self._look_on(await asyncio.to_thread(self._start)))
            yield listener
        finally:
            self._listeners.discard(listener)
            if not self._listeners and self._looking is not None:
                self._looking.cancel()
                self._looking = None

    def _start(self) -> _Tails:
        """Where the record ends now."""
        try:
            with self._reading() as connection:
                return _Tails(INSPECTIONS.look(connection)[1], NOTES.look(connection)[1])
        except SQLAlchemyError as error:
            raise Refusal(
                ServiceCode.RECORD_UNAVAILABLE, "the record cannot be read; the server's log says why"
            ) from error

    async def _look_on(self, tails: _Tails) -> None:
        failing = False
        while True:
            await asyncio.sleep(RETRY_S if failing else LOOK_S)
            late = [(listener, listener.after) for listener in self._listeners if listener.after is not None]
            try:
                news, tails = await asyncio.to_thread(self._look, tails, late)
            # Whatever it was, it is no end: the connections stay, and what is committed meanwhile follows.
            except Exception as error:
                if not failing:
                    log.error("live_feed_cannot_read", exc_info=error)
                failing = True
                continue
            failing = False
            for listener, events, left_out in news.missed:
                listener.after = None
                listener.tell(events, left_out)
            for listener in self._listeners:
                # One that came during the look is told with what it missed.
                if listener.after is None:
                    listener.tell(news.events, news.left_out)

    def _look(self, tails: _Tails, late: Sequence[tuple[Listener, Position]]) -> tuple[_News, _Tails]:
        with self._reading() as connection:
            rows, seen_rows = tails.inspections.look(connection)
            notes, seen_notes = tails.notes.look(connection)
            missed = []
            for listener, after in late:
                old_rows = tails.inspections.since(connection, after.inspection, rows.numbers, MOST_WAITING)
                old_notes = tails.notes.since(connection, after.note, notes.numbers, MOST_WAITING)
                events = list(_events(connection, old_rows.numbers, old_notes.numbers, after))
                missed.append((listener, events, old_rows.left_out + old_notes.left_out))
            events = list(_events(connection, rows.numbers, notes.numbers, tails.position))
        return _News(events, rows.left_out + notes.left_out, missed), _Tails(seen_rows, seen_notes)


def _events(connection: Connection, rows: Sequence[int], notes: Sequence[int], position: Position) -> Iterator[bytes]:
    """In order of time, each with how far a listener has come with it, from `position` on."""
    told: list[tuple[int, Position, str, str]] = []
    for start in range(0, len(rows), MOST_WAITING):
        for row in inspections_of(connection, rows[start : start + MOST_WAITING]):
            number, written = row["number"], InspectionRow.of(row).model_dump_json()
            told.append((number >> TAG_BITS, Position(number, 0), "inspection", written))
    if notes:
        for note in connection.execute(select(outbox).where(outbox.c.number.in_(notes))):
            said = {**note.body, "kind": note.kind, "at": note.at.isoformat().replace("+00:00", "Z")}
            written = orjson.dumps(said).decode()
            told.append(((note.at - EPOCH) // MICROSECOND, Position(0, note.number), "note", written))
    for _, come, kind, written in sorted(told):
        position = Position(*map(max, position, come))
        yield format_sse_event(data_str=written, event=kind, id=str(position))


def _event(kind: str, said: dict[str, Any]) -> bytes:
    return format_sse_event(data_str=orjson.dumps(said).decode(), event=kind)
