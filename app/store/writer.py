"""The one writer of a process: what arrives while a commit runs is the next commit.

Nothing that is waited for waits for company: a commit takes milliseconds in which others arrive, and the more there are
the larger the groups become. Each reply waits for its own commit, so that what was answered is on the disk. Refused
frames, of which nobody is told, go with the next commit that comes, or after a moment by themselves.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError

from app.archive import Archive, ArchiveError
from app.metrics import Metrics
from app.refusals import Refusal, ServiceCode
from app.store.database import Database
from app.store.entries import Change, Entry, RefusedFrame, Settled
from app.store.inserting import Inserting, put_within

# Committed together at most: past it a commit takes longer than its company spares.
GROUP = 256
# Refused frames that wait; a flood of them must not fill the memory. What is lost stands as a gap without a reason.
REFUSED_WAITING = 10_000
# So long a refused frame waits for a commit to go with: a commit for each would cost an overloaded server, in processor
# and disk, what it lacks. What is not committed when a process is killed stands as a gap without a reason.
REFUSED_TOGETHER_S = 0.2
# Another process may name the same new coil or answer the same request at the same moment; the next try finds it.
TRIES = 3
# PostgreSQL's deadlock and serialization failure: another process was faster, and the next try goes through.
OVERTAKEN = frozenset({"40P01", "40001"})
# A database that hangs must not keep the process from ending; what was not committed was not answered either.
CLOSE_WITHIN_S = 40.0

T = TypeVar("T")
Item = Entry | RefusedFrame | Change

log = structlog.get_logger("steelsight.record")


class Writer:
    """A queue, and a thread that empties it into the archive and the database.

    refuse_without_image: whether a frame whose picture cannot be kept is refused; else its row says so.
    settle: told of every entry, in the writer's thread.
    """

    def __init__(self, database: Database, archive: Archive, metrics: Metrics, *, refuse_without_image: bool) -> None:
        self._database = database
        self._archive = archive
        self._metrics = metrics
        self._inserting = Inserting(database, archive, refuse_without_image=refuse_without_image)
        self._waiting: deque[Entry | Change] = deque()
        # Apart: nobody waits for these, and a flood of them must not stand before a frame that somebody does wait for.
        self._refused: deque[RefusedFrame] = deque()
        self._refused_since = 0.0
        self._arrived = threading.Condition()
        self._closed = False
        self._settle: Callable[[Sequence[Settled]], None]
        self._thread = threading.Thread(target=self._run, name="record", daemon=True)

    @property
    def waiting(self) -> int:
        """How many things are not committed yet."""
        return len(self._waiting) + len(self._refused)

    def open(self, settle: Callable[[Sequence[Settled]], None]) -> None:
        """Begin."""
        self._settle = settle
        self._thread.start()

    def close(self) -> None:
        """Commit what waits, and end."""
        with self._arrived:
            self._closed = True
            self._arrived.notify()
        self._thread.join(CLOSE_WITHIN_S)

    def submit(self, entries: Sequence[Entry]) -> None:
        """Put inspections into the record. From any thread, at once; `settle` is told what became of each."""
        for entry in entries:
            # While the group before is committed, its files are flushed.
            if entry.picture is not None:
                entry.put = self._archive.put(entry.picture)
        with self._arrived:
            self._waiting.extend(entries)
            self._arrived.notify()

    def refused(self, frame: RefusedFrame) -> None:
        """Put a frame that was not inspected into the record; nobody waits for that."""
        with self._arrived:
            if len(self._refused) >= REFUSED_WAITING:
                self._metrics.refused_frames_lost.inc()
                return
            self._refused.append(frame)
            if len(self._refused) == 1:
                self._refused_since = time.monotonic()
            # The first sets the writer's clock, and a whole group need not wait for it.
            if len(self._refused) in (1, GROUP):
                self._arrived.notify()

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Do something else in the next transaction; its result, once that is committed.

        Raises what `work` raises, which undoes nothing but its own, and `Refusal` (record_unavailable).
        """
        change = Change(work, Future())
        with self._arrived:
            if self._closed:
                raise unavailable("the server stops")
            self._waiting.append(change)
            self._arrived.notify()
        result: T = await asyncio.wrap_future(change.done)
        return result

    def note(self, work: Callable[[Connection], Any]) -> None:
        """As `write`, from any thread, for what nobody waits for; what it fails of is logged."""
        change = Change(work, Future())
        change.done.add_done_callback(_log_failure)
        with self._arrived:
            self._waiting.append(change)
            self._arrived.notify()

    def _run(self) -> None:
        while group := self._next():
            # Whatever it is that nobody foresaw: those it was begun for are answered with it, and the writer goes on.
            try:
                self._tell(group, self._written(group))
            except Exception as error:
                log.error("record_failed", exc_info=error)
                self._tell(group, [error] * len(group))
            # Nothing of a group outlives it in an idle thread: pictures are megabytes.
            del group

    def _next(self) -> list[Item]:
        with self._arrived:
            while not self._waiting and not self._refused_are_due():
                if self._closed:
                    return []
                self._arrived.wait(REFUSED_TOGETHER_S if self._refused else None)
            group: list[Item] = [self._waiting.popleft() for _ in range(min(GROUP, len(self._waiting)))]
            return group + [self._refused.popleft() for _ in range(min(GROUP - len(group), len(self._refused)))]

    def _refused_are_due(self) -> bool:
        """Whether refused frames have waited for company for long enough."""
        if not self._refused:
            return False
        waited = time.monotonic() - self._refused_since
        return self._closed or len(self._refused) >= GROUP or waited >= REFUSED_TOGETHER_S

    def _written(self, group: Sequence[Item]) -> list[Any]:
        """What became of each item, in order."""
        begun = time.perf_counter()
        not_kept = self._not_kept([item for item in group if isinstance(item, Entry)])
        outcomes = self._committed(group, not_kept)
        self._metrics.record_seconds.observe(time.perf_counter() - begun)
        self._metrics.record_group.observe(len(group))
        return outcomes

    def _not_kept(self, entries: Iterable[Entry]) -> dict[str, ArchiveError]:
        """Wait until the pictures are kept; by digest those that cannot be, and why."""
        outcomes = ((each.picture.digest, put_within(each.put)) for each in entries if each.picture and each.put)
        not_kept = {digest: error for digest, error in outcomes if error is not None}
        for error in not_kept.values():
            self._metrics.images_not_kept.inc()
            log.error("image_not_kept", reason=str(error))
        return not_kept

    def _committed(self, items: Sequence[Item], not_kept: dict[str, ArchiveError]) -> list[Any]:
        """One transaction; if something in it is at fault each item by itself, so that only that one fails."""
        for tried in range(1, TRIES + 1):
            try:
                with self._database.writing() as connection:
                    outcomes = self._inserting.group(connection, items, not_kept)
                self._inserting.committed()
                return outcomes
            except DBAPIError as error:
                at_fault = isinstance(error, IntegrityError | DataError)
                self._inserting.rolled_back(forget_all=at_fault)
                if getattr(error.orig, "sqlstate", None) in OVERTAKEN and tried < TRIES:
                    continue
                if not at_fault:
                    return self._unavailable(str(error.orig).strip().partition("\n")[0], items)
                failed: Exception = error
            except Exception as error:  # noqa: BLE001 - what a row is at fault of is that row's answer
                self._inserting.rolled_back()
                failed = error
            if len(items) > 1:
                return [outcome for item in items for outcome in self._committed([item], not_kept)]
            if not isinstance(failed, IntegrityError) or tried == TRIES:
                self._metrics.record_failures.inc()
                log.error("record_failed", exc_info=failed)
                return [failed]
        raise AssertionError("every try returns")

    def _unavailable(self, reason: str, items: Sequence[Item]) -> list[Any]:
        self._metrics.record_failures.inc()
        self._metrics.refused_frames_lost.inc(sum(isinstance(item, RefusedFrame) for item in items))
        log.error("record_unavailable", reason=reason)
        return [unavailable(reason) for _ in items]

    def _tell(self, group: Sequence[Item], outcomes: Sequence[Any]) -> None:
        settled: list[Settled] = []
        for item, outcome in zip(group, outcomes, strict=True):
            if isinstance(item, Entry):
                settled.append((item, outcome))
            # One whose request was cancelled is done all the same, and nobody asks.
            elif isinstance(item, Change) and item.done.set_running_or_notify_cancel():
                if isinstance(outcome, BaseException):
                    item.done.set_exception(outcome)
                else:
                    item.done.set_result(outcome)
        if settled:
            self._settle(settled)


def _log_failure(done: "Future[Any]") -> None:
    if error := done.exception():
        log.warning("note_not_recorded", reason=str(error))


def unavailable(reason: str) -> Refusal:
    """What is answered to a frame that cannot be recorded."""
    return Refusal(
        ServiceCode.RECORD_UNAVAILABLE,
        f"the record cannot be written ({reason}), and without it no verdict is given; send the frame again",
    )
