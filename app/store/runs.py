"""The runs of a coil: its cameras' frames without a break. Found in all of them, which takes the longer the more they
are, and kept once the coil is closed.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, Select, and_, case, func, null, or_, select
from sqlalchemy.dialects import postgresql, sqlite

from app.coil.counting import Stretch, View
from app.store.schema import EPOCH, MICROSECOND, coil_runs, coils, inspections
from app.store.wanted import Aside


class Run(NamedTuple):
    """A stretch of frames that have these in common. width_mm: of the first; first, last: numbers."""

    stretch: Stretch
    camera_id: str | None
    side: str | None
    model: int
    width_mm: float | None
    first: int
    last: int

    @property
    def view(self) -> View:
        """As its frames say."""
        return View(self.camera_id, self.side)


class Closed(NamedTuple):
    """A closed coil, and when the last of its frames came that were seen with it."""

    number: int
    last_frame_at: datetime


def runs_of(connection: Connection, coil: int, tolerance_mm: float) -> list[Run]:
    """By camera, in order of arrival: as they are kept, or else from the frames.

    tolerance_mm: holes up to so long break none.
    """
    wanted = select(coil_runs.c.runs).where(coil_runs.c.coil == coil, coil_runs.c.tolerance_mm == tolerance_mm)
    kept = [_unpacked(each) for each in connection.scalar(wanted) or ()]
    # Of all of the coil's frames and no fewer, or a frame came after they were kept.
    if kept and frames_of(connection, coil) == (
        sum(run.stretch.frames for run in kept),
        max(run.last for run in kept),
    ):
        return kept
    return found(connection, coil, tolerance_mm)


def frames_of(connection: Connection, coil: int) -> tuple[int, int | None]:
    """How many frames a coil has, and the number of the latest."""
    wanted = select(func.count(), func.max(inspections.c.number)).where(inspections.c.coil == coil)
    frames, latest = connection.execute(wanted).one()
    return frames, latest


def unkept(connection: Connection, tolerance_mm: float, limit: int) -> list[Closed]:
    """At most `limit` closed coils, the latest first, whose runs are not kept as they are now."""
    kept = coil_runs.c
    changed = or_(
        kept.coil.is_(None),
        kept.tolerance_mm != tolerance_mm,
        kept.last_frame_at.is_distinct_from(coils.c.last_frame_at),
    )
    wanted = (
        select(coils.c.number, coils.c.last_frame_at)
        .outerjoin_from(coils, coil_runs)
        .where(coils.c.closed_at.is_not(None), coils.c.last_frame_at.is_not(None), changed)
        .order_by(coils.c.number.desc())
        .limit(limit)
    )
    return [Closed(*row) for row in connection.execute(wanted)]


def keep(connection: Connection, coil: Closed, tolerance_mm: float, runs: Sequence[Run]) -> None:
    """Keep what was found, with this tolerance, after the coil's last frame."""
    row = {
        "tolerance_mm": tolerance_mm,
        "last_frame_at": coil.last_frame_at,
        "runs": [_packed(run) for run in runs],
    }
    new = postgresql.insert(coil_runs) if connection.dialect.name == "postgresql" else sqlite.insert(coil_runs)
    # Another worker may have kept them meanwhile.
    connection.execute(new.values(coil=coil.number, **row).on_conflict_do_update(index_elements=["coil"], set_=row))


def _packed(run: Run) -> list[Any]:
    """As JSON: moments in microseconds since 1970."""
    *sizes, first_at, last_at = run.stretch
    return [*run[1:], *sizes, *((at - EPOCH) // MICROSECOND for at in (first_at, last_at))]


def _unpacked(packed: Sequence[Any]) -> Run:
    common, (*sizes, first_at, last_at) = packed[: len(Run._fields) - 1], packed[len(Run._fields) - 1 :]
    moments = (EPOCH + at * MICROSECOND for at in (first_at, last_at))
    return Run(Stretch._make([*sizes, *moments]), *common)


def found(connection: Connection, coil: int, tolerance_mm: float) -> list[Run]:
    """From the frames themselves. The database finds the breaks: of a camera without any, two rows come here."""
    runs: list[Run] = []
    begun: Row[Any] | None = None
    for row in connection.execute(_breaks(coil, tolerance_mm)):
        if row.broken:
            if begun is not None and row.place > 1:
                before = row.sequence_before, row.end_before, row.received_before
                runs.append(_run(begun, row.number_before, row.place - 1, *before))
            begun = row
        if row.last:
            assert begun is not None
            runs.append(_run(begun, row.number, row.place, row.sequence, row.end_mm, row.received_at))
    return runs


def _run(begun: Row[Any], last: int, place: int, sequence: int | None, end_mm: float | None, at: datetime) -> Run:
    frames = place - begun.place + 1
    stretch = Stretch(frames, begun.sequence, sequence, begun.start_mm, end_mm, begun.received_at, at)
    return Run(stretch, begun.camera_id, begun.side, begun.model, begun.width_mm, begun.number, last)


def _breaks(coil: int, tolerance_mm: float) -> Select[Any]:
    """Frames with which a run begins, and each camera's last, by camera and arrival.

    A frame goes on from the one before if it has the next sequence number and begins where that one ends, or within it.
    What both do not say breaks nothing. Only numbers go through the window, which an index has in order: every column
    more would cost time for each of the coil's frames.
    """
    row = inspections.c
    window: dict[str, Any] = {"partition_by": row.camera_id, "order_by": row.number}
    place, number_before = func.row_number().over(**window), func.lag(row.number).over(**window)
    numbered = select(row.number, place.label("place"), number_before.label("number_before"))
    order = numbered.where(row.coil == coil).subquery()
    each = order.c
    frame, before = inspections.alias("frame"), inspections.alias("before")
    own, last = frame.c, before.c
    end_mm, end_before = (one.position_mm + one.height * one.mm_per_pixel for one in (own, last))
    counts_on = or_(own.sequence - 1 == last.sequence, and_(own.sequence.is_(None), last.sequence.is_(None)))
    behind = and_(own.position_mm <= end_before + tolerance_mm, end_mm >= end_before)
    alike = and_(own.side.is_not_distinct_from(last.side), own.model == last.model)
    goes_on = and_(
        last.number.is_not(None), counts_on, or_(behind, and_(end_mm.is_(None), end_before.is_(None))), alike
    )
    # Not `not_(...)`: what is not known would be neither.
    broken = case((goes_on, False), else_=True)
    is_last = each.number.in_(select(func.max(row.number)).where(row.coil == coil).group_by(row.camera_id))
    start_mm = case((own.mm_per_pixel.is_not(None), own.position_mm), else_=null())
    return (
        select(own.number, own.camera_id, own.side, own.model, own.sequence, own.received_at, each.place)
        .add_columns(start_mm.label("start_mm"), end_mm.label("end_mm"))
        .add_columns((own.width * own.mm_per_pixel).label("width_mm"))
        .add_columns(last.number.label("number_before"), last.sequence.label("sequence_before"))
        .add_columns(end_before.label("end_before"), last.received_at.label("received_before"))
        .add_columns(broken.label("broken"), is_last.label("last"))
        .join_from(order, frame, and_(own.number == each.number, Aside(own.coil) == coil))
        .outerjoin(before, and_(last.number == each.number_before, Aside(last.coil) == coil))
        .where(or_(broken, is_last))
        .order_by(own.camera_id, own.number)
    )
