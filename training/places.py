"""Masks taught place by place: where on a tile the defect is, which the tile's label does not say.

A network that is told labels alone may learn a surface by heart in place of the defect on it. So a map of the network
is made to answer at each of its places whether there is a defect: the first map of a block, before ReLU, is read as
that place's logit. Nothing is added to the network, and what is served computes as before. docs/log.md has the figures.
"""

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from model.artifact import Manifest
from model.feature_maps import reach
from model.network import NetworkConfig, build
from model.tiling import Fit
from training.config import Experiment
from training.dataset import Mask

if TYPE_CHECKING:
    import keras

Answers = npt.NDArray[np.float32]
Loss = Callable[[Any, Any], Any]

DEFECT, OK, UNCLEAR = 1.0, 0.0, -1.0
# Maps that are taught: the last ones, fine enough to tell a crack's place and deep enough to know a crack.
MOST_MAPS = 2
# A place shows a defect where so much of it is masked, or as many pixels as make a tile a defect.
LEAST_MASKED = 1 / 8


@dataclass(frozen=True)
class TaughtMap:
    """Block `number`'s first map. rows: of the tile's rows, those in the middle of what a place sees, float32 (side,
    input_size), 1 or 0; its columns are the same.
    """

    number: int
    rows: Answers


@dataclass(frozen=True)
class Places:
    """The maps of one network that are taught, how much each counts, and from how many masked pixels on a tile is a
    defect.
    """

    maps: Sequence[TaughtMap]
    weight: float
    min_defect_pixels: int

    @classmethod
    def of(cls, experiment: Experiment, network: NetworkConfig, fit: Fit) -> Self | None:
        """What an experiment teaches; None where it teaches labels alone, or can teach nothing else."""
        if not experiment.mask_weight or _hindrance(network, fit):
            return None
        return cls(taught_maps(network), experiment.mask_weight, experiment.min_defect_pixels)

    @property
    def count(self) -> int:
        """How many places there are."""
        return sum(len(each.rows) ** 2 for each in self.maps)

    def targets(self, masks: Mask, defect: npt.NDArray[np.bool_]) -> Answers:
        """Whether each place shows a defect, float32 (n, count): 1, 0, or -1 where unclear.

        masks: (n, size, size). defect: whether the tile is one, (n,). Unclear is what shows a few pixels of a defect,
        and all of a defect without a mask.
        """
        masked = masks.any(axis=(1, 2))
        some = masks[masked].astype(np.float32)
        told = []
        for each in self.maps:
            shown = each.rows @ some @ each.rows.T
            enough = max(1.0, min(self.min_defect_pixels, LEAST_MASKED * each.rows.sum(axis=1).max() ** 2))
            of_map = np.full((len(masks), *shown.shape[1:]), OK, np.float32)
            of_map[masked] = np.where(shown >= enough, DEFECT, np.where(shown > 0, UNCLEAR, OK))
            of_map[defect & ~masked] = UNCLEAR
            told.append(of_map.reshape(len(masks), -1))
        return np.concatenate(told, axis=1)

    def asked(self, model: "keras.Model") -> "keras.Model":
        """The network that ends in logits (n, outputs), its places' logits behind them: (n, outputs + count)."""
        import keras
        from keras import layers

        answers = [
            layers.Flatten(dtype="float32", name=f"places_{each.number}")(
                model.get_layer(_layer(each.number)).output[..., :1]
            )
            for each in self.maps
        ]
        both = layers.Concatenate(dtype="float32", name="logits_and_places")([model.outputs[0], *answers])
        return keras.Model(model.inputs[0], both)

    def loss(self, of_label: "keras.losses.Loss", outputs: int) -> Loss:
        """`of_label`, of the first `outputs` targets and logits, and of each map, weighed, that of its places.

        The cross entropy of a map's places: the mean over those with a defect and the mean over those without, for a
        crack of three places counts as much as the ok surface beside it.
        """
        from keras import ops

        ends = np.cumsum([outputs, *(len(each.rows) ** 2 for each in self.maps)]).tolist()

        def loss(targets: Any, logits: Any) -> Any:
            total = of_label.call(targets[:, :outputs], logits[:, :outputs])
            for start, end in pairwise(ends):
                answer, logit = targets[:, start:end], logits[:, start:end]
                each = ops.binary_crossentropy(answer, logit, from_logits=True)
                for known in (answer == DEFECT, answer == OK):
                    counted = ops.cast(known, each.dtype)
                    total += self.weight * ops.sum(each * counted, axis=1) / ops.maximum(ops.sum(counted, axis=1), 1)
            return total

        return loss


def tell_untaught(experiment: Experiment, network: NetworkConfig, fit: Fit) -> None:
    """Say on stderr where `mask_weight` is stated and nothing is taught by it."""
    if experiment.mask_weight and (why := _hindrance(network, fit)):
        print(f"mask_weight = {experiment.mask_weight:g} is dropped: {why}", file=sys.stderr)


def _hindrance(network: NetworkConfig, fit: Fit) -> str | None:
    """Why no place can be taught, if so."""
    if fit is Fit.RESIZE:
        return "images that are resized whole have no masks"
    return None if taught_blocks(network) else "the network has no map to teach"


def taught_layers(manifest: Manifest) -> frozenset[str]:
    """The layers of a version whose first map masks have taught."""
    stated = manifest.training.get("experiment", {}).get("mask_weight", 0.0)
    if not stated or _hindrance(manifest.network, manifest.fitting.fit):
        return frozenset()
    return frozenset(_layer(number) for number in taught_blocks(manifest.network))


def _layer(number: int) -> str:
    """Whose first map is read of block `number`."""
    return f"normalization_{number}"


def taught_blocks(network: NetworkConfig) -> tuple[int, ...]:
    """Those of the last maps before a pool that are normalised and not of the first block, which sees single edges.

    >>> from model.network import PRESETS
    >>> [taught_blocks(PRESETS[name]) for name in ("steel-128-deeper", "steel-64-local", "steel-128")]
    [(5, 7), (2,), ()]
    """
    numbered = list(enumerate(network.blocks, start=1))[1:]
    return tuple(number for number, block in numbered if block.normalize and block.pool_after > 1)[-MOST_MAPS:]


def taught_maps(network: NetworkConfig) -> tuple[TaughtMap, ...]:
    """The maps of `taught_blocks`, and which rows of a tile their places answer for."""
    model = build(network)
    names = [layer.name for layer in model.layers]
    maps = []
    for number in taught_blocks(network):
        index = names.index(_layer(number))
        seen, _ = reach(model, index)
        first = math.ceil(seen.first - seen.step / 2) + seen.step * np.arange(model.layers[index].output.shape[1])
        after = np.arange(network.input_size) - first[:, np.newaxis]
        maps.append(TaughtMap(number, ((after >= 0) & (after < seen.step)).astype(np.float32)))
    return tuple(maps)
