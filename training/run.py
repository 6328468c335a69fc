"""The stages of one training in order: folder -> scan -> split -> fit -> threshold -> evaluate -> artifact."""

import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version as package_version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from model import artifact, export
from model.artifact import Fitting, Interval, Manifest
from model.calibration import IdentityCalibrator
from model.engine import KerasEngine, OnnxEngine, open_engine
from model.image import Frame
from model.inspector import Inspector
from model.registry import Registry
from model.tiling import Fit, Probabilities
from model.verdict import Thresholds
from training.checkpoint import Checkpoint, Run, State
from training.config import Experiment
from training.dataset import TileSet, choose_fit, cut
from training.errors import DataFault, UsageFault
from training.evaluate import confusion, evaluate
from training.grouping import with_groups
from training.scan import Record, fingerprint, scan
from training.split import Part, split
from training.threshold import from_overkill

if TYPE_CHECKING:
    import keras

CLASSES = ("ok", "defect")
PACKAGES = ("keras", "numpy", "onnxruntime", "pillow", "tensorflow")


@dataclass(frozen=True)
class Outcome:
    """A published version and its figures on the test part."""

    version: str
    tiles: int
    groups: int
    metrics: dict[str, Interval]
    confusion: dict[str, dict[str, int]]

    def summary(self) -> dict[str, Any]:
        """The JSON line that `--json` ends with."""
        return {
            "version": self.version,
            "tiles": self.tiles,
            "groups": self.groups,
            "metrics": {name: interval.model_dump() for name, interval in self.metrics.items()},
            "confusion": self.confusion,
        }


@dataclass(frozen=True)
class Prepared:
    """Labelled tiles of each part, and how they were cut."""

    fitting: Fitting
    split: dict[str, Part]
    parts: dict[Part, TileSet]
    left_out: dict[str, int]


def train(run: Run, checkpoint: Checkpoint, models: Path) -> Outcome:
    """Train or go on training `run`, evaluate it on groups it never saw, and publish it.

    Raises `DataFault` where the data cannot carry it, KeyboardInterrupt on Ctrl-C.
    """
    prepared = prepare(run, checkpoint)

    # Keras is imported here and not above, so that wrong usage and unusable data are told at once.
    from training.fit import fit, trained_network

    network = run.experiment.resolved_network()
    state = fit(network, prepared.parts[Part.TRAIN], prepared.parts[Part.VALIDATION], run.experiment, checkpoint)
    return publish(run, prepared, trained_network(network, checkpoint, state), state, models)


def prepare(run: Run, checkpoint: Checkpoint) -> Prepared:
    """Scan, cut, split. Raises `DataFault`."""
    experiment = run.experiment
    records = labelled_records(run.data, experiment)
    if fingerprint(records) != run.fingerprint:
        raise DataFault(f"{run.data} has changed since this run was started; start the training anew")
    fitting = Fitting(
        fit=choose_fit(records), tile=experiment.resolved_network().input_size, stride=experiment.resolved_stride()
    )
    tiles = cut_all(records, fitting, experiment.min_defect_pixels, checkpoint.folder)
    groups = split(records, experiment.split, experiment.seed)
    parts = {part: _of_part(tiles, groups, part) for part in Part}
    _tell_parts(parts, tiles)
    return Prepared(fitting, groups, parts, dict(tiles.left_out))


def publish(run: Run, prepared: Prepared, model: "keras.Model", state: State, models: Path) -> Outcome:
    """Export, choose thresholds, evaluate, and make the version appear below `models`.

    Validation and test tiles are scored by the files that will be served, not by the network in memory.
    Raises `SteelsightError` (export_disagrees) if an export gives another verdict.
    """
    validation, test = prepared.parts[Part.VALIDATION], prepared.parts[Part.TEST]
    with artifact.staging(models, run.version) as folder:
        export.save_keras(model, folder)
        export.save_onnx(model, folder)
        scored = _score(folder, KerasEngine.name, prepared.fitting)
        thresholds = from_overkill(scored(validation.tiles), validation.defect)
        probabilities = scored(test.tiles)
        exported = _score(folder, OnnxEngine.name, prepared.fitting)(test.tiles)
        outcome = measure(run.version, test, probabilities, thresholds, run.experiment.seed)
        manifest = Manifest(
            version=run.version,
            created_at=datetime.now(UTC),
            classes=CLASSES,
            network=run.experiment.resolved_network(),
            # Training may leave gaps between tiles; inspecting must not.
            fitting=prepared.fitting.model_copy(update={"stride": min(prepared.fitting.stride, prepared.fitting.tile)}),
            calibrator=IdentityCalibrator(),
            thresholds=thresholds,
            metrics=outcome.metrics,
            parity={OnnxEngine.name: export.parity(probabilities, exported, thresholds, OnnxEngine.name)},
            data=_about_data(run, prepared),
            training=_about_training(run.experiment, state),
            packages={name: package_version(name) for name in PACKAGES},
            files={},
        )
        artifact.write_manifest(folder, manifest)
    return outcome


def evaluate_version(version: str, data: Path, models: Path) -> Outcome:
    """Score a published version on a labelled folder. Raises `DataFault`, `SteelsightError`."""
    registry = Registry(models)
    inspector = Inspector.load(registry, version, OnnxEngine.name)
    experiment = Experiment.model_validate(registry.manifest(version).training["experiment"])
    records = labelled_records(data, experiment)
    if inspector.fitting.fit is Fit.TILE and choose_fit(records) is not Fit.TILE:
        raise DataFault(
            f"{data} has no masks, and {version} was trained on tiles labelled from masks: its tiles cannot be labelled"
        )
    fitting = inspector.fitting.model_copy(update={"stride": experiment.resolved_stride()})
    with tempfile.TemporaryDirectory() as scratch:
        tiles = cut_all(records, fitting, experiment.min_defect_pixels, Path(scratch))
        _require_both_labels(tiles, f"{data} has")
        _tell_left_out(tiles)
        return measure(version, tiles, inspector.probabilities(tiles.tiles), inspector.thresholds, experiment.seed)


def require_binary(experiment: Experiment) -> None:
    """Raises `UsageFault` unless the network has the one output that tiles labelled ok or defect train."""
    outputs = experiment.resolved_network().outputs
    if outputs != 1:
        raise UsageFault(
            f"preset {experiment.preset} has {outputs} outputs; this training labels tiles ok or defect and needs a "
            "network with one output (--preset steel-128, or outputs = 1 in the experiment's network)"
        )


def labelled_records(data: Path, experiment: Experiment) -> list[Record]:
    """The records an experiment uses, each with its group. Raises `DataFault`."""
    records = scan(data)
    if experiment.defect_types:
        known = {record.defect_type for record in records}
        if unknown := sorted(set(experiment.defect_types) - known):
            raise DataFault(f"{data} has no defect type {unknown[0]!r}; it has: {', '.join(sorted(known))}")
        records = [
            record for record in records if record.label == "ok" or record.defect_type in experiment.defect_types
        ]
    return with_groups(records)


def cut_all(records: list[Record], fitting: Fitting, min_defect_pixels: int, scratch: Path) -> TileSet:
    """All tiles, with a progress bar."""
    with tqdm(total=len(records), desc="reading", unit="image", disable=not sys.stderr.isatty()) as bar:
        return cut(records, fitting, min_defect_pixels, scratch, bar.update)


def measure(version: str, tiles: TileSet, probabilities: Probabilities, thresholds: Thresholds, seed: int) -> Outcome:
    """Figures of a version on labelled tiles."""
    return Outcome(
        version=version,
        tiles=len(tiles),
        groups=tiles.groups,
        metrics=evaluate(tiles.defect, probabilities, tiles.group, thresholds, seed),
        confusion=confusion(tiles.defect, probabilities, thresholds),
    )


def _score(folder: Path, engine: str, fitting: Fitting) -> Callable[[Frame], Probabilities]:
    """Tiles -> probabilities by a folder that is not published yet; it has no thresholds to ask for."""
    never = Thresholds(review=1, defect=1)
    return Inspector("unpublished", open_engine(engine, folder), IdentityCalibrator(), never, fitting).probabilities


def _of_part(tiles: TileSet, groups: dict[str, Part], part: Part) -> TileSet:
    chosen = tiles.select(np.array([groups[group] is part for group in tiles.group], np.bool_))
    _require_both_labels(chosen, f"the {part} part has")
    return chosen


def _require_both_labels(tiles: TileSet, where: str) -> None:
    defects = int(tiles.defect.sum())
    for label, count in (("defect", defects), ("ok", len(tiles) - defects)):
        if not count:
            raise DataFault(
                f"{where} no {label} tiles; at least three groups that show {label} surface are needed "
                "(`python -m training check DATA` says what is missing)"
            )


def _tell_parts(parts: dict[Part, TileSet], tiles: TileSet) -> None:
    for part, chosen in parts.items():
        defects = int(chosen.defect.sum())
        print(
            f"{part:>10}: {len(chosen)} tiles of {chosen.groups} groups, {defects} defect, {len(chosen) - defects} ok",
            file=sys.stderr,
        )
    _tell_left_out(tiles)


def _tell_left_out(tiles: TileSet) -> None:
    for reason, count in sorted(tiles.left_out.items()):
        print(f"  left out: {count} {reason}", file=sys.stderr)


def _about_data(run: Run, prepared: Prepared) -> dict[str, Any]:
    return {
        "folder": run.data.name,
        "fingerprint": run.fingerprint,
        "tiles": {part.value: len(tiles) for part, tiles in prepared.parts.items()},
        "defect_tiles": {part.value: int(tiles.defect.sum()) for part, tiles in prepared.parts.items()},
        "left_out": prepared.left_out,
        "split": {group: part.value for group, part in sorted(prepared.split.items())},
    }


def _about_training(experiment: Experiment, state: State) -> dict[str, Any]:
    return {
        "experiment": experiment.model_dump(mode="json"),
        "best_epoch": state.best.number,
        "history": [epoch.model_dump() for epoch in state.history],
    }
