"""Tile probabilities -> a heat map: the numbers of the grid for JSON, a value for every pixel, and a picture.

A pixel has the largest probability of the tiles that cover it, as an event has that of its tiles.
"""

import io
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from model.image import Frame
from model.inspector import Inspection
from model.tiling import Event, Probabilities, TileGrid

# Dark blue over magenta to light yellow: the lightness rises from 4 to 96 in 8 steps of 10 to 15 (CIE L*), so that
# the order is seen in grey and with any colour blindness; red and green are never all that tells two values apart.
STOPS = np.array(
    [
        (6, 8, 46),
        (33, 24, 100),
        (84, 27, 133),
        (138, 34, 129),
        (190, 50, 103),
        (228, 84, 72),
        (245, 135, 57),
        (250, 190, 90),
        (252, 246, 190),
    ],
    np.float64,
)
# How much of the colour covers the frame: so much at least, that even a low probability tints it, and at the most so
# much that the defect below is still seen.
LEAST_COVER, MOST_COVER = 0.15, 0.6
# The colours are mixed in float32, 40 bytes a pixel: of a whole frame of 64 Mpx they would not fit into memory.
STRIP_ROWS = 128


def grid_map(grid: TileGrid, scores: Probabilities) -> dict[str, Any]:
    """The heat map as it stands in a reply: exact, one number a tile.

    >>> grid_map(TileGrid.cover(128, 192, tile=128, stride=64), np.array([[0.25, 0.5]]))
    {'tile': 128, 'y': [0], 'x': [0, 64], 'defect_probability': [[0.25, 0.5]]}
    """
    return {"tile": grid.tile, "y": list(grid.rows), "x": list(grid.columns), "defect_probability": scores.tolist()}


def pixel_map(grid: TileGrid, scores: Probabilities, height: int, width: int) -> npt.NDArray[np.float32]:
    """The largest probability of the tiles over each pixel, float32 (height, width); NaN where none lies.

    None lies on rows that only the frame before judged (`model.seam`).

    >>> pixel_map(TileGrid((0,), (0, 1), tile=2), np.array([[0.25, 0.5]]), 2, 3).tolist()
    [[0.25, 0.5, 0.5], [0.25, 0.5, 0.5]]
    """
    return _spread(_across(grid, scores, width), grid.rows, grid.tile, 0, height)


def picture(inspection: Inspection, frame: Frame) -> bytes:
    """A PNG of the frame, its heat map over it in colours of `STOPS`, 0 to 1, and its events framed in white."""
    grid, (height, width) = inspection.grid, frame.shape
    across = _across(grid, inspection.scores, width)
    colours = colour_table()
    mixed = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, STRIP_ROWS):
        strip = slice(top, min(height, top + STRIP_ROWS))
        heat = _spread(across, grid.rows, grid.tile, strip.start, strip.stop)
        mixed[strip] = _mixed(frame[strip], heat, colours)
    for event in inspection.events:
        _frame_in_white(mixed, event)
    target = io.BytesIO()
    # A fifth of the time that the default takes; of mixed pictures the file is no larger.
    Image.fromarray(mixed).save(target, "PNG", compress_level=1)
    return target.getvalue()


def colour_table() -> npt.NDArray[np.uint8]:
    """The colours of 0 to 255: uint8 (256, 3), red, green and blue."""
    at = np.linspace(0, len(STOPS) - 1, 256)
    channels = [np.interp(at, np.arange(len(STOPS)), STOPS[:, channel]) for channel in range(3)]
    return np.rint(np.stack(channels, axis=1)).astype(np.uint8)


def _across(grid: TileGrid, scores: Probabilities, width: int) -> npt.NDArray[np.float32]:
    """Probabilities of the grid's rows at every column of pixels: (rows, width)."""
    return _spread(scores.T.astype(np.float32), grid.columns, grid.tile, 0, width).T


def _spread(
    scores: npt.NDArray[np.float32], starts: tuple[int, ...], tile: int, first: int, last: int
) -> npt.NDArray[np.float32]:
    """Along the first axis, the largest value of the tiles over each pixel from `first` on; NaN where there is none."""
    spread = np.full((last - first, scores.shape[1]), np.nan, np.float32)
    for start, values in zip(starts, scores, strict=True):
        covered = spread[max(0, start - first) : max(0, start - first + tile)]
        np.fmax(covered, values, out=covered)
    return spread


def _mixed(frame: Frame, heat: npt.NDArray[np.float32], colours: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The frame under its heat map: uint8 (height, width, 3)."""
    known = np.isfinite(heat)
    heat = np.where(known, heat, 0)
    cover = np.where(known, LEAST_COVER + (MOST_COVER - LEAST_COVER) * heat, 0)[..., np.newaxis]
    # 256 colours are as many as the eye tells apart: a table instead of an interpolation for each pixel.
    tint = colours[np.rint(heat * 255).astype(np.uint8)]
    mixed: npt.NDArray[np.uint8] = np.rint(frame[..., np.newaxis] * (1 - cover) + tint * cover).astype(np.uint8)
    return mixed


def _frame_in_white(picture: npt.NDArray[np.uint8], event: Event) -> None:
    bottom, right = event.y + event.height, event.x + event.width
    for line in (picture[event.y, event.x : right], picture[bottom - 1, event.x : right]):
        line[:] = 255
    for line in (picture[event.y : bottom, event.x], picture[event.y : bottom, right - 1]):
        line[:] = 255
