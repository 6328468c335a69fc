"""The one writer of a process: what arrives while a commit runs is the next commit.

Nothing waits for company: a commit takes milliseconds in which others arrive, and the more there are the larger the
groups become. Each reply waits for its own commit, so that what was answered is on the disk.
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
from sqlalchemy.exc import IntegrityError, InterfaceError, OperationalError

from app.archive import Archive, ArchiveError
from app.errors import Refusal, ServiceCode
from app.metrics import Metrics
from app.store.database import Database
from app.store.entries import Change, Entry, RefusedFrame, Settled
from app.store.inserting import Inserting

# Committed together at most: past it a commit takes longer than its company spares.
GROUP = 256
# Refused frames that wait; a flood of them must not fill the memory. What is lost stands as a gap without a reason.
REFUSED_WAITING = 10_000
# Another process may name the same new coil or answer the same request at the same moment; the next try finds it.
TRIES = 3

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
        self._refuse_without_image = refuse_without_image
        self._inserting = Inserting(database, archive)
        self._waiting: deque[Item] = deque()
        self._refused_waiting = 0
        self._arrived = threading.Condition()
        self._closed = False
        self._settle: Callable[[Sequence[Settled]], None]
        self._thread = threading.Thread(target=self._run, name="record")

    @property
    def waiting(self) -> int:
        """How many things are not committed yet."""
        return len(self._waiting)

    def open(self, settle: Callable[[Sequence[Settled]], None]) -> None:
        """Begin."""
        self._settle = settle
        self._thread.start()

    def close(self) -> None:
        """Commit what waits, and end."""
        with self._arrived:
            self._closed = True
            self._arrived.notify()
        self._thread.join()

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
            if self._refused_waiting >= REFUSED_WAITING:
                self._metrics.refused_frames_lost.inc()
                return
            self._refused_waiting += 1
            self._waiting.append(frame)
            self._arrived.notify()

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Do something else in the next transaction; its result, once that is committed.

        Raises what `work` raises, which undoes nothing but its own, and `Refusal` (record_unavailable).
        """
        change = Change(work, Future())
        with self._arrived:
            if self._closed:
                raise _unavailable("the server stops")
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
                outcomes = self._written(group)
            except Exception as error:
                log.error("record_failed", exc_info=error)
                outcomes = [error] * len(group)
            self._tell(group, outcomes)
            # Nothing of a group outlives it in an idle thread: pictures are megabytes.
            del group, outcomes

    def _next(self) -> list[Item]:
        with self._arrived:
            while not self._waiting:
                if self._closed:
                    return []
                self._arrived.wait()
            group = [self._waiting.popleft() for _ in range(min(GROUP, len(self._waiting)))]
            self._refused_waiting -= sum(isinstance(item, RefusedFrame) for item in group)
            return group

    def _written(self, group: Sequence[Item]) -> list[Any]:
        """What became of each item, in order."""
        begun = time.perf_counter()
        not_kept = _not_kept([item for item in group if isinstance(item, Entry)])
        refused = {id(item): reason for item in group if (reason := self._refusal(item, not_kept))}
        kept = [item for item in group if id(item) not in refused]
        outcomes = iter(self._committed(kept, not_kept) if kept else ())
        self._metrics.record_seconds.observe(time.perf_counter() - begun)
        self._metrics.record_group.observe(len(group))
        return [refused[id(item)] if id(item) in refused else next(outcomes) for item in group]

    def _refusal(self, item: Item, not_kept: dict[str, ArchiveError]) -> Refusal | None:
        """Why a frame is refused for its picture's sake."""
        error = not_kept.get(item.picture.digest) if isinstance(item, Entry) and item.picture else None
        if error is None:
            return None
        self._metrics.images_not_kept.inc()
        log.error("image_not_kept", reason=str(error))
        if not self._refuse_without_image:
            return None
        return Refusal(
            ServiceCode.ARCHIVE_FULL,
            f"the frame was inspected, but its image must be kept and cannot be ({error}); nothing is recorded. Make "
            "room, or set STEELSIGHT_ARCHIVE_WHEN_FULL=continue-without-image",
        )

    def _committed(self, items: Sequence[Item], not_kept: dict[str, ArchiveError]) -> list[Any]:
        """One transaction; if something in it is at fault each item by itself, so that only that one fails."""
        for tried in range(1, TRIES + 1):
            try:
                with self._database.writing() as connection:
                    outcomes = self._inserting.group(connection, items, not_kept)
                self._inserting.committed()
                return outcomes
            except (OperationalError, InterfaceError) as error:
                self._inserting.rolled_back()
                reason = str(error.orig).strip().partition("\n")[0]
                self._metrics.record_failures.inc()
                log.error("record_unavailable", reason=reason)
                return [_unavailable(reason) for _ in items]
            except Exception as error:
                self._inserting.rolled_back()
                if len(items) > 1:
                    return [outcome for item in items for outcome in self._committed([item], not_kept)]
                if not isinstance(error, IntegrityError) or tried == TRIES:
                    self._metrics.record_failures.inc()
                    log.error("record_failed", exc_info=error)
                    return [error]
        raise AssertionError("every try returns")

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


def _not_kept(entries: Iterable[Entry]) -> dict[str, ArchiveError]:
    """Wait until the pictures are kept; by digest those that cannot be, and why."""
    outcomes = ((each.picture.digest, each.put.result()) for each in entries if each.picture and each.put)
    return {digest: error for digest, error in outcomes if error is not None}


def _log_failure(done: "Future[Any]") -> None:
    if error := done.exception():
        log.warning("note_not_recorded", reason=str(error))


def _unavailable(reason: str) -> Refusal:
    return Refusal(
        ServiceCode.RECORD_UNAVAILABLE,
        f"the record cannot be written ({reason}), and without it no verdict is given; send the frame again",
    )
