"""What a fit begins with: the convolutions of a published version, in place of random ones.

Edges, spots and streaks look much alike from line to line, and a network that has learned them elsewhere needs fewer
images of the new one (Yosinski et al. 2014, "How transferable are features in deep neural networks?"). Its dense
layers, which weigh what was found, begin anew, for the classes may be others.

A version hands on what it was fitted on. Were groups of that tested on, the figures would flatter: a version that knows
any of the data is refused, and whatever it knows counts as known to the version that began with it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
import numpy.typing as npt

from model.artifact import Manifest
from model.engine import KerasEngine
from model.network import NetworkConfig
from model.registry import Registry
from training.checkpoint import Run
from training.config import Experiment
from training.errors import DataFault, UsageFault
from training.labelled_folder import LabelledFolder

if TYPE_CHECKING:
    import keras

# What a network is up to its dense layers.
LEARNED = ("convolution_", "normalization_")


@dataclass(frozen=True)
class Start:
    """weights: of each convolution and normalisation, by the name of its layer."""

    weights: Mapping[str, Sequence[npt.NDArray[np.float32]]]

    @classmethod
    def of(cls, network: "keras.Model") -> Self:
        """The weights of a published network."""
        learned = [layer for layer in network.layers if layer.name.startswith(LEARNED)]
        return cls({layer.name: layer.get_weights() for layer in learned})

    def begin(self, model: "keras.Model") -> None:
        """Give a fresh network of the same convolutions these weights."""
        with model.distribute_strategy.scope():
            for name, weights in self.weights.items():
                model.get_layer(name).set_weights(weights)


def require_start(run: Run, models: Path) -> None:
    """Everything that a version must be for this run to begin with it; nothing where it begins with none.

    Raises `SteelsightError` (model_unknown, artifact_invalid), `UsageFault` where its convolutions are others,
    `DataFault` where it knows images of the run's data, or nobody can tell.
    """
    if run.experiment.start is None:
        return
    manifest = Registry(models).verified(run.experiment.start)
    _require_same_convolutions(manifest, run.experiment)
    if "images_used" not in manifest.data:
        raise DataFault(
            f"{manifest.version} was published without a list of the images it was fitted or tuned on, so nobody can "
            "tell whether they are among these; start from a version that is trained anew"
        )
    known = LabelledFolder(run.data).files_used(manifest)
    if known:
        raise DataFault(
            f"{manifest.version} knows {len(known)} of the images in {run.data}, or others of their groups (the first "
            f"is {min(known)}): the figures would flatter; start from a version of other data"
        )


def open_start(experiment: Experiment, models: Path) -> Start | None:
    """What the fits of an experiment begin with; None for random weights.

    Raises `SteelsightError` (model_unknown, artifact_invalid), `UsageFault` where the convolutions are others.
    """
    if experiment.start is None:
        return None
    manifest = Registry(models).verified(experiment.start)
    _require_same_convolutions(manifest, experiment)
    return Start.of(KerasEngine(Registry(models).folder(experiment.start), threads=0).network)


def learned_from(experiment: Experiment, models: Path) -> tuple[Manifest, ...]:
    """The versions that hand on what they know to those of an experiment. Raises `SteelsightError` (model_unknown)."""
    versions = (experiment.start, experiment.teacher)
    return tuple(Registry(models).manifest(version) for version in versions if version is not None)


def _require_same_convolutions(manifest: Manifest, experiment: Experiment) -> None:
    if _convolutions(manifest.network) != _convolutions(experiment.resolved_network()):
        raise UsageFault(
            f"{manifest.version} has other convolutions than the network to be trained, or other grey goes into them; "
            "start from a version of the same preset"
        )


def _convolutions(network: NetworkConfig) -> dict[str, object]:
    """All that decides what a kernel means: tiles of another size it sees in the same way."""
    return network.model_dump(include={"channels", "centred", "levelled", "blocks"})
