"""The whole of each task in order: train a version, evaluate one on any folder, compare two."""

import sys
import tempfile
from collections.abc import Collection, Sequence
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
from training.evaluate import Examination
from training.labelled_folder import LabelledFolder
from training.outcome import Outcome
from training.prepare import (
    cut_all,
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
from training.scan import as_text
from training.split import Part
from training.start import learned_from, open_start
from training.teacher import open_teacher, teachers_split


def train(run: Run, checkpoint: Checkpoint, models: Path) -> Outcome:
    """Train or go on training `run`, evaluate it on groups it never saw, and publish it.

    Raises `DataFault` where the data cannot carry it, KeyboardInterrupt on Ctrl-C.
    """
    if run.experiment.folds:
        return train_in_folds(run, checkpoint, models)
    prepared = prepare(run, checkpoint, teachers_split(run, models))
    teacher = open_teacher(run.experiment, prepared.classes, prepared.fitting, models)
    start, before = open_start(run.experiment, models), learned_from(run.experiment, models)
    model, state = fit_network(run.experiment, prepared, checkpoint, teacher, start)
    return publish(run, prepared, model, state, models, before)


def train_in_folds(run: Run, checkpoint: Checkpoint, models: Path) -> Outcome:
    """Measure the recipe by group cross-validation, then fit it on all groups and publish that network.

    With `figures_only` it ends after the figures. Raises as `train` does.
    """
    experiment = run.experiment
    folder = read_folder(run, checkpoint.folder)
    start, before = open_start(experiment, models), learned_from(experiment, models)
    found = cross_validate(run, folder, checkpoint, start)
    if experiment.figures_only:
        print(f"figures: {figures_sentence(found.folds, published=False)}", file=sys.stderr)
        return cross_figures(found, experiment).outcome(None, found)
    everything = dict.fromkeys(found.fold_of, Part.TRAIN)
    prepared = prepared_for(folder, everything, {Part.TRAIN: folder.tiles}, experiment)
    tell_tiles("all", folder.tiles)
    final = final_checkpoint(checkpoint)
    final.folder.mkdir(exist_ok=True)
    model, state = fit_network(experiment, prepared, final, start=start)
    return publish_cross_fitted(run, prepared, found, model, state, models, before)


def evaluate_version(
    version: str, data: Path, models: Path, *, report: Path | None = None, unseen: bool = False
) -> Outcome:
    """Score a published version on a labelled folder, and write the whole report if a folder for it is given.

    unseen: leave out the groups the version was fitted or tuned on. Raises `DataFault`, `SteelsightError`.
    """
    folder = LabelledFolder(data)
    without = _seen_by((version,), folder, models) if unseen else None
    examination = examine_version(version, folder, models, without)
    _tell_known(examination)
    if report:
        write_report(report, examination)
    return Outcome.of(examination)


def compare_versions(a: str, b: str, data: Path, models: Path, *, unseen: bool = False) -> Comparison:
    """Two published versions on one labelled folder.

    unseen: leave out what either was fitted or tuned on. Both are measured on the groups that a makes of the folder.
    Raises `DataFault`, `SteelsightError`.
    """
    folder = LabelledFolder(data)
    without = _seen_by((a, b), folder, models) if unseen else None
    of_a = examine_version(a, folder, models, without)
    of_b = examine_version(b, folder, models, without, beside=of_a)
    for examination in (of_a, of_b):
        _tell_known(examination)
    return compare(of_a, of_b)


def _tell_known(examination: Examination) -> None:
    """One line on stderr where the figures may flatter."""
    known, version = examination.known_groups, examination.manifest.version
    if known is None:
        print(
            f"warning: {version} was published without a list of the images it was fitted or tuned on; its figures may "
            "be flattering",
            file=sys.stderr,
        )
    elif known:
        print(
            f"warning: {known} of the {examination.tiles.groups} groups hold images that {version} was fitted or tuned "
            "on, or others of their groups; its figures are flattering (--unseen leaves those groups out)",
            file=sys.stderr,
        )


def _seen_by(versions: Sequence[str], folder: LabelledFolder, models: Path) -> frozenset[str]:
    """Files that any of the versions was fitted or tuned on. Raises `DataFault` where that cannot be told."""
    found: frozenset[str] = frozenset()
    for version in versions:
        used = folder.files_used(Registry(models).manifest(version))
        if used is None:
            raise DataFault(
                f"{version} was published without a list of the images it was fitted or tuned on, and names of groups "
                f"do not tell it of {folder.data}, for near-duplicates made some of them: which files it has not seen "
                "is not known; train it anew, or leave out --unseen if it has seen none of this folder"
            )
        found |= used
    return found


def examine_version(
    version: str,
    folder: LabelledFolder,
    models: Path,
    without: Collection[str] | None,
    beside: Examination | None = None,
) -> Examination:
    """A published version's probabilities on the tiles of a labelled folder.

    without: files that are left out, which is said on stderr; None for the whole folder.
    beside: another version's, of the same folder; its images and groups are taken over, and its tiles if they fit this
    version's network. Raises `DataFault`, `SteelsightError`.
    """
    registry, data = Registry(models), folder.data
    manifest = registry.manifest(version)
    inspector = Inspector.load(registry, version, OnnxEngine.name)
    if beside and (beside.fitting.fit, beside.fitting.tile) == (inspector.fitting.fit, inspector.fitting.tile):
        logits = inspector.logits(beside.tiles.tiles)
        return replace(
            beside,
            manifest=manifest,
            probabilities=inspector.calibrator.probabilities(logits),
            score=inspector.probabilities,
            class_probabilities=inspector.class_probabilities(logits),
            files_used=folder.files_used(manifest),
        )
    experiment = Experiment.model_validate(manifest.training["experiment"])
    records = list(beside.records) if beside else folder.records(experiment)
    if inspector.fitting.fit is Fit.TILE and choose_fit(records) is not Fit.TILE:
        raise DataFault(
            f"{data} has no masks, and {version} was trained on tiles labelled from masks: its tiles cannot be labelled"
        )
    fitting = inspector.fitting.model_copy(update={"stride": experiment.resolved_stride()})
    if without is not None and not beside:
        scanned = len(records)
        records = [record for record in records if record.file not in without]
        count = f"{scanned - len(records)} of {scanned} images"
        print(f"  left out: {count} that were used already, or share a group with one that was", file=sys.stderr)
    if not records:
        raise DataFault(
            f"{data} holds no group that {version} was not fitted or tuned on, nor the version it is compared with, if "
            "any; collect images of other surfaces, or leave out --unseen"
        )
    with tempfile.TemporaryDirectory() as scratch:
        tiles = cut_all(records, fitting, experiment.min_defect_pixels, Path(scratch))
    require_both_labels(tiles, f"{data} has")
    tell_left_out(tiles)
    logits = inspector.logits(tiles.tiles)
    return Examination(
        manifest=manifest,
        data=as_text(Path(data.name)),
        records=records,
        fitting=fitting,
        tiles=tiles,
        probabilities=inspector.calibrator.probabilities(logits),
        score=inspector.probabilities,
        seed=experiment.seed,
        class_probabilities=inspector.class_probabilities(logits),
        files_used=folder.files_used(manifest),
    )
