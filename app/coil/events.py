"""The events of a coil as columns: a coil may have a hundred thousand, and every question is asked of all at once."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from app.coil.counting import View

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Words = npt.NDArray[np.object_]

# The rows that a tile covers: an event that goes on in the next frame begins there within so many.
TILE_ROWS = 128


class EventRow(NamedTuple):
    """One event as the record has it, with its frame's camera and side and the review that counts."""

    number: int
    inspection: int
    camera_id: str | None
    side: str | None
    x: int
    y: int
    width: int
    height: int
    defect_probability: float
    defect_class: str | None
    continued: bool
    position_mm: float | None
    length_mm: float | None
    across_mm: float | None
    width_mm: float | None
    review: str | None


@dataclass(frozen=True)
class Events:
    """Each field has shape (events,). Unknown lengths and positions are NaN, unknown words None.

    camera_id, side, defect_class, review: words. across_mm: from the camera's first column; see `strip_across`.
    """

    number: Integers
    inspection: Integers
    camera_id: Words
    side: Words
    x: Integers
    y: Integers
    width: Integers
    height: Integers
    defect_probability: Floats
    defect_class: Words
    continued: Flags
    position_mm: Floats
    length_mm: Floats
    across_mm: Floats
    width_mm: Floats
    review: Words

    @classmethod
    def of(cls, rows: Sequence[Sequence[Any]]) -> Self:
        """From rows with the fields of `EventRow`.

        >>> row = EventRow(1, 1, "c1", "top", 0, 0, 128, 128, 0.9, None, False, 10.0, 32.0, 0.0, 32.0, None)
        >>> Events.of([row]).size_mm.tolist(), len(Events.of([]))
        ([32.0], 0)
        """
        columns = list(zip(*rows, strict=True)) if rows else [()] * len(EventRow._fields)
        return cls(*(_column(name, column) for name, column in zip(EventRow._fields, columns, strict=True)))

    def __len__(self) -> int:
        return len(self.number)

    @cached_property
    def size_mm(self) -> Floats:
        """The longer side of each box; NaN where it is not known."""
        return np.maximum(self.length_mm, self.width_mm)

    @cached_property
    def middle_mm(self) -> Floats:
        """Where along the strip each box has its middle; NaN where it is not known."""
        return self.position_mm + self.length_mm / 2

    @property
    def views(self) -> list[View]:
        """Of each event the view that it is on."""
        return list(map(View, self.camera_id.tolist(), self.side.tolist()))

    def among(self, chosen: Flags | Integers) -> Self:
        """The events that a mask or an array of indices chooses."""
        return replace(self, **{name: getattr(self, name)[chosen] for name in EventRow._fields})


_TYPES: dict[str, type] = {
    **dict.fromkeys(("number", "inspection", "x", "y", "width", "height"), np.int64),
    **dict.fromkeys(("defect_probability", "position_mm", "length_mm", "across_mm", "width_mm"), np.float64),
    "continued": np.bool_,
}


def _column(name: str, values: Iterable[Any]) -> npt.NDArray[Any]:
    # None becomes NaN where the type is a float's.
    return np.array(tuple(values), _TYPES.get(name, np.object_))


def joined(events: Events) -> Events:
    """One event for each defect: what goes on in the next frame is a part of the event that it continues.

    The joined event has the number of its first part and the box of all parts in mm; its probability and class are of
    the worst part. A part whose beginning is not found stands for itself; without positions it is left out, since the
    part before was told of too.

    >>> first = EventRow(1, 1, "c1", "top", 0, 384, 128, 128, 0.8, "dent", False, 100.0, 50.0, 0.0, 50.0, None)
    >>> second = EventRow(2, 2, "c1", "top", 0, 0, 128, 256, 0.9, "scratch", True, 150.0, 100.0, 0.0, 50.0, None)
    >>> one = joined(Events.of([first, second]))
    >>> one.number.tolist(), one.length_mm.tolist(), one.defect_class.tolist()
    ([1], [150.0], ['scratch'])
    """
    if not events.continued.any():
        return events
    placed = np.isfinite(events.middle_mm) & np.isfinite(events.across_mm + events.width_mm)
    begins = np.arange(len(events))
    for camera_id, side in set(events.among(events.continued).views):
        inside = np.flatnonzero(placed & (events.camera_id == camera_id) & (events.side == side))
        _chain(events, inside[np.argsort(events.position_mm[inside], kind="stable")], begins)
    return _merged(events, begins, keep=placed | ~events.continued)


def _chain(events: Events, order: Integers, begins: Integers) -> None:
    """Write into `begins` the index of the event that each continued one goes back to. order: along the strip."""
    start, length, column, width = (
        each[order] for each in (events.position_mm, events.length_mm, events.across_mm, events.width_mm)
    )
    reaches, end, last_column = (
        start - TILE_ROWS * length / np.maximum(events.height[order], 1),
        start + length,
        column + width,
    )
    frame, continued = events.inspection[order], np.flatnonzero(events.continued[order])
    # What begins before this cannot reach so far. Few events are continued: only these are looked back from.
    earliest = np.searchsorted(start, reaches - length.max(initial=0.0))
    for place in continued.tolist():
        before = slice(earliest[place], place)
        touches = (column[before] <= last_column[place]) & (column[place] <= last_column[before])
        fits = touches & (end[before] >= reaches[place]) & (frame[before] != frame[place])
        if (found := np.flatnonzero(fits)).size:
            begins[order[place]] = begins[order[before.start + found[-1]]]


def _merged(events: Events, begins: Integers, keep: Flags) -> Events:
    firsts = np.flatnonzero(keep & (begins == np.arange(len(events))))
    place = np.full(len(events), -1)
    place[firsts] = np.arange(len(firsts))
    parts = np.flatnonzero(keep & (place[begins] >= 0))
    into = place[begins[parts]]
    start, across = events.position_mm[firsts], events.across_mm[firsts]
    end, last_column = start + events.length_mm[firsts], across + events.width_mm[firsts]
    known = np.isfinite(events.middle_mm[parts])
    parts_known, into_known = parts[known], into[known]
    np.minimum.at(across, into_known, events.across_mm[parts_known])
    np.maximum.at(end, into_known, (events.position_mm + events.length_mm)[parts_known])
    np.maximum.at(last_column, into_known, (events.across_mm + events.width_mm)[parts_known])
    # Of each joined event the part with the highest probability, whose class counts: the last one written.
    worst = firsts.copy()
    rising = np.argsort(events.defect_probability[parts], kind="stable")
    worst[into[rising]] = parts[rising]
    return replace(
        events.among(firsts),
        length_mm=end - start,
        across_mm=across,
        width_mm=last_column - across,
        defect_probability=events.defect_probability[worst],
        defect_class=events.defect_class[worst],
    )
