"""Defects blended into the plant's own ok tiles: drawn ones, and its own moved onto another surface.

A plant has thousands of ok tiles and a dozen cracks: here every ok tile can carry a defect that nobody has yet seen
on it. A drawn defect is a relative change of reflectance (`synthetic`), so it is as dark or bright as the
tile allows. One of the plant's own is cut out along its mask, with a soft seam, and takes on the level of the tile
that it is moved to. Nothing but the surfaces of the sampler underneath is used.
"""

import sys
from functools import cache
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import fft

from model.image import Frame
from model.tiling import Fit
from synthetic.defects import BRIGHTEST, DARKEST, DEFECT_CLASSES, Site
from synthetic.shapes import Field, Point, log_uniform
from training.config import Experiment
from training.crops import CropSampler, Drawn, Sampler
from training.dataset import Mask
from training.errors import DataFault, UsageFault
from training.scan import NO_DEFECT
from training.transplant import transplant

Pixel = TypeVar("Pixel", np.uint8, np.bool_)

# The type of a drawn defect: it is of none that the plant knows.
DRAWN = "synthetic"

# A blend may not be seen, or not be possible: another is made. As often a defect is drawn where none can be moved.
ATTEMPTS = 8

# What changes a pixel by less than this many grey values, or than so many deviations of the tile's texture, is not
# seen; a tile must show `min_defect_pixels` that are.
LEAST_VISIBLE_GREY = 5.0
VISIBLE_OVER_TEXTURE = 2.0
# Largest change of a drawn defect as a multiple of what is just visible: from faint to unmistakable.
FAINT, STRONG = 1.8, 6.0
# No drawn defect changes the surface by more than this share: past it, it looks cut out of black paper.
STRONGEST = 0.7
# A defect longer than this share of the tile leaves too little surface to compare with.
LARGEST_SHARE = 0.6
# Structures larger than so many px are shading and not texture.
TEXTURE_PX = 12
# Drawn defects fade over so many px to the edges of the square they are drawn in.
FADE_PX = 4

# A moved defect is shown at half an octave smaller to half an octave larger, and as much fainter or stronger.
SCALES, CONTRASTS = (0.71, 1.41), (0.7, 1.3)
# Past this share of the window under the mask there is no surface left around the defect to match the level by.
LARGEST_MASKED = 0.6
# Between surfaces whose textures differ by more than this a moved defect is a smooth patch on a rough one.
LARGEST_RATIO = 2.0


def blended(crops: CropSampler, share: float, moved_share: float = 0.5) -> Sampler:
    """The sampler itself where `share`, 0 to 1, of its defects is 0, else one that blends as many. Raises `DataFault`.

    The network trained on what it draws must have one output: a drawn defect is none of the plant's types.
    """
    return BlendedSampler(crops, share, moved_share) if share else crops


def blended_share(experiment: Experiment, fit: Fit) -> float:
    """Share of the drawn defects, 0 to 1, that an experiment blends where images reach the network by `fit`.

    Where whole images are resized no mask says what of them could be moved, so with moved defects alone it is 0.

    >>> only_moved = Experiment(synthetic_defects=0.5, moved_share=1)
    >>> blended_share(only_moved, Fit.TILE), blended_share(only_moved, Fit.RESIZE)
    (0.5, 0.0)
    """
    return 0.0 if experiment.moved_share == 1 and fit is Fit.RESIZE else experiment.synthetic_defects


def require_blends(experiment: Experiment, fit: Fit) -> None:
    """Raises `UsageFault` where `pretraining` could blend nothing: its epochs are never the best, and would be lost."""
    if experiment.pretraining and experiment.moved_share == 1 and fit is Fit.RESIZE:
        raise UsageFault(
            f"pretraining = {experiment.pretraining} with moved_share = 1 has nothing to pre-train on: images are "
            "resized whole here, and no mask says what of them could be moved; set pretraining = 0, or moved_share "
            'below 1, which draws defects and needs heads = "binary"'
        )


def tell_unblended(experiment: Experiment, fit: Fit) -> None:
    """Say on stderr where `synthetic_defects` is stated and nothing is blended."""
    if experiment.synthetic_defects and not blended_share(experiment, fit):
        print(
            f"synthetic_defects = {experiment.synthetic_defects:g} is dropped: with moved_share = 1 all of them are "
            "moved, and images that are resized whole have no masks to cut them along",
            file=sys.stderr,
        )


class BlendedSampler:
    """Draws tiles as `crops` does, with `share` (0 to 1) of the defects replaced by ones blended into ok tiles.

    Of those, `moved_share` (0 to 1) are the plant's own, moved; the others are drawn.

    Where no blended defect would be seen, on tiles that are black, saturated or too rough, the plant's own stays.
    Raises `DataFault` if there is no ok tile.
    """

    def __init__(self, crops: CropSampler, share: float, moved_share: float = 0.5) -> None:
        if not crops.ok_groups:
            raise DataFault(
                "there is no ok tile to blend defects into; set synthetic_defects and pretraining to 0, "
                "or add images of ok surface"
            )
        self._crops, self._share, self._moved_share = crops, share, moved_share

    def draw(self, count: int, rng: np.random.Generator) -> Drawn:
        """So many tiles. A moved defect keeps its type, a drawn one is "synthetic"."""
        tiles, drawn, masks = self._crops.draw(count, rng)
        kinds = drawn.tolist()
        for number, kind in enumerate(kinds):
            if kind != NO_DEFECT and rng.random() < self._share and (made := self._blend(kind, rng)):
                tiles[number], kinds[number], masks[number] = made.tile, made.kind, made.mask
        return Drawn(tiles, np.array(kinds), masks)

    @property
    def shares(self) -> dict[str, float]:
        """As `crops` draws them: a blended defect takes the place of an own one. A drawn one counts as of its type."""
        return self._crops.shares

    def _blend(self, kind: str, rng: np.random.Generator) -> "_Made | None":
        """A blend in place of a defect of type `kind`; if moved, it is of that type, or rare types would get rarer."""
        moved = rng.random() < self._moved_share
        for attempt in range(2 * ATTEMPTS):
            tile, group = self._crops.draw_ok(rng)
            # Where no defect can be moved, for want of masks or of a second group, one is drawn, if any may be.
            moving = moved and (attempt < ATTEMPTS or self._moved_share == 1)
            made = self._moved_onto(tile, group, kind, rng) if moving else _drawn_onto(tile, rng)
            if made and made.visible >= self._crops.min_defect_pixels:
                return made
        return None

    def _moved_onto(self, tile: Frame, group: str, kind: str, rng: np.random.Generator) -> "_Made | None":
        """One of the plant's own defects on a tile of another group, if there is another."""
        source, mask, origin = self._crops.draw_masked(kind, 1 / log_uniform(rng, *SCALES), rng)
        if origin == group and self._crops.ok_groups > 1:
            return None
        if not 0 < mask.mean() <= LARGEST_MASKED:
            return None
        seen = visible_grey(tile)
        if not 1 / LARGEST_RATIO <= visible_grey(source, ~mask) / seen <= LARGEST_RATIO:
            return None
        turns, mirrored = int(rng.integers(4)), rng.random() < 0.5
        blended, covered = transplant(
            tile, _laid(source, turns, mirrored), _laid(mask, turns, mirrored), float(rng.uniform(*CONTRASTS))
        )
        visible = np.count_nonzero(covered & _changed(tile, blended, seen))
        return _Made(blended, kind, covered, int(visible))


class _Made(NamedTuple):
    """A blended tile, uint8 (tile, tile), the defect's type, where it lies, bool (tile, tile), and how many of its
    pixels one can see.
    """

    tile: Frame
    kind: str
    mask: Mask
    visible: int


def visible_grey(tile: Frame, where: Mask | None = None) -> float:
    """Grey values by which a pixel of a tile, uint8 (tile, tile), must change to be seen to; `where` it is ok.

    >>> visible_grey(np.full((64, 64), 90, np.uint8))
    5.0
    """
    texture = _texture(tile)
    return _visible_over(texture if where is None else texture[where])


def _visible_over(texture: npt.NDArray[np.int16]) -> float:
    # The mean size of normal noise is sqrt(2 / pi) of its standard deviation; single outliers count less in it.
    deviation = float(np.abs(texture).mean()) * float(np.sqrt(np.pi / 2))
    return max(LEAST_VISIBLE_GREY, VISIBLE_OVER_TEXTURE * deviation)


def _texture(tile: Frame) -> npt.NDArray[np.int16]:
    """What is left of a tile without its shading, grey values."""
    image = Image.fromarray(tile)
    shading = np.asarray(image.reduce(TEXTURE_PX).resize(image.size, Image.Resampling.BILINEAR), np.int16)
    return np.asarray(tile - shading)


def _changed(before: Frame, after: Frame, by: float) -> Mask:
    return np.asarray(np.abs(after.astype(np.int16) - before) >= by)


def _drawn_onto(tile: Frame, rng: np.random.Generator) -> _Made | None:
    """A drawn defect on an ok tile, or None where none would be seen."""
    texture = _texture(tile)
    seen = _visible_over(texture)
    just_visible = seen / max(float(tile.mean()), 1.0)
    if just_visible >= STRONGEST:
        return None
    change = drawn_change(rng, tile.shape[0], min(just_visible * log_uniform(rng, FAINT, STRONG), STRONGEST))
    # Half of the texture shows through unchanged: a spoilt surface is rough as well, and not a flat patch.
    spoilt = tile * np.clip(1 + change, DARKEST, BRIGHTEST) - change * texture / 2
    after = np.clip(np.rint(spoilt), 0, 255).astype(np.uint8)
    changed = _changed(tile, after, seen)
    return _Made(after, DRAWN, changed, int(np.count_nonzero(changed)))


def drawn_change(rng: np.random.Generator, side: int, contrast: float) -> Field:
    """A drawn defect anywhere on a tile, in any direction: relative change of reflectance, float32 (side, side).

    contrast: largest change, 0 to 1; 0.5 is half as bright or darker.

    >>> change = drawn_change(np.random.default_rng(0), 64, 0.5)
    >>> change.shape, bool(0.1 < np.abs(change).max() <= 0.5)
    ((64, 64), True)
    """
    defect_class = list(DEFECT_CLASSES.values())[int(rng.integers(len(DEFECT_CLASSES)))]
    largest = min(defect_class.largest_px, LARGEST_SHARE * side)
    size = log_uniform(rng, min(defect_class.smallest_px, largest / 2), largest)
    # Drawing costs by the pixel: only the square round the defect is drawn, with room for what lies beside it.
    square = fft.next_fast_len(round(1.3 * size + 20), real=True)
    site = Site((square, square), Point(square / 2, square / 2), size, contrast)
    patch = defect_class.draw(rng, site) * _fade(square)
    patch = np.rot90(patch, int(rng.integers(4)))
    change: Field = np.zeros((side, side), np.float32)
    top, left = (int(at) - square // 2 for at in rng.integers(0, side, 2))
    into = tuple(slice(max(0, at), min(side, at + square)) for at in (top, left))
    part = tuple(slice(each.start - at, each.stop - at) for each, at in zip(into, (top, left), strict=True))
    change[into] = patch[part]
    return change


@cache
def _fade(side: int) -> Field:
    """1 inside, falling to 0 at the edges of a square, float32 (side, side): what it is drawn in leaves no edge.

    >>> _fade(11)[5].tolist()
    [0.0, 0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 0.75, 0.5, 0.25, 0.0]
    """
    place = np.arange(side, dtype=np.float32)
    ramp: Field = np.clip(np.minimum(place, place[::-1]) / np.float32(FADE_PX), 0, 1)
    return ramp[:, np.newaxis] * ramp


def _laid(square: npt.NDArray[Pixel], turns: int, mirrored: bool) -> npt.NDArray[Pixel]:
    """Turned by quarters and, if so, mirrored."""
    turned = np.rot90(square, turns)
    return turned[::-1] if mirrored else turned
