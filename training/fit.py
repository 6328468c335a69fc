"""Tiles -> the network of the best epoch.

Every epoch's order and augmentation follow from (seed, epoch) alone, so a run that was stopped and
resumed at an epoch sees exactly what an uninterrupted one sees.
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
from training.dataset import TileSet, batch_indices

Labels = npt.NDArray[np.bool_]
Images = npt.NDArray[np.float32]

# Redrawing more often than this only fills a log file when no person is watching.
SECONDS_BETWEEN_LOG_LINES = 10
SCORING_BATCH = 64


class EpochOfTiles(keras.utils.PyDataset):
    """One epoch of augmented training batches: (float32 (n, size, size, channels), float32 labels (n, 1))."""

    def __init__(self, tiles: TileSet, experiment: Experiment, channels: int, epoch: int) -> None:
        super().__init__(workers=1, use_multiprocessing=False, max_queue_size=4)
        self._tiles, self._experiment, self._channels = tiles, experiment, channels
        rng = np.random.default_rng([experiment.seed, epoch])
        self._batches = list(batch_indices(len(tiles), experiment.batch_size, rng))
        self._streams = rng.spawn(len(self._batches))
        self._weights = class_weights(tiles.defect)

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, index: int) -> tuple[Images, Images, Images]:
        chosen = self._batches[index]
        images = augment(self._tiles.tiles[chosen], self._experiment.augmentation, self._streams[index])
        labels = self._tiles.defect[chosen]
        return (
            _with_channels(images, self._channels),
            labels[:, np.newaxis].astype(np.float32),
            self._weights[labels.astype(int)],
        )


def class_weights(defect: Labels) -> npt.NDArray[np.float32]:
    """Weight of an ok and of a defect tile, float32 (2,), so that both labels count the same in total.

    defect: bool of shape (n,), both values present.

    >>> class_weights(np.array([True, True, False, False, False, False])).tolist()
    [0.75, 1.5]
    """
    counts = np.bincount(defect, minlength=2)
    return (len(defect) / (2 * counts)).astype(np.float32)


def fit(network: NetworkConfig, train: TileSet, validation: TileSet, experiment: Experiment, run: Checkpoint) -> State:
    """Train, or go on training, until the last epoch or until no epoch gets better.

    The networks are kept in `run`. Raises KeyboardInterrupt on Ctrl-C with every finished epoch kept.
    """
    state = run.state()
    if state.finished:
        model = run.load_last(state)
    else:
        keras.utils.set_random_seed(experiment.seed)
        model = logits_model(build(network))
        model.compile(
            optimizer=keras.optimizers.Adam(experiment.learning_rate),
            loss=keras.losses.BinaryCrossentropy(from_logits=True),
        )
    steps = -(-len(train) // experiment.batch_size)
    interval = 0.1 if sys.stderr.isatty() else SECONDS_BETWEEN_LOG_LINES
    with tqdm(
        total=steps * experiment.epochs, initial=steps * state.finished, unit="batch", mininterval=interval
    ) as bar:
        while state.finished < experiment.epochs and not state.stale(experiment.patience):
            epoch = _one_epoch(model, train, validation, experiment, state.finished + 1, bar.update)
            state = State(history=(*state.history, epoch))
            run.save(state, model)
            bar.set_postfix(
                epoch=f"{epoch.number}/{experiment.epochs}",
                loss=f"{epoch.loss:.3f}",
                auroc=f"{epoch.validation_auroc:.3f}",
                best=f"{state.best.validation_auroc:.3f}",
            )
    return state


def trained_network(network: NetworkConfig, run: Checkpoint, state: State) -> keras.Model:
    """The whole network, probability included, with the weights of the best epoch."""
    model = build(network)
    model.set_weights(keras.models.load_model(run.best_file(state), compile=False).get_weights())
    return model


def _one_epoch(
    model: keras.Model,
    train: TileSet,
    validation: TileSet,
    experiment: Experiment,
    number: int,
    advance: Callable[[int], object],
) -> Epoch:
    channels = model.input_shape[3]
    batches = EpochOfTiles(train, experiment, channels, number)
    progress = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: advance(1))
    history = model.fit(batches, epochs=1, verbose=0, shuffle=False, callbacks=[progress]).history
    logits = [
        model.predict_on_batch(
            _with_channels(validation.tiles[start : start + SCORING_BATCH].astype(np.float32), channels)
        )
        for start in range(0, len(validation), SCORING_BATCH)
    ]
    return Epoch(
        number=number,
        loss=float(history["loss"][0]),
        validation_auroc=float(roc_auc_score(validation.defect, defect_logit(np.concatenate(logits)))),
        learning_rate=float(model.optimizer.learning_rate),
    )


def _with_channels(tiles: Images, channels: int) -> Images:
    return np.repeat(tiles[..., np.newaxis], channels, axis=3)
