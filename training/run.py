"""The whole of each task in order: train a version, evaluate one on any folder, compare two."""

import tempfile
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from model.engine import OnnxEngine
from model.inspector import Inspector
from model.registry import Registry
from model.tiling import Fit
from training.checkpoint import Checkpoint, Run
from training.compare import Comparison, compare
from training.config import Experiment
from training.dataset import choose_fit
from training.errors import DataFault
from training.evaluate import Examination, groups_used
from training.outcome import Outcome, measure
from training.prepare import cut_all, labelled_records, prepare, require_both_labels, tell_left_out
from training.publish import publish
from training.report import write_report
from training.split import Part


def train(run: Run, checkpoint: Checkpoint, models: Path) -> Outcome:
    """Train or go on training `run`, evaluate it on groups it never saw, and publish it.

    Raises `DataFault` where the data cannot carry it, KeyboardInterrupt on Ctrl-C.
    """
    prepared = prepare(run, checkpoint)

    # Keras is imported here and not above, so that wrong usage and unusable data are told at once.
    from training.fit import fit, trained_network

    network = run.experiment.resolved_network()
    tiles = len(prepared.parts[Part.TRAIN])
    state = fit(network, prepared.crops, tiles, prepared.parts[Part.CALIBRATION], run.experiment, checkpoint)
    return publish(run, prepared, trained_network(network, checkpoint, state), state, models)


def evaluate_version(
    version: str, data: Path, models: Path, *, report: Path | None = None, unseen: bool = False
) -> Outcome:
    """Score a published version on a labelled folder, and write the whole report if a folder for it is given.

    unseen: leave out the groups the version was fitted or tuned on. Raises `DataFault`, `SteelsightError`.
    """
    without = groups_used(Registry(models).manifest(version)) if unseen else set()
    examination = examine_version(version, data, models, without)
    if report:
        write_report(report, examination)
    return measure(
        version, examination.tiles, examination.probabilities, examination.manifest.thresholds, examination.seed
    )


def compare_versions(a: str, b: str, data: Path, models: Path, *, unseen: bool = False) -> Comparison:
    """Two published versions on one labelled folder.

    unseen: leave out the groups that either was fitted or tuned on. Raises `DataFault`, `SteelsightError`.
    """
    registry = Registry(models)
    without = set.union(*(groups_used(registry.manifest(version)) for version in (a, b))) if unseen else set()
    of_a = examine_version(a, data, models, without)
    return compare(of_a, examine_version(b, data, models, without, beside=of_a))


def examine_version(
    version: str, data: Path, models: Path, without: Collection[str], beside: Examination | None = None
) -> Examination:
    """A published version's probabilities on the tiles of a labelled folder, but for the groups `without`.

    beside: another version's, of the same folder; its tiles are taken over if they fit this version's network.
    Raises `DataFault`, `SteelsightError`.
    """
    registry = Registry(models)
    inspector = Inspector.load(registry, version, OnnxEngine.name)
    if beside and (beside.fitting.fit, beside.fitting.tile) == (inspector.fitting.fit, inspector.fitting.tile):
        return replace(
            beside,
            manifest=registry.manifest(version),
            probabilities=inspector.probabilities(beside.tiles.tiles),
            score=inspector.probabilities,
        )
    experiment = Experiment.model_validate(registry.manifest(version).training["experiment"])
    records = labelled_records(data, experiment)
    if inspector.fitting.fit is Fit.TILE and choose_fit(records) is not Fit.TILE:
        raise DataFault(
            f"{data} has no masks, and {version} was trained on tiles labelled from masks: its tiles cannot be labelled"
        )
    fitting = inspector.fitting.model_copy(update={"stride": experiment.resolved_stride()})
    records = [record for record in records if record.group not in without]
    if not records:
        raise DataFault(f"{data} holds no group that {version} was not fitted or tuned on")
    with tempfile.TemporaryDirectory() as scratch:
        tiles = cut_all(records, fitting, experiment.min_defect_pixels, Path(scratch))
    require_both_labels(tiles, f"{data} has")
    tell_left_out(tiles)
    return Examination(
        manifest=registry.manifest(version),
        data=data.name,
        records=records,
        fitting=fitting,
        tiles=tiles,
        probabilities=inspector.probabilities(tiles.tiles),
        score=inspector.probabilities,
        seed=experiment.seed,
    )
