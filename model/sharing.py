"""Which networks can share convolutions between the tiles of a frame, and what has to be known of them for it.

The first half of such a network, its *trunk*, runs once over a frame; every tile then has a window of the trunk's map.
A window holds what the trunk makes of its tile alone

- if no layer of the trunk is padded: at a padded border a tile sees zeros, and the frame what lies beyond;
- if no layer of the trunk takes in the whole tile, as levelling does; and
- if the tile begins a multiple of the trunk's total stride from where the trunk began: poolings then divide it alike.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

from model.network import NetworkConfig

FLOAT_BYTES = 4


@dataclass(frozen=True)
class Sharing:
    """What has to be known of a network to share its convolutions.

    tile: px a side. stride: px of the frame from one place of the trunk's map to the next. field: px a side that one
    place sees. window: places a side that a tile has. depth: numbers at each place. bytes_per_pixel: of the largest
    map on the way, for each pixel of the frame.
    """

    tile: int
    stride: int
    field: int
    window: int
    depth: int
    bytes_per_pixel: float

    @classmethod
    def of(cls, network: NetworkConfig) -> Self:
        """Of a network to which there is no `obstacle`.

        >>> from model.network import PRESETS
        >>> sharing = Sharing.of(PRESETS["steel-128"])
        >>> sharing.stride, sharing.field, sharing.window, sharing.depth
        (4, 10, 30, 32)
        """
        steps, window = _trunk(network)
        stride, field = 1, 1
        depth: int = network.channels
        largest = float(depth)
        for step in steps:
            field += (step.size - 1) * stride
            stride *= step.stride
            depth = step.depth
            largest = max(largest, depth / stride**2)
        return cls(network.input_size, stride, field, window, depth, largest * FLOAT_BYTES)

    def places(self, first: int, last: int) -> int:
        """How many places of the map the tiles from px `first` to px `last` need along one axis."""
        return (last - first) // self.stride + self.window

    def pixels(self, places: int) -> int:
        """How many pixels those places are made of.

        >>> Sharing(tile=128, stride=4, field=10, window=30, depth=32, bytes_per_pixel=64).pixels(30)
        126
        """
        return (places - 1) * self.stride + self.field


@dataclass(frozen=True)
class _Step:
    """One convolution or pooling of the trunk: its window and stride in places, and the depth of what it makes."""

    size: int
    stride: int
    depth: int


def obstacle(network: NetworkConfig, stride: int) -> str | None:
    """Why tiles `stride` px apart cannot share this network's convolutions; None if they can.

    >>> from model.network import PRESETS
    >>> obstacle(PRESETS["steel-128"], 64) is None
    True
    >>> obstacle(PRESETS["steel-128"], 42)
    'a stride of 42 px is no multiple of the 4 px in which the network walks over a frame; the nearest are 40 and 44'
    >>> obstacle(PRESETS["steel-128-local"], 64)
    'convolution_1 is padded: at the edge of a tile it sees padding, and in a frame the pixels beyond'
    """
    if network.levelled:
        return "level divides a tile by its own root mean square: two tiles see the same pixel differently"
    for number, block in enumerate(network.blocks, start=1):
        if block.padding == "same" and block.kernel > 1:
            return (
                f"convolution_{number} is padded: at the edge of a tile it sees padding, and in a frame the pixels "
                "beyond"
            )
    total = Sharing.of(network).stride
    if stride % total == 0:
        return None
    below, above = stride // total * total, (stride // total + 1) * total
    nearest = f"the nearest are {below} and {above}" if below else f"the nearest is {above}"
    return (
        f"a stride of {stride} px is no multiple of the {total} px in which the network walks over a frame; {nearest}"
    )


def runs(positions: Sequence[int], tile: int, stride: int, longest: int) -> Iterator[slice]:
    """Cut positions into runs whose members are a multiple of `stride` apart and whose tiles span at most `longest` px.

    >>> list(runs((0, 64, 128, 171), tile=128, stride=4, longest=1000))
    [slice(0, 3, None), slice(3, 4, None)]
    >>> list(runs((0, 64, 128, 192), tile=128, stride=4, longest=200))
    [slice(0, 2, None), slice(2, 4, None)]
    """
    first = 0
    for number, position in enumerate(positions):
        begun = positions[first]
        if (position - begun) % stride or (position + tile - begun > longest and number > first):
            yield slice(first, number)
            first = number
    yield slice(first, len(positions))


def _trunk(network: NetworkConfig) -> tuple[list[_Step], int]:
    """The steps that run over the frame, and how many places a side they make of a tile.

    A last pooling that leaves one place of a tile belongs to the head, as in `model.network.trunk_and_head`.
    """
    steps: list[_Step] = []
    depth: int = network.channels
    for block in network.blocks:
        if block.pool_before > 1:
            depth = block.pooled(depth)
            steps.append(_Step(block.pool_before, block.pool_before, depth))
        depth = block.filters
        steps.append(_Step(block.kernel, block.stride, depth))
        if block.pool_after > 1:
            depth = block.pooled(depth)
            steps.append(_Step(block.pool_after, block.pool_after, depth))
    sides = [network.input_size]
    for step in steps:
        sides.append((sides[-1] - step.size) // step.stride + 1)
    if sides[-1] == 1 and network.blocks[-1].pool_after > 1:
        del steps[-1], sides[-1]
    return steps, sides[-1]
