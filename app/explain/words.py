"""One sentence for every layer: what it is and does here, with its own figures, in words for people."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from model.artifact import Manifest
from model.feature_maps import Stage

Kind = Literal[
    "pixels", "levelling", "rescaling", "convolution", "normalisation", "activation", "pooling", "flatten", "dense",
    "dropout", "probability",
]  # fmt: skip
KINDS: dict[str, Kind] = {
    "UnitNormalization": "levelling",
    "Rescaling": "rescaling",
    "Conv2D": "convolution",
    "BatchNormalization": "normalisation",
    "Activation": "activation",
    "MaxPooling2D": "pooling",
    "AveragePooling2D": "pooling",
    "MaxAndAveragePooling2D": "pooling",
    "GlobalAveragePooling2D": "pooling",
    "Flatten": "flatten",
    "Dense": "dense",
    "Dropout": "dropout",
}
KEPT = {
    "MaxPooling2D": ("the strongest value goes on", "Where exactly it was is given up, that it was there is kept"),
    "AveragePooling2D": ("their mean goes on", "Single strong cells count less, the level of the place is kept"),
    "MaxAndAveragePooling2D": (
        "the strongest value and the mean go on, side by side",
        "So the one strong cell is kept, and how much there was around it",
    ),
}

Shape = tuple[int, ...]


def kind_of(stage: Stage) -> Kind:
    """What a layer is. The last activation is where the probability comes out."""
    return "probability" if stage.name == "probability" else KINDS[stage.kind]


def times(shape: Shape) -> str:
    r"""A shape as people write it.

    >>> ascii(times((3, 3)))
    "'3 \\xd7 3'"
    """
    return " \u00d7 ".join(f"{side:,}" for side in shape)


def of_pixels(size: int, channels: int) -> str:
    """What goes in.

    >>> of_pixels(224, 3).rpartition(", ")[2]
    'the same in each of 3 channels; the network is given nothing else.'
    """
    repeated = f", the same in each of {channels} channels" if channels > 1 else ""
    return (
        f"The tile as numbers: {times((size, size))} grey values from 0, black, to 255, white{repeated}; "
        "the network is given nothing else."
    )


@dataclass(frozen=True)
class Layer:
    """A layer in its place. inputs: the shape that goes in. following: name of the layer behind, "" of the last one."""

    stage: Stage
    inputs: Shape
    manifest: Manifest
    following: str

    @property
    def sentence(self) -> str:
        """What it is and does."""
        return SENTENCES[kind_of(self.stage)](self)


def of_heat(over: str, method: str, covered: int, tiles: int) -> str:
    """What a heat map says."""
    where = "" if over == "tile" else f" Of the frame's {tiles:,} tiles, the {covered} most probable are covered."
    if over == "frame" and covered == tiles:
        where = " All tiles of the frame are covered." if tiles > 1 else ""
    if method == "grad_cam":
        scaled = "" if over == "tile" else ", scaled in each tile to its defect probability"
        return (
            "Grad-CAM: the last feature maps, each weighted with how much the logit hangs on it over the whole tile"
            f"{scaled}. Bright is where the answer comes from.{where}"
        )
    if over == "tile":
        return (
            "Exact parts: what each place adds to the logit. Orange speaks for a defect, blue against one; together "
            "they are the logit, less what the biases add."
        )
    return f"Exact parts: what each place adds to the logit, where that speaks for a defect.{where}"


def _levelling(_layer: Layer) -> str:
    return (
        "Each tile is divided by its own root mean square, so that exposure and lamp do not matter and a faint mark on "
        "dark surface counts as much as one on bright surface."
    )


def _rescaling(layer: Layer) -> str:
    network, output = layer.manifest.network, layer.stage.output
    centred = network.centred or network.levelled
    how = "moved and scaled, so that mid-grey lies near 0" if centred else "divided by 255"
    return (
        f"The same picture in another unit: every value is {how}; this tile runs from {output.min():.2f} to "
        f"{output.max():.2f}. It stands inside the network, so that no client can forget it."
    )


def _convolution(layer: Layer) -> str:
    stage, inputs = layer.stage, layer.inputs
    assert stage.window is not None
    assert stage.weights is not None
    height, width, maps = stage.output.shape
    over = "the tile" if inputs[-1] == 1 else f"all {inputs[-1]} maps at once"
    step = "" if stage.window.stride == (1, 1) else f" in steps of {stage.window.stride[0]}"
    bias = ", plus one bias" if stage.bias is not None else ""
    edge = "; past the edge it reads 0" if stage.window.padded != (0, 0) else ""
    then = f" {_activated(stage)}" if stage.activation else ""
    return (
        f"{maps} filters of {times(stage.weights.shape[:2])} slide over {over}{step}: at each place what lies below is "
        f"multiplied with the filter's weights and added up{bias}{edge}. Each gives one map of "
        f"{times((height, width))}, on which a cell sees {times((stage.field, stage.field))} pixels of the tile.{then}"
    )


def _normalisation(layer: Layer) -> str:
    return (
        f"Each of the {layer.inputs[-1]} maps is moved and stretched by numbers learned in training, so that all of "
        "them come in a similar range; no place is mixed with another."
    )


def _activation(layer: Layer) -> str:
    return f"{_activated(layer.stage)} Only agreement with a filter is passed on."


def _activated(stage: Stage) -> str:
    """An activation in words, with how much of it is silent here."""
    if stage.activation != "relu":
        return f"Each value goes through {stage.activation}."
    silent = float((stage.output == 0).mean())
    return f"ReLU makes everything below 0 zero: {silent:.0%} of the values are silent here."


def _pooling(layer: Layer) -> str:
    stage, inputs = layer.stage, layer.inputs
    if stage.kind == "GlobalAveragePooling2D":
        return (
            f"Each of the {inputs[-1]} maps of {times(inputs[:2])} becomes one number, its mean: what was beside what "
            "is given up here."
        )
    assert stage.window is not None
    kept, why = KEPT[stage.kind]
    return (
        f"Of each square of {times(stage.window.size)} cells {kept}: maps of {times(inputs[:2])} become maps of "
        f"{times(stage.output.shape[:2])}. {why}; a cell now sees {times((stage.field, stage.field))} pixels of the "
        "tile."
    )


def _flatten(layer: Layer) -> str:
    return (
        f"All {layer.inputs[-1]} maps of {times(layer.inputs[:2])} are laid into one row of "
        f"{layer.stage.output.size:,} numbers, place by place, the maps of one place together; nothing is computed, "
        "only what was beside what is given up."
    )


def _dense(layer: Layer) -> str:
    count, outputs = math.prod(layer.inputs), layer.stage.output.size
    if layer.following != "probability":
        then = f" {_activated(layer.stage)}" if layer.stage.activation else ""
        return (
            f"{outputs:,} units, each with a weight for every one of the {count:,} numbers and a bias: each adds up "
            f"the products, and so judges the whole tile at once.{then}"
        )
    if outputs == 1:
        return f"The {count:,} numbers are weighed once more and added up with a bias: one number, the logit."
    names = ", ".join(layer.manifest.classes)
    return f"The {count:,} numbers are weighed and added up with a bias once for each class: {names}."


def _dropout(_layer: Layer) -> str:
    return "Active in training only, when it leaves out numbers at random; here every number passes unchanged."


def _probability(layer: Layer) -> str:
    kind, outputs = layer.manifest.calibrator.kind, layer.stage.output.size
    after = (
        "no calibrator was fitted, so that is the probability"
        if kind == "identity"
        else f"the calibrator ({kind}), fitted on other surfaces, makes of the logit a probability that comes true "
        "as often as it says"
    )
    if outputs == 1:
        return f"The sigmoid turns the logit into a number between 0 and 1; {after}."
    return (
        f"The softmax turns the {outputs} logits into shares of 1; all that is not {layer.manifest.classes[0]} is a "
        f"defect, and {after}."
    )


SENTENCES: dict[Kind, Callable[[Layer], str]] = {
    "levelling": _levelling,
    "rescaling": _rescaling,
    "convolution": _convolution,
    "normalisation": _normalisation,
    "activation": _activation,
    "pooling": _pooling,
    "flatten": _flatten,
    "dense": _dense,
    "dropout": _dropout,
    "probability": _probability,
}
