"""An experiment -> the optimiser of its fit, and the learning rate of every step.

With seven convolutions Muon took half the epochs of AdamW to the same loss: docs/log.md.
"""

import math

import keras
from keras import ops

from training.config import Experiment

# A single bad batch early on must not undo the steps before it.
LARGEST_GRADIENT = 1.0
# Root mean square of a step of Muon over the learning rate; AdamW's are as long, so that one rate serves both.
LENGTH_OF_STEP = 0.2


class KernelMuon(keras.optimizers.Muon):
    """Muon for convolutions: a kernel (height, width, in, out) is a matrix (height * width * in, out).

    Keras gives Muon's step to what has two dimensions alone, and nearly all weights here are kernels. What is no
    matrix, and the logits, whose columns are outputs of their own, take AdamW's step. A step is the momentum with its
    singular values brought near 1 (Jordan 2024, "Muon: an optimizer for hidden layers in neural networks"), as
    long as Liu et al. 2025 make it ("Muon is scalable for LLM training"): 0.2 sqrt(max(rows, columns)).
    """

    def _should_use_adamw(self, variable: keras.Variable) -> bool:
        return len(variable.shape) < 2 or "/logits/" in variable.path

    def zeropower_via_newtonschulz5(self, x: keras.KerasTensor, steps: int) -> keras.KerasTensor:
        """What has two dimensions or more -> the same shape, as a matrix with singular values near 1."""
        matrix = super().zeropower_via_newtonschulz5(ops.reshape(x, (-1, x.shape[-1])), steps)
        return ops.reshape(matrix, x.shape)

    def lr_adjust(self, x: keras.KerasTensor) -> keras.KerasTensor:
        """The step (height, width, in, out) or (in, out), as long as AdamW's."""
        return x * (LENGTH_OF_STEP * math.sqrt(max(math.prod(x.shape[:-1]), x.shape[-1])))


def optimizer_of(experiment: Experiment, steps: int) -> keras.optimizers.Optimizer:
    """A fresh optimiser for the experiment's fit. steps: batches of an epoch."""
    total = steps * experiment.epochs
    rising = round(experiment.warm_up * total)
    rate = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=experiment.learning_rate / max(1, rising),
        decay_steps=max(1, total - rising),
        warmup_target=experiment.learning_rate,
        warmup_steps=rising,
    )
    decay = experiment.weight_decay
    if experiment.optimizer == "muon":
        optimizer = KernelMuon(rate, weight_decay=decay, adam_weight_decay=decay, clipnorm=LARGEST_GRADIENT)
    else:
        optimizer = keras.optimizers.AdamW(rate, weight_decay=decay, clipnorm=LARGEST_GRADIENT)
    if experiment.precision == "mixed_float16":
        # Small gradients would be 0 in it. Keras would wrap it by itself, but then not load what it saved.
        return keras.optimizers.LossScaleOptimizer(optimizer)
    return optimizer
