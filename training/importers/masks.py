"""Annotated shapes -> masks: boxes, polygons, lines, circles, run lengths, mask files and patches.

Coordinates are px with (0, 0) at the upper left corner of the upper left pixel, x to the right and y down, so
pixel (row, column) spans y in [row, row + 1] and x in [column, column + 1]. Whatever lies beyond the image is cut off.
A mask is bool of shape (height, width), True where the defect is.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from model.errors import SteelsightError
from model.image import Limits, decode
from training.dataset import MASK_LEVEL

Mask = npt.NDArray[np.bool_]
Points = tuple[tuple[float, float], ...]


class Undrawable(Exception):
    """The annotation contradicts its image; the message is the reason under which the image is left out."""


class Shape(Protocol):
    """Something annotated on an image."""

    def draw(self, height: int, width: int) -> Mask:
        """The mask on an image of height x width px. Raises `Undrawable`."""


@dataclass(frozen=True)
class Box:
    """A rectangle along the image's axes. It covers every pixel it touches, for it bounds the defect.

    >>> Box(left=1.2, top=0, right=3, bottom=1).draw(2, 4).astype(int).tolist()
    [[0, 1, 1, 0], [0, 0, 0, 0]]
    """

    left: float
    top: float
    right: float
    bottom: float

    def draw(self, height: int, width: int) -> Mask:
        """The mask on an image of height x width px."""
        mask = np.zeros((height, width), np.bool_)
        rows = slice(max(0, math.floor(self.top)), max(0, math.ceil(self.bottom)))
        mask[rows, max(0, math.floor(self.left)) : max(0, math.ceil(self.right))] = True
        return mask


@dataclass(frozen=True)
class Polygon:
    """A closed outline of (x, y) points: the pixels whose centre is inside by the even-odd rule.

    One too thin to hold a pixel's centre marks the pixels that its outline runs through, for a hairline
    scratch must not vanish.

    >>> Polygon(((0, 0), (4, 0), (0, 4))).draw(4, 4).astype(int).tolist()
    [[1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    >>> Polygon(((0, 1.1), (3, 1.2), (0, 1.3))).draw(3, 3).astype(int).tolist()
    [[0, 0, 0], [1, 1, 1], [0, 0, 0]]
    """

    points: Points

    def draw(self, height: int, width: int) -> Mask:
        """The mask on an image of height x width px."""
        # With a pixel more on every side: an outline that only touches the border from outside is not thin.
        around = _fill(np.array(self.points, np.float64) + 1, height + 2, width + 2)
        if around.any():
            return around[1:-1, 1:-1]
        return Line((*self.points, self.points[0])).draw(height, width)


@dataclass(frozen=True)
class Line:
    """Joined (x, y) points, or a single one: the pixels that they run through.

    >>> Line(((0.5, 0.5), (2.5, 2.5))).draw(3, 4).astype(int).tolist()
    [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]
    """

    points: Points

    def draw(self, height: int, width: int) -> Mask:
        """The mask on an image of height x width px."""
        mask = np.zeros((height, width), np.bool_)
        ends = self.points[1:] or self.points
        for (x, y), (end_x, end_y) in zip(self.points, ends, strict=False):
            first, last = _part_inside((x, y), (end_x, end_y), height, width)
            if first > last:
                continue
            # Half a pixel apart, samples leave out no pixel that the line runs through by more than a corner.
            samples = 2 + int(2 * (last - first) * math.hypot(end_x - x, end_y - y))
            along = np.linspace(first, last, samples)
            columns = np.clip(np.floor(x + along * (end_x - x)), 0, width - 1).astype(np.intp)
            mask[np.clip(np.floor(y + along * (end_y - y)), 0, height - 1).astype(np.intp), columns] = True
        return mask


@dataclass(frozen=True)
class Circle:
    """The pixels whose centre is within `radius` of (x, y); one too small for that marks the pixel it is in.

    >>> Circle(x=1.5, y=1.5, radius=1).draw(3, 3).astype(int).tolist()
    [[0, 1, 0], [1, 1, 1], [0, 1, 0]]
    """

    x: float
    y: float
    radius: float

    def draw(self, height: int, width: int) -> Mask:
        """The mask on an image of height x width px."""
        ys, xs = np.ogrid[0.5:height, 0.5:width]
        mask: Mask = (xs - self.x) ** 2 + (ys - self.y) ** 2 <= self.radius**2
        return mask if mask.any() else Line(((self.x, self.y),)).draw(height, width)


@dataclass(frozen=True, eq=False)
class Runs:
    """Runs of defect pixels, counted down the columns, the first column first: int64 (n,), the first pixel is 0.

    size: (height, width) in px that they were counted on, None where the source does not say.

    >>> Runs(np.array([1, 4]), np.array([2, 1])).draw(3, 2).astype(int).tolist()
    [[0, 0], [1, 1], [1, 0]]
    """

    starts: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]
    size: tuple[int, int] | None = None

    def draw(self, height: int, width: int) -> Mask:
        """The mask on an image of height x width px. Raises `Undrawable` for runs that end beyond it."""
        if self.size not in (None, (height, width)):
            raise Undrawable("images of another size than their run lengths are for")
        total = height * width
        # Each bound alone first: the sum of two huge numbers would wrap round.
        fits = (self.starts >= 0) & (self.starts <= total) & (self.lengths >= 0) & (self.lengths <= total)
        if not fits.all() or (self.starts + self.lengths > total).any():
            raise Undrawable("images whose run lengths go beyond their last pixel")
        steps = np.zeros(total + 1, np.int64)
        np.add.at(steps, self.starts, 1)
        np.add.at(steps, self.starts + self.lengths, -1)
        covered: Mask = np.cumsum(steps[:-1]) > 0
        return covered.reshape(width, height).T


@dataclass(frozen=True)
class MaskFile:
    """An image of the mask: bright is defect. Where nothing is bright, whatever is not 0 is defect.

    Masks that went through JPEG have grey seams and are cut in the middle; masks that number
    the classes (0, 1, 2) look black and hold defects all the same.
    """

    path: Path

    def draw(self, height: int, width: int) -> Mask:
        """The mask on an image of height x width px. Raises `Undrawable` for another size or a broken file."""
        try:
            grey = decode(self.path.read_bytes())
        except SteelsightError as error:
            raise Undrawable("images whose mask cannot be read") from error
        if grey.shape != (height, width):
            raise Undrawable("images whose mask has another size")
        bright = grey >= MASK_LEVEL
        return bright if bright.any() else grey > 0


@dataclass(frozen=True)
class Patch:
    """A mask of a part of the image, whose upper left pixel is (row `top`, column `left`): what is not 0 is defect.

    content: its image file. Not kept unfolded, for a few kilobytes may hold millions of pixels.
    """

    content: bytes
    left: int
    top: int

    def unfold(self) -> Mask:
        """bool (height, width) of the part. Raises `SteelsightError` for what is no image, or too large for one."""
        return decode(self.content, Limits(min_side=1)) > 0

    def draw(self, height: int, width: int) -> Mask:
        """The mask on an image of height x width px."""
        mask = np.zeros((height, width), np.bool_)
        part = self.unfold()[max(0, -self.top) :, max(0, -self.left) :]
        place = mask[max(0, self.top) :, max(0, self.left) :]
        rows, columns = np.minimum(part.shape, place.shape)
        place[:rows, :columns] = part[:rows, :columns]
        return mask


def _fill(points: npt.NDArray[np.float64], height: int, width: int) -> Mask:
    """Scan lines through the pixels' centres: between each odd and even crossing is inside."""
    mask = np.zeros((height, width), np.bool_)
    x, y = points.T
    end_x, end_y = np.roll(points, -1, axis=0).T
    for row in range(max(0, math.floor(y.min())), min(height, math.ceil(y.max()))):
        centre = row + 0.5
        # Half-open, so that a corner shared by two edges counts once.
        crossing = (y <= centre) != (end_y <= centre)
        part = (centre - y[crossing]) / (end_y - y)[crossing]
        crossings = np.sort(x[crossing] + part * (end_x - x)[crossing])
        columns = np.clip(np.ceil(crossings - 0.5), 0, width).astype(np.intp)
        for first, last in zip(columns[::2], columns[1::2], strict=True):
            mask[row, first:last] = True
    return mask


def _part_inside(start: tuple[float, float], end: tuple[float, float], height: int, width: int) -> tuple[float, float]:
    """From which to which share of its length a line lies in the image; first > last where it never does.

    Liang and Barsky, A New Concept and Method for Line Clipping, ACM Transactions on Graphics 3 (1984).
    """
    first, last = 0.0, 1.0
    for begin, stop, limit in ((start[0], end[0], width), (start[1], end[1], height)):
        step = stop - begin
        if step == 0:
            if not 0 <= begin <= limit:
                return 1.0, 0.0
            continue
        near, far = sorted((-begin / step, (limit - begin) / step))
        first, last = max(first, near), min(last, far)
    return first, last
