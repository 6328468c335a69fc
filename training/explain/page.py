"""What the network saw, as pictures and one HTML page that loads nothing: `Explanation` -> files.

The page carries its pictures inside; they also lie beside it as PNG files, numbered in the order of the page.
"""

import base64
import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from model.artifact import Manifest
from model.explain import Explanation, TileExplanation
from model.feature_maps import Activations, Stage, convolve, max_pool, relu
from training.explain import pictures
from training.explain.pictures import Box
from training.explain.story import (
    FlatNumber,
    Pooling,
    Product,
    balance,
    follow_convolution,
    follow_pooling,
    hottest_patch,
    telling_numbers,
)
from training.places import taught_layers
from training.wording import figure, probability, words

TEMPLATES = Path(__file__).parent
PAGE = "explain.html"
# Eight rows of eight: more maps than this would be too small to see anything in.
MAPS_SHOWN = 64
# A filter larger than this has no room for its weights as text.
ANNOTATED_FILTER = 3

CONVOLUTION_EXAMPLE = ([[34, 36, 39], [40, 45, 48], [42, 50, 52]], [[1, 0, -1]] * 3)
POOLING_EXAMPLE = [[3, 5, 1, 2], [4, 8, 0, 1], [9, 7, 6, 2], [3, 4, 2, 8]]


@dataclass(frozen=True)
class Picture:
    """One picture of the page. name: of its file. caption: a sentence; alt text too."""

    name: str
    png: bytes
    caption: str

    @property
    def source(self) -> str:
        """The picture as a data address, so that the page needs no second file."""
        return "data:image/png;base64," + base64.b64encode(self.png).decode("ascii")


@dataclass
class Album:
    """The pictures so far; numbers their files in the order they are added."""

    taken: list[Picture] = field(default_factory=list)

    def add(self, subject: str, png: bytes, caption: str) -> Picture:
        """Keep a picture under the next number."""
        self.taken.append(Picture(f"{len(self.taken) + 1:02d}-{subject}.png", png, caption))
        return self.taken[-1]


@dataclass(frozen=True)
class Step:
    """One layer on the page.

    inputs: shape that goes in. weights: numbers learned. rescaled_only: its input is the pixels in another unit.
    product, pooling: the place followed by hand, where this is the layer to show it. taught: its first map, by masks.
    """

    stage: Stage
    inputs: tuple[int, ...]
    weights: int
    rescaled_only: bool
    pictures: tuple[Picture, ...] = ()
    product: Product | None = None
    pooling: Pooling | None = None
    taught: bool = False

    @property
    def silent(self) -> float:
        """Share of cells that are 0."""
        return float((self.stage.output == 0).mean())

    @property
    def low(self) -> float:
        """Smallest value that comes out."""
        return float(self.stage.output.min())

    @property
    def high(self) -> float:
        """Largest value that comes out."""
        return float(self.stage.output.max())

    @property
    def shrink(self) -> float:
        """How many times fewer numbers come out than go in."""
        return math.prod(self.inputs) / self.stage.output.size


@dataclass(frozen=True)
class Flat:
    """The vector on the page, and the dense layer behind it.

    weights_without: how many weights that layer would need on the tile's pixels.
    """

    vector: Stage
    picture: Picture
    numbers: list[FlatNumber]
    dense: Stage
    weights_without: int


def render(explanation: Explanation, manifest: Manifest, image: str) -> dict[str, bytes]:
    """File name -> content: the numbered PNG files, and the page last.

    image: how the page calls the frame; escaped.
    """
    album = Album()
    worst = explanation.worst
    patch = hottest_patch(worst)
    heats = list(_heats(explanation, album))
    whole = list(_whole_frame(explanation, album))
    pixels = album.add("pixels", pictures.patch(worst.tile, patch), "The tile, and a patch of it with its grey values.")
    steps = list(_steps(worst, patch, taught_layers(manifest), album))
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters |= {"figure": figure, "probability": probability, "words": words}
    page = environment.get_template(PAGE).render(
        image=image,
        manifest=manifest,
        explanation=explanation,
        worst=worst,
        heats=heats,
        whole=whole,
        pixels=pixels,
        patch=patch,
        steps=steps,
        flat=_flat(worst, album),
        units=album.add("dense", pictures.units(worst.unit_parts.values), "What each unit of the dense layer adds."),
        balance=balance(worst.map_parts),
        example=_example(),
        shape=_shape,
        number=_number,
    )
    return {picture.name: picture.png for picture in album.taken} | {PAGE: page.encode()}


def _heats(explanation: Explanation, album: Album) -> Iterator[Picture]:
    worst = explanation.worst
    yield album.add("tile", pictures.plain(worst.tile), "The tile as the camera saw it.")
    yield album.add(
        "parts",
        pictures.heat(worst.tile, worst.place_parts, "part of the logit per pixel", signed=True),
        "Exact parts: what each place adds to the logit. Red speaks for a defect, blue against one.",
    )
    yield album.add(
        "grad-cam",
        pictures.heat(worst.tile, worst.grad_cam, "weighted feature maps", signed=False),
        "Grad-CAM: the last feature maps, each weighted with how much the logit hangs on it over the whole tile.",
    )
    yield album.add(
        "occlusion",
        pictures.heat(worst.tile, worst.occlusion, "fall of the logit when covered", signed=True),
        "Occlusion: how far the logit falls when a grey square covers the place. Red speaks for a defect.",
    )


def _whole_frame(explanation: Explanation, album: Album) -> Iterator[Picture]:
    heat = explanation.heat
    if heat is None:
        return
    frame, box = explanation.frame, explanation.box
    yield album.add("frame", pictures.plain(frame, box), "The whole frame; the worst tile is marked.")
    yield album.add(
        "frame-parts",
        pictures.heat(frame, heat.place_parts, "part of the logit per pixel", signed=False, box=box),
        f"Exact parts that speak for a defect, of all {explanation.inspection.scores.size} tiles.",
    )
    yield album.add(
        "frame-grad-cam",
        pictures.heat(frame, heat.grad_cam, "Grad-CAM x defect probability of the tile", signed=False, box=box),
        f"Grad-CAM of all {explanation.inspection.scores.size} tiles, each scaled to its own probability.",
    )
    yield album.add(
        "frame-occlusion",
        pictures.heat(frame, heat.occlusion, "fall of the logit when covered", signed=False, box=box),
        f"Occlusion of the {heat.occluded} most probable tiles.",
    )


def _steps(worst: TileExplanation, patch: Box, taught: Collection[str], album: Album) -> Iterator[Step]:
    """Every layer that keeps places; one place is followed through the first convolution and the pooling after it."""
    spatial = [stage for stage in worst.stages if stage.is_spatial]
    convolution, pool = _followed(spatial)
    product: Product | None = None
    for index, stage in enumerate(spatial):
        previous = spatial[index - 1] if index else None
        shown: list[Picture] = []
        pooling = None
        if previous is not None and index == convolution:
            product = follow_convolution(previous, stage, worst, patch)
            shown.append(_filters(stage, album))
        if previous is not None and product is not None and index == pool:
            pooling = follow_pooling(previous, stage, product)
        if index:
            shown.extend(_maps(stage, stage.name in taught, album))
        yield Step(
            stage=stage,
            inputs=worst.tile.shape if previous is None else previous.output.shape,
            weights=sum(values.size for values in (stage.weights, stage.bias) if values is not None),
            rescaled_only=index == 1 and spatial[0].kind == "Rescaling",
            pictures=tuple(shown),
            product=product if index == convolution else None,
            pooling=pooling,
            taught=stage.name in taught,
        )


def _followed(spatial: list[Stage]) -> tuple[int, int]:
    """Index of the first convolution, and of a pooling before the second one; -1 where there is none."""
    convolutions = [index for index, stage in enumerate(spatial) if stage.kind == "Conv2D"]
    if not convolutions:
        return -1, -1
    first, second = [*convolutions, len(spatial)][:2]
    return first, next((index for index in range(first, second) if "Pooling" in spatial[index].kind), -1)


def _filters(stage: Stage, album: Album) -> Picture:
    """The weights of a convolution, summed over its input channels: what each filter looks for on grey pixels."""
    if stage.weights is None:
        raise ValueError(f"layer {stage.name} is a {stage.kind} without weights")
    filters = stage.weights.sum(axis=2)
    chosen = np.arange(filters.shape[2])[:MAPS_SHOWN]
    annotate = filters.shape[0] <= ANNOTATED_FILTER
    png = pictures.maps(filters[..., chosen], chosen.tolist(), signed=True, annotate=annotate)
    caption = "The filters: what each one looks for. Red weights want bright, blue ones want dark."
    return album.add(f"{stage.name}-filters", png, caption)


def strongest(maps: Activations, most: int, first: bool) -> npt.NDArray[np.intp]:
    """The numbers, in order, of the `most` maps of (height, width, maps) farthest from 0. first: with the first.

    >>> strongest(np.array([[[0.1, -3.0, 2.0, 0.0]]]), 2, first=False).tolist()
    [1, 2]
    >>> strongest(np.array([[[0.1, -3.0, 2.0, 0.0]]]), 2, first=True).tolist()
    [0, 1]
    """
    strength = np.abs(maps).max(axis=(0, 1))
    if first:
        strength[0] = np.inf
    return np.sort(np.argsort(-strength, kind="stable")[:most])


def _maps(stage: Stage, taught: bool, album: Album) -> Iterator[Picture]:
    """The maps of a layer, and those before its ReLU where the layer has one."""
    count = stage.output.shape[2]
    chosen = strongest(stage.output, MAPS_SHOWN, taught)
    which = f"{count} maps" if count <= MAPS_SHOWN else f"The {MAPS_SHOWN} strongest of {count} maps"
    # What goes into a layer that is nothing but an activation was shown as the layer before it.
    if stage.before is not None and stage.kind != "Activation":
        png = pictures.maps(stage.before[..., chosen], chosen.tolist(), signed=True)
        yield album.add(f"{stage.name}-before-{stage.activation}", png, f"{which} before {_activation(stage)}.")
    signed = bool(stage.output.min() < 0)
    png = pictures.maps(stage.output[..., chosen], chosen.tolist(), signed=signed)
    ending = "" if stage.activation is None else f" after {_activation(stage)}"
    yield album.add(stage.name, png, f"{which} of {stage.name}{ending}.")


def _activation(stage: Stage) -> str:
    return "ReLU" if stage.activation == "relu" else str(stage.activation)


def _flat(worst: TileExplanation, album: Album) -> Flat:
    places = max(index for index, stage in enumerate(worst.stages) if stage.is_spatial)
    vector = worst.stages[places + 1]
    png = pictures.strip(vector.output, worst.map_parts)
    caption = "The vector sorted by map, what each of its numbers adds to the logit, and what each map adds."
    behind = next(stage for stage in worst.stages[places:] if stage.kind == "Dense")
    return Flat(
        vector=vector,
        picture=album.add(vector.name, png, caption),
        numbers=telling_numbers(vector, worst.map_parts),
        dense=behind,
        weights_without=worst.tile.size * behind.output.size,
    )


def _example() -> dict[str, list[list[float]]]:
    """The two steps by hand, computed, not copied."""
    patch, weights = CONVOLUTION_EXAMPLE
    answer = convolve(patch, weights)
    products = np.multiply(patch, weights)
    return {
        "patch": np.asarray(patch).tolist(),
        "weights": np.asarray(weights).tolist(),
        "products": products.tolist(),
        "answer": answer.tolist(),
        "after_relu": relu(answer).tolist(),
        "mirrored": convolve(patch, np.negative(weights)).tolist(),
        "map": np.asarray(POOLING_EXAMPLE).tolist(),
        "pooled": max_pool(POOLING_EXAMPLE).tolist(),
    }


def _shape(shape: tuple[int, ...]) -> str:
    """A shape as people write it, with multiplication signs."""
    return " \u00d7 ".join(f"{side:,}" for side in shape)


def _number(value: float, digits: int = 0, signed: bool = False) -> str:
    """A figure with a proper minus sign, and never "-0"."""
    text = f"{value:{'+' if signed else ''}.{digits}f}"
    if not float(text):
        text = text.lstrip("+-")
    return text.replace("-", "\u2212")
