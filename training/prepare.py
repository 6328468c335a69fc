"""A data folder -> labelled tiles of each part, ready to be trained on: scan, cut, split."""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from model.artifact import Fitting
from training.checkpoint import Checkpoint, Run
from training.config import Experiment
from training.crops import CropSampler, Surface
from training.dataset import TileSet, choose_fit, cut, surface
from training.errors import DataFault, UsageFault
from training.grouping import with_groups
from training.scan import Record, fingerprint, scan
from training.split import Part, split


@dataclass(frozen=True)
class Prepared:
    """Labelled tiles of each part, how they were cut, and where training draws its own from."""

    records: list[Record]
    fitting: Fitting
    split: dict[str, Part]
    parts: dict[Part, TileSet]
    crops: CropSampler
    left_out: dict[str, int]


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
    surfaces = {number: _surface(records[number], fitting) for number in np.unique(parts[Part.TRAIN].file).tolist()}
    crops = CropSampler(surfaces, parts[Part.TRAIN], experiment.min_defect_pixels)
    return Prepared(records, fitting, groups, parts, crops, dict(tiles.left_out))


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


def _surface(record: Record, fitting: Fitting) -> Surface:
    frame, mask = surface(record, fitting)
    return Surface(frame, mask, record.defect_type, str(record.group))


def _of_part(tiles: TileSet, groups: dict[str, Part], part: Part) -> TileSet:
    chosen = tiles.select(np.array([groups[group] is part for group in tiles.group], np.bool_))
    require_both_labels(chosen, f"the {part} part has")
    return chosen


def require_both_labels(tiles: TileSet, where: str) -> None:
    """Raises `DataFault` unless there are ok and defect tiles."""
    defects = int(tiles.defect.sum())
    for label, count in (("defect", defects), ("ok", len(tiles) - defects)):
        if not count:
            raise DataFault(f"{where} no {label} tiles; at least {len(Part)} groups must show {label} surface")


def _tell_parts(parts: dict[Part, TileSet], tiles: TileSet) -> None:
    for part, chosen in parts.items():
        defects = int(chosen.defect.sum())
        print(
            f"{part:>10}: {len(chosen)} tiles of {chosen.groups} groups, {defects} defect, {len(chosen) - defects} ok",
            file=sys.stderr,
        )
    tell_left_out(tiles)


def tell_left_out(tiles: TileSet) -> None:
    """Say on stderr what is missing, and why."""
    for reason, count in sorted(tiles.left_out.items()):
        print(f"  left out: {count} {reason}", file=sys.stderr)
