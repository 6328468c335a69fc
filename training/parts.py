"""Where windows lie that show some of a mask, each as likely as any other.

Two scratches at the ends of a frame are two places to look at: between them nearly every window shows neither.
"""

from collections.abc import Sequence

import numpy as np

from model.tiling import connected
from training.dataset import Mask

# First and last row, and first and last column.
Box = tuple[tuple[int, int], tuple[int, int]]

# A mask of more parts is taken as one: its windows are met often enough.
MOST_PARTS = 16


class Parts:
    """Of a mask (height, width) with at least one masked pixel; parts are more than `apart` px from each other."""

    def __init__(self, mask: Mask, apart: int) -> None:
        self._shape = mask.shape
        self._boxes = _boxes(mask, apart)

    def draw(self, side: int, rng: np.random.Generator) -> tuple[int, int] | None:
        """First row and column of a window of `side` px, at most the mask's, round one of the parts.

        None where the window drawn lies round several and another part's turn it is: each window counts once.
        """
        ranges = [self._range(box, side) for box in self._boxes]
        chosen = ranges[0] if len(ranges) == 1 else ranges[_weighted([_count(each) for each in ranges], rng)]
        y, x = (between(first, last, rng) for first, last in chosen)
        if len(ranges) > 1:
            round_it = sum(top <= y <= bottom and left <= x <= right for (top, bottom), (left, right) in ranges)
            if round_it > 1 and rng.random() * round_it >= 1:
                return None
        return y, x

    def _range(self, box: Box, side: int) -> Box:
        """The first and last row, and column, at which a window begins that has a pixel of the box in it."""
        rows, columns = (
            (max(0, first - side + 1), min(last, length - side))
            for (first, last), length in zip(box, self._shape, strict=True)
        )
        return rows, columns


def between(first: int, last: int, rng: np.random.Generator) -> int:
    """Any of first to last. For single numbers `rng.integers` takes more than twice the time."""
    return first + int(rng.random() * (last - first + 1))


def _count(ranges: Box) -> int:
    (top, bottom), (left, right) = ranges
    return (bottom - top + 1) * (right - left + 1)


def _weighted(weights: Sequence[int], rng: np.random.Generator) -> int:
    """A place in the list, as likely as its weight."""
    left = rng.random() * sum(weights)
    for number, weight in enumerate(weights[:-1]):
        left -= weight
        if left < 0:
            return number
    return len(weights) - 1


def _boxes(mask: Mask, apart: int) -> list[Box]:
    """The smallest box round each part of the mask."""
    height, width = mask.shape
    rows, columns = (np.arange(0, length, apart) for length in (height, width))
    # By cells as wide as parts are apart: pixels of neighbouring cells belong together, and few cells are looked at.
    cells = np.logical_or.reduceat(np.logical_or.reduceat(mask, rows, axis=0), columns, axis=1)
    parts = connected(cells)
    count = int(parts.max())
    if count == 1 or count > MOST_PARTS:
        return [_box(mask)]
    of_pixel = parts.repeat(apart, axis=0)[:height].repeat(apart, axis=1)[:, :width]
    return [_box(mask & (of_pixel == number)) for number in range(1, count + 1)]


def _box(mask: Mask) -> Box:
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    return (int(rows[0]), int(rows[-1])), (int(columns[0]), int(columns[-1]))
