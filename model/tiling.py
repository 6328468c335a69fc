"""A frame of any size -> tiles the network can score; tile scores -> events.

Tiles cover every pixel of the frame: the last row and column are shifted inside, nothing is padded.
Only a frame smaller than a tile is extended, by reflection.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

import numpy as np
import numpy.typing as npt
from PIL import Image

from model.image import Frame

Probabilities = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

# Flagged tiles that touch, also at a corner, belong to one event.
EIGHT_NEIGHBOURS = np.ones((3, 3), bool)


class Fit(StrEnum):
    """How an image that is larger than the network's input reaches it."""

    TILE = "tile"
    RESIZE = "resize"


@dataclass(frozen=True)
class Event:
    """One connected defect indication: pixel box on the frame and its largest tile probability.

    defect_class: the most probable one on that tile; None where the model tells no classes apart.
    continued: it began in the frame before, which reported it too; see `model.seam`.
    """

    x: int
    y: int
    width: int
    height: int
    defect_probability: float
    defect_class: str | None = None
    continued: bool = False


@dataclass(frozen=True)
class TileGrid:
    """Where the tiles of one frame lie: tile (i, j) has its first pixel at (y=rows[i], x=columns[j])."""

    rows: tuple[int, ...]
    columns: tuple[int, ...]
    tile: int

    @classmethod
    def cover(cls, height: int, width: int, tile: int, stride: int, overlap: int = 0) -> Self:
        """Grid over a frame of at least one tile, whose first `overlap` rows the frame before has shown too.

        >>> TileGrid.cover(128, 300, tile=128, stride=64)
        TileGrid(rows=(0,), columns=(0, 64, 128, 172), tile=128)
        >>> TileGrid.cover(512, 128, tile=128, stride=64, overlap=200).rows
        (72, 136, 200, 264, 328, 384)
        """
        return cls(row_positions(height, tile, stride, overlap), tile_positions(width, tile, stride), tile)

    def __len__(self) -> int:
        return len(self.rows) * len(self.columns)

    def positions(self) -> npt.NDArray[np.intp]:
        """(y, x) of every tile, row by row: shape (tiles, 2)."""
        return np.stack(np.meshgrid(self.rows, self.columns, indexing="ij"), axis=-1).reshape(-1, 2)

    def batches(self, frame: Frame, size: int) -> Iterator[Frame]:
        """The tiles, row by row, as uint8 of shape (at most `size`, tile, tile), not to be written to."""
        # A frame that is one tile, as cameras of small parts send them, needs none of what follows.
        if frame.shape == (self.tile, self.tile):
            yield frame[np.newaxis]
            return
        windows = np.lib.stride_tricks.sliding_window_view(frame, (self.tile, self.tile))
        ys, xs = self.positions().T
        for start in range(0, len(self), size):
            yield windows[ys[start : start + size], xs[start : start + size]]


def tile_positions(length: int, tile: int, stride: int) -> tuple[int, ...]:
    """First pixel of each tile along one axis of at least `tile` px; the last one is shifted inside.

    >>> tile_positions(300, tile=128, stride=64)
    (0, 64, 128, 172)
    >>> tile_positions(128, tile=128, stride=64)
    (0,)
    """
    return (*range(0, length - tile, stride), length - tile)


def row_positions(height: int, tile: int, stride: int, overlap: int) -> tuple[int, ...]:
    """First row of each row of tiles on a frame of at least `tile` rows, `overlap` of which the frame before had too.

    Of an overlap of a tile or more, only the last tile's rows are looked at again: the last row of tiles of the frame
    before lay there, however high that frame was. From the overlap's end on the grid begins anew, so that every new
    pixel lies on a tile of new pixels, as far as a whole one fits.

    >>> row_positions(400, tile=128, stride=64, overlap=0)
    (0, 64, 128, 192, 256, 272)
    >>> row_positions(400, tile=128, stride=50, overlap=128)
    (0, 50, 100, 128, 178, 228, 272)
    >>> row_positions(300, tile=128, stride=64, overlap=200)
    (72, 136, 172)
    """
    if overlap < tile:
        return tile_positions(height, tile, stride)
    if height - overlap < tile:
        return tuple(overlap - tile + y for y in tile_positions(height - overlap + tile, tile, stride))
    anew = tile_positions(height - overlap, tile, stride)
    return (*range(overlap - tile, overlap, stride), *(overlap + y for y in anew))


def extend(frame: Frame, tile: int) -> Frame:
    """Reflect a frame out to the right and downwards, as often as needed, until a tile fits.

    The reflection repeats no edge pixel, so it needs at least 2 px a side (`Limits.min_side` is 8).

    >>> extend(np.array([[1, 2, 3]], np.uint8).repeat(6, axis=0), tile=6)[0].tolist()
    [1, 2, 3, 2, 1, 2]
    """
    missing = [(0, max(0, tile - side)) for side in frame.shape]
    return np.pad(frame, missing, mode="reflect") if any(after for _, after in missing) else frame


def resize(frame: Frame, size: int) -> Frame:
    """The whole frame on `size` x `size` px: area-weighted when shrinking, bilinear when growing."""
    return np.asarray(Image.fromarray(frame).resize((size, size), Image.Resampling.BILINEAR))


def connected(flagged: Mask) -> npt.NDArray[np.int_]:
    """A number from 1 for each group of flagged tiles that touch, also at a corner; 0 elsewhere.

    >>> connected(np.array([[True, False, True], [False, True, False], [False, False, False]])).tolist()
    [[1, 0, 1], [0, 1, 0], [0, 0, 0]]
    """
    if flagged.size == 1:
        return flagged.astype(np.int_)
    # A tenth of a second, once, with the first frame that has something: each start would wait for it otherwise, and
    # so would each version's trial.
    from scipy import ndimage

    labels, _ = ndimage.label(flagged, EIGHT_NEIGHBOURS)
    return np.asarray(labels)


def _boxes(labels: npt.NDArray[np.int_]) -> list[tuple[slice, slice]]:
    """Rows and columns of each number from 1 on."""
    if labels.size == 1:
        return [(slice(0, 1), slice(0, 1))]
    from scipy import ndimage

    return [(rows, columns) for rows, columns in ndimage.find_objects(labels)]


def find_events(
    grid: TileGrid,
    scores: Probabilities,
    threshold: float,
    frame: Frame,
    defect_classes: npt.NDArray[np.str_] | None = None,
    continued: Mask | None = None,
) -> list[Event]:
    """Connected tiles at or above the threshold, most probable first; boxes are clipped to the frame.

    scores, defect_classes, continued: shape (rows, columns) of the grid. Overlapping tiles of one defect make one
    event, which has the defect class of its worst tile. continued: tiles that go on from what the frame before said.
    """
    flagged = scores >= threshold
    if not flagged.any():
        return []
    labels = connected(flagged)
    height, width = frame.shape
    events = []
    for number, (rows, columns) in enumerate(_boxes(labels), start=1):
        y, x = grid.rows[rows.start], grid.columns[columns.start]
        bottom = min(height, grid.rows[rows.stop - 1] + grid.tile)
        right = min(width, grid.columns[columns.stop - 1] + grid.tile)
        inside = np.where(labels[rows, columns] == number, scores[rows, columns], -np.inf)
        worst = np.unravel_index(inside.argmax(), inside.shape)
        defect_class = None if defect_classes is None else str(defect_classes[rows, columns][worst])
        began_before = continued is not None and bool(continued[rows, columns][np.isfinite(inside)].any())
        events.append(Event(x, y, right - x, bottom - y, float(inside[worst]), defect_class, began_before))
    return sorted(events, key=lambda event: -event.defect_probability)
