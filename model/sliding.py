"""A whole frame scored with shared convolutions: the logits of all its tiles, equal to scoring tile by tile.

Overlapping tiles convolve the same pixels again and again. Here the network's trunk runs once over the frame
(`model.sharing` says of which networks). What is left of a network, its *head*, takes in the whole map of a tile:

- `model.cells` splits its dense layer over the frame, inside the runtime, where an engine can do that;
- `Windows` copies each tile's window out of the map and gives it to the head.

Memory is bounded for frames of any size: one patch of the frame is scored at a time, in blocks.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from math import isqrt
from typing import Protocol

import numpy as np

from model.calibration import Logits
from model.cells import BLOCK, CellPlan, Cells
from model.engine import Engine, Maps
from model.image import Frame
from model.sharing import FLOAT_BYTES, Sharing, runs
from model.tiling import TileGrid

# Of a block's largest map. Blocks of 4 MB stay near the processor's caches: a frame of 4096 x 512 px in one piece was
# measured to take 1.15 times as long in steel-128; with smaller ones the rows convolved twice cost more than they gain.
BLOCK_BYTES = 4_000_000
# Of the trunk's map of a patch; the tiles at its border are convolved again for the next one.
PATCH_BYTES = 32_000_000
# Past it a patch is cut from left to right too, so that one row of windows of any network fits into PATCH_BYTES.
WIDEST_PATCH = 8192
# As many windows as tiles at a time: 32 of steel-128 have 3.7 MB, more were measured to gain nothing.
BATCH_WINDOWS = 32


class SharedNetwork(Protocol):
    """A network on whole frames. Safe to use from several threads at once."""

    def pays(self, grid: TileGrid) -> bool:
        """Whether tiles that lie so cost less together than one by one."""

    def logits(self, frame: Frame, grid: TileGrid) -> Logits:
        """Logits of every tile of the grid, row by row: float32 of shape (tiles, outputs); frame: uint8."""


def shared_network(engine: Engine, sharing: Sharing, stride: int) -> SharedNetwork:
    """The engine's network on whole frames of tiles `stride` px apart, to which there is no `model.sharing.obstacle`.

    Raises `SteelsightError` (artifact_invalid) if its files are none.
    """
    plan = CellPlan.of(sharing, stride)
    network = plan and engine.cells(plan)
    return Cells(plan, network, engine.logits) if plan and network else Windows(engine, sharing)


@dataclass(frozen=True)
class Windows:
    """The network of an engine in two halves: the trunk on blocks of a frame, the head on windows of its map."""

    engine: Engine
    sharing: Sharing

    def pays(self, grid: TileGrid) -> bool:
        """Several tiles share what they can; a single one has nobody to share with, and goes into a batch."""
        return len(grid) > 1

    def logits(self, frame: Frame, grid: TileGrid) -> Logits:
        """Logits of every tile of the grid, row by row: float32 of shape (tiles, outputs).

        frame: uint8, covered by the grid. A last row or column of tiles that was shifted inside by no multiple of the
        total stride has a patch of its own, in which it does begin at the start.
        """
        sharing = self.sharing
        scored: Logits | None = None
        for rows, columns in _patches(sharing, grid):
            ys, xs = np.array(grid.rows[rows]), np.array(grid.columns[columns])
            height, width = sharing.pixels(sharing.places(ys[0], ys[-1])), sharing.pixels(sharing.places(xs[0], xs[-1]))
            maps = _trunk_map(self.engine, sharing, frame[ys[0] : ys[0] + height, xs[0] : xs[0] + width])
            at = np.stack(np.meshgrid(ys - ys[0], xs - xs[0], indexing="ij"), axis=-1).reshape(-1, 2) // sharing.stride
            logits = np.concatenate([self.engine.head(windows) for windows in _windows(maps, at, sharing.window)])
            if scored is None:
                scored = np.empty((len(grid.rows), len(grid.columns), logits.shape[1]), np.float32)
            scored[rows, columns] = logits.reshape(len(ys), len(xs), -1)
        assert scored is not None, "a grid has tiles"
        return scored.reshape(len(grid), -1)


def disagreement(engine: Engine, shared: SharedNetwork, sharing: Sharing, stride: int) -> float:
    """Largest difference between the logits of both ways on one generated frame, as a share of the largest logit.

    The frame has noise of all grey values, at least a block of cells where it goes by cells, and a last row and column
    of tiles that do not align. Of its rows and columns of tiles the first and the last two are scored: a model that is
    changed under load is to take little from the frames that are judged meanwhile.
    """
    odd, least = sharing.stride // 2 + 1, BLOCK if isinstance(shared, Cells) else (0, 0)
    height, width = (max(sharing.tile + stride, size) + odd for size in least)
    frame = np.random.default_rng(0).integers(0, 256, (height, width), np.uint8)
    whole = TileGrid.cover(height, width, sharing.tile, stride)
    rows, columns = (tuple(sorted({places[0], *places[-2:]})) for places in (whole.rows, whole.columns))
    grid = TileGrid(rows, columns, whole.tile)
    expected = np.concatenate([engine.logits(tiles) for tiles in grid.batches(frame, BATCH_WINDOWS)])
    difference = np.abs(shared.logits(frame, grid) - expected)
    return float(difference.max() / np.abs(expected).max(initial=1))


def _patches(sharing: Sharing, grid: TileGrid) -> Iterator[tuple[slice, slice]]:
    """Rows and columns of the grid that are scored together."""
    for columns in runs(grid.columns, grid.tile, sharing.stride, WIDEST_PATCH):
        across = sharing.places(grid.columns[columns.start], grid.columns[columns.stop - 1])
        down = PATCH_BYTES // (across * sharing.depth * FLOAT_BYTES)
        for rows in runs(grid.rows, grid.tile, sharing.stride, down * sharing.stride):
            yield rows, columns


def _trunk_map(engine: Engine, sharing: Sharing, patch: Frame) -> Maps:
    """The trunk's map of a patch, block by block: float32 (h, w, depth)."""
    height, width = ((side - sharing.field) // sharing.stride + 1 for side in patch.shape)
    # Wide blocks: pixels beside each other lie together in memory.
    side = isqrt(int(BLOCK_BYTES / sharing.bytes_per_pixel)) // sharing.stride
    down, across = max(1, side // 2), max(1, side * 2)
    maps = np.empty((height, width, sharing.depth), np.float32)
    for y, x in product(range(0, height, down), range(0, width, across)):
        block = maps[y : y + down, x : x + across]
        top, left = y * sharing.stride, x * sharing.stride
        bottom, right = (start + sharing.pixels(size) for start, size in zip((top, left), block.shape, strict=False))
        block[:] = engine.trunk(patch[top:bottom, left:right])
    return maps


def _windows(maps: Maps, at: np.ndarray, window: int) -> Iterator[Maps]:
    """Copies of the windows that begin at the places (y, x) of `at`, float32 (at most BATCH_WINDOWS, h, w, depth)."""
    height, width, depth = maps.shape
    views = np.lib.stride_tricks.as_strided(
        maps,
        (height - window + 1, width - window + 1, window, window, depth),
        (*maps.strides[:2], *maps.strides),
        writeable=False,
    )
    for start in range(0, len(at), BATCH_WINDOWS):
        ys, xs = at[start : start + BATCH_WINDOWS].T
        yield views[ys, xs]
