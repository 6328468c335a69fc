"""A defect cut out along its mask and put on another tile: softly, and at that tile's own level."""

from functools import cache

import numpy as np
from PIL import Image, ImageFilter

from model.image import Frame
from synthetic.shapes import Field
from training.dataset import Mask, resized_mask

# The seam: the mask is widened by what a blur of so many px (standard deviation) reaches, and blurred by as many.
SEAM_PX = 1.5
# Mean of opacity times transparency below which there is no seam to speak of.
LEAST_SEAM = 1e-3
# Past so many px from the mask the seam has ended: three standard deviations of both.
SEAM_REACH_PX = 9
# The level is matched in cells of so many px, smoothed over two: it follows shading, and not texture.
CELL_PX, CELLS_SMOOTHED = 8, 2.0


def transplant(tile: Frame, source: Frame, mask: Mask, contrast: float) -> tuple[Frame, Mask]:
    """What the mask covers of `source`, of any square size, on a tile: uint8 (tile, tile), and where it lies, bool.

    The source takes on the tile's own level and shading, which both are compared by along the seam; its difference
    from them is multiplied by `contrast`. A mask without a seam to compare along, empty or all over, changes nothing.

    >>> mask = np.zeros((32, 32), bool)
    >>> mask[12:20, 12:20] = True
    >>> tile, covered = transplant(np.full((32, 32), 50, np.uint8), np.where(mask, 20, 100).astype(np.uint8), mask, 1.0)
    >>> int(tile[16, 16]), int(tile[0, 0]), int(covered.sum())
    (10, 50, 64)
    """
    scale = len(mask) / len(tile)
    covered = resized_mask(mask, len(tile))
    blended = tile.copy()
    if covered.any():
        box = _box(covered)
        opacity = _seam(covered[box])
        if (opacity * (1 - opacity)).mean() > LEAST_SEAM:
            moved = _shown(source, box, scale)
            blended[box] = _matched(tile[box].astype(np.float32), moved, opacity, contrast)
    return blended, covered


def _shown(source: Frame, box: tuple[slice, slice], scale: float) -> Field:
    """What the source shows in a box of the tile, where a pixel of the tile is `scale` of the source's."""
    rows, columns = box
    where = tuple(scale * edge for edge in (columns.start, rows.start, columns.stop, rows.stop))
    size = columns.stop - columns.start, rows.stop - rows.start
    return np.asarray(Image.fromarray(source).resize(size, Image.Resampling.BILINEAR, where), np.float32)


def _matched(tile: Field, moved: Field, opacity: Field, contrast: float) -> Frame:
    """The two on top of each other, once what is moved has the level of the tile; all of one shape (height, width)."""
    beside = opacity * (1 - opacity)
    here, there = _levels((tile, moved), beside)
    matched = here * (1 + contrast * (moved / np.maximum(there, 1) - 1))
    return np.clip(np.rint(tile + opacity * (matched - tile)), 0, 255).astype(np.uint8)


def _box(covered: Mask) -> tuple[slice, slice]:
    """The rectangle that the mask and its seam lie in."""
    spans = []
    for axis in (1, 0):
        shown = np.flatnonzero(covered.any(axis=axis))
        end = min(len(covered), int(shown[-1]) + SEAM_REACH_PX + 1)
        spans.append(slice(max(0, int(shown[0]) - SEAM_REACH_PX), end))
    return spans[0], spans[1]


def _seam(covered: Mask) -> Field:
    """1 on the mask and next to it, then falling softly to 0: float32, 0 to 1."""
    widened = np.asarray(_grey_image(covered).filter(ImageFilter.GaussianBlur(SEAM_PX))) > 0
    soft = _grey_image(widened).filter(ImageFilter.GaussianBlur(SEAM_PX))
    return np.asarray(soft, np.float32) / np.float32(255)


def _levels(images: tuple[Field, ...], weight: Field) -> list[Field]:
    """Weighted mean of each image round every pixel, smooth; float32, all of the shape of `weight`."""
    (gather_y, spread_y), (gather_x, spread_x) = map(_cells, weight.shape)

    def smooth(field: Field) -> Field:
        coarse = gather_y @ field @ gather_x.T
        # Far from the seam nothing has weight: there the mean over all of it counts.
        return np.asarray(coarse + 1e-3 * coarse.mean(), np.float32)

    weights = smooth(weight)
    return [spread_y @ (smooth(image * weight) / weights) @ spread_x.T for image in images]


@cache
def _cells(length: int) -> tuple[Field, Field]:
    """Pixels in a row -> sums over cells, smoothed; and cells -> pixels, in straight lines between their centres.

    float32 (cells, length) and (length, cells).
    """
    count = max(1, length // CELL_PX)
    centres = (np.arange(count) + 0.5) * length / count
    place = np.arange(length) + 0.5
    distance = (centres[:, np.newaxis] - place) / (CELLS_SMOOTHED * CELL_PX)
    spread = [np.interp(place, centres, unit) for unit in np.eye(count)]
    return np.exp(-(distance**2) / 2).astype(np.float32), np.stack(spread, axis=1).astype(np.float32)


def _grey_image(mask: Mask) -> Image.Image:
    return Image.fromarray(mask.astype(np.uint8) * np.uint8(255))
