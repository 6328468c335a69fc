"""A trained network -> a version: exported, calibrated, its thresholds chosen, evaluated, and made to appear.

Every part is scored by the files that will be served, not by the network in memory.
"""

import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version as package_version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from model import artifact, export, signing
from model.artifact import Manifest, Parity
from model.calibration import Logits, defect_logit
from model.engine import Engine, KerasEngine, OnnxEngine, open_engine
from model.inspector import Inspector
from model.trial.scores import recorded
from model.verdict import Thresholds
from training.calibrate import CalibrationResult, fit_calibrator
from training.checkpoint import Run, State
from training.cross_figures import cross_figures, figures_sentence, fold_scorer, for_recipe
from training.cross_validation import OutOfFold
from training.dataset import TileSet
from training.errors import DataFault
from training.evaluate import Examination, OutOfFoldFigures
from training.labelled_folder import groups_used
from training.operating_point import operating_point
from training.outcome import Outcome
from training.precisions import Measured, measure_precisions
from training.prepare import Prepared
from training.report import write_report
from training.scoring import unpublished
from training.split import Part

if TYPE_CHECKING:
    import keras

# Of the logits. Rounding alone spreads a dead network's by far less; one that had barely begun to learn spread by 0.06.
LEAST_SPREAD = 1e-4
PACKAGES = ("keras", "numpy", "onnxruntime", "openvino", "pillow", "tensorflow")


def publish(
    run: Run,
    prepared: Prepared,
    model: "keras.Model",
    state: State,
    models: Path,
    learned_from: Sequence[Manifest] = (),
) -> Outcome:
    """Make the version appear below `models`; each of the four parts of the data is used for one thing.

    learned_from: versions that it began with or was taught by.

    Raises `SteelsightError` (export_disagrees) if an export gives another verdict than the Keras model.
    """
    experiment, fitting, classes = run.experiment, prepared.fitting, prepared.classes
    calibration, threshold, test = (prepared.parts[part] for part in (Part.CALIBRATION, Part.THRESHOLD, Part.TEST))
    tuned_on = [prepared.parts[part] for part in Part if part is not Part.TEST]
    with artifact.staging(models, run.version) as folder:
        keras, onnx = _engines(model, folder)
        logits = unpublished(keras, fitting, classes).logits(calibration.tiles)
        _require_alive(logits)
        fitted = fit_calibrator(defect_logit(logits), calibration.defect, calibration.group, experiment.seed)
        inspector = unpublished(keras, fitting, classes, fitted.calibrator)
        thresholds, certificate = operating_point(
            inspector.probabilities(threshold.tiles), threshold.defect, threshold.group, threshold.file, experiment
        )
        of_test = inspector.logits(test.tiles)
        probabilities = fitted.calibrator.probabilities(of_test)
        exported = unpublished(onnx, fitting, classes, fitted.calibrator).logits(test.tiles)
        parity = measure_precisions(
            folder,
            Measured(inspector, experiment.resolved_network(classes), of_test, test.tiles, test.defect, thresholds),
            _parity(inspector, of_test, exported, thresholds),
            calibration=calibration.tiles,
            seed=experiment.seed,
        )
        manifest = _manifest(
            run,
            prepared,
            calibrator=fitted.calibrator,
            thresholds=thresholds,
            parity=parity,
            fixed_scores=recorded(folder, keras, fitting.tile, parity),
            data=_about_parts(prepared.parts) | _about_use(prepared.split, tuned_on, learned_from),
            training=_about_training(state, fitted, certificate),
        )
        examination = Examination(
            manifest=manifest,
            data=run.data.name,
            records=prepared.records,
            fitting=fitting,
            tiles=test,
            probabilities=probabilities,
            score=inspector.probabilities,
            seed=experiment.seed,
            class_probabilities=inspector.class_probabilities(of_test),
        )
        outcome = Outcome.of(examination)
        _write(folder, examination, outcome)
    _tell(fitted, certificate)
    return outcome


def publish_cross_fitted(
    run: Run,
    prepared: Prepared,
    found: OutOfFold,
    model: "keras.Model",
    state: State,
    models: Path,
    learned_from: Sequence[Manifest] = (),
) -> Outcome:
    """Make the version appear whose network was fitted on all groups; all else comes from out-of-fold logits.

    prepared: of the fit on all groups. learned_from: as for `publish`. Raises `DataFault`, `SteelsightError`
    (export_disagrees).
    """
    experiment, tiles, fitting = run.experiment, found.tiles, prepared.fitting
    figures = cross_figures(found, experiment)
    fitted = fit_calibrator(found.defect_logits, tiles.defect, tiles.group, experiment.seed)
    out_of_fold = fitted.calibrator.probabilities(found.logits)
    thresholds, certificate = operating_point(out_of_fold, tiles.defect, tiles.group, tiles.file, experiment)
    certificate = for_recipe(certificate, found.folds)
    sentence = figures_sentence(found.folds, published=True)
    others = found.fold > 0
    with artifact.staging(models, run.version) as folder:
        keras, onnx = (
            unpublished(each, fitting, prepared.classes, fitted.calibrator) for each in _engines(model, folder)
        )
        # Of tiles it was fitted on: good enough to see that it is alive and that its exports agree, and for no figure.
        logits = keras.logits(tiles.tiles)
        _require_alive(logits)
        parity = measure_precisions(
            folder,
            # Ranges of 8 bits are not measured on the tiles that they were chosen on.
            Measured(
                keras,
                experiment.resolved_network(prepared.classes),
                logits[others],
                tiles.tiles[others],
                tiles.defect[others],
                thresholds,
            ),
            _parity(keras, logits, onnx.logits(tiles.tiles), thresholds),
            calibration=tiles.tiles[~others],
            seed=experiment.seed,
        )
        manifest = _manifest(
            run,
            prepared,
            calibrator=fitted.calibrator,
            thresholds=thresholds,
            parity=parity,
            fixed_scores=recorded(folder, keras.engine, fitting.tile, parity),
            data=_about_parts(found.parts()) | _about_use(found.split(), [tiles], learned_from),
            training=_about_training(state, fitted, certificate)
            | {"cross_validation": figures.summary(), "figures": sentence},
        )
        examination = Examination(
            manifest=manifest,
            data=run.data.name,
            records=prepared.records,
            fitting=fitting,
            tiles=tiles,
            probabilities=figures.probabilities,
            score=keras.probabilities,
            seed=experiment.seed,
            class_probabilities=figures.class_probabilities,
            out_of_fold=OutOfFoldFigures(
                thresholds=figures.thresholds,
                rescore=fold_scorer(found, figures.calibrators, fitting),
                sentence=sentence,
            ),
        )
        outcome = figures.outcome(run.version, found)
        _write(folder, examination, outcome)
    print(f"figures: {sentence}", file=sys.stderr)
    _tell(fitted, certificate)
    return outcome


def _engines(model: "keras.Model", folder: Path) -> tuple[Engine, Engine]:
    """The Keras engine and the ONNX one, opened from what is written into `folder`."""
    export.save_keras(model, folder)
    export.save_onnx(model, folder)
    return open_engine(KerasEngine.name, folder), open_engine(OnnxEngine.name, folder)


def _parity(inspector: Inspector, reference: Logits, exported: Logits, thresholds: Thresholds) -> Parity:
    """Of the ONNX export: its logits against those of the Keras network on the same tiles."""
    ours, theirs = (inspector.calibrator.probabilities(logits) for logits in (reference, exported))
    classes = inspector.class_probabilities(reference), inspector.class_probabilities(exported)
    return export.parity(ours, theirs, thresholds, OnnxEngine.name, classes)


def _write(folder: Path, examination: Examination, outcome: Outcome) -> None:
    write_report(folder / "report", examination)
    artifact.write_manifest(folder, examination.manifest.model_copy(update={"metrics": outcome.metrics}))
    if key := signing.configured_signing_key():
        signer = signing.sign(folder, artifact.manifest_bytes(folder), key)
        print(f"signed by {signing.key_id(signer)}", file=sys.stderr)


def _manifest(run: Run, prepared: Prepared, data: dict[str, Any], training: dict[str, Any], **fields: Any) -> Manifest:
    """Without metrics; fields: calibrator, thresholds, parity and fixed scores."""
    experiment, fitting = run.experiment, prepared.fitting
    return Manifest(
        version=run.version,
        created_at=datetime.now(UTC),
        classes=prepared.classes,
        network=experiment.resolved_network(prepared.classes),
        # Training may leave gaps between tiles; inspecting must not.
        fitting=fitting.model_copy(update={"stride": min(fitting.stride, fitting.tile)}),
        metrics={},
        data={
            "folder": run.data.name,
            "fingerprint": run.fingerprint,
            "left_out": prepared.left_out,
            "faults": list(run.faults),
        }
        | data,
        training={"experiment": experiment.model_dump(mode="json")} | training,
        packages={name: package_version(name) for name in PACKAGES},
        files={},
        **fields,
    )


def _about_training(state: State, fitted: CalibrationResult, certificate: dict[str, Any]) -> dict[str, Any]:
    return {
        "best_epoch": state.best.number,
        "history": [epoch.model_dump() for epoch in state.history],
        "calibration": fitted.model_dump(mode="json"),
        "thresholds": certificate,
    }


def _about_parts(parts: Mapping[Any, TileSet]) -> dict[str, Any]:
    return {
        "tiles": {str(part): len(tiles) for part, tiles in parts.items()},
        "defect_tiles": {str(part): int(tiles.defect.sum()) for part, tiles in parts.items()},
    }


def _about_use(split: Mapping[str, str], used: Iterable[TileSet], learned_from: Sequence[Manifest]) -> dict[str, Any]:
    """used: the tiles that the version was fitted or tuned on, whose images are known again in any folder.

    What those knew that it has learned from has come down to it.
    """
    images = [tiles.images for tiles in used] + [set(each.data.get("images_used", ())) for each in learned_from]
    return {
        "split": {group: str(part) for group, part in sorted(split.items())},
        "images_used": sorted(set[str]().union(*images)),
        "groups_before": sorted(set[str]().union(*map(groups_used, learned_from))),
    }


def _tell(fitted: CalibrationResult, certificate: dict[str, Any]) -> None:
    print(f"calibration: {fitted.reason}\nthresholds: {certificate['sentence']}", file=sys.stderr)


def _require_alive(logits: Logits) -> None:
    """Raises `DataFault` for a network that tells nothing apart: as the active version it would pass every frame."""
    if np.ptp(defect_logit(logits)) < LEAST_SPREAD:
        raise DataFault(
            "the trained network says the same of every tile, so it is not published: it has learned nothing; "
            "lower learning_rate, or train for more epochs"
        )
