"""What training makes small: cross entropy or focal loss, from logits, of one output or one for each class.

Targets may be soft: (n, 1) shares of defect, or (n, classes) that add up to 1.
"""

from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from training.config import Experiment

Weights = npt.NDArray[np.float32]


def loss_of(experiment: Experiment, outputs: int) -> keras.losses.Loss:
    """The loss of a network with so many outputs; 1 is one logit, of defect."""
    if experiment.loss == "focal":
        return Focal(experiment.focal_gamma)
    one, several = keras.losses.BinaryCrossentropy, keras.losses.CategoricalCrossentropy
    return (one if outputs == 1 else several)(from_logits=True)


@keras.saving.register_keras_serializable("steelsight")
class Focal(keras.losses.Loss):
    """Lin et al. 2017, without their alpha: each class's cross entropy times (1 - p) ** gamma, p being its probability.

    What the network is sure of counts little. Keras's own for one output takes one p for both classes, which for a
    soft target of 0.7 is least at 0.88; this one is that of two outputs, and least between a half and the target.
    """

    def __init__(self, gamma: float, **settings: Any) -> None:
        super().__init__(**settings)
        self.gamma = gamma

    def call(self, targets: Any, logits: Any) -> Any:
        """Targets and logits (n, outputs) -> loss of each tile (n,)."""
        if logits.shape[-1] == 1:
            logits = keras.ops.concatenate([keras.ops.zeros_like(logits), logits], axis=-1)
            targets = keras.ops.concatenate([1 - targets, targets], axis=-1)
        sure = keras.ops.log_softmax(logits)
        # Below epsilon the power has no finite slope for a gamma under 1.
        unsure = keras.ops.maximum(1 - keras.ops.exp(sure), keras.config.epsilon())
        return -keras.ops.sum(targets * unsure**self.gamma * sure, axis=-1)

    def get_config(self) -> dict[str, Any]:
        """What a saved network needs to make this loss again."""
        return {**super().get_config(), "gamma": self.gamma}


def class_weights(drawn: npt.NDArray[np.float64]) -> Weights:
    """How much a tile of each class counts, float32 (classes,), so that all classes that are drawn count the same.

    drawn: share of the tiles that are of each class, (classes,), adding up to 1. Over the tiles drawn the weights have
    mean 1, so the learning rate keeps its meaning. A class that is never drawn has weight 0.

    >>> class_weights(np.array([0.8, 0.2])).tolist()
    [0.625, 2.5]
    >>> class_weights(np.array([0, 0.5, 0.5])).tolist()
    [0.0, 1.0, 1.0]
    """
    shown = drawn > 0
    weights = np.zeros(len(drawn), np.float32)
    weights[shown] = 1 / (np.count_nonzero(shown) * drawn[shown])
    return weights
