"""A camera's sequence numbers: the runs in which it counted on, and what is missing, twice or late in each."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

# A frame that comes late was overtaken by those in flight beside it, or was sent again a moment later. A count that
# falls farther than that, or to its beginning, began anew.
LATE_FRAMES = 256
BEGINNING = 1
FALL_TO_BEGINNING = 16


class Stretch(NamedTuple):
    """Frames of one camera without a break. None: the frames do not say."""

    frames: int
    first_sequence: int | None
    last_sequence: int | None
    first_mm: float | None
    last_mm: float | None
    first_at: datetime
    last_at: datetime


class View(NamedTuple):
    """What one camera sees of one side of the strip. A camera that sends both, or two of which neither has an id, are
    two views.
    """

    camera_id: str | None
    side: str | None


def runs(stretches: Sequence[Stretch]) -> list[list[Stretch]]:
    """A camera's numbered stretches, in order of arrival, cut where its count began anew.

    A count that falls while the strip goes on began anew; one that falls while the strip goes back is a late frame.
    Where positions do not tell, a fall by more than 256, or by 16 or more to 0 or 1, is a new beginning.

    >>> at = datetime(2026, 1, 1)
    >>> late = [Stretch(8, 1, 8, None, None, at, at), Stretch(1, 10, 10, None, None, at, at)]
    >>> late.append(Stretch(1, 9, 9, None, None, at, at))
    >>> anew = Stretch(5, 1, 5, 500.0, 600.0, at, at)
    >>> [len(run) for run in runs(late)], [len(run) for run in runs([Stretch(9, 1, 9, 0.0, 100.0, at, at), anew])]
    ([3], [1, 1])
    """
    found: list[list[Stretch]] = []
    before: Stretch | None = None
    for stretch in stretches:
        if stretch.first_sequence is None:
            continue
        if before is None or _began_anew(before, stretch):
            found.append([])
        found[-1].append(stretch)
        before = stretch
    return found


def _began_anew(before: Stretch, after: Stretch) -> bool:
    assert before.last_sequence is not None
    assert after.first_sequence is not None
    fall = before.last_sequence - after.first_sequence
    if fall <= 0:
        return False
    if before.last_mm is not None and after.first_mm is not None and before.first_mm is not None:
        # A late frame lies before the end of what came last; a camera that was off for a moment lies behind it.
        return after.first_mm >= before.last_mm
    return fall > LATE_FRAMES or (after.first_sequence <= BEGINNING and fall >= FALL_TO_BEGINNING)


class Edge(NamedTuple):
    """Missing sequence numbers, between the stretches that end and begin there."""

    before: Stretch
    after: Stretch
    first: int
    last: int


class Counted(NamedTuple):
    """One run's sequence numbers: where some are missing, which were there twice or late, and when its frames came."""

    edges: list[Edge]
    first: int
    last: int
    duplicates: int
    out_of_order: int
    first_at: datetime
    last_at: datetime


def count(run: Sequence[Stretch]) -> Counted:
    """What the numbers of one run tell.

    >>> at = datetime(2026, 1, 1)
    >>> told = count([Stretch(8, 1, 8, None, None, at, at), Stretch(2, 11, 12, None, None, at, at)])
    >>> told.first, told.last, [(edge.first, edge.last) for edge in told.edges]
    (1, 12, [(9, 10)])
    """
    frames, records, highest = 0, 0, None
    for stretch in run:
        first, last = _numbers(stretch)
        frames += stretch.frames
        # A frame that is no record on its arrival was overtaken, or is there twice.
        records += stretch.frames if highest is None else max(0, last - max(highest, first - 1))
        highest = last if highest is None else max(highest, last)
    # Of those with one number the first to come goes first.
    ordered = sorted(run, key=lambda stretch: _numbers(stretch)[0])
    edges: list[Edge] = []
    top, distinct = ordered[0], 0
    start, reached = _numbers(top)
    for stretch in ordered[1:]:
        first, last = _numbers(stretch)
        if first > reached + 1:
            edges.append(Edge(top, stretch, reached + 1, first - 1))
            distinct += reached - start + 1
            start = first
        if last > reached:
            top, reached = stretch, last
    distinct += reached - start + 1
    began, ended = min(stretch.first_at for stretch in run), max(stretch.last_at for stretch in run)
    return Counted(edges, _numbers(ordered[0])[0], reached, frames - distinct, distinct - records, began, ended)


def _numbers(stretch: Stretch) -> tuple[int, int]:
    assert stretch.first_sequence is not None
    assert stretch.last_sequence is not None
    return stretch.first_sequence, stretch.last_sequence
