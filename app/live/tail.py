"""The end of the record: what was committed since one looked last, by whichever process.

Numbers are given out before their rows are committed, and processes commit in any order: a row may appear below one
that was seen already. So each look goes back a little, and what it saw is remembered until the next.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, func, select

from app.store.numbers import first_number_at
from app.store.schema import inspections, outbox

# A commit waits for those before it and for the disk: milliseconds, and in a bad moment seconds.
LOOK_BACK = first_number_at(5_000_000)
# The outbox counts its own rows; a process's transaction writes a few.
LOOK_BACK_NOTES = 100
# Rows of one look, newer ones first: five seconds of a fast line.
MOST = 4_000


class New(NamedTuple):
    """Numbers of rows that were not there at the last look, rising, and how many more there were."""

    numbers: list[int]
    left_out: int


@dataclass(frozen=True)
class Tail:
    """What one reader has seen of one table, to be replaced at each look. column: its number."""

    column: ColumnElement[int]
    look_back: int
    highest: int = 0
    seen: frozenset[int] = frozenset()

    def look(self, connection: Connection) -> "tuple[New, Tail]":
        """What is new, and what was seen then. At the first look all is new: to be ignored."""
        column = self.column
        latest = select(column).where(column > self.highest - self.look_back).order_by(column.desc()).limit(MOST)
        numbers = connection.scalars(latest).all()
        if not numbers:
            return New([], 0), self
        left_out = _between(connection, column, self.highest, numbers[-1]) if len(numbers) == MOST else 0
        seen = frozenset(numbers)
        return New(sorted(seen - self.seen), left_out), replace(self, highest=max(self.highest, numbers[0]), seen=seen)

    def since(self, connection: Connection, number: int, new: Sequence[int], most: int) -> New:
        """What another reader misses who has seen all up to `number`: what this one has, and is not `new` to it."""
        column = self.column
        within = column > number, column <= self.highest
        missed = connection.scalars(select(column).where(*within).order_by(column.desc()).limit(most)).all()
        left_out = _between(connection, column, number, missed[-1]) if len(missed) == most else 0
        return New(sorted(set(missed) - set(new)), left_out)


# Of the inspections, and of the notes beside them.
INSPECTIONS = Tail(inspections.c.number, LOOK_BACK)
NOTES = Tail(outbox.c.number, LOOK_BACK_NOTES)


def _between(connection: Connection, column: ColumnElement[int], low: int, high: int) -> int:
    return connection.execute(select(func.count()).where(column > low, column < high)).scalar_one()
