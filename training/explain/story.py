"""The numbers that an explain page follows by hand: one place through convolution, ReLU and pooling, and the sums."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model.attribution import Parts
from model.explain import TileExplanation
from model.feature_maps import Stage, flat_position
from training.explain.pictures import Box

# Values can be read in a patch of this many px a side; a larger one has no room for them.
PATCH = 12
# A pooling square of more values than this shows no more than that one of them is the largest.
READABLE_WINDOW = 4
# Further numbers of a vector teach nothing new.
FIRST_NUMBERS = 3


@dataclass(frozen=True)
class Product:
    """One window of a convolution by hand: `(pixels * weights).sum() + bias == total`.

    number: of the filter. y, x: the cell of its map. pixels, weights: float64 (height, width).
    """

    number: int
    y: int
    x: int
    pixels: npt.NDArray[np.float64]
    weights: npt.NDArray[np.float64]
    bias: float
    total: float

    @property
    def products(self) -> npt.NDArray[np.float64]:
        """Pixel by weight, (height, width)."""
        return np.asarray(self.pixels * self.weights)


@dataclass(frozen=True)
class Pooling:
    """One window of a pooling: the values of map `number` it looks at, (height, width), and what it keeps."""

    number: int
    y: int
    x: int
    values: npt.NDArray[np.float64]
    kept: float


@dataclass(frozen=True)
class FlatNumber:
    """One number of the flattened vector: its position, where it comes from, its value and its part of the logit."""

    position: int
    y: int
    x: int
    number: int
    value: float
    part: float


@dataclass(frozen=True)
class Balance:
    """The logit as a sum: maps that speak for a defect, maps that speak against it, and the biases."""

    speaking_for: float
    speaking_against: float
    rest: float
    logit: float


def hottest_patch(tile: TileExplanation) -> Box:
    """The place that adds most to the logit, as a patch that lies inside the tile."""
    heat = tile.place_parts
    size = len(heat)
    side = min(PATCH, size)
    y, x = np.unravel_index(int(heat.argmax()), heat.shape)
    first = [int(np.clip(centre - side // 2, 0, size - side)) for centre in (y, x)]
    return first[0], first[1], side, side


def follow_convolution(inputs: Stage, stage: Stage, tile: TileExplanation, patch: Box) -> Product | None:
    """The strongest answer of a first convolution inside a patch of the tile, by hand.

    None where it cannot be shown on one grey image: inputs that are not the tile's size or differ between channels,
    or no window inside.
    """
    if stage.window is None or stage.weights is None or inputs.output.shape[:2] != tile.tile.shape:
        return None
    if not np.allclose(inputs.output, inputs.output[..., :1]):
        return None
    top, left, height, width = patch
    rows, columns, _ = stage.output.shape
    tall, wide = stage.window.size
    inside = np.zeros((rows, columns), np.bool_)
    for y, x in np.ndindex(rows, columns):
        first_y, first_x = stage.window.first(y, x)
        inside[y, x] = top <= first_y <= top + height - tall and left <= first_x <= left + width - wide
    if not inside.any():
        return None
    before = stage.output if stage.before is None else stage.before
    candidates = np.where(inside[..., np.newaxis], before, -np.inf)
    y, x, number = (int(index) for index in np.unravel_index(int(candidates.argmax()), candidates.shape))
    first_y, first_x = stage.window.first(y, x)
    return Product(
        number=number,
        y=y,
        x=x,
        pixels=inputs.output[first_y : first_y + tall, first_x : first_x + wide, 0].astype(np.float64),
        # Grey is repeated over the channels of a colour network, so that their weights act as one sum.
        weights=stage.weights[..., number].astype(np.float64).sum(axis=2),
        bias=0.0 if stage.bias is None else float(stage.bias[number]),
        total=float(before[y, x, number]),
    )


def follow_pooling(inputs: Stage, stage: Stage, product: Product | None) -> Pooling | None:
    """The pooling window that holds the cell followed so far, or None where there is none, or one too large to read."""
    if product is None or stage.window is None or stage.window.padded != (0, 0):
        return None
    if max(stage.window.size) > READABLE_WINDOW:
        return None
    rows, columns, _ = stage.output.shape
    y = min(product.y // stage.window.stride[0], rows - 1)
    x = min(product.x // stage.window.stride[1], columns - 1)
    first_y, first_x = stage.window.first(y, x)
    tall, wide = stage.window.size
    values = inputs.output[first_y : first_y + tall, first_x : first_x + wide, product.number].astype(np.float64)
    return Pooling(product.number, y, x, values, float(stage.output[y, x, product.number]))


def telling_numbers(vector: Stage, parts: Parts) -> list[FlatNumber]:
    """The first numbers of a flattened vector, the first of the second place, and the one that adds most.

    None after global pooling, which leaves no places to tell apart.
    """
    _, width, count = parts.values.shape
    if vector.output.size != parts.values.size:
        return []
    shown = [(0, 0, number) for number in range(min(FIRST_NUMBERS, count))] + ([(0, 1, 0)] if width > 1 else [])
    y, x, number = (int(index) for index in np.unravel_index(int(parts.values.argmax()), parts.values.shape))
    shown += [] if (y, x, number) in shown else [(y, x, number)]
    rows = []
    for y, x, number in shown:
        position = flat_position(y, x, number, width, count)
        part = float(parts.values[y, x, number])
        rows.append(FlatNumber(position, y, x, number, float(vector.output[position]), part))
    return rows


def balance(parts: Parts) -> Balance:
    """The parts of the maps, for and against added up apart.

    >>> balance(Parts(np.array([[[2.0, -0.5, 1.0]]]), rest=0.25))
    Balance(speaking_for=3.0, speaking_against=-0.5, rest=0.25, logit=2.75)
    """
    of_maps = parts.of_maps
    return Balance(
        speaking_for=float(of_maps[of_maps > 0].sum()),
        speaking_against=float(of_maps[of_maps < 0].sum()),
        rest=parts.rest,
        logit=parts.logit,
    )
