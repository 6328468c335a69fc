"""What every layer of the network computes for one tile, and the same arithmetic by hand.

`trace` runs the network layer by layer and keeps each layer's own output. `convolve`, `relu`, `max_pool` and
`flat_position` are the four steps in NumPy, small enough to follow with a pencil; the tests hold the network to them.
Keras is imported only by what is handed in: a network that is loaded already.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from model.engine import network_input
from model.image import Frame

if TYPE_CHECKING:
    import keras

Values = npt.NDArray[np.float64]
Activations = npt.NDArray[np.float32]


def convolve(image: npt.ArrayLike, weights: npt.ArrayLike) -> Values:
    """Slide a filter over a grey image, without padding: (height, width) -> (height - k + 1, width - k + 1).

    At every place the pixels below the filter are multiplied with its weights and summed. As in every network
    library the filter is not mirrored first, which mathematicians would call a correlation.

    The filter answers to edges along y: its left column minus its right one. This patch brightens to the right,
    (34 - 39) + (40 - 48) + (42 - 52) = -23:

    >>> patch = [[34, 36, 39], [40, 45, 48], [42, 50, 52]]
    >>> convolve(patch, [[1, 0, -1], [1, 0, -1], [1, 0, -1]]).tolist()
    [[-23.0]]

    ReLU drops an answer below 0; the filter of opposite sign is the one that sees this edge:

    >>> relu(convolve(patch, [[1, 0, -1]] * 3)).tolist(), relu(convolve(patch, [[-1, 0, 1]] * 3)).tolist()
    ([[0.0]], [[23.0]])
    """
    kernel = np.asarray(weights, np.float64)
    windows = np.lib.stride_tricks.sliding_window_view(np.asarray(image, np.float64), kernel.shape)
    return np.asarray(np.einsum("yxij,ij->yx", windows, kernel))


def relu(values: npt.ArrayLike) -> Values:
    """Keep what is above 0, make the rest 0: only agreement with a filter is passed on.

    >>> relu([-5, 0, 7]).tolist()
    [0.0, 0.0, 7.0]
    """
    return np.maximum(np.asarray(values, np.float64), 0)


def max_pool(image: npt.ArrayLike, size: int = 2) -> Values:
    """The largest value of each `size` x `size` square; rows and columns that fill no square are left out.

    >>> max_pool([[3, 5, 1, 2], [4, 8, 0, 1], [9, 7, 6, 2], [3, 4, 2, 8]]).tolist()
    [[8.0, 2.0], [9.0, 8.0]]
    """
    whole = np.asarray(image, np.float64)
    height, width = whole.shape[0] // size, whole.shape[1] // size
    squares = whole[: height * size, : width * size].reshape(height, size, width, size)
    return np.asarray(squares.max(axis=(1, 3)))


def flat_position(y: int, x: int, number: int, width: int, maps: int) -> int:
    """Where flattening puts cell (y, x) of map `number`, all from 0: place by place, the maps of one place together.

    With 3 maps of 2 x 2 cells, place (0, 0) fills 0, 1, 2 and place (0, 1) fills 3, 4, 5:

    >>> flat_position(0, 1, number=0, width=2, maps=3), flat_position(1, 1, number=2, width=2, maps=3)
    (3, 11)
    """
    return (y * width + x) * maps + number


@dataclass(frozen=True)
class Reach:
    """Which pixels the cells of a map look at, along one axis, in px of the tile.

    first: centre of cell 0. step: from one cell to the next. field: how many pixels one cell sees.

    >>> Reach().through(window=3, stride=1).through(window=2, stride=2)
    Reach(first=1.5, step=2.0, field=4.0)
    """

    first: float = 0.0
    step: float = 1.0
    field: float = 1.0

    def through(self, window: int, stride: int, padding: int = 0) -> Self:
        """The reach after a layer with that window and stride, and that many padded cells before the first."""
        return type(self)(
            first=self.first + ((window - 1) / 2 - padding) * self.step,
            step=self.step * stride,
            field=self.field + (window - 1) * self.step,
        )

    def spread(self, cells: int, pixels: int) -> Values:
        """Matrix (pixels, cells) that interpolates cell values linearly at every pixel, constant past the outer cells.

        >>> Reach(first=0.5, step=2.0).spread(cells=2, pixels=4) @ [0, 8]
        array([0., 2., 6., 8.])
        """
        centres = self.first + self.step * np.arange(cells)
        return np.stack([np.interp(np.arange(pixels), centres, one) for one in np.eye(cells)], axis=1)

    def share(self, cells: int, pixels: int) -> Values:
        """Matrix (pixels, cells) that shares each cell's value evenly among the pixels it sees: sums are kept.

        >>> Reach(first=0.5, step=2.0, field=2.0).share(cells=2, pixels=4) @ [4, 8]
        array([2., 2., 4., 4.])
        """
        centres = self.first + self.step * np.arange(cells)
        seen = np.abs(np.arange(pixels)[:, np.newaxis] - centres) < self.field / 2
        return np.asarray(seen / np.maximum(seen.sum(axis=0), 1))


@dataclass(frozen=True)
class Window:
    """The window a convolution or pooling slides: its size, its stride and the cells padded before, each (y, x)."""

    size: tuple[int, int]
    stride: tuple[int, int]
    padded: tuple[int, int]

    def first(self, y: int, x: int) -> tuple[int, int]:
        """Where the window of output cell (y, x) begins on the input; below 0 it begins in the padding.

        >>> Window(size=(3, 3), stride=(2, 2), padded=(1, 1)).first(0, 4)
        (-1, 7)
        """
        return y * self.stride[0] - self.padded[0], x * self.stride[1] - self.padded[1]


@dataclass(frozen=True)
class Stage:
    """One layer and what it made of the tile.

    kind: the Keras class, such as Conv2D. activation: its name, or None where the layer has none.
    before: the values before that activation, None without one. output: (height, width, maps), or (units,).
    weights: (height, width, inputs, maps) of a convolution, (inputs, units) of a dense layer, else None.
    bias: (maps,) or (units,), None where there is none. window: of a convolution or pooling, else None.
    field: px of the tile that one cell sees along y; 0 once flattened.
    """

    name: str
    kind: str
    output: Activations
    activation: str | None = None
    before: Activations | None = None
    weights: Activations | None = None
    bias: Activations | None = None
    window: Window | None = None
    field: int = 0

    @property
    def is_spatial(self) -> bool:
        """Whether the output still has places: (height, width, maps)."""
        return self.output.ndim == 3


def trace(network: keras.Model, tile: Frame) -> tuple[Stage, ...]:
    """Every layer's output for one uint8 tile of shape (size, size), in order; the last is the probability."""
    values = network_input(tile[np.newaxis], network.input_shape[3])
    stages = []
    for index, layer in enumerate(network.layers):
        activation, before = _before_activation(layer, values)
        values = np.asarray(layer(values, training=False), np.float32)
        weights, bias = _weights(layer)
        rows, _ = reach(network, index)
        stages.append(
            Stage(
                name=layer.name,
                kind=_kind(layer),
                output=values[0],
                activation=activation,
                before=before,
                weights=weights,
                bias=bias,
                window=_window(layer),
                field=round(rows.field) if values.ndim == 4 else 0,
            )
        )
    return tuple(stages)


def reach(network: keras.Model, index: int) -> tuple[Reach, Reach]:
    """Reach along y and along x of the cells that layer `index` puts out."""
    rows, columns = Reach(), Reach()
    for layer in network.layers[: index + 1]:
        if len(layer.output.shape) == 4:
            rows, columns = (_through(reached, layer, axis) for axis, reached in enumerate((rows, columns)))
    return rows, columns


def _through(reached: Reach, layer: keras.Layer, axis: int) -> Reach:
    window = _window(layer)
    if window is not None:
        return reached.through(window.size[axis], window.stride[axis], window.padded[axis])
    # Layers without a window keep the places; one that resizes them spreads its cells evenly.
    before, after = layer.input.shape[1 + axis], layer.output.shape[1 + axis]
    if before == after:
        return reached
    step = reached.step * before / after
    return Reach(reached.first + (step - reached.step) / 2, step, reached.field)


def is_pooling(layer: keras.Layer) -> bool:
    """Whether a layer pools maps; two poolings side by side are one layer."""
    return hasattr(_alike(layer), "pool_size")


def _alike(layer: keras.Layer) -> keras.Layer:
    """The layer itself, or the first of several side by side, whose windows are the same."""
    return layer.layers[1] if hasattr(layer, "layers") else layer


def _kind(layer: keras.Layer) -> str:
    return "MaxAndAveragePooling2D" if hasattr(layer, "layers") else type(layer).__name__


def _window(layer: keras.Layer) -> Window | None:
    """By its attributes, so that every kind of convolution and pooling is read alike."""
    layer = _alike(layer)
    size = getattr(layer, "kernel_size", None) or getattr(layer, "pool_size", None)
    if size is None or len(size) != 2:
        return None
    dilation = getattr(layer, "dilation_rate", (1, 1))
    size = tuple((side - 1) * apart + 1 for side, apart in zip(size, dilation, strict=True))
    padded = (0, 0)
    if layer.padding == "same":
        inputs, outputs = layer.input.shape[1:3], layer.output.shape[1:3]
        sides = zip(inputs, outputs, size, layer.strides, strict=True)
        padded = tuple(max(0, (after - 1) * stride + side - before) // 2 for before, after, side, stride in sides)
    return Window(size, tuple(layer.strides), padded)


def _before_activation(layer: keras.Layer, values: Activations) -> tuple[str | None, Activations | None]:
    """Name of the layer's activation and what goes into it: a twin of the layer that has none is asked."""
    config = layer.get_config()
    activation = config.get("activation", "linear")
    if activation == "linear":
        return None, None
    twin: Any = type(layer).from_config({**config, "activation": "linear"})
    twin.build(values.shape)
    twin.set_weights(layer.get_weights())
    return activation, np.asarray(twin(values), np.float32)[0]


def _weights(layer: keras.Layer) -> tuple[Activations | None, Activations | None]:
    kernel, bias = getattr(layer, "kernel", None), getattr(layer, "bias", None)
    return (
        None if kernel is None else np.asarray(kernel, np.float32),
        None if bias is None else np.asarray(bias, np.float32),
    )
