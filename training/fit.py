"""Tiles -> the network of the best epoch.

What an epoch is made of follows from (seed, epoch) and the weights it begins with alone, so a run that was stopped at
any moment and resumed ends like one that was not. docs/training.md tells the whole of it.
"""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import numpy.typing as npt

from model.calibration import defect_logit
from model.engine import network_input
from model.image import Frame
from model.interrupt import Interruptions
from model.network import NetworkConfig, build, logits_model
from training.averaging import WeightAverage
from training.batches import Curriculum, Feed, Soften
from training.checkpoint import Checkpoint, Epoch, State, Values
from training.config import Experiment
from training.crops import Kinds, Sampler
from training.dataset import TileSet
from training.devices import strategy_on, training_devices
from training.hard_negatives import HardTiles
from training.logs import Log
from training.losses import loss_of
from training.optimizer import optimizer_of
from training.places import Places
from training.progress import Progress
from training.selection import validation_figures

SCORING_BATCH = 64


def fit(
    network: NetworkConfig,
    crops: Sampler,
    tiles: int,
    validation: TileSet | None,
    experiment: Experiment,
    run: Checkpoint,
    *,
    classes: tuple[str, ...] = ("ok", "defect"),
    validation_kinds: Kinds | None = None,
    begin: Callable[[keras.Model], None] | None = None,
    soften: Soften | None = None,
    pretraining: Sampler | None = None,
    hard: HardTiles | None = None,
    places: Places | None = None,
) -> State:
    """Train, or go on training, until the last epoch or until no epoch gets better.

    tiles: how many make an epoch. validation, validation_kinds: tiles that choose the best epoch, and what each shows;
    without them the last epoch is it. classes: what the outputs stand for, ok first. begin: gives a fresh network other
    weights than random ones. soften: changes a batch's targets.
    pretraining: drawn from in the first `experiment.pretraining` epochs. hard: mined before every epoch but the first.
    places: taught beside the labels. The networks are kept in `run`. Raises KeyboardInterrupt on Ctrl-C with every
    finished epoch kept.
    """
    steps = -(-tiles // experiment.batch_size)
    curriculum = Curriculum(network, experiment, steps, crops, classes, soften, pretraining, hard, places)
    model = compiled(network, experiment, steps, places)
    # On one device and in float32, whatever the other computes on.
    averaged = logits_model(build(network))
    state = run.state()
    if state.finished:
        _restore(model, run.load_last(state))
        averaged.set_weights(run.load_averaged(state))
    else:
        state = State(pretraining=curriculum.pretraining_epochs)
        if begin:
            begin(model)
        averaged.set_weights(model.get_weights())
    average = WeightAverage(model, averaged, experiment.averaging, steps * state.finished)
    feed, saved = Feed(curriculum), None
    with (
        Interruptions() as interruptions,
        # The next epoch is fitted while the disk still writes this one.
        ThreadPoolExecutor(1) as disk,
        Log(run.folder, state, steps) as log,
        Progress(state, experiment.epochs, steps) as progress,
    ):
        while state.finished < experiment.epochs and not state.stale(experiment.patience):
            begun, number = time.monotonic(), state.finished + 1
            feed.current = curriculum.epoch(number, lambda some: defect_logit(_logits(averaged, some)))
            _reseed_dropout(model, experiment.seed, number)
            loss, rate = _one_epoch(model, feed, average, progress, interruptions)
            figures = _figures(averaged, validation, validation_kinds, classes)
            state = state.after(Epoch(number=number, loss=loss, learning_rate=rate, **figures))
            log.add(state.history[-1], time.monotonic() - begun)
            if saved:
                saved.result()
            saved = disk.submit(run.save, state, _values(model), averaged.get_weights())
            progress.epoch(state)
            interruptions.check()
        if saved:
            saved.result()
    return state


def trained_network(network: NetworkConfig, run: Checkpoint, state: State) -> keras.Model:
    """The whole network, probability included, with the weights of the best epoch; it computes in float32."""
    model = build(network)
    model.set_weights(run.load_best(state))
    return model


def compiled(network: NetworkConfig, experiment: Experiment, steps: int, places: Places | None = None) -> keras.Model:
    """A fresh network that ends in logits, with its optimiser and loss, on all devices.

    steps: batches of an epoch. places: whose logits come behind those of the outputs.
    """
    keras.utils.set_random_seed(experiment.seed)
    with strategy_on(training_devices()).scope():
        model, loss = logits_model(build(network, inner=experiment.precision)), loss_of(experiment, network.outputs)
        if places:
            model, loss = places.asked(model), places.loss(loss, network.outputs)
        model.compile(optimizer=optimizer_of(experiment, steps), loss=loss)
    return model


def _values(model: keras.Model) -> Values:
    """All that a network and its optimiser have become by training."""
    return [*model.get_weights(), *(keras.ops.convert_to_numpy(each) for each in model.optimizer.variables)]


def _restore(model: keras.Model, values: Values) -> None:
    """Make a fresh network what another was when its `_values` were taken."""
    with model.distribute_strategy.scope():
        model.optimizer.build(model.trainable_variables)
    weights = len(model.weights)
    model.set_weights(values[:weights])
    for variable, value in zip(model.optimizer.variables, values[weights:], strict=True):
        variable.assign(value)


def _reseed_dropout(model: keras.Model, seed: int, epoch: int) -> None:
    """A dropout layer's random state is not saved with the network: it too follows from (seed, epoch)."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.Dropout) and layer.seed_generator is not None:
            layer.seed_generator.state.assign(np.array([seed, epoch], np.uint32))


def _one_epoch(
    model: keras.Model,
    feed: Feed,
    average: WeightAverage,
    progress: Progress,
    interruptions: Interruptions,
) -> tuple[float, float]:
    """Mean loss of one epoch, and the learning rate at its end."""

    def after_batch(batch: int, logs: dict[str, float]) -> None:
        progress.batch(logs["loss"])
        interruptions.check()

    tell = keras.callbacks.LambdaCallback(on_train_batch_end=after_batch)
    history = model.fit(feed.dataset, epochs=1, verbose=0, shuffle=False, callbacks=[average, tell]).history
    rate = keras.ops.convert_to_numpy(model.optimizer.learning_rate)
    return float(history["loss"][0]), float(rate)


def _figures(
    averaged: keras.Model, tiles: TileSet | None, kinds: Kinds | None, classes: tuple[str, ...]
) -> dict[str, float]:
    return validation_figures(_logits(averaged, tiles.tiles), tiles, kinds, classes) if tiles else {}


def _logits(model: keras.Model, tiles: Frame) -> npt.NDArray[np.float32]:
    """Logits of uint8 tiles (n, size, size), float32 (n, outputs)."""
    channels = model.input_shape[3]
    starts = range(0, len(tiles), SCORING_BATCH)
    batches = (network_input(tiles[start : start + SCORING_BATCH], channels) for start in starts)
    return np.concatenate([model.predict_on_batch(batch) for batch in batches])
