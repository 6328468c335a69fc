"""Drawn tiles -> what a network is fitted to: augmented images, targets, and how much each counts."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from model.engine import network_input
from model.network import NetworkConfig
from training.augment import augment
from training.classes import class_numbers
from training.config import Experiment
from training.crops import Kinds, Sampler
from training.hard_negatives import HardTiles, Scores
from training.losses import Weights, class_weights
from training.places import Places
from training.scan import NO_DEFECT

Images = npt.NDArray[np.float32]
Targets = npt.NDArray[np.float32]
# Images as the network sees them, (n, size, size, channels), and their targets -> targets of the same shape.
Soften = Callable[[Images, Targets], Targets]

Batch = tuple[Images, Targets] | tuple[Images, Targets, Weights]

# Batches made ahead of the network, in a thread of their own; more would only hold memory.
AHEAD = 4


@dataclass(frozen=True)
class Curriculum:
    """What every epoch of a fit is made of: the arguments of `training.fit.fit`. steps: batches of an epoch."""

    network: NetworkConfig
    experiment: Experiment
    steps: int
    crops: Sampler
    classes: tuple[str, ...]
    soften: Soften | None
    pretraining: Sampler | None
    hard: HardTiles | None
    places: Places | None = None

    @property
    def answers(self) -> int:
        """Targets of a tile: of its outputs, and of the places that are taught."""
        return self.network.outputs + (self.places.count if self.places else 0)

    @property
    def pretraining_epochs(self) -> int:
        """So many epochs at the beginning are drawn from another sampler."""
        return self.experiment.pretraining if self.pretraining else 0

    def epoch(self, number: int, scores: Scores) -> "EpochOfTiles":
        """The batches of an epoch, the first being 1. scores: what the averaged network says of tiles by then."""
        early = self.pretraining if number <= self.pretraining_epochs else None
        sampler = early or self.crops
        # Before the first epoch the network knows nothing of what is hard.
        if self.hard and number > 1:
            sampler = self.hard.mine(sampler, number, scores)
        return EpochOfTiles(self, sampler, number)


class EpochOfTiles(Sequence[Batch]):
    """One epoch of training batches: images float32 (n, size, size, channels), targets (n, answers).

    They follow from (seed, epoch) and the sampler alone. With class weights, what each tile counts, (n,), comes third.
    """

    def __init__(self, curriculum: Curriculum, sampler: Sampler, number: int) -> None:
        self._sampler, self._classes, self._soften = sampler, curriculum.classes, curriculum.soften
        self._network, self._experiment, self._places = curriculum.network, curriculum.experiment, curriculum.places
        weighed = self._experiment.class_weights
        self._weights = class_weights(class_shares(sampler.shares, self._classes)) if weighed else None
        self._seeds = np.random.SeedSequence([self._experiment.seed, number]).spawn(curriculum.steps)

    def __len__(self) -> int:
        return len(self._seeds)

    def __getitem__(self, index: int) -> Batch:  # type: ignore[override]  # of the whole epoch nobody asks for a slice
        rng = np.random.default_rng(self._seeds[index])
        tiles, kinds, masks = self._sampler.draw(self._experiment.batch_size, rng)
        laid = masks if self._places else None
        images = network_input(augment(tiles, self._experiment.augmentation, rng, laid), self._network.channels)
        number = class_of_each(kinds, self._classes)
        targets = targets_of(number, self._network.outputs)
        if self._soften:
            targets = self._soften(images, targets)
        if self._places:
            targets = np.concatenate([targets, self._places.targets(masks, kinds != NO_DEFECT)], axis=1)
        return (images, targets) if self._weights is None else (images, targets, self._weights[number])


class Feed:
    """What Keras is given: whichever epoch is `current`, as one and the same dataset for the whole run.

    A dataset made anew for every epoch costs as much as some steps of a small network.
    """

    def __init__(self, curriculum: Curriculum) -> None:
        self.current: EpochOfTiles | None = None
        network = curriculum.network
        side = network.input_size
        images = tf.TensorSpec((None, side, side, network.channels), tf.float32)
        specs = [images, tf.TensorSpec((None, curriculum.answers), tf.float32)]
        if curriculum.experiment.class_weights:
            specs.append(tf.TensorSpec((None,), tf.float32))
        made = tf.data.Dataset.from_generator(self._batches, output_signature=tuple(specs))
        self.dataset = made.apply(tf.data.experimental.assert_cardinality(curriculum.steps)).prefetch(AHEAD)

    def _batches(self) -> Iterator[Batch]:
        return iter(self.current or ())


def class_of_each(kinds: Kinds, classes: Sequence[str]) -> npt.NDArray[np.intp]:
    """The place of each kind among the classes, intp (n,); where there are two the second is any defect.

    Raises ValueError for a kind that is no class.

    >>> class_of_each(np.array(["none", "pit", "fold"]), ["ok", "defect"]).tolist()
    [0, 1, 1]
    """
    if len(classes) == 2:
        return np.asarray(kinds != NO_DEFECT, np.intp)
    number: npt.NDArray[np.intp] = class_numbers(kinds, classes)
    if (number < 0).any():
        raise ValueError(f"a tile of the type {kinds[number < 0][0]!r} was drawn; the classes are {', '.join(classes)}")
    return number


def class_shares(shares: Mapping[str, float], classes: Sequence[str]) -> npt.NDArray[np.float64]:
    """What share of the tiles is of each class, (classes,), from that of each kind, "none" being ok.

    >>> class_shares({"none": 0.5, "pit": 0.25, "fold": 0.25}, ["ok", "defect"]).tolist()
    [0.5, 0.5]
    """
    number = class_of_each(np.array(list(shares)), classes)
    return np.asarray(np.bincount(number, weights=list(shares.values()), minlength=len(classes)), np.float64)


def targets_of(number: npt.NDArray[np.intp], outputs: int) -> Targets:
    """Class numbers (n,) -> (n, 1) for the one output of defect, else one-hot (n, outputs).

    >>> targets_of(np.array([0, 1]), 1).tolist(), targets_of(np.array([0, 2]), 3).tolist()
    ([[0.0], [1.0]], [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    """
    if outputs == 1:
        return number[:, np.newaxis].astype(np.float32)
    return np.eye(outputs, dtype=np.float32)[number]
