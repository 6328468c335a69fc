"""Training tiles cut anew for every batch: at any position, balanced over labels, defect types and groups.

A network that sees a defect at one place of a tile only learns that place. A rare defect type, or a group with few
images, counts as much as a common one.

Balanced, and still true: what ranks tiles best is how likely a tile is among defects against how likely among good
ones (Neyman and Pearson 1933). So whatever is shown more often is shown more often of both labels, in the proportion
that it has of them, and every window of a surface is as likely as any other of its label. docs/log.md has what that
is worth.
"""

from bisect import bisect
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from model.image import Frame
from model.tiling import resize
from training.dataset import Mask, TileSet, resized_mask
from training.parts import Parts, between
from training.scan import NO_DEFECT

Kinds = npt.NDArray[np.str_]
Item = TypeVar("Item")

# A drawn position may show too little of a defect, or some of one where none should be: then another is drawn, so
# that all that are right are as likely. After so many a tile of the fixed grid is taken, which is known to be right.
ATTEMPTS = 32


@dataclass(frozen=True)
class Surface:
    """A frame (height, width) of at least one tile, its mask of the same shape, its defect type and its group."""

    frame: Frame
    mask: Mask
    defect_type: str
    group: str


class Drawn(NamedTuple):
    """Tiles drawn at once, to be changed by whoever drew them.

    tiles: uint8 (n, tile, tile). kinds: the defect type of each, "none" for ok, str (n,). masks: where the defects are,
    bool (n, tile, tile); empty on a defect that no chance position showed.
    """

    tiles: Frame
    kinds: Kinds
    masks: Mask


class Sampler(Protocol):
    """Whatever training tiles are drawn from."""

    def draw(self, count: int, rng: np.random.Generator) -> Drawn:
        """So many tiles; `rng` decides which."""

    @property
    def shares(self) -> dict[str, float]:
        """How often a tile of each defect type, "none" for ok, is drawn; they add up to 1, and none is 0."""


class CropSampler:
    """Draws tiles from surfaces, `defect_share` of them defects, 1 - `scale` to 1 + `scale` times their size.

    surfaces: by number. tiles: their tiles on the fixed grid, `tiles.file` being the surface's number.
    A window of another size is cut and brought to a tile's: no pixel is made up at the edge, and the label is that of
    what the window shows. A surface no larger than a tile has nothing around it, and is only ever shown larger.
    """

    def __init__(
        self,
        surfaces: Mapping[int, Surface],
        tiles: TileSet,
        min_defect_pixels: int,
        defect_share: float = 0.5,
        scale: float = 0.0,
    ) -> None:
        self._surfaces, self._tiles, self._min = surfaces, tiles, min_defect_pixels
        self._share, self._scale = defect_share, scale
        self._tile: int = tiles.tiles.shape[1]
        defects = _defect_shares(tiles)
        self._masked = {number: np.flatnonzero(surfaces[number].mask) for number, share in defects.items() if share}
        self._parts = {number: Parts(surfaces[number].mask, self._tile) for number in self._masked}
        self._defects: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
        for number in self._masked:
            self._defects[surfaces[number].defect_type][surfaces[number].group].append(number)
        self._ok_groups = {surfaces[number].group for number, share in defects.items() if share < 1}
        self._of_type, self._of_ok = _chances(surfaces, defects)
        # Where only one label is shown, all tiles are of it: defect types can be told apart without any ok image.
        if not (self._ok_groups and self._defects):
            self._share = 1.0 if self._defects else 0.0

    def draw(self, count: int, rng: np.random.Generator) -> Drawn:
        """So many tiles, at any position of any surface."""
        tiles = np.empty((count, self._tile, self._tile), np.uint8)
        masks = np.zeros(tiles.shape, np.bool_)
        kinds = []
        for number in range(count):
            if rng.random() < self._share:
                kinds.append(_any(list(self._of_type), rng))
                surface = self._of_type[kinds[-1]].draw(rng)
                tiles[number], masks[number] = self._tile_with_defect(surface, rng)
            else:
                kinds.append(NO_DEFECT)
                tiles[number], _ = self.draw_ok(rng)
        return Drawn(tiles, np.array(kinds), masks)

    @property
    def shares(self) -> dict[str, float]:
        """How often a tile of each defect type, "none" for ok, is drawn; they add up to 1, and none is 0."""
        ok = {NO_DEFECT: 1 - self._share} if self._ok_groups else {}
        return ok | {kind: self._share / len(self._defects) for kind in self._defects}

    def _tile_with_defect(self, number: int, rng: np.random.Generator) -> tuple[Frame, Mask]:
        surface, parts = self._surfaces[number], self._parts[number]
        for _ in range(ATTEMPTS):
            side = self._side(surface, rng)
            if drawn := parts.draw(side, rng):
                window = tuple(slice(first, first + side) for first in drawn)
                if np.count_nonzero(surface.mask[window]) >= self._min:
                    return self._sized(surface.frame[window]), resized_mask(surface.mask[window], self._tile)
        return self._from_grid(number, True, rng), np.zeros((self._tile, self._tile), np.bool_)

    @property
    def ok_groups(self) -> int:
        """Number of groups that show ok surface."""
        return len(self._ok_groups)

    @property
    def min_defect_pixels(self) -> int:
        """How many pixels a defect must show in a tile."""
        return self._min

    def draw_ok(self, rng: np.random.Generator) -> tuple[Frame, str]:
        """One tile without any masked pixel, uint8 (tile, tile), and its group."""
        number = self._of_ok.draw(rng)
        return self._tile_without_defect(number, rng), self._surfaces[number].group

    @property
    def defect_types(self) -> list[str]:
        """The types that it draws defects of."""
        return list(self._defects)

    def draw_masked(self, kind: str, scale: float, rng: np.random.Generator) -> tuple[Frame, Mask, str]:
        """A window round a defect of type `kind`, `scale` tiles wide if its surface is: frame, mask and group.

        Both are square and of the same shape, and may show less of the defect than a tile must.
        """
        group = _any(list(self._defects[kind]), rng)
        number = _any(self._defects[kind][group], rng)
        surface = self._surfaces[number]
        side = min(round(scale * self._tile), *surface.frame.shape)
        y, x = divmod(int(_any(self._masked[number], rng)), surface.frame.shape[1])
        window = self._window(surface, y - _below(side, rng), x - _below(side, rng), side)
        return surface.frame[window], surface.mask[window], group

    def _tile_without_defect(self, number: int, rng: np.random.Generator) -> Frame:
        surface = self._surfaces[number]
        height, width = surface.frame.shape
        for _ in range(ATTEMPTS):
            side = self._side(surface, rng)
            y, x = (_below(length - side + 1, rng) for length in (height, width))
            window = self._window(surface, y, x, side)
            if not surface.mask[window].any():
                return self._sized(surface.frame[window])
        return self._from_grid(number, False, rng)

    def _side(self, surface: Surface, rng: np.random.Generator) -> int:
        """Pixels of a window's side: a surface seen twice as large fills half as many."""
        if not self._scale:
            return self._tile
        side: int = min(round(self._tile / rng.uniform(1 - self._scale, 1 + self._scale)), *surface.frame.shape)
        return side

    def _sized(self, window: Frame) -> Frame:
        return window if len(window) == self._tile else resize(window, self._tile)

    @staticmethod
    def _window(surface: Surface, y: int, x: int, side: int) -> tuple[slice, slice]:
        """The square of `side` px with its first pixel at (y, x), shifted inside."""
        top, left = (max(0, min(at, length - side)) for at, length in zip((y, x), surface.frame.shape, strict=True))
        return slice(top, top + side), slice(left, left + side)

    def _from_grid(self, number: int, defect: bool, rng: np.random.Generator) -> Frame:
        known = np.flatnonzero((self._tiles.file == number) & (self._tiles.defect == defect))
        return self._tiles.tiles[_any(known, rng)]


class _Chances:
    """Some numbers, each as likely as its weight says; weights need not add up to 1."""

    def __init__(self, weights: Mapping[int, float]) -> None:
        self._numbers = [number for number, weight in weights.items() if weight > 0]
        self._up_to = list(accumulate(weights[number] for number in self._numbers))

    def draw(self, rng: np.random.Generator) -> int:
        """One of them."""
        return self._numbers[bisect(self._up_to, rng.random() * self._up_to[-1], hi=len(self._numbers) - 1)]


def _chances(surfaces: Mapping[int, Surface], defects: Mapping[int, float]) -> tuple[dict[str, _Chances], _Chances]:
    """How likely each surface is to be drawn from: for a defect of each type, and for an ok tile.

    defects: share of each surface's tiles that are defects. Every group weighs the same among those of its defect type,
    and every type the same; a group of good surface alone weighs as much as the others do in the mean. What a surface
    weighs goes to its two labels as its tiles do.
    """
    of_group = Counter(_place(surfaces[number]) for number in defects)
    weight = {number: 1 / of_group[_place(surfaces[number])] for number in defects}
    shown: dict[str, float] = defaultdict(float)
    for number, share in defects.items():
        shown[surfaces[number].defect_type] += weight[number] * share
    # So much more than it weighs among its own type, for all types to show as many defect tiles.
    factor = {kind: 1 / share for kind, share in shown.items() if share}
    groups = [factor[kind] for kind, _ in of_group if kind in factor]
    mean = sum(groups) / len(groups) if groups else 1.0
    of_type = {
        kind: _Chances({n: weight[n] * share for n, share in defects.items() if surfaces[n].defect_type == kind})
        for kind in factor
    }
    of_ok = {n: factor.get(surfaces[n].defect_type, mean) * weight[n] * (1 - share) for n, share in defects.items()}
    return of_type, _Chances(of_ok)


def _place(surface: Surface) -> tuple[str, str]:
    return surface.defect_type, surface.group


def _defect_shares(tiles: TileSet) -> dict[int, float]:
    """Number of each surface that has tiles -> share of them that are defects, 0 to 1."""
    numbers, of = np.unique(tiles.file, return_inverse=True)
    shares = np.bincount(of, weights=tiles.defect) / np.bincount(of)
    return dict(zip(numbers.tolist(), shares.tolist(), strict=True))


def _any(items: Sequence[Item] | npt.NDArray[np.intp], rng: np.random.Generator) -> Item:
    return items[_below(len(items), rng)]


def _below(count: int, rng: np.random.Generator) -> int:
    """Any of 0 to count - 1."""
    return between(0, count - 1, rng)
