"""The whole of each task in order: train a version, evaluate one on any folder, compare two."""

import sys
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
from training.cross_figures import cross_figures, figures_sentence
from training.cross_validation import cross_validate, final_checkpoint
from training.dataset import choose_fit
from training.errors import DataFault
from training.evaluate import Examination, groups_used
from training.group_pattern import names_some
from training.outcome import Outcome, measure
from training.prepare import (
    cut_all,
    labelled_records,
    prepare,
    prepared_for,
    read_folder,
    require_both_labels,
    tell_left_out,
    tell_tiles,
)
from training.publish import publish, publish_cross_fitted
from training.recipe import fit_network
from training.report import write_report
from training.scan import scan
from training.split import Part
from training.teacher import open_teacher, teachers_split


def train(run: Run, checkpoint: Checkpoint, models: Path) -> Outcome:
    """Train or go on training `run`, evaluate it on groups it never saw, and publish it.

    Raises `DataFault` where the data cannot carry it, KeyboardInterrupt on Ctrl-C.
    """
    if run.experiment.folds:
        return train_in_folds(run, checkpoint, models)
    prepared = prepare(run, checkpoint, teachers_split(run, models))
    teacher = open_teacher(run.experiment, prepared.classes, prepared.fitting, models)
    model, state = fit_network(run.experiment, prepared, checkpoint, teacher)
    return publish(run, prepared, model, state, models)


def train_in_folds(run: Run, checkpoint: Checkpoint, models: Path) -> Outcome:
    """Measure the recipe by group cross-validation, then fit it on all groups and publish that network.

    With `figures_only` it ends after the figures. Raises as `train` does.
    """
    experiment = run.experiment
    folder = read_folder(run, checkpoint.folder)
    found = cross_validate(run, folder, checkpoint)
    if experiment.figures_only:
        print(f"figures: {figures_sentence(found.folds, published=False)}", file=sys.stderr)
        return cross_figures(found, experiment).outcome(None, found)
    everything = dict.fromkeys(found.fold_of, Part.TRAIN)
    prepared = prepared_for(folder, everything, {Part.TRAIN: folder.tiles}, experiment)
    tell_tiles("all", folder.tiles)
    final = final_checkpoint(checkpoint)
    final.folder.mkdir(exist_ok=True)
    model, state = fit_network(experiment, prepared, final)
    return publish_cross_fitted(run, prepared, found, model, state, models)


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
        version,
        examination.tiles,
        examination.probabilities,
        examination.manifest.thresholds,
        examination.seed,
        examination.named,
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
        logits = inspector.logits(beside.tiles.tiles)
        return replace(
            beside,
            manifest=registry.manifest(version),
            probabilities=inspector.calibrator.probabilities(logits),
            score=inspector.probabilities,
            class_probabilities=inspector.class_probabilities(logits),
        )
    experiment = _on(data, Experiment.model_validate(registry.manifest(version).training["experiment"]))
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
    logits = inspector.logits(tiles.tiles)
    return Examination(
        manifest=registry.manifest(version),
        data=data.name,
        records=records,
        fitting=fitting,
        tiles=tiles,
        probabilities=inspector.calibrator.probabilities(logits),
        score=inspector.probabilities,
        seed=experiment.seed,
        class_probabilities=inspector.class_probabilities(logits),
    )


def _on(data: Path, experiment: Experiment) -> Experiment:
    """A version's experiment for another folder: a pattern for file names says nothing of files named otherwise."""
    pattern = experiment.group_pattern
    if pattern is None or names_some(scan(data), pattern):
        return experiment
    print(
        f"the version's group_pattern {pattern!r} names no file of {data}: near-duplicates make groups", file=sys.stderr
    )
    return experiment.model_copy(update={"group_pattern": None})
