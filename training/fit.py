"""Surfaces -> the network of the best epoch.

Every epoch's tiles, their order and their augmentation follow from (seed, epoch) alone, so a run that was stopped
and resumed at an epoch sees exactly what an uninterrupted one sees.
"""

import sys
from collections.abc import Callable

import keras
import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score
from tqdm import tqdm

from model.calibration import defect_logit
from model.network import NetworkConfig, build, logits_model
from training.augment import augment
from training.checkpoint import Checkpoint, Epoch, State
from training.config import Experiment
from training.crops import CropSampler
from training.dataset import TileSet

Images = npt.NDArray[np.float32]

# Redrawing more often than this only fills a log file when no person is watching.
SECONDS_BETWEEN_LOG_LINES = 10
SCORING_BATCH = 64
# A single bad batch early on must not undo the steps before it.
LARGEST_GRADIENT = 1.0


class EpochOfTiles(keras.utils.PyDataset):
    """One epoch of augmented training batches: (float32 (n, size, size, channels), float32 labels (n, 1))."""

    def __init__(self, crops: CropSampler, experiment: Experiment, steps: int, channels: int, epoch: int) -> None:
        super().__init__(workers=1, use_multiprocessing=False, max_queue_size=4)
        self._crops, self._experiment, self._channels = crops, experiment, channels
        self._seeds = np.random.SeedSequence([experiment.seed, epoch]).spawn(steps)

    def __len__(self) -> int:
        return len(self._seeds)

    def __getitem__(self, index: int) -> tuple[Images, Images]:
        rng = np.random.default_rng(self._seeds[index])
        tiles, defect = self._crops.draw(self._experiment.batch_size, rng)
        images = augment(tiles, self._experiment.augmentation, rng)
        return _with_channels(images, self._channels), defect[:, np.newaxis].astype(np.float32)


class WeightAverage(keras.callbacks.Callback):
    """Keeps an exponential moving average of the weights in a second model: it generalises better than any one step.

    Batch statistics are averages already and are taken over as they are.
    """

    def __init__(self, averaged: keras.Model, momentum: float) -> None:
        super().__init__()
        self._averaged, self._momentum = averaged, momentum

    def on_train_batch_end(self, batch: int, logs: object = None) -> None:
        # Early on, the average follows closely, or it would remember the random start for a hundred steps.
        step = float(self.model.optimizer.iterations)
        momentum = min(self._momentum, step / (step + 10))
        for mean, weight in zip(self._averaged.trainable_variables, self.model.trainable_variables, strict=True):
            mean.assign(momentum * mean + (1 - momentum) * weight)
        for mean, weight in zip(
            self._averaged.non_trainable_variables, self.model.non_trainable_variables, strict=True
        ):
            mean.assign(weight)


def fit(
    network: NetworkConfig,
    crops: CropSampler,
    tiles: int,
    validation: TileSet,
    experiment: Experiment,
    run: Checkpoint,
) -> State:
    """Train, or go on training, until the last epoch or until no epoch gets better.

    tiles: how many make an epoch. The networks are kept in `run`. Raises KeyboardInterrupt on Ctrl-C with every
    finished epoch kept.
    """
    steps = -(-tiles // experiment.batch_size)
    state = run.state()
    model, averaged = run.load_last(state) if state.finished else _fresh(network, experiment, steps)
    average = WeightAverage(averaged, experiment.averaging)
    interval = 0.1 if sys.stderr.isatty() else SECONDS_BETWEEN_LOG_LINES
    total, done = steps * experiment.epochs, steps * state.finished
    with tqdm(total=total, initial=done, unit="batch", mininterval=interval) as bar:
        while state.finished < experiment.epochs and not state.stale(experiment.patience):
            number = state.finished + 1
            batches = EpochOfTiles(crops, experiment, steps, model.input_shape[3], number)
            _reseed_dropout(model, experiment.seed, number)
            loss = _one_epoch(model, batches, average, bar.update)
            auroc = float(roc_auc_score(validation.defect, _scores(averaged, validation)))
            rate = float(model.optimizer.learning_rate)
            epoch = Epoch(number=number, loss=loss, validation_auroc=auroc, learning_rate=rate)
            state = State(history=(*state.history, epoch))
            run.save(state, model, averaged)
            bar.set_postfix(
                epoch=f"{number}/{experiment.epochs}",
                loss=f"{loss:.3f}",
                auroc=f"{auroc:.3f}",
                best=f"{state.best.validation_auroc:.3f}",
            )
    return state


def trained_network(network: NetworkConfig, run: Checkpoint, state: State) -> keras.Model:
    """The whole network, probability included, with the weights of the best epoch."""
    model = build(network)
    model.set_weights(keras.models.load_model(run.best_file(state), compile=False).get_weights())
    return model


def _fresh(network: NetworkConfig, experiment: Experiment, steps: int) -> tuple[keras.Model, keras.Model]:
    """A compiled network that ends in logits, and its twin for the averaged weights."""
    keras.utils.set_random_seed(experiment.seed)
    model = logits_model(build(network))
    averaged = keras.models.clone_model(model)
    averaged.set_weights(model.get_weights())
    total = steps * experiment.epochs
    rising = round(experiment.warm_up * total)
    rate = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=experiment.learning_rate / max(1, rising),
        decay_steps=max(1, total - rising),
        warmup_target=experiment.learning_rate,
        warmup_steps=rising,
    )
    model.compile(
        optimizer=keras.optimizers.AdamW(rate, weight_decay=experiment.weight_decay, clipnorm=LARGEST_GRADIENT),
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
    )
    return model, averaged


def _reseed_dropout(model: keras.Model, seed: int, epoch: int) -> None:
    """A dropout layer's random state is not saved with the network: it too follows from (seed, epoch)."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.Dropout) and layer.seed_generator is not None:
            layer.seed_generator.state.assign(np.array([seed, epoch], np.uint32))


def _one_epoch(
    model: keras.Model, batches: EpochOfTiles, average: WeightAverage, advance: Callable[[int], object]
) -> float:
    """Mean loss of one epoch."""
    progress = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: advance(1))
    history = model.fit(batches, epochs=1, verbose=0, shuffle=False, callbacks=[average, progress]).history
    return float(history["loss"][0])


def _scores(model: keras.Model, tiles: TileSet) -> npt.NDArray[np.float64]:
    """Defect logits of tiles, float64 (n,)."""
    starts = range(0, len(tiles), SCORING_BATCH)
    batches = (tiles.tiles[start : start + SCORING_BATCH].astype(np.float32) for start in starts)
    logits = [model.predict_on_batch(_with_channels(batch, model.input_shape[3])) for batch in batches]
    return defect_logit(np.concatenate(logits))


def _with_channels(tiles: Images, channels: int) -> Images:
    return np.repeat(tiles[..., np.newaxis], channels, axis=3)
