"""Where a mark of a roll would come back: overlapping lanes along the rolling direction, for each side of the strip."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from app.coil.events import TILE_ROWS, Events, Floats, Integers

# Events with less between them are one: a scratch in pieces, each in a tile of its own, would else repeat with every
# tile, and a heap of six events six times six times with every other heap.
APART_MM = 50.0
# In a lane so full that this share of it lies within `APART_MM` behind an event, the events' spacing is what repeats.
FULLEST = 0.6


@dataclass(frozen=True)
class Lane:
    """Events of one side between two places across the strip, along it.

    index: shape (events,), into the coil's events. position_mm: ascending, at least `APART_MM` apart.
    """

    side: str | None
    number: int
    across_mm: float
    index: Integers
    position_mm: Floats

    def without(self, index: Integers) -> "Lane":
        """The lane without these of the coil's events."""
        rest = ~np.isin(self.index, index)
        return Lane(self.side, self.number, self.across_mm, self.index[rest], self.position_mm[rest])


def lanes(events: Events, across_mm: Floats, lane_mm: float, least: int) -> Iterator[Lane]:
    """Every lane with at least so many events. Each event is in two: marks no farther apart than half a lane share one.

    across_mm: as of `placing.strip_across`; events without a position or a place across are in no lane.

    Boxes are made of whole tiles, so that middles lie on a grid, on which everything would seem to repeat. Where in its
    box, or in one tile of it, a defect lies is not known; each is put at random within that, always at the same place.
    """
    middle = across_mm + events.width_mm / 2
    position = events.middle_mm + _within_box(events)
    half = np.floor(np.nan_to_num(middle, nan=0.0, posinf=0.0, neginf=0.0) / (lane_mm / 2)).astype(np.int64)
    known = np.isfinite(middle) & np.isfinite(position)
    for side in sorted(set(events.side[known]), key=lambda side: side or ""):
        inside = np.flatnonzero(known & (events.side == side))
        inside = inside[np.argsort(half[inside], kind="stable")]
        first = np.unique(half[inside])
        for number in np.unique(np.concatenate([first - 1, first])).tolist():
            low, high = np.searchsorted(half[inside], [number, number + 2])
            if high - low < least:
                continue
            index = inside[low:high]
            index = index[_firsts(events.position_mm[index], events.length_mm[index])]
            if len(index) >= least and not _full(position[index]):
                yield Lane(side, number, (number + 1) * lane_mm / 2, index, position[index])


def _within_box(events: Events) -> Floats:
    """Shape (events,), mm: up to half the box, or half a tile where it has several. In the order of their numbers."""
    rows = np.minimum(events.height, TILE_ROWS)
    room = events.length_mm * rows / np.maximum(events.height, 1)
    random = np.random.default_rng(0).random(len(events))
    shift = np.empty(len(events))
    shift[np.argsort(events.number, kind="stable")] = random - 0.5
    return shift * room


def _firsts(start_mm: Floats, length_mm: Floats) -> Integers:
    """Indices of the events that have at least `APART_MM` of nothing before them, along the strip."""
    order = np.argsort(start_mm, kind="stable")
    reached = np.maximum.accumulate((start_mm + length_mm)[order])
    apart = np.ones(len(order), np.bool_)
    apart[1:] = start_mm[order][1:] - reached[:-1] >= APART_MM
    return order[apart]


def _full(position_mm: Floats) -> bool:
    length = float(position_mm[-1] - position_mm[0])
    return len(position_mm) * APART_MM > FULLEST * max(length, APART_MM)
