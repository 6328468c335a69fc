"""NetworkConfig -> keras.Model, and the named presets.

Every network takes raw grey 0-255 and rescales it in its first layer, so that each exported format
computes the same thing. Its last two layers are `logits` (a Dense without activation) and `probability`.
Keras is imported only where a model is built: serving reads configurations without it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from model.layers import LARGEST_NUMBER, MAX_CONFIG_BYTES, MAX_WEIGHTS_BYTES

if TYPE_CHECKING:
    import keras

# Factor and offset of the first layer; of a tile that is levelled first, 1 is its own mean.
RESCALE, CENTRED, LEVELLED = (1 / 255, 0.0), (1 / 64, -2.0), (2.0, -2.0)
# Of the means and variances that normalisation keeps for scoring. They begin at 0 and 1; grey of little contrast has
# variances of 0.004, and with Keras's 0.99 a fit of 400 steps still holds 0.018 of that 1: it scores by chance.
STATISTICS_MOMENTUM = 0.95
# Numbers of four bytes that a published file has room for beside everything else that it holds.
MAX_WEIGHTS = (MAX_WEIGHTS_BYTES - MAX_CONFIG_BYTES) // 4


class Block(BaseModel):
    """One convolution with ReLU, and pooling before it, after it, both or neither (1 means none).

    pooling: "max_and_average" keeps the strongest and the mean value of each window side by side, twice as many maps.
    normalize: batch normalisation between convolution and ReLU, in place of the convolution's bias.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    filters: int = Field(ge=1, le=4096)
    kernel: int = Field(default=3, ge=1, le=63)
    stride: int = Field(default=1, ge=1, le=64)
    padding: Literal["valid", "same"] = "valid"
    pooling: Literal["max", "average", "max_and_average"] = "max"
    pool_before: int = Field(default=1, ge=1, le=64)
    pool_after: int = Field(default=2, ge=1, le=64)
    normalize: bool = False

    def pooled(self, maps: int) -> int:
        """How many maps its pooling makes of so many."""
        return 2 * maps if self.pooling == "max_and_average" else maps


class Layer(NamedTuple):
    """Name and output shape, without the batch dimension, of one layer."""

    name: str
    shape: tuple[int, ...]


class NetworkConfig(BaseModel):
    """A Conv-Pool-...-Flatten-Dense classifier.

    centred: rescale grey 0-255 to -2 to 2 instead of 0 to 1, so that a padded convolution is padded with mid-grey;
    padded with black, the border of every tile looks like an edge.
    levelled: divide a tile by its own root mean square first, so that exposure and lamp do not matter, and what is
    faint on dark surface counts as much as on bright. It is centred, too: a flat tile is 0 all over.
    outputs: 1 is one sigmoid, "defect"; n > 1 is a softmax over n classes.
    global_pooling: average each feature map to one number instead of flattening it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    input_size: int = Field(default=128, ge=1, le=4096)
    channels: Literal[1, 3] = 1
    centred: bool = False
    levelled: bool = False
    blocks: tuple[Block, ...] = Field(min_length=1)
    dense_units: int = Field(default=64, ge=1, le=65536)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    outputs: int = Field(default=1, ge=1, le=1000)
    global_pooling: bool = False

    @model_validator(mode="after")
    def _no_size_vanishes(self) -> Self:
        self.layers()
        return self

    @model_validator(mode="after")
    def _a_version_can_be_loaded(self) -> Self:
        """Said of the network here and not, after hours of training, of its file: `model.layers` reads no larger."""
        features, weights = self._features(), self.weights()
        mend = "use larger strides or pools, more blocks, fewer dense_units, or global_pooling"
        if features > LARGEST_NUMBER:
            raise ValueError(f"layer flatten makes {features:,} numbers of a tile, at most {LARGEST_NUMBER:,}; {mend}")
        if weights > MAX_WEIGHTS:
            raise ValueError(
                f"the network has {weights:,} weights ({4 * weights / 1e6:,.0f} MB), and a version at most "
                f"{MAX_WEIGHTS:,}; its dense layer is given {features:,} numbers of a tile: {mend}"
            )
        return self

    def layers(self) -> list[Layer]:
        """Every layer after the input with its output shape, computed without Keras.

        Raises ValueError naming the layer at which height and width would vanish.
        """
        whole = (self.input_size, self.input_size, self.channels)
        layers = [Layer("level", whole)] if self.levelled else []
        layers.append(Layer("rescale", whole))
        side: int = self.input_size
        depth: int = self.channels
        for number, block in enumerate(self.blocks, start=1):
            if block.pool_before > 1:
                side = _positive(side // block.pool_before, f"pool_before_{number}", side, block.pool_before)
                depth = block.pooled(depth)
                layers.append(Layer(f"pool_before_{number}", (side, side, depth)))
            side = _positive(_convolved(side, block), f"convolution_{number}", side, block.kernel)
            depth = block.filters
            layers.append(Layer(f"convolution_{number}", (side, side, depth)))
            if block.normalize:
                layers += [Layer(f"{name}_{number}", (side, side, depth)) for name in ("normalization", "relu")]
            if block.pool_after > 1:
                side = _positive(side // block.pool_after, f"pool_{number}", side, block.pool_after)
                depth = block.pooled(depth)
                layers.append(Layer(f"pool_{number}", (side, side, depth)))
        layers.append(
            Layer("global_average", (depth,)) if self.global_pooling else Layer("flatten", (side * side * depth,))
        )
        layers.append(Layer("dense", (self.dense_units,)))
        if self.dropout:
            layers.append(Layer("dropout", (self.dense_units,)))
        return [*layers, Layer("logits", (self.outputs,)), Layer("probability", (self.outputs,))]

    def multiply_adds(self) -> int:
        """Multiply-adds of one forward pass over one tile: convolutions and dense layers."""
        shapes = {layer.name: layer.shape for layer in self.layers()}
        convolutions = sum(
            math.prod(shapes[f"convolution_{number}"]) * block.kernel**2 * depth
            for number, (block, depth) in enumerate(self._given(), start=1)
        )
        return convolutions + self._features() * self.dense_units + self.dense_units * self.outputs

    def weights(self) -> int:
        """Numbers that a version keeps of it: kernels, biases, and the four that normalisation has for each map."""
        convolutions = sum(
            block.filters * (block.kernel**2 * depth + (4 if block.normalize else 1)) for block, depth in self._given()
        )
        return convolutions + (self._features() + 1) * self.dense_units + (self.dense_units + 1) * self.outputs

    def _given(self) -> Iterator[tuple[Block, int]]:
        """Each block with how many maps its convolution is given."""
        depth: int = self.channels
        for block in self.blocks:
            yield block, block.pooled(depth) if block.pool_before > 1 else depth
            depth = block.pooled(block.filters) if block.pool_after > 1 else block.filters

    def _features(self) -> int:
        """How many numbers the dense layer is given."""
        return next(layer.shape[0] for layer in self.layers() if layer.name in ("flatten", "global_average"))


def build(config: NetworkConfig, inner: str | None = None) -> keras.Model:
    """The network with fresh weights: float32 (n, size, size, channels) 0-255 -> probability (n, outputs).

    inner: Keras's name of a precision for the convolutions behind the first, where nearly all arithmetic is. The first
    sees greys whose faint differences half precision would round away; sums over places and tiles need all bits.
    """
    import keras
    from keras import layers

    shapes = {layer.name: layer.shape for layer in config.layers()}
    stack = [
        layers.Input((config.input_size, config.input_size, config.channels), name="image"),
        *_first(config),
    ]
    for number, block in enumerate(config.blocks, start=1):
        if block.pool_before > 1:
            stack.append(_pool(block, block.pool_before, shapes[stack[-1].name], f"pool_before_{number}"))
        stack.append(
            layers.Conv2D(
                block.filters,
                block.kernel,
                strides=block.stride,
                padding=block.padding,
                activation=None if block.normalize else "relu",
                use_bias=not block.normalize,
                dtype=inner if number > 1 else None,
                name=f"convolution_{number}",
            )
        )
        if block.normalize:
            stack.append(layers.BatchNormalization(momentum=STATISTICS_MOMENTUM, name=f"normalization_{number}"))
            stack.append(layers.Activation("relu", name=f"relu_{number}"))
        if block.pool_after > 1:
            stack.append(_pool(block, block.pool_after, shapes[stack[-1].name], f"pool_{number}"))
    stack.append(
        layers.GlobalAveragePooling2D(name="global_average")
        if config.global_pooling
        else layers.Flatten(name="flatten")
    )
    stack.append(layers.Dense(config.dense_units, activation="relu", name="dense"))
    if config.dropout:
        stack.append(layers.Dropout(config.dropout, name="dropout"))
    # float32 also under mixed precision: a half-precision probability has steps of 0.0005 near 1.
    stack.append(layers.Dense(config.outputs, dtype="float32", name="logits"))
    final = "sigmoid" if config.outputs == 1 else "softmax"
    stack.append(layers.Activation(final, dtype="float32", name="probability"))
    return keras.Sequential(stack, name="steelsight")


def _first(config: NetworkConfig) -> list[keras.Layer]:
    """The layers that take raw grey to the range that the first convolution is given."""
    from keras import layers

    if not config.levelled:
        return [layers.Rescaling(*(CENTRED if config.centred else RESCALE), name="rescale")]
    # Divided by the root of the sum of squares, which is the root mean square times that of the number of pixels.
    factor, offset = LEVELLED
    pixels = config.input_size**2 * config.channels
    return [
        layers.UnitNormalization(axis=(1, 2, 3), name="level"),
        layers.Rescaling(factor * math.sqrt(pixels), offset, name="rescale"),
    ]


def _pool(block: Block, window: int, shape: tuple[int, ...], name: str) -> keras.Layer:
    """The pooling layer of a block over maps of that shape (height, width, maps)."""
    import keras
    from keras import layers

    if block.pooling == "max":
        return layers.MaxPooling2D(window, name=name)
    if block.pooling == "average":
        return layers.AveragePooling2D(window, name=name)
    # Made of Keras's own layers, so that the file can be opened without this project.
    maps = layers.Input(shape, name="maps")
    both = [layers.MaxPooling2D(window, name="max")(maps), layers.AveragePooling2D(window, name="average")(maps)]
    return keras.Model(maps, layers.Concatenate(name="side_by_side")(both), name=name)


def logits_model(model: keras.Model) -> keras.Model:
    """The same network, sharing weights, that ends before the sigmoid or softmax."""
    import keras

    return keras.Model(model.inputs[0], model.get_layer("logits").output, name="steelsight_logits")


def trunk_and_head(model: keras.Model) -> tuple[keras.Model, keras.Model] | None:
    """The network in two halves that share its weights; None where a convolution is padded or each tile is levelled.

    trunk: float32 (1, height, width, channels) 0-255 of any size -> its map. head: windows of that map, each what the
    trunk makes of one tile, (n, h, w, depth) -> logits. It starts at the layer that takes in the whole map.
    """
    import keras
    from keras import layers

    names = [layer.name for layer in model.layers]
    if "level" in names or any(_pads(layer) for layer in model.layers):
        return None
    start = next(names.index(name) for name in ("flatten", "global_average") if name in names)
    # A pool that leaves one place of the whole map belongs to the tile: its windows begin wherever a tile does.
    if names[start - 1].startswith("pool_") and tuple(model.layers[start - 1].output.shape[1:3]) == (1, 1):
        start -= 1
    frame = layers.Input((None, None, model.input_shape[3]), name="frame")
    maps = frame
    for layer in model.layers[:start]:
        maps = _on_any_size(layer, maps)
    windows = layers.Input(model.layers[start].input.shape[1:], name="windows")
    logits = windows
    for layer in model.layers[start : names.index("logits") + 1]:
        logits = layer(logits)
    return keras.Model(frame, maps, name="steelsight_trunk"), keras.Model(windows, logits, name="steelsight_head")


def _pads(layer: keras.Layer) -> bool:
    return getattr(layer, "padding", "valid") == "same" and max(getattr(layer, "kernel_size", (1,))) > 1


def _on_any_size(layer: keras.Layer, maps: Any) -> Any:
    """The layer on maps of any height and width; the two poolings side by side are made for one size only."""
    import keras
    from keras import layers

    if not isinstance(layer, keras.Model):
        return layer(maps)
    # Made anew: every pair has the same names inside, and a model must not have a name twice.
    window = layer.get_layer("max").pool_size
    both = [
        layers.MaxPooling2D(window, name=f"{layer.name}_max")(maps),
        layers.AveragePooling2D(window, name=f"{layer.name}_average")(maps),
    ]
    return layers.Concatenate(name=f"{layer.name}_side_by_side")(both)


def _convolved(side: int, block: Block) -> int:
    if block.padding == "same":
        return math.ceil(side / block.stride)
    return (side - block.kernel) // block.stride + 1


def _positive(side: int, layer: str, before: int, window: int) -> int:
    if side < 1:
        raise ValueError(
            f"layer {layer}: nothing is left of {before} x {before} px under a window of {window} x {window}; "
            "use a larger input, a smaller kernel or pool, or fewer blocks"
        )
    return side


STEEL_BLOCKS = (Block(filters=16), Block(filters=32))
# Large kernels see a whole small defect at once, and the last pool takes in the whole map: what a defect looks like is
# learned once and not for every place of the tile. Its mean beside its maximum lets every place learn, not only the
# strongest. docs/log.md has the figures.
LOCAL_128_BLOCKS = (
    Block(filters=32, kernel=7, stride=2, padding="same", normalize=True),
    Block(filters=64, kernel=7, padding="same", pooling="max_and_average", pool_after=32, normalize=True),
)
LOCAL_64_BLOCKS = (
    Block(filters=48, kernel=7, stride=2, padding="same", normalize=True),
    Block(filters=96, kernel=7, padding="same", pooling="max_and_average", pool_after=16, normalize=True),
)
# The same without padding, so that whole frames share their convolutions (model.sliding): less accurate, and faster.
LINE_128_BLOCKS = (
    Block(filters=32, kernel=7, stride=2, normalize=True),
    Block(filters=64, kernel=9, pooling="max_and_average", pool_after=22, normalize=True),
)
LINE_64_BLOCKS = (
    Block(filters=48, kernel=7, stride=2, normalize=True),
    Block(filters=96, kernel=7, pooling="max_and_average", pool_after=8, normalize=True),
)


def _deeper(first_pool: int) -> tuple[Block, ...]:
    """Seven convolutions for a last map of 8 x 8: input sizes of 64 and 128 differ in the first pool only.

    The first convolution looks at every pixel: with a stride it saw less of a hair crack. docs/log.md has the figures.
    """
    first = Block(filters=32, kernel=5, padding="same", pool_after=first_pool, normalize=True)
    blocks = [first]
    for filters in (64, 128):
        inner = Block(filters=filters, padding="same", pool_after=1, normalize=True)
        blocks += [inner, inner.model_copy(update={"pool_after": 2})]
    inner = Block(filters=128, padding="same", pool_after=1, normalize=True)
    return (*blocks, inner, inner.model_copy(update={"pooling": "max_and_average", "pool_after": 8}))


PRESETS: dict[str, NetworkConfig] = {
    "steel-128": NetworkConfig(input_size=128, blocks=STEEL_BLOCKS),
    "steel-64": NetworkConfig(input_size=64, blocks=STEEL_BLOCKS),
    "steel-128-deep": NetworkConfig(input_size=128, blocks=(*STEEL_BLOCKS, Block(filters=64))),
    "steel-128-local": NetworkConfig(input_size=128, blocks=LOCAL_128_BLOCKS, dropout=0.3, centred=True),
    "steel-64-local": NetworkConfig(input_size=64, blocks=LOCAL_64_BLOCKS, dropout=0.3, levelled=True),
    "steel-128-line": NetworkConfig(input_size=128, blocks=LINE_128_BLOCKS, dropout=0.3, centred=True),
    "steel-64-line": NetworkConfig(input_size=64, blocks=LINE_64_BLOCKS, dropout=0.3, centred=True),
    "steel-128-deeper": NetworkConfig(input_size=128, blocks=_deeper(4), dropout=0.3, centred=True),
    "steel-64-deeper": NetworkConfig(input_size=64, blocks=_deeper(2), dropout=0.3, levelled=True),
    "rgb-224": NetworkConfig(
        input_size=224,
        channels=3,
        blocks=(Block(filters=32, padding="same"), Block(filters=64, padding="same")),
        dense_units=128,
        outputs=10,
    ),
    "pool-first-128": NetworkConfig(
        input_size=128,
        channels=3,
        blocks=(Block(filters=12, stride=2, padding="same", pool_before=2, pool_after=2),),
    ),
}
DEFAULT_PRESET = "steel-128"
