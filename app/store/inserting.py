"""A group of new rows, as statements: few of them, whatever the group holds."""

import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection, Table, bindparam, case, func, insert, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import OperationalError

from app.archive import Archive, ArchiveError, Picture
from app.refusals import Refusal, ServiceCode
from app.store.answers import first_answer
from app.store.database import Database
from app.store.entries import Change, Committed, Entry, Model, RefusedFrame, Repeat, Row
from app.store.numbers import inspection_id
from app.store.schema import EPOCH, coils, events, images, inspections, models, outbox, refused_frames
from model.verdict import Verdict

# Coils that a process remembers the numbers of: a plant has a few on its lines at a time.
COILS_KEPT = 1024
# A disk takes milliseconds, S3 a second on a bad day. Waited for second by second: of a pause in which the whole
# process stood still, and with it whoever was putting, one second counts.
PUT_WITHIN_S = 20
GRAVITY = {verdict.value: gravity for gravity, verdict in enumerate((Verdict.OK, Verdict.REVIEW, Verdict.DEFECT))}

# Built once: what every group executes costs more to build than SQLite takes to execute it.
INSERT_INSPECTIONS = insert(inspections)
INSERT_EVENTS = insert(events)
SEEN_AT = (
    update(coils)
    .where(
        coils.c.number == bindparam("coil"),
        or_(coils.c.last_frame_at.is_(None), coils.c.last_frame_at < bindparam("at")),
    )
    .values(last_frame_at=bindparam("at"))
)


def put_within(put: "Future[ArchiveError | None]") -> ArchiveError | None:
    """What became of a picture, or that it took too long: one that hangs must not hold those behind it."""
    for _ in range(PUT_WITHIN_S):
        with suppress(TimeoutError):
            return put.result(1.0)
    return ArchiveError(f"the archive did not take it within {PUT_WITHIN_S} s")


class _First(NamedTuple):
    """The inspection that a request id was first given to."""

    number: int
    body_digest: bytes | None


def now() -> datetime:
    """UTC, to the microsecond."""
    return EPOCH + timedelta(microseconds=time.time_ns() // 1000)


class Inserting:
    """What the writer's thread knows between groups: the numbers of coils and models that stand in the database."""

    def __init__(self, database: Database, archive: Archive, *, refuse_without_image: bool) -> None:
        self._archive = archive
        self._refuse_without_image = refuse_without_image
        self._insert = sqlite.insert if database.is_sqlite else postgresql.insert
        self._coils: dict[str, int] = {}
        self._models: dict[str, int] = {}
        self._new_coils: dict[str, int] = {}
        self._new_models: dict[str, int] = {}

    def committed(self) -> None:
        """The group's transaction is on the disk: what it named is there to stay."""
        if len(self._coils) > COILS_KEPT:
            self._coils.clear()
        self._coils |= self._new_coils
        self._models |= self._new_models
        self.rolled_back()

    def rolled_back(self, *, forget_all: bool = False) -> None:
        """Forget what the group named; forget_all: also what stood there before, as the database may be another now."""
        self._new_coils, self._new_models = {}, {}
        if forget_all:
            self._coils, self._models = {}, {}

    def group(self, connection: Connection, items: Sequence[Any], not_kept: dict[str, ArchiveError]) -> list[Any]:
        """Write everything; what became of each item, in order. Raises what the database raises.

        not_kept: by digest, the pictures that the archive could not keep; those that it cannot keep again join them.
        """
        entries = [item for item in items if isinstance(item, Entry)]
        frames = [item for item in items if isinstance(item, RefusedFrame)]
        first = self._first(connection, entries)
        new = [entry for entry in entries if first.get(entry.row["request_id"], entry).number == entry.number]
        self._keep_again(connection, [each.picture for each in new if each.picture], not_kept)
        refused = {entry.number: _without_image(not_kept[digest]) for entry, digest in self._refused(new, not_kept)}
        # In one order in all processes, or two of them would wait for each other.
        named = [entry.coil_id for entry in new] + [frame.coil_id for frame in frames]
        for coil_id in sorted({coil_id for coil_id in named if coil_id is not None}):
            self._coil(connection, coil_id)
        self._add_inspections(connection, [entry for entry in new if entry.number not in refused], not_kept)
        outcomes: dict[int, Any] = {entry.number: refused.get(entry.number, Committed()) for entry in new}
        for entry in entries:
            if entry.number not in outcomes:
                its_first = first[entry.row["request_id"]]
                outcomes[entry.number] = refused.get(its_first.number) or _repeat(connection, entry, its_first)
        self._add_refused(connection, frames)
        done = {id(item): _changed(connection, item) for item in items if isinstance(item, Change)}
        return [outcomes[item.number] if isinstance(item, Entry) else done.get(id(item)) for item in items]

    def _refused(self, entries: Sequence[Entry], not_kept: dict[str, ArchiveError]) -> Iterator[tuple[Entry, str]]:
        """Entries that may not be recorded without their picture, and its digest."""
        if self._refuse_without_image:
            yield from (
                (each, each.picture.digest) for each in entries if each.picture and each.picture.digest in not_kept
            )

    def _first(self, connection: Connection, entries: Iterable[Entry]) -> dict[str | None, _First]:
        """Of each request id the inspection that it was first given to: in the record, else in this group."""
        asked = [entry for entry in entries if entry.row["request_id"] is not None]
        if not asked:
            return {}
        first: dict[str | None, _First] = {}
        for entry in asked:
            first.setdefault(entry.row["request_id"], _First(entry.number, entry.row["body_digest"]))
        columns = inspections.c.request_id, inspections.c.number, inspections.c.body_digest
        for row in connection.execute(select(*columns).where(inspections.c.request_id.in_(first))):
            first[row.request_id] = _First(row.number, row.body_digest)
        return first

    def _add_inspections(
        self, connection: Connection, entries: Sequence[Entry], not_kept: dict[str, ArchiveError]
    ) -> None:
        if not entries:
            return
        self._add_images(connection, [entry for entry in entries if entry.picture], not_kept)
        rows, event_rows = [], []
        latest: dict[int, datetime] = {}
        for entry in entries:
            coil = self._coil(connection, entry.coil_id)
            missing = not_kept.get(entry.picture.digest) if entry.picture else None
            kept = entry.picture.digest if entry.picture and missing is None else None
            why = None if missing is None else "archive_full" if missing.full else "archive_failed"
            model = self._model(connection, entry.model)
            rows.append({**entry.row, "coil": coil, "model": model, "image": kept, "image_missing": why})
            event_rows += [{**event, "inspection": entry.number, "coil": coil} for event in entry.events]
            if coil is not None:
                latest[coil] = entry.row["received_at"]
        connection.execute(INSERT_INSPECTIONS, rows)
        if event_rows:
            connection.execute(INSERT_EVENTS, event_rows)
        if latest:
            connection.execute(SEEN_AT, [{"coil": coil, "at": at} for coil, at in sorted(latest.items())])

    def _add_images(self, connection: Connection, entries: Sequence[Entry], not_kept: dict[str, ArchiveError]) -> None:
        rows: dict[str, Row] = {}
        for entry in entries:
            picture, verdict = entry.picture, entry.row["verdict"]
            assert picture is not None
            if picture.digest in not_kept:
                continue
            row = {"digest": picture.digest, "format": picture.format, "bytes": len(picture.data), "verdict": verdict}
            known = rows.setdefault(picture.digest, {**row, "stored_at": entry.row["received_at"]})
            known["verdict"] = max(known["verdict"], verdict, key=GRAVITY.__getitem__)
        if not rows:
            return
        statement = self._insert(images)
        new = statement.excluded
        graver = case(GRAVITY, value=new.verdict) > case(GRAVITY, value=images.c.verdict)
        # Kept once more: whatever was decided about the file's deletion is decided anew.
        again = {
            "stored_at": new.stored_at,
            "verdict": case((graver, new.verdict), else_=images.c.verdict),
            "deleted_at": None,
            "deleted_why": None,
            "purged_at": None,
        }
        connection.execute(
            statement.on_conflict_do_update(index_elements=[images.c.digest], set_=again),
            [rows[digest] for digest in sorted(rows)],
        )

    def _keep_again(
        self, connection: Connection, pictures: Sequence[Picture], not_kept: dict[str, ArchiveError]
    ) -> None:
        """Files that retention has decided upon may have gone since they were put: within this lock they stay."""
        by_digest = {picture.digest: picture for picture in pictures}
        if not by_digest:
            return
        # All of them are locked, and only then looked at: what is decided while this waits would not be seen.
        rows = select(images.c.digest, images.c.deleted_at).where(images.c.digest.in_(by_digest))
        for row in connection.execute(rows.order_by(images.c.digest).with_for_update()).all():
            if row.deleted_at is not None and (error := put_within(self._archive.put(by_digest[row.digest]))):
                not_kept[row.digest] = error

    def _add_refused(self, connection: Connection, frames: Sequence[RefusedFrame]) -> None:
        rows = [{**frame.row, "coil": self._coil(connection, frame.coil_id)} for frame in frames]
        if rows:
            connection.execute(insert(refused_frames), rows)

    def _coil(self, connection: Connection, coil_id: str | None) -> int | None:
        if coil_id is None:
            return None
        number = self._coils.get(coil_id) or self._new_coils.get(coil_id)
        if number is None:
            self._new_coils[coil_id] = number = self._opened(connection, coil_id)
        return number

    def _opened(self, connection: Connection, coil_id: str) -> int:
        """The number of a coil, which this frame opens if nobody has."""
        at = now()
        if self._added(connection, coils, {"coil_id": coil_id, "opened_at": at, "opened_by": "frame"}):
            connection.execute(insert(outbox), {"at": at, "kind": "coil_opened", "body": {"coil_id": coil_id}})
        return int(connection.execute(select(coils.c.number).where(coils.c.coil_id == coil_id)).scalar_one())

    def _model(self, connection: Connection, model: Model) -> int:
        number = self._models.get(model.version) or self._new_models.get(model.version)
        if number is None:
            self._added(connection, models, {**model._asdict(), "first_served_at": now()})
            found = select(models.c.number).where(models.c.version == model.version)
            self._new_models[model.version] = number = int(connection.execute(found).scalar_one())
        return number

    def _added(self, connection: Connection, table: Table, row: Row) -> bool:
        """Whether the row was not there."""
        statement = self._insert(table).on_conflict_do_nothing().returning(table.c.number)
        return connection.execute(statement, row).first() is not None


def greatest_number(connection: Connection) -> int:
    """Of all inspections; 0 if there is none."""
    return int(connection.scalar(select(func.max(inspections.c.number))) or 0)


def _without_image(error: ArchiveError) -> Refusal:
    return Refusal(
        ServiceCode.ARCHIVE_FULL,
        f"the frame was inspected, but its image must be kept and cannot be ({error}); nothing is recorded. Make room, "
        "or set STEELSIGHT_ARCHIVE_WHEN_FULL=continue-without-image",
    )


def _repeat(connection: Connection, entry: Entry, first: _First) -> Repeat | Refusal:
    if first.body_digest != entry.row["body_digest"]:
        # To answer it as the first frame would pass a surface that nobody has looked at.
        return Refusal(
            ServiceCode.REQUEST_ID_REUSED,
            f"request_id {entry.row['request_id']!r} came with another frame before (inspection "
            f"{inspection_id(first.number)}); send a frame again with the same bytes, and a new one with a new id",
        )
    return Repeat(first_answer(connection, first.number))


def _changed(connection: Connection, change: Change) -> Any:
    """What the change returns, or what it failed of, which undoes no more than itself."""
    try:
        with connection.begin_nested():
            return change.work(connection)
    # SQLite may have ended the whole transaction with it (a full disk), and what came next would stand alone.
    except OperationalError:
        raise
    except Exception as error:  # noqa: BLE001 - whoever asked for it is told
        return error
