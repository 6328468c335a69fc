"""Finds the newest inspections that a query wants, in a time that does not grow with the record.

The shortest list that an index has of it is read whole if it is short. Where all of them are long, the record is
looked through from its newest row on in slices until the page is full, or patience ends: the page then says where to
go on, and may be shorter than was asked for, even empty.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, func, literal_column, select

from app.store.schema import inspections
from app.store.wanted import END, Aside, Condition, Listing, Reach, Wanted, listings, reach, remainder

# A list of so many is read in some 20 ms, whatever else is asked of its rows.
SHORT = 20_000
# Rows looked through between two looks at the clock. Most pages are full after a small part of the first.
FIRST_SLICE, LARGEST_SLICE = 4_000, 32_000
# Past it a page is handed over as it is; the last slice may take half as much again.
PATIENCE_S = 0.1

NUMBER = inspections.c.number


class Found(NamedTuple):
    """Numbers of inspections, newest first; whatever else is wanted has a number below `before`: None if nothing is."""

    numbers: list[int]
    before: int | None


def find(
    connection: Connection, wanted: Wanted, limit: int, before: int = END, patience_s: float = PATIENCE_S
) -> Found:
    """At most `limit` inspections below the number `before`, as many as are found until patience ends."""
    indexed = listings(connection, wanted)
    if indexed is None:
        return Found([], None)
    within = reach(connection, wanted, before)
    lengths = [_length(connection, listing, within) for listing in indexed]
    if indexed and min(lengths) < SHORT:
        shortest = indexed[lengths.index(min(lengths))]
        numbers = connection.scalars(_listed(shortest, indexed, wanted, within).limit(limit + 1)).all()
        return _page(numbers, limit)
    return _looked_through(connection, wanted, indexed, within, limit, patience_s)


def _length(connection: Connection, listing: Listing, within: Reach) -> int:
    """How many inspections it lists, counted up to `SHORT`."""
    below = _in_order(within, NUMBER) if listing.by_number else ()
    listed: Select[int] = (
        select(literal_column("1")).select_from(inspections).where(listing.condition, *below).limit(SHORT)
    )
    return connection.execute(select(func.count()).select_from(listed.subquery())).scalar_one()


def _listed(by: Listing, indexed: Iterable[Listing], wanted: Wanted, within: Reach) -> Select[int]:
    """Everything wanted within these numbers, newest first, by one index."""
    number: ColumnElement[int] = NUMBER if by.by_number else Aside(NUMBER)
    return _wanted([by.condition, *(each.aside for each in indexed if each is not by)], wanted, within, number)


def _looked_through(
    connection: Connection, wanted: Wanted, indexed: Sequence[Listing], within: Reach, limit: int, patience_s: float
) -> Found:
    by = next((listing for listing in indexed if listing.by_number), None)
    conditions = [each.condition if each is by else each.aside for each in indexed]
    ends = time.monotonic() + patience_s
    numbers: list[int] = []
    for part in _slices(connection, by, within):
        missing = limit + 1 - len(numbers)
        numbers += connection.scalars(_wanted(conditions, wanted, part, NUMBER).limit(missing))
        if len(numbers) > limit or part.low == within.low:
            break
        if time.monotonic() >= ends:
            return Found(numbers, part.low)
    return _page(numbers, limit)


def _slices(connection: Connection, by: Listing | None, within: Reach) -> Iterator[Reach]:
    """What is within, from its upper end on in parts of as many rows as the clock is not looked at for."""
    size, high = FIRST_SLICE, within.high
    listed = () if by is None else (by.condition,)
    while True:
        last = select(NUMBER).where(*listed, *_in_order(Reach(within.low, high), NUMBER))
        low = connection.scalar(last.order_by(NUMBER.desc()).offset(size - 1).limit(1))
        yield Reach(within.low if low is None else low, high)
        if low is None or low == within.low:
            return
        high, size = low, min(2 * size, LARGEST_SLICE)


def _wanted(conditions: Iterable[Condition], wanted: Wanted, within: Reach, number: ColumnElement[int]) -> Select[int]:
    ordered = _in_order(within, number)
    return select(NUMBER).where(*conditions, *remainder(wanted), *ordered).order_by(number.desc())


def _in_order(within: Reach, number: ColumnElement[int]) -> tuple[Condition, Condition]:
    return number >= within.low, number < within.high


def _page(numbers: Sequence[int], limit: int) -> Found:
    """One more was asked for than a page holds: it tells whether there is another page."""
    return Found(list(numbers[:limit]), numbers[limit - 1] if len(numbers) > limit else None)
