"""The coils in the record: opened, closed and listed, and all that stands in it of one coil."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    CursorResult,
    Row,
    Select,
    and_,
    case,
    exists,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from app.coil.counting import Stretch, View
from app.coil.coverage import Refused
from app.coil.events import EventRow, Events
from app.coil.examination import CoilRow, Evidence, Tally
from app.refusals import ServiceCode
from app.store.reviews import CALLED, CALLED_VERDICTS, PASSED_VERDICTS
from app.store.runs import Run, frames_of, runs_of
from app.store.schema import Moment, coils, events, inspections, models, outbox, refused_frames, reviews
from app.store.wanted import Aside

OPENED, CLOSED = "coil_opened", "coil_closed"
# In the words of the index that has these alone.
REVIEWED = inspections.c.review.is_not(None)
ClosedBy = Literal["api", "idle"]
State = Literal["open", "closed"]


class Summary(NamedTuple):
    """A coil, and how much there is of it."""

    coil: CoilRow
    frames: int
    events: int


class Standing(NamedTuple):
    """What tells whether anything in the record of a coil has changed. notes: of whatever coil, reviews among them."""

    frames: int
    latest: int | None
    refused: int
    notes: int | None


class Announced(NamedTuple):
    """What came of announcing a coil. added: what had not been told of it before, by the name of the column."""

    new: bool
    added: dict[str, float]


class EventPlace(NamedTuple):
    """Where a page of events ended: what follows lies behind it. Events without a position come last."""

    position_mm: float | None
    number: int


def find(connection: Connection, coil_id: str) -> CoilRow | None:
    """The coil of that id."""
    row = connection.execute(_coils().where(coils.c.coil_id == coil_id)).one_or_none()
    return None if row is None else CoilRow(*row)


def standing(connection: Connection, coil: CoilRow) -> Standing:
    """How the record of a coil stands."""
    refused = select(func.count()).where(refused_frames.c.coil == coil.number)
    notes = select(func.max(outbox.c.number))
    return Standing(*frames_of(connection, coil.number), connection.scalar(refused) or 0, connection.scalar(notes))


def open_coil(
    connection: Connection, coil_id: str, now: datetime, length_mm: float | None = None, width_mm: float | None = None
) -> Announced:
    """Open a coil before its first frame. Of one that is known, what was told of it first stands."""
    new = postgresql.insert(coils) if connection.dialect.name == "postgresql" else sqlite.insert(coils)
    told = {name: value for name, value in (("length_mm", length_mm), ("width_mm", width_mm)) if value is not None}
    row = {"coil_id": coil_id, "opened_at": now, "opened_by": "api", **told}
    # Not `rowcount`: PostgreSQL's driver does not tell it of a row that comes with its key.
    if connection.scalar(new.on_conflict_do_nothing().returning(coils.c.number), row) is not None:
        _note(connection, OPENED, [coil_id], now)
        return Announced(True, told)
    known = update(coils).where(coils.c.coil_id == coil_id).returning(coils.c.number)
    # One by one: the database tells of each whether it was the first to be told.
    added = {
        name: value
        for name, value in told.items()
        if connection.scalar(known.where(coils.c[name].is_(None)).values({name: value})) is not None
    }
    return Announced(False, added)


def close_coil(connection: Connection, coil_id: str, now: datetime) -> bool:
    """Close a coil; whether it was open."""
    return bool(_close(connection, coils.c.coil_id == coil_id, "api", now))


def close_idle(connection: Connection, idle: timedelta, now: datetime) -> list[str]:
    """Close the coils of which no frame came for so long; their ids.

    One that was announced and has no frame yet stays open: its strip is still to come.
    """
    # One of which frames were only refused has no last one.
    latest = func.coalesce(
        coils.c.last_frame_at, case((coils.c.opened_by == "frame", coils.c.opened_at)), type_=Moment()
    )
    return _close(connection, latest < now - idle, "idle", now)


def _close(connection: Connection, which: ColumnElement[bool], by: ClosedBy, now: datetime) -> list[str]:
    closing = update(coils).where(which, coils.c.closed_at.is_(None)).values(closed_at=now, closed_by=by)
    closed = sorted(connection.scalars(closing.returning(coils.c.coil_id)))
    _note(connection, CLOSED, closed, now)
    return closed


def _note(connection: Connection, kind: str, coil_ids: Iterable[str], now: datetime) -> None:
    rows = [{"at": now, "kind": kind, "body": {"coil_id": coil_id}} for coil_id in coil_ids]
    if rows:
        connection.execute(insert(outbox), rows)


def page(connection: Connection, state: State | None, limit: int, before: int | None) -> list[Summary]:
    """At most `limit` of the coils that were opened last, of those whose number is below `before`."""
    wanted = _coils().order_by(coils.c.number.desc()).limit(limit)
    if state is not None:
        wanted = wanted.where(coils.c.closed_at.is_(None) if state == "open" else coils.c.closed_at.is_not(None))
    if before is not None:
        wanted = wanted.where(coils.c.number < before)
    return summaries(connection, [CoilRow(*row) for row in connection.execute(wanted)])


def summaries(connection: Connection, rows: Sequence[CoilRow]) -> list[Summary]:
    """The coils with their counts."""
    numbers = [row.number for row in rows]
    frames, found = _counts(connection, inspections.c.coil, numbers), _counts(connection, events.c.coil, numbers)
    return [Summary(row, frames.get(row.number, 0), found.get(row.number, 0)) for row in rows]


def _counts(connection: Connection, coil: ColumnElement[int], numbers: Sequence[int]) -> dict[int, int]:
    counted = select(coil, func.count()).where(coil.in_(numbers)).group_by(coil)
    return dict(connection.execute(counted).all())


def evidence(connection: Connection, coil: CoilRow, tolerance_mm: float) -> Evidence:
    """Everything that stands in the record of one coil. tolerance_mm: holes up to so long are no break of a stretch."""
    runs = runs_of(connection, coil.number, tolerance_mm)
    within = _within(coil.number, runs)
    tallies = _tallies(connection, runs, within)
    found = _plain(connection.execute(_events(coil.number)))
    corrections: dict[int, str] = {}
    if any(tally.review == "defect" for tally in tallies):
        said = connection.execute(_called_defect(within)).all()
        found += [_overlooked(row) for row in said if row.event_count == 0]
        corrections = {row.number: row.said_class for row in said if row.said_class is not None}
    stretches: dict[View, list[Stretch]] = {}
    for run in runs:
        stretches.setdefault(run.view, []).append(run.stretch)
    return Evidence(coil, tallies, stretches, _refused(connection, coil.number), Events.of(found), corrections)


def _plain(result: CursorResult[Any]) -> list[tuple[Any, ...]]:
    """All rows as the driver has them: of ten thousands SQLAlchemy's own take longer than the query. Not for columns
    whose type it translates.
    """
    assert result.cursor is not None
    rows = result.cursor.fetchall()
    result.close()
    return [*rows]


def page_of_events(connection: Connection, coil: int, limit: int, after: EventPlace | None) -> list[EventRow]:
    """At most `limit` events behind a place, along the strip."""
    placed, unplaced = events.c.position_mm.is_not(None), events.c.position_mm.is_(None)
    along = _events(coil).where(placed).order_by(events.c.position_mm, events.c.number)
    beside = _events(coil).where(unplaced).order_by(events.c.number)
    found: list[Row[Any]] = []
    if after is None or after.position_mm is not None:
        if after is not None:
            same = and_(events.c.position_mm == after.position_mm, events.c.number > after.number)
            along = along.where(or_(events.c.position_mm > after.position_mm, same))
        found += connection.execute(along.limit(limit))
    elif after is not None:
        beside = beside.where(events.c.number > after.number)
    if len(found) < limit:
        found += connection.execute(beside.limit(limit - len(found)))
    return [EventRow._make(row) for row in found]


def _coils() -> Select[Any]:
    columns = coils.c
    return select(
        columns.number,
        columns.coil_id,
        columns.opened_at,
        columns.opened_by,
        columns.last_frame_at,
        columns.closed_at,
        columns.closed_by,
        columns.length_mm,
        columns.width_mm,
    )


def _events(coil: int) -> Select[Any]:
    """Rows as `EventRow`."""
    row, frame = events.c, inspections.c
    box = row.x, row.y, row.width, row.height
    lengths = row.position_mm, row.length_mm, row.across_mm, row.width_mm
    return (
        select(row.number, row.inspection, frame.camera_id, frame.side, *box)
        .add_columns(row.defect_probability, row.defect_class, row.continued, *lengths, frame.review)
        # That the frame is of the coil too is said for PostgreSQL, which would else read the whole record.
        .join_from(events, inspections, and_(frame.number == row.inspection, Aside(frame.coil) == coil))
        .where(row.coil == coil)
    )


def _called_defect(within: Sequence[ColumnElement[bool]]) -> Select[Any]:
    """Frames that a person called a defect, with what the review that counts says of it."""
    frame, said = inspections.c, reviews.c
    latest = (
        select(said.inspection, func.max(said.number).label("number"))
        .join_from(inspections, reviews, said.inspection == frame.number)
        .where(*within, REVIEWED, frame.review == "defect", said.undone_at.is_(None))
        .group_by(said.inspection)
        .subquery()
    )
    return (
        select(frame.number, frame.camera_id, frame.side, frame.position_mm, frame.mm_per_pixel, frame.event_count)
        .add_columns(frame.width, frame.height, frame.defect_probability, said.number.label("review"))
        .add_columns(said.defect_class.label("said_class"), said.x, said.y)
        .add_columns(said.width.label("box_width"), said.height.label("box_height"))
        .join_from(latest, reviews, said.number == latest.c.number)
        .join(inspections, frame.number == said.inspection)
    )


def _overlooked(row: Row[Any]) -> tuple[Any, ...]:
    """A defect that the network told nothing of, in the shape of `EventRow`. Without a box its size is not known."""
    boxed = row.box_width is not None and row.box_height is not None
    x, y = (row.x or 0, row.y or 0) if boxed else (0, 0)
    width, height = (row.box_width, row.box_height) if boxed else (row.width, row.height)
    size = row.mm_per_pixel
    scaled = size is not None and boxed
    return EventRow(
        number=-row.review,
        inspection=row.number,
        camera_id=row.camera_id,
        side=row.side,
        x=x,
        y=y,
        width=width,
        height=height,
        defect_probability=row.defect_probability,
        defect_class=row.said_class,
        continued=False,
        position_mm=None if row.position_mm is None or size is None else row.position_mm + y * size,
        length_mm=height * size if scaled else None,
        across_mm=None if size is None else x * size,
        width_mm=width * size if scaled else None,
        review="defect",
    )


def _within(coil: int, runs: Sequence[Run]) -> Sequence[ColumnElement[bool]]:
    """Frames of a coil, found by what few of them are: they lie together in the record, and so in every index of it."""
    low, high = min((run.first for run in runs), default=0), max((run.last for run in runs), default=0)
    return Aside(inspections.c.coil) == coil, inspections.c.number.between(low, high)


def _tallies(connection: Connection, runs: Sequence[Run], within: Sequence[ColumnElement[bool]]) -> tuple[Tally, ...]:
    """Called and reviewed frames are counted; what remains of the runs is ok and not reviewed."""
    left, widths = Counter[tuple[View, int]](), dict[View, float]()
    for run in runs:
        left[run.view, run.model] += run.stretch.frames
        if run.width_mm is not None:
            widths[run.view] = max(widths.get(run.view, 0.0), run.width_mm)
    versions = dict(connection.execute(select(models.c.number, models.c.version)).all())
    tallies = []
    frame = inspections.c
    alike = frame.camera_id, frame.side, frame.model, frame.verdict, frame.review
    for few in ((CALLED, frame.verdict.in_(CALLED_VERDICTS)), (REVIEWED, frame.verdict.in_(PASSED_VERDICTS))):
        counted = select(*alike, func.count().label("frames")).where(*within, *few).group_by(*alike)
        for row in connection.execute(counted):
            view = View(row.camera_id, row.side)
            left[view, row.model] -= row.frames
            tallies.append(Tally(*view, row.verdict, versions[row.model], row.review, row.frames, widths.get(view)))
    return (
        *tallies,
        *(
            Tally(*view, "ok", versions[model], None, frames, widths.get(view))
            for (view, model), frames in left.items()
            if frames
        ),
    )


def _refused(connection: Connection, coil: int) -> tuple[Refused, ...]:
    row = refused_frames.c
    # What was refused with this code had another frame's id.
    own_id = row.code != ServiceCode.REQUEST_ID_REUSED
    again = exists().where(inspections.c.request_id == row.request_id, inspections.c.coil == row.coil)
    inspected = and_(row.sequence.is_(None), row.position_mm.is_(None), own_id, again)
    found = select(row.camera_id, row.code, row.at, row.sequence, row.position_mm, row.side, inspected)
    return tuple(Refused(*each) for each in connection.execute(found.where(row.coil == coil).order_by(row.number)))
