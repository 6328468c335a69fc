"""A whole frame scored with shared convolutions: the logits of all its tiles, equal to scoring tile by tile.

Overlapping tiles convolve the same pixels again and again. Here the first half of the network, its *trunk*, runs
once over the frame; every tile then has a window of the trunk's map, from which the *head* computes its logits
(`model.network.trunk_and_head`). A window holds what the trunk makes of its tile alone

- if no layer of the trunk is padded: at a padded border a tile sees zeros, and the frame what lies beyond;
- if no layer of the trunk takes in the whole tile, as levelling does; and
- if the tile begins a multiple of the trunk's total stride from where the trunk began: poolings then divide it alike.

Memory is bounded for frames of any size: the map is made for one patch of the frame at a time, in blocks.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import isqrt
from typing import Self

import numpy as np

from model.calibration import Logits
from model.engine import Engine, Maps
from model.image import Frame
from model.network import NetworkConfig
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

FLOAT_BYTES = 4


@dataclass(frozen=True)
class Sharing:
    """What has to be known of a network to share its convolutions.

    tile: px a side. stride: px of the frame from one place of the trunk's map to the next. field: px a side that one
    place sees. window: places a side that a tile has. depth: numbers at each place. bytes_per_pixel: of the largest
    map on the way, for each pixel of the frame.
    """

    tile: int
    stride: int
    field: int
    window: int
    depth: int
    bytes_per_pixel: float

    @classmethod
    def of(cls, network: NetworkConfig) -> Self:
        """Of a network to which there is no `obstacle`.

        >>> from model.network import PRESETS
        >>> sharing = Sharing.of(PRESETS["steel-128"])
        >>> sharing.stride, sharing.field, sharing.window, sharing.depth
        (4, 10, 30, 32)
        """
        steps, window = _trunk(network)
        stride, field = 1, 1
        depth: int = network.channels
        largest = float(depth)
        for step in steps:
            field += (step.size - 1) * stride
            stride *= step.stride
            depth = step.depth
            largest = max(largest, depth / stride**2)
        return cls(network.input_size, stride, field, window, depth, largest * FLOAT_BYTES)

    def places(self, first: int, last: int) -> int:
        """How many places of the map the tiles from px `first` to px `last` need along one axis."""
        return (last - first) // self.stride + self.window

    def pixels(self, places: int) -> int:
        """How many pixels those places are made of.

        >>> Sharing(tile=128, stride=4, field=10, window=30, depth=32, bytes_per_pixel=64).pixels(30)
        126
        """
        return (places - 1) * self.stride + self.field


@dataclass(frozen=True)
class _Step:
    """One convolution or pooling of the trunk: its window and stride in places, and the depth of what it makes."""

    size: int
    stride: int
    depth: int


def obstacle(network: NetworkConfig, stride: int) -> str | None:
    """Why tiles `stride` px apart cannot share this network's convolutions; None if they can.

    >>> from model.network import PRESETS
    >>> obstacle(PRESETS["steel-128"], 64) is None
    True
    >>> obstacle(PRESETS["steel-128"], 42)
    'a stride of 42 px is no multiple of the 4 px in which the network walks over a frame; the nearest are 40 and 44'
    >>> obstacle(PRESETS["steel-128-local"], 64)
    'convolution_1 is padded: at the edge of a tile it sees padding, and in a frame the pixels beyond'
    """
    if network.levelled:
        return "level divides a tile by its own root mean square: two tiles see the same pixel differently"
    for number, block in enumerate(network.blocks, start=1):
        if block.padding == "same" and block.kernel > 1:
            return (
                f"convolution_{number} is padded: at the edge of a tile it sees padding, and in a frame the pixels "
                "beyond"
            )
    total = Sharing.of(network).stride
    if stride % total == 0:
        return None
    below, above = stride // total * total, (stride // total + 1) * total
    nearest = f"the nearest are {below} and {above}" if below else f"the nearest is {above}"
    return (
        f"a stride of {stride} px is no multiple of the {total} px in which the network walks over a frame; {nearest}"
    )


def frame_logits(engine: Engine, sharing: Sharing, frame: Frame, grid: TileGrid) -> Logits:
    """Logits of every tile of the grid, row by row: float32 of shape (tiles, outputs).

    frame: uint8, covered by the grid. A last row or column of tiles that was shifted inside by no multiple of the
    total stride has a patch of its own, in which it does begin at the start.
    """
    scored: Logits | None = None
    for rows, columns in _patches(sharing, grid):
        ys, xs = np.array(grid.rows[rows]), np.array(grid.columns[columns])
        height, width = sharing.pixels(sharing.places(ys[0], ys[-1])), sharing.pixels(sharing.places(xs[0], xs[-1]))
        maps = _trunk_map(engine, sharing, frame[ys[0] : ys[0] + height, xs[0] : xs[0] + width])
        at = np.stack(np.meshgrid(ys - ys[0], xs - xs[0], indexing="ij"), axis=-1).reshape(-1, 2) // sharing.stride
        logits = np.concatenate([engine.head(windows) for windows in _windows(maps, at, sharing.window)])
        if scored is None:
            scored = np.empty((len(grid.rows), len(grid.columns), logits.shape[1]), np.float32)
        scored[rows, columns] = logits.reshape(len(ys), len(xs), -1)
    assert scored is not None, "a grid has tiles"
    return scored.reshape(len(grid), -1)


def disagreement(engine: Engine, sharing: Sharing, stride: int) -> float:
    """Largest difference between the logits of both ways on one generated frame, as a share of the largest logit.

    The frame has noise of all grey values, and a last row and column of tiles that do not align.
    """
    odd = sharing.stride // 2 + 1
    height, width = sharing.tile + stride + odd, sharing.tile + 2 * stride + odd
    frame = np.random.default_rng(0).integers(0, 256, (height, width), np.uint8)
    grid = TileGrid.cover(height, width, sharing.tile, stride)
    (tiles,) = grid.batches(frame, len(grid))
    expected, found = engine.logits(tiles), frame_logits(engine, sharing, frame, grid)
    return float(np.abs(found - expected).max() / np.abs(expected).max(initial=1))


def runs(positions: Sequence[int], tile: int, stride: int, longest: int) -> Iterator[slice]:
    """Cut positions into runs whose members are a multiple of `stride` apart and whose tiles span at most `longest` px.

    >>> list(runs((0, 64, 128, 171), tile=128, stride=4, longest=1000))
    [slice(0, 3, None), slice(3, 4, None)]
    >>> list(runs((0, 64, 128, 192), tile=128, stride=4, longest=200))
    [slice(0, 2, None), slice(2, 4, None)]
    """
    first = 0
    for number, position in enumerate(positions):
        begun = positions[first]
        if (position - begun) % stride or (position + tile - begun > longest and number > first):
            yield slice(first, number)
            first = number
    yield slice(first, len(positions))


def _trunk(network: NetworkConfig) -> tuple[list[_Step], int]:
    """The steps that run over the frame, and how many places a side they make of a tile.

    A last pooling that leaves one place of a tile belongs to the head, as in `model.network.trunk_and_head`.
    """
    steps: list[_Step] = []
    depth: int = network.channels
    for block in network.blocks:
        if block.pool_before > 1:
            depth = block.pooled(depth)
            steps.append(_Step(block.pool_before, block.pool_before, depth))
        depth = block.filters
        steps.append(_Step(block.kernel, block.stride, depth))
        if block.pool_after > 1:
            depth = block.pooled(depth)
            steps.append(_Step(block.pool_after, block.pool_after, depth))
    sides = [network.input_size]
    for step in steps:
        sides.append((sides[-1] - step.size) // step.stride + 1)
    if sides[-1] == 1 and network.blocks[-1].pool_after > 1:
        del steps[-1], sides[-1]
    return steps, sides[-1]


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
