"""Training tiles cut anew for every batch: at any position, balanced over labels, defect types and groups.

A network that sees a defect at one place of a tile only learns that place. A rare defect type, or a group with few
images, counts as much as a common one.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from model.image import Frame
from training.dataset import Mask, TileSet

Item = TypeVar("Item")

# A drawn position may show too little of a defect, or some of one where none should be: then another is drawn,
# and after so many a tile of the fixed grid is taken, which is known to be right.
ATTEMPTS = 8


@dataclass(frozen=True)
class Surface:
    """A frame (height, width) of at least one tile, its mask of the same shape, its defect type and its group."""

    frame: Frame
    mask: Mask
    defect_type: str
    group: str


class CropSampler:
    """Draws tiles from surfaces, one half of them defects.

    surfaces: by number. tiles: their tiles on the fixed grid, `tiles.file` being the surface's number.
    """

    def __init__(self, surfaces: Mapping[int, Surface], tiles: TileSet, min_defect_pixels: int) -> None:
        self._surfaces, self._tiles, self._min = surfaces, tiles, min_defect_pixels
        self._tile = tiles.tiles.shape[1]
        self._masked = {
            number: np.flatnonzero(surfaces[number].mask) for number in np.unique(tiles.file[tiles.defect]).tolist()
        }
        self._defects: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
        for number in self._masked:
            self._defects[surfaces[number].defect_type][surfaces[number].group].append(number)
        self._good: dict[str, list[int]] = defaultdict(list)
        for number in np.unique(tiles.file[~tiles.defect]).tolist():
            self._good[surfaces[number].group].append(number)

    def draw(self, count: int, rng: np.random.Generator) -> tuple[Frame, npt.NDArray[np.bool_]]:
        """uint8 tiles (count, tile, tile) and labels bool (count,); each is a defect with probability one half."""
        defect = rng.random(count) < 0.5
        return np.stack([self._defect(rng) if one else self._ok(rng) for one in defect]), defect

    def _defect(self, rng: np.random.Generator) -> Frame:
        groups = _any(list(self._defects.values()), rng)
        number = _any(_any(list(groups.values()), rng), rng)
        surface = self._surfaces[number]
        for _ in range(ATTEMPTS):
            y, x = np.unravel_index(_any(self._masked[number], rng), surface.frame.shape)
            window = self._window(surface, y - rng.integers(self._tile), x - rng.integers(self._tile))
            if np.count_nonzero(surface.mask[window]) >= self._min:
                return surface.frame[window]
        return self._from_grid(number, True, rng)

    def _ok(self, rng: np.random.Generator) -> Frame:
        number = _any(_any(list(self._good.values()), rng), rng)
        surface = self._surfaces[number]
        height, width = surface.frame.shape
        for _ in range(ATTEMPTS):
            window = self._window(surface, rng.integers(height - self._tile + 1), rng.integers(width - self._tile + 1))
            if not surface.mask[window].any():
                return surface.frame[window]
        return self._from_grid(number, False, rng)

    def _window(self, surface: Surface, y: np.integer, x: np.integer) -> tuple[slice, slice]:
        """The tile with its first pixel at (y, x), shifted inside."""
        height, width = surface.frame.shape
        top, left = (int(np.clip(at, 0, side - self._tile)) for at, side in ((y, height), (x, width)))
        return slice(top, top + self._tile), slice(left, left + self._tile)

    def _from_grid(self, number: int, defect: bool, rng: np.random.Generator) -> Frame:
        known = np.flatnonzero((self._tiles.file == number) & (self._tiles.defect == defect))
        return self._tiles.tiles[_any(known, rng)]


def _any(items: Sequence[Item] | npt.NDArray[np.intp], rng: np.random.Generator) -> Item:
    return items[int(rng.integers(len(items)))]
