"""One fit by the recipe of an experiment: the same whether its tiles are a part of four, all folds but one, or all."""

from typing import TYPE_CHECKING

from model.interrupt import Interruptions
from training.blend import blended, blended_share
from training.checkpoint import Checkpoint, State
from training.classes import tile_kinds
from training.config import Experiment
from training.hard_negatives import HardTiles
from training.keras_import import import_keras
from training.places import Places
from training.prepare import Prepared
from training.split import Part
from training.start import Start
from training.teacher import Teacher

if TYPE_CHECKING:
    import keras


def fit_network(
    experiment: Experiment,
    prepared: Prepared,
    checkpoint: Checkpoint,
    teacher: Teacher | None = None,
    start: Start | None = None,
) -> tuple["keras.Model", State]:
    """Train, or go on training, in `checkpoint`; the network of the chosen epoch, probability included.

    start: what a fresh network begins with.

    Raises KeyboardInterrupt on Ctrl-C with every finished epoch kept.
    """
    # Keras is imported here and not above, so that wrong usage and unusable data are told at once; and whole, for
    # half an import cannot be mended.
    with Interruptions():
        import_keras()
        from training.fit import fit, trained_network

    network = experiment.resolved_network(prepared.classes)
    train, validation = prepared.parts[Part.TRAIN], prepared.validation
    share = blended_share(experiment, prepared.fitting.fit)
    state = fit(
        network,
        blended(prepared.crops, share, experiment.moved_share),
        len(train),
        validation,
        experiment,
        checkpoint,
        classes=prepared.classes,
        validation_kinds=None if validation is None else tile_kinds(validation, prepared.records),
        begin=start.begin if start else None,
        soften=teacher.soften if teacher else None,
        pretraining=blended(prepared.crops, 1.0, experiment.moved_share) if experiment.pretraining else None,
        hard=HardTiles(train, experiment.hard_negatives, experiment.seed) if experiment.hard_negatives else None,
        places=Places.of(experiment, network, prepared.fitting.fit),
    )
    return trained_network(network, checkpoint, state), state
