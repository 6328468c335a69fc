"""Weights averaged over the steps: they generalise better than those of any one step."""

import keras
import tensorflow as tf

# The average moves slowly: following every fourth step tells it nothing less, and costs a quarter.
STEPS = 4
# Early on, the average follows closely, or it would remember the random start for a hundred steps.
EARLY = 10


class WeightAverage(keras.callbacks.Callback):
    """Keeps an exponential moving average of the weights in a second model.

    Batch statistics are averages already and are taken over as they are. step: how many were made before.
    """

    def __init__(self, model: keras.Model, averaged: keras.Model, momentum: float, step: int) -> None:
        super().__init__()
        self._momentum, self._step, self._followed = momentum, step, step
        trained = list(zip(averaged.trainable_variables, model.trainable_variables, strict=True))
        counted = list(zip(averaged.non_trainable_variables, model.non_trainable_variables, strict=True))

        def follow(share: tf.Tensor) -> None:
            for mean, weight in trained:
                mean.assign_add(share * (tf.cast(weight, mean.dtype) - mean))
            for mean, weight in counted:
                mean.assign(tf.cast(weight, mean.dtype))

        # One call of a graph: variable by variable from Python takes as long as a small network's step.
        self._follow = tf.function(follow)

    def on_train_batch_end(self, batch: int, logs: object = None) -> None:
        self._step += 1
        if self._step % STEPS == 0:
            self._catch_up()

    def on_epoch_end(self, epoch: int, logs: object = None) -> None:
        self._catch_up()

    def _catch_up(self) -> None:
        steps, self._followed = self._step - self._followed, self._step
        momentum = min(self._momentum, self._step / (self._step + EARLY)) ** steps
        if steps:
            self._follow(tf.constant(1 - momentum, tf.float32))
