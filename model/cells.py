"""A whole frame scored with shared convolutions and a shared dense layer: cell by cell.

A *cell* is a square of the frame as wide as tiles are apart. A tile's window of the trunk's map covers a few cells
whole or in part, and a dense layer is a sum: each cell's share of it, for each place that a cell may have in a window,
is computed once, and a tile adds up those of its cells. Nothing of the map leaves the runtime, no window is copied, and
blocks of a frame overlap by the few pixels that a place of the map sees beyond itself.

Blocks have one size. Tiles that would fill too little of their blocks, as those of a small frame, are scored as tiles.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Protocol

import numpy as np
import numpy.typing as npt

from model.calibration import Logits
from model.image import Frame
from model.sharing import FLOAT_BYTES, Sharing, runs
from model.tiling import TileGrid

# Pixels, rows and columns, of the blocks that a frame is cut into. Twice as many were measured to gain nothing and cost
# memory; half as many cost a tenth more for each, for the dense layer's kernel is read once a block (docs/log.md). A
# second graph for smaller blocks would hold a copy of that kernel of its own.
BLOCK = (256, 1024)
# Of a window, a side. Shares are computed for each place of a cell in a window: with more of them they cost more to
# write and to add up than what they save, and tiles so close together are no way to run a line.
MOST_ACROSS = 4
# Of the shares of one patch of a frame.
PATCH_BYTES = 32_000_000
WIDEST_PATCH = 8192
# Scored as tiles at a time, as in `model.inspector`.
BATCH_TILES = 32

Shares = npt.NDArray[np.float32]


@dataclass(frozen=True)
class CellPlan:
    """How a network's windows fall into cells.

    side: places of the map that a cell has a side. across: cells that a window has a side, the last ones in part.
    rows, columns: of the cells that are computed in one call, a block.
    """

    sharing: Sharing
    stride: int
    side: int
    across: int
    rows: int
    columns: int

    @classmethod
    def of(cls, sharing: Sharing, stride: int) -> "CellPlan | None":
        """For tiles `stride` px apart, a multiple of the network's own; None where cells gain nothing.

        >>> sharing = Sharing(tile=128, stride=4, field=10, window=30, depth=32, bytes_per_pixel=64)
        >>> plan = CellPlan.of(sharing, 64)
        >>> plan.side, plan.across, plan.rows, plan.columns
        (16, 2, 4, 16)
        >>> CellPlan.of(sharing, 16) is None
        True
        """
        side = stride // sharing.stride
        across = -(-sharing.window // side)
        rows, columns = (max(1, size // stride) for size in BLOCK)
        plan = cls(sharing, stride, side, across, rows, columns)
        whole = plan.pays(max(1, rows - across + 1), max(1, columns - across + 1))
        return plan if across <= MOST_ACROSS and whole else None

    def pays(self, down: int, right: int) -> bool:
        """Whether blocks for so many windows below and beside each other have no more pixels than as many tiles."""
        blocks = -(-(down + self.across - 1) // self.rows) * -(-(right + self.across - 1) // self.columns)
        return blocks * self.rows * self.columns * self.stride**2 <= down * right * self.sharing.tile**2

    def pixels(self, cells: int) -> int:
        """How many pixels so many cells beside each other are made of."""
        return self.sharing.pixels(cells * self.side)

    def parts(self, kernel: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The dense layer's kernel (window * window * depth, units) for one cell: (side * side * depth, shares).

        shares: a row of `units` for each place that the cell may have in a window, row by row; places beyond the
        window weigh nothing.
        """
        window, depth, units = self.sharing.window, self.sharing.depth, kernel.shape[1]
        whole = np.zeros((self.across * self.side, self.across * self.side, depth, units), np.float32)
        whole[:window, :window] = kernel.reshape(window, window, depth, units)
        split = whole.reshape(self.across, self.side, self.across, self.side, depth, units)
        return np.ascontiguousarray(split.transpose(1, 3, 4, 0, 2, 5)).reshape(self.side**2 * depth, -1)


class CellNetwork(Protocol):
    """The network of an engine, made for one plan. Safe to use from several threads at once."""

    @property
    def units(self) -> int:
        """Of the dense layer."""

    def shares(self, pixels: Frame) -> Shares:
        """The pixels of one block, (height, width) -> float32 (rows * columns, across² * units)."""

    def logits(self, sums: Shares) -> Logits:
        """What the dense layer's kernel makes of tiles, (n, units) -> float32 logits (n, outputs)."""


@dataclass(frozen=True)
class Cells:
    """The network of an engine on whole frames, by `CellPlan`.

    of_tiles: uint8 tiles (n, tile, tile) -> logits, for those that are not worth a block.
    """

    plan: CellPlan
    network: CellNetwork
    of_tiles: Callable[[Frame], Logits]

    def pays(self, grid: TileGrid) -> bool:
        """Whether any of its tiles are worth a block."""
        stride = self.plan.stride
        return len(grid) > 1 and any(
            self.plan.pays(_span(grid.rows[rows], stride), _span(grid.columns[columns], stride))
            for rows, columns in self._patches(grid)
        )

    def logits(self, frame: Frame, grid: TileGrid) -> Logits:
        """Logits of every tile of the grid, row by row: float32 of shape (tiles, outputs).

        frame: uint8, covered by the grid. Tiles that were shifted inside by less than their stride have a patch of
        their own.
        """
        scored: Logits | None = None
        for rows, columns in self._patches(grid):
            patch = TileGrid(grid.rows[rows], grid.columns[columns], grid.tile)
            logits = self._of_patch(frame, patch)
            if scored is None:
                scored = np.empty((len(grid.rows), len(grid.columns), logits.shape[1]), np.float32)
            scored[rows, columns] = logits.reshape(len(patch.rows), len(patch.columns), -1)
        assert scored is not None, "a grid has tiles"
        return scored.reshape(len(grid), -1)

    def _patches(self, grid: TileGrid) -> Iterator[tuple[slice, slice]]:
        """Rows and columns of the grid that are scored together."""
        stride, across = self.plan.stride, self.plan.across
        for columns in runs(grid.columns, grid.tile, stride, WIDEST_PATCH):
            right = _span(grid.columns[columns], stride) + across - 1
            down = PATCH_BYTES // (right * across**2 * self.network.units * FLOAT_BYTES)
            for rows in runs(grid.rows, grid.tile, stride, down * stride):
                yield rows, columns

    def _of_patch(self, frame: Frame, patch: TileGrid) -> Logits:
        """Of tiles that are multiples of their stride apart."""
        stride, (top, left) = self.plan.stride, (patch.rows[0], patch.columns[0])
        windows = _span(patch.rows, stride), _span(patch.columns, stride)
        if not self.plan.pays(*windows):
            return np.concatenate([self.of_tiles(tiles) for tiles in patch.batches(frame, BATCH_TILES)])
        sums = self._sums(frame[top:, left:], *windows)
        down = [(row - top) // stride for row in patch.rows]
        right = [(column - left) // stride for column in patch.columns]
        return self.network.logits(sums[down][:, right].reshape(len(patch), -1))

    def _sums(self, frame: Frame, height: int, width: int) -> Shares:
        """What the dense layer's kernel makes of so many windows below and beside each other.

        Returns float32 (height, width, units).
        """
        across, rows, columns = self.plan.across, self.plan.rows, self.plan.columns
        down, right = height + across - 1, width + across - 1
        shares = np.empty((down, right, across, across, self.network.units), np.float32)
        for y, x in product(range(0, down, rows), range(0, right, columns)):
            found = self.network.shares(self._pixels(frame, y, x))
            into = shares[y : y + rows, x : x + columns]
            into[:] = found.reshape(rows, columns, *shares.shape[2:])[: into.shape[0], : into.shape[1]]
        sums = np.zeros((height, width, self.network.units), np.float32)
        for row, column in product(range(across), repeat=2):
            sums += shares[row : row + height, column : column + width, row, column]
        return sums

    def _pixels(self, frame: Frame, y: int, x: int) -> Frame:
        """The pixels of the block that begins at that cell; beyond the frame, where no window sees them, they are 0."""
        top, left = y * self.plan.stride, x * self.plan.stride
        shape = self.plan.pixels(self.plan.rows), self.plan.pixels(self.plan.columns)
        found = frame[top : top + shape[0], left : left + shape[1]]
        if found.shape == shape:
            return np.ascontiguousarray(found)
        pixels = np.zeros(shape, np.uint8)
        pixels[: found.shape[0], : found.shape[1]] = found
        return pixels


def _span(positions: Sequence[int], stride: int) -> int:
    """How many windows there are from the first position to the last, those between them included."""
    return (positions[-1] - positions[0]) // stride + 1
