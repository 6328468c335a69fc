"""Where a network's answer comes from: exact parts of the logit, Grad-CAM and occlusion, as NumPy arrays.

What is explained is always the logit for "defect" before calibration: a probability near 0 or 1 hardly
moves whatever is taken away, the logit does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from model.calibration import Logits
from model.engine import network_input
from model.feature_maps import Activations, Reach, Values, is_pooling, reach
from model.image import Frame

if TYPE_CHECKING:
    import keras

# Tiles that pass through the network at a time, as in `model.inspector`.
BATCH_TILES = 32

# An eighth of a tile: 16 px of 128 is about the size of the smaller defects; larger squares blur the map,
# smaller ones take too little away to move the logit.
OCCLUSIONS_A_SIDE = 8


@dataclass(frozen=True)
class Parts:
    """One logit taken apart: `values.sum() + rest == logit`.

    values: float64, the part of each number of a layer's output, in that output's shape, (height, width, maps) or
        (units,). rest: what the biases add after that layer.
    """

    values: Values
    rest: float

    @property
    def logit(self) -> float:
        """The whole."""
        return float(self.values.sum()) + self.rest

    @property
    def of_maps(self) -> Values:
        """Part of each map, float64 of shape (maps,): the sum over its places."""
        return np.asarray(self.values.sum(axis=(0, 1)))


def explained_logit(logits: Logits) -> Values:
    """The number that is explained, float64 (n,), from logits (n, outputs).

    One output: its logit. Several classes: how far the likeliest defect class lies above class 0, ok.

    >>> explained_logit(np.array([[0.5]], np.float32)), explained_logit(np.array([[1, 0, 3]], np.float32))
    (array([0.5]), array([2.]))
    """
    exact = logits.astype(np.float64)
    return exact[:, 0] if exact.shape[1] == 1 else np.asarray(exact[:, 1:].max(axis=1) - exact[:, 0])


def parts(network: keras.Model, index: int, output: Activations) -> Parts:
    """The explained logit taken apart over layer `index`, whose output for one tile is given.

    From there to the logit the network is a sum of products once it is settled which ReLU let its value through:
    logit = sum_j w2_j [z_j > 0] (W1_j x + b1_j) + b2 for one hidden layer. The part of x_i is therefore x_i times
    the logit's derivative by x_i, and the parts and biases add up to the logit exactly. Nothing is approximated as
    long as the layers behind have ReLU or no activation.
    """
    logits, gradients = _gradients(network, index, output[np.newaxis])
    values = output.astype(np.float64) * gradients[0]
    return Parts(values, float(logits[0]) - float(values.sum()))


def last_places(network: keras.Model) -> int:
    """Index of the last layer that puts out maps with places: what is flattened afterwards."""
    return max(index for index, layer in enumerate(network.layers) if len(layer.output.shape) == 4)


def last_features(network: keras.Model) -> int:
    """Index of the last layer with maps that is no pooling: where Grad-CAM looks, behind convolution and ReLU."""
    return max(
        index for index, layer in enumerate(network.layers) if len(layer.output.shape) == 4 and not is_pooling(layer)
    )


def grad_cam(network: keras.Model, tiles: Frame) -> Activations:
    """Gradient-weighted class activation maps of the last convolution (Selvaraju et al. 2017, equations 1 and 2).

    Each feature map is weighted with the mean of the logit's derivative by its cells; the weighted sum is cut off
    at 0 and brought to pixels by where its cells look. tiles: uint8 (n, size, size). Returns float32 (n, size,
    size), >= 0, in the unit of the logit's derivative: compare within one tile, not between tiles.

    One weight a map is what global pooling has. Behind Flatten every place has a weight of its own, their mean
    may be below 0 though the place that counts is far above it, and the map can be 0 everywhere on a clear defect:
    `place_parts` does not take the mean.
    """
    return _from_features(network, tiles, _grad_cam_cells, Reach.spread)


def place_parts(network: keras.Model, tiles: Frame) -> Activations:
    """What each pixel's place adds to the logit at the last convolution: float32 (n, size, size), of either sign.

    The part of a cell (see `parts`, at the layer Grad-CAM looks at, before its pooling) is shared evenly among the
    pixels that the cell sees, so that a tile's map sums to its logit less what the biases behind add. Before that
    sharing it is the map of Draelos and Carin 2020 (HiResCAM). tiles: uint8 (n, size, size).
    """
    return _from_features(network, tiles, _part_cells, Reach.share)


def _grad_cam_cells(maps: Activations, gradients: Values) -> Values:
    weighted = np.einsum("nyxk,nk->nyx", maps, gradients.mean(axis=(1, 2)))
    return np.asarray(np.maximum(weighted, 0))


def _part_cells(maps: Activations, gradients: Values) -> Values:
    return np.asarray(np.einsum("nyxk,nyxk->nyx", maps, gradients))


def _from_features(
    network: keras.Model,
    tiles: Frame,
    cells_of: Callable[[Activations, Values], Values],
    to_axis: Callable[[Reach, int, int], Values],
) -> Activations:
    """Cells (n, height, width) from the last feature maps and their derivatives, batch by batch, as pixels."""
    index = last_features(network)
    rows, columns = reach(network, index)
    size = tiles.shape[1]
    laid = [np.empty((0, size, size), np.float32)]
    for start in range(0, len(tiles), BATCH_TILES):
        maps = network_input(tiles[start : start + BATCH_TILES], network.input_shape[3])
        for layer in network.layers[: index + 1]:
            maps = np.asarray(layer(maps, training=False), np.float32)
        _, gradients = _gradients(network, index, maps)
        cells = cells_of(maps, gradients)
        down, across = to_axis(rows, cells.shape[1], size), to_axis(columns, cells.shape[2], size)
        pixels = np.einsum("py,nyx,qx->npq", down, cells, across, optimize=True)
        laid.append(np.asarray(pixels, np.float32))
    return np.concatenate(laid)


def occlusion(logits_of: Callable[[Frame], Logits], tile: Frame, square: int, stride: int) -> Activations:
    """How far the logit falls when a square is covered (Zeiler and Fergus 2014, section 4.2): float32 (size, size).

    A grey square of the tile's median slides over the tile; a pixel gets the mean fall over the squares that cover
    it. Above 0 speaks for a defect: without that place the network is less sure of one. tile: uint8 (size, size).
    logits_of: uint8 (n, size, size) -> logits (n, outputs). square, stride: px, stride at most the square.
    """
    size = tile.shape[0]
    edges = [*range(0, size - square, stride), max(0, size - square)]
    places = [(slice(y, y + square), slice(x, x + square)) for y in edges for x in edges]
    whole = explained_logit(logits_of(tile[np.newaxis]))[0]
    grey = np.uint8(np.median(tile))
    fall, covered = np.zeros(tile.shape), np.zeros(tile.shape)
    for start in range(0, len(places), BATCH_TILES):
        batch = places[start : start + BATCH_TILES]
        tiles = np.repeat(tile[np.newaxis], len(batch), axis=0)
        for number, place in enumerate(batch):
            tiles[number][place] = grey
        for place, logit in zip(batch, explained_logit(logits_of(tiles)), strict=True):
            fall[place] += whole - logit
            covered[place] += 1
    return np.asarray(fall / covered, np.float32)


def _gradients(network: keras.Model, index: int, output: Activations) -> tuple[Values, Values]:
    """Explained logit (n,) and its derivative by the outputs of layer `index`, in their shape (n, ...)."""
    import tensorflow as tf

    names = [layer.name for layer in network.layers]
    with tf.GradientTape() as tape:
        values = start = tf.convert_to_tensor(output)
        tape.watch(start)
        for layer in network.layers[index + 1 : names.index("logits") + 1]:
            values = layer(values, training=False)
        logit = values[:, 0] if values.shape[1] == 1 else tf.reduce_max(values[:, 1:], axis=1) - values[:, 0]
    gradients = tape.gradient(logit, start)
    return explained_logit(np.asarray(values, np.float32)), np.asarray(gradients, np.float64)
