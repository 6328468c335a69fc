"""A trained network -> a version: exported, calibrated, its thresholds chosen, evaluated, and made to appear.

Every part is scored by the files that will be served, not by the network in memory.
"""

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version as package_version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from model import artifact, export
from model.artifact import Fitting, Manifest
from model.calibration import Calibrator, defect_logit
from model.engine import Engine, KerasEngine, OnnxEngine, open_engine
from model.image import Frame
from model.inspector import BATCH_TILES, Inspector
from model.tiling import Probabilities
from model.verdict import Thresholds
from training.calibrate import fit_calibrator
from training.checkpoint import Run, State
from training.config import Experiment
from training.dataset import TileSet
from training.errors import DataFault
from training.evaluate import Examination
from training.outcome import Outcome, measure
from training.prepare import Prepared
from training.report import write_report
from training.split import Part
from training.threshold import certify, from_overkill

if TYPE_CHECKING:
    import keras

CLASSES = ("ok", "defect")
# Of the logits. Rounding alone spreads a dead network's by far less; one that had barely begun to learn spread by 0.06.
LEAST_SPREAD = 1e-4
PACKAGES = ("keras", "numpy", "onnxruntime", "pillow", "tensorflow")


def publish(run: Run, prepared: Prepared, model: "keras.Model", state: State, models: Path) -> Outcome:
    """Make the version appear below `models`.

    Raises `SteelsightError` (export_disagrees) if an export gives another verdict than the Keras model.
    """
    experiment = run.experiment
    calibration, threshold, test = (prepared.parts[part] for part in (Part.CALIBRATION, Part.THRESHOLD, Part.TEST))
    with artifact.staging(models, run.version) as folder:
        export.save_keras(model, folder)
        export.save_onnx(model, folder)
        keras = open_engine(KerasEngine.name, folder)
        logits = _logits(keras, calibration.tiles)
        _require_alive(logits)
        fitted = fit_calibrator(logits, calibration.defect, calibration.group, experiment.seed)
        scored = _score(keras, fitted.calibrator, prepared.fitting)
        thresholds, certificate = _thresholds(scored(threshold.tiles), threshold, experiment)
        probabilities = scored(test.tiles)
        exported = _score(open_engine(OnnxEngine.name, folder), fitted.calibrator, prepared.fitting)(test.tiles)
        parity = export.parity(probabilities, exported, thresholds, OnnxEngine.name)
        outcome = measure(run.version, test, probabilities, thresholds, experiment.seed)
        manifest = Manifest(
            version=run.version,
            created_at=datetime.now(UTC),
            classes=CLASSES,
            network=experiment.resolved_network(),
            # Training may leave gaps between tiles; inspecting must not.
            fitting=prepared.fitting.model_copy(update={"stride": min(prepared.fitting.stride, prepared.fitting.tile)}),
            calibrator=fitted.calibrator,
            thresholds=thresholds,
            metrics=outcome.metrics,
            parity={OnnxEngine.name: parity},
            data=_about_data(run, prepared),
            training={
                "experiment": experiment.model_dump(mode="json"),
                "best_epoch": state.best.number,
                "history": [epoch.model_dump() for epoch in state.history],
                "calibration": fitted.model_dump(mode="json"),
                "thresholds": certificate,
            },
            packages={name: package_version(name) for name in PACKAGES},
            files={},
        )
        examination = Examination(
            manifest=manifest,
            data=run.data.name,
            records=prepared.records,
            fitting=prepared.fitting,
            tiles=test,
            probabilities=probabilities,
            score=scored,
            seed=experiment.seed,
        )
        write_report(folder / "report", examination)
        artifact.write_manifest(folder, manifest)
    print(f"calibration: {fitted.reason}\nthresholds: {certificate['sentence']}", file=sys.stderr)
    return outcome


def _logits(engine: Engine, tiles: Frame) -> npt.NDArray[np.float64]:
    """Defect logits, float64 (n,), of uint8 tiles (n, size, size)."""
    starts = range(0, len(tiles), BATCH_TILES)
    return np.concatenate([defect_logit(engine.logits(tiles[start : start + BATCH_TILES])) for start in starts])


def _require_alive(logits: npt.NDArray[np.float64]) -> None:
    """Raises `DataFault` for a network that tells nothing apart: as the active version it would pass every frame."""
    if np.ptp(logits) < LEAST_SPREAD:
        raise DataFault(
            "the trained network says the same of every tile, so it is not published: it has learned nothing; "
            "lower learning_rate, or train for more epochs"
        )


def _score(engine: Engine, calibrator: Calibrator, fitting: Fitting) -> Callable[[Frame], Probabilities]:
    """Tiles -> probabilities exactly as a server computes them; there are no thresholds to ask for yet."""
    never = Thresholds(review=1, defect=1)
    return Inspector("unpublished", engine, calibrator, never, fitting).probabilities


def _thresholds(
    probabilities: Probabilities, tiles: TileSet, experiment: Experiment
) -> tuple[Thresholds, dict[str, Any]]:
    """From the escape budget if one was stated, else from tolerated overkill; and what can be said for them."""
    if experiment.max_escape is None:
        sentence = "no escape budget was stated (--max-escape): at most 5 % of good tiles are called, 1 % as defects"
        return from_overkill(probabilities, tiles.defect), {"sentence": sentence}
    budget = experiment.max_escape, experiment.confidence
    certified = certify(probabilities, tiles.defect, tiles.group, *budget)
    return certified.thresholds, certified.model_dump(mode="json")


def _about_data(run: Run, prepared: Prepared) -> dict[str, Any]:
    return {
        "folder": run.data.name,
        "fingerprint": run.fingerprint,
        "tiles": {part.value: len(tiles) for part, tiles in prepared.parts.items()},
        "defect_tiles": {part.value: int(tiles.defect.sum()) for part, tiles in prepared.parts.items()},
        "left_out": prepared.left_out,
        "split": {group: part.value for group, part in sorted(prepared.split.items())},
    }
