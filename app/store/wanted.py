"""Which inspections a query wants, and which indexes list them.

An index of the record lists the inspections of one condition by number, so that the newest of them are its end; only
that of the probabilities is in their order. Which one a query goes by is decided in `app.store.search` from how many
inspections each lists: a database that guesses walks a million rows for the three that are wanted, now and then.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, and_, func, literal, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from app.store.numbers import first_number_at
from app.store.schema import BAND, EPOCH, MICROSECOND, UNTIMELY, coils, inspections

Condition = ColumnElement[bool]

# Above every number.
END = 2**63 - 1


class Aside(FunctionElement[Any]):
    """A column in whose index SQLite is not to look. PostgreSQL knows how much is where, and is left to it."""

    inherit_cache = True

    def __init__(self, column: ColumnElement[Any]) -> None:
        super().__init__(column)
        self.type = column.type


@compiles(Aside)
def _as_it_stands(aside: Aside, compiler: Any, **options: Any) -> str:
    return str(compiler.process(*aside.clauses, **options))


@compiles(Aside, "sqlite")
def _without_index(aside: Aside, compiler: Any, **options: Any) -> str:
    return f"+{compiler.process(*aside.clauses, **options)}"


@dataclass(frozen=True)
class Wanted:
    """A filter over inspections; None asks for nothing.

    since, until: when the request came; the first is included, the second is not. least_probability,
    most_probability: both included. reviewed: whether a review counts.
    """

    coil_id: str | None = None
    camera_id: str | None = None
    verdict: str | None = None
    defect_class: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    least_probability: float | None = None
    most_probability: float | None = None
    reviewed: bool | None = None


class Listing(NamedTuple):
    """A condition with an index. aside: the same, if another index is gone by. by_number: whether it is in order."""

    condition: Condition
    aside: Condition
    by_number: bool = True


class Reach(NamedTuple):
    """Numbers from `low` on and below `high`."""

    low: int
    high: int


def listings(connection: Connection, wanted: Wanted) -> list[Listing] | None:
    """What indexes list of it; None if there can be nothing.

    A coil's comes first: its frames lie together in time, so that who walks along it meets whatever else is wanted of
    the coil, and not what lies between.
    """
    rows = inspections.c
    found = []
    if wanted.coil_id is not None:
        coil = connection.scalar(select(coils.c.number).where(coils.c.coil_id == wanted.coil_id))
        if coil is None:
            return None
        if wanted.camera_id is not None:
            both = and_(rows.coil == coil, rows.camera_id == wanted.camera_id)
            found.append(Listing(both, _equal(rows.camera_id, wanted.camera_id).aside))
        found.append(_equal(rows.coil, coil))
    if wanted.reviewed:
        found.append(Listing(rows.review.is_not(None), Aside(rows.review).is_not(None)))
    if wanted.defect_class is not None:
        found.append(_equal(rows.defect_class, wanted.defect_class))
    if wanted.verdict is not None and wanted.verdict != "ok":
        # In the words of the index, which has these alone.
        called = rows.verdict != literal("ok", literal_execute=True)
        found.append(Listing(and_(rows.verdict == wanted.verdict, called), Aside(rows.verdict) == wanted.verdict))
    if wanted.camera_id is not None:
        found.append(_equal(rows.camera_id, wanted.camera_id))
    if wanted.least_probability is not None or wanted.most_probability is not None:
        bounds = wanted.least_probability, wanted.most_probability
        column = rows.defect_probability
        found.append(Listing(_between(column, *bounds), _between(Aside(column), *bounds), by_number=False))
    return found


def remainder(wanted: Wanted) -> list[Condition]:
    """What no index lists: almost every row fulfils it, or `reach` has gone by it already."""
    rows = inspections.c
    found: list[Condition] = []
    if wanted.verdict == "ok":
        found.append(Aside(rows.verdict) == wanted.verdict)
    if wanted.reviewed is False:
        found.append(Aside(rows.review).is_(None))
    if wanted.since is not None:
        found.append(Aside(rows.received_at) >= wanted.since)
    if wanted.until is not None:
        found.append(Aside(rows.received_at) < wanted.until)
    return found


def reach(connection: Connection, wanted: Wanted, before: int = END) -> Reach:
    """The numbers that inspections of the time that is wanted have, as far as they lie below `before`."""
    low, high = 0, before
    untimely, received_at = UNTIMELY, inspections.c.received_at
    # Not by the table's own order, in which there may be a million rows before the first such.
    number = inspections.c.number + 0
    if wanted.since is not None:
        odd = connection.scalar(select(func.min(number)).where(untimely, received_at >= wanted.since))
        low = min(_number_at(wanted.since, -BAND), END if odd is None else odd)
    if wanted.until is not None:
        odd = connection.scalar(select(func.max(number)).where(untimely, received_at < wanted.until))
        high = min(high, max(_number_at(wanted.until, BAND), 0 if odd is None else odd + 1))
    return Reach(low, high)


def _equal(column: ColumnElement[Any], value: object) -> Listing:
    return Listing(column == value, Aside(column) == value)


def _between(column: ColumnElement[float], least: float | None, most: float | None) -> Condition:
    bounds = [column >= least] if least is not None else []
    return and_(*bounds, *([column <= most] if most is not None else []))


def _number_at(moment: datetime, shift: int) -> int:
    """The least number of so many microseconds later, as far as there is one: years from 1 to 9999 may be asked for."""
    return min(max(0, first_number_at((moment - EPOCH) // MICROSECOND + shift)), END)
