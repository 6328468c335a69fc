"""A strip without end, as a line camera sees it: row after row of sound steel, and defects where they are wanted.

Any rows can be asked for, in any order and in blocks of any size: the strip is the same.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil, floor, sqrt
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from synthetic.camera import GreyImage, LineCamera, draw_camera
from synthetic.defects import BRIGHTEST, DARKEST, DEFECT_CLASSES, Site
from synthetic.shapes import Field, Point
from synthetic.surface import DARKEST_PORE, Finish, draw_finish, relief

# Drawing steel anew costs a tenth of a microsecond a pixel. So two sheets are drawn, that each go on in themselves,
# and the strip is their sum: as their lengths have no common divisor, it repeats only after 1,152,000 rows. With each
# turn a sheet lies elsewhere across: nothing on it comes back in its place, as the mark of a roll of its length would.
SHEET_ROWS = (1024, 1125)
# Rows in which one turn goes over into the next.
BLEND_ROWS = 64
# What a drawn defect may reach beyond its size: a second groove, satellites of a patch.
MARGIN_PX = 32


class Box(NamedTuple):
    """Rows and columns that hold a defect; the ends are the first beyond it."""

    top: int
    left: int
    bottom: int
    right: int


@dataclass(frozen=True)
class PlacedDefect:
    """One defect wanted at a place of the strip.

    y, x: centre in px, rows from the strip's start and columns of the camera. size: longest extent in px.
    strength: its contrast as a multiple of what is just visible on the finish. seed: the same draws the same shape.
    """

    defect_class: str
    y: float
    x: float
    size: float
    strength: float
    seed: int

    @property
    def reach(self) -> int:
        """Rows or columns from the centre within which all of it lies."""
        return ceil(self.size) + MARGIN_PX

    @property
    def corner(self) -> tuple[int, int]:
        """First row and column of the patch it is drawn in, of 2 * `reach` px a side."""
        return floor(self.y) - self.reach, floor(self.x) - self.reach

    def change(self, visible_contrast: float) -> Field:
        """Relative change of reflectance over its patch, float32 (2 * reach, 2 * reach).

        >>> pit = PlacedDefect("pit", 100.0, 50.0, size=8.0, strength=6.0, seed=1)
        >>> pit.change(0.05).shape, pit.corner, bool(pit.change(0.05).min() < -0.2)
        ((80, 80), (60, 10), True)
        """
        top, left = self.corner
        contrast = min(self.strength * visible_contrast, 1 - DARKEST)
        side = 2 * self.reach
        site = Site((side, side), Point(self.y - top, self.x - left), self.size, contrast)
        return DEFECT_CLASSES[self.defect_class].draw(np.random.default_rng(self.seed), site)


@dataclass(frozen=True)
class Steel:
    """How one coil looks to the cameras of one line: its finish, their optics, and the two sheets drawn of it.

    sheets: float32 (SHEET_ROWS[i], width), each half of the grey of a camera exposed for grey 1.
    """

    finish: Finish
    camera: LineCamera
    sheets: tuple[Field, Field]

    @property
    def width(self) -> int:
        """Columns of a camera."""
        return len(self.sheets[0][0])

    def seen(self, defect: PlacedDefect) -> Field:
        """The defect's relative change as the optics show it, float32, shape of its patch."""
        blurred: Field = ndimage.gaussian_filter(defect.change(self.finish.visible_contrast), self.camera.blur_px)
        return blurred

    def box(self, defect: PlacedDefect) -> Box | None:
        """Where it is visible within the camera's columns; None where it is not.

        >>> steel = roll_steel(1, 64)
        >>> steel.box(PlacedDefect("pit", 100.0, 32.0, size=12.0, strength=6.0, seed=2))
        Box(top=95, left=21, bottom=111, right=41)
        >>> steel.box(PlacedDefect("pit", 100.0, 320.0, size=12.0, strength=6.0, seed=2)) is None
        True
        """
        top, left = defect.corner
        visible = np.abs(self.seen(defect)) > self.finish.visible_contrast
        columns = np.arange(left, left + visible.shape[1])
        visible &= (columns >= 0) & (columns < self.width)
        if not visible.any():
            return None
        rows, columns = np.flatnonzero(visible.any(axis=1)), np.flatnonzero(visible.any(axis=0))
        return Box(top + int(rows[0]), left + int(columns[0]), top + int(rows[-1]) + 1, left + int(columns[-1]) + 1)


def roll_steel(seed: int, width: int) -> Steel:
    """The steel of one coil for cameras of `width` columns; takes 0.2 s per 1000 columns.

    >>> [sheet.shape for sheet in roll_steel(0, 64).sheets]
    [(1024, 64), (1125, 64)]
    """
    rng = np.random.default_rng(seed)
    finish, camera = draw_finish(rng), draw_camera(rng, width)
    # The variances of two independent halves add up to that of the whole.
    half = replace(
        finish,
        **{
            name: getattr(finish, name) / sqrt(2)
            for name in ("grain", "streaks", "rolling_lines", "mottle", "waviness")
        },
    )
    noise = sqrt(255 / camera.full_well_electrons * camera.level + camera.read_noise**2) / camera.level / sqrt(2)
    sheets = [_sheet(rng, half, camera, noise, (rows, width)) for rows in SHEET_ROWS]
    return Steel(finish, camera, (sheets[0], sheets[1]))


def _sheet(rng: np.random.Generator, finish: Finish, camera: LineCamera, noise: float, shape: tuple[int, int]) -> Field:
    steel = np.maximum(0.5 + relief(rng, finish, shape, endless=True), DARKEST_PORE / 2)
    seen: Field = ndimage.gaussian_filter(steel, camera.blur_px, mode="wrap")
    return seen + np.float32(noise) * rng.standard_normal(shape, dtype=np.float32)


class Strip:
    """What one camera of a line sees of a coil.

    seed: of the camera's own columns, exposure and stretch of the sheets. Memory: nothing beside the shared sheets
    and the rows asked for.
    """

    def __init__(self, steel: Steel, seed: int, defects: Sequence[PlacedDefect] = ()) -> None:
        self._steel, self._seed = steel, seed
        self._defects = sorted(defects, key=lambda defect: defect.y)
        self._reach = max((defect.reach for defect in defects), default=0)

    def rows(self, first: int, count: int) -> GreyImage:
        """Rows `first` to `first` + `count`, uint8 (count, width).

        >>> strip = Strip(roll_steel(0, 64), 1, [PlacedDefect("pit", 10.0, 32.0, size=8.0, strength=6.0, seed=1)])
        >>> whole = strip.rows(0, 20)
        >>> bool((np.vstack([strip.rows(0, 9), strip.rows(9, 11)]) == whole).all())
        True
        """
        grey = self._of_sheet(0, first, count)
        grey += self._of_sheet(1, first, count)
        for defect in self._near(first, count):
            self._spoil(grey, first, defect)
        grey *= self._gain
        np.rint(grey, out=grey)
        np.clip(grey, 0, 255, out=grey)
        return grey.astype(np.uint8)

    def _of_sheet(self, sheet: int, first: int, count: int) -> Field:
        """What one of the sheets has in these rows."""
        drawn = self._steel.sheets[sheet]
        place, last = first + self._shifts[sheet], first + self._shifts[sheet] + count
        grey = np.empty((count, self._steel.width), np.float32)
        while place < last:
            turn, row = divmod(place, len(drawn))
            rows = min(last - place, len(drawn) - row)
            part = grey[place - last + count :][:rows]
            _lay(part, drawn[row : row + rows], self._across(sheet, turn))
            blending = len(drawn) - BLEND_ROWS
            begin = max(row, blending)
            if begin < row + rows:
                following = np.empty((row + rows - begin, self._steel.width), np.float32)
                _lay(following, drawn[begin : row + rows], self._across(sheet, turn + 1))
                _blend(part[begin - row :], following, begin - blending)
            place += rows
        return grey

    def _across(self, sheet: int, turn: int) -> int:
        """How many columns to the right a sheet lies in a turn."""
        return int(np.random.default_rng((self._seed, 2 + sheet, turn % 2**32)).integers(self._steel.width))

    @cached_property
    def _rows_of_centres(self) -> list[float]:
        return [defect.y for defect in self._defects]

    @cached_property
    def _shifts(self) -> tuple[int, int]:
        """Where in each sheet this camera begins: no two show the same steel at the same time."""
        even, odd = np.random.default_rng((self._seed, 0)).integers(0, SHEET_ROWS)
        return int(even), int(odd)

    @cached_property
    def _gain(self) -> Field:
        """Grey of steel of reflectance 1 in each column, float32 (width,): cameras of one line are set alike."""
        own = draw_camera(np.random.default_rng((self._seed, 1)), self._steel.width)
        return np.float32(self._steel.camera.level) * own.column_gain

    def _near(self, first: int, count: int) -> Sequence[PlacedDefect]:
        begin = bisect_left(self._rows_of_centres, first - self._reach - 1)
        end = bisect_right(self._rows_of_centres, first + count + self._reach + 1)
        return self._defects[begin:end]

    def _spoil(self, grey: Field, first: int, defect: PlacedDefect) -> None:
        """Put what of the defect lies in these rows on them."""
        height, width = grey.shape
        top, left = defect.corner
        top -= first
        side = 2 * defect.reach
        rows = slice(max(0, top), max(0, min(height, top + side)))
        columns = slice(max(0, left), max(0, min(width, left + side)))
        if rows.start < rows.stop and columns.start < columns.stop:
            part = self._steel.seen(defect)[
                rows.start - top : rows.stop - top, columns.start - left : columns.stop - left
            ]
            grey[rows, columns] *= np.clip(1 + part, DARKEST, BRIGHTEST)


def _lay(target: Field, rows: Field, across: int) -> None:
    """Rows that go on in themselves sideways, so many columns to the right."""
    target[:, across:] = rows[:, : rows.shape[1] - across]
    target[:, :across] = rows[:, rows.shape[1] - across :]


def _blend(rows: Field, following: Field, done: int) -> None:
    """Go over into the turn that follows, with as much texture all along. done: rows of the way that lie behind."""
    way = (done + 0.5 + np.arange(len(rows), dtype=np.float32)[:, None]) / BLEND_ROWS
    rows[...] = 0.5 + np.sqrt(1 - way) * (rows - 0.5) + np.sqrt(way) * (following - 0.5)
