"""A data folder -> labelled tiles of each part, ready to be trained on: scan, cut, split."""

import sys
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from model.artifact import Fitting
from model.tiling import Fit
from training.blend import require_blends, tell_unblended
from training.checkpoint import Checkpoint, Run
from training.classes import class_names, tile_kinds
from training.config import Experiment
from training.crops import CropSampler, Surface
from training.dataset import Surfaces, TileSet, choose_fit, cut
from training.errors import DataFault, UsageFault
from training.group_pattern import by_pattern
from training.grouping import with_groups
from training.places import tell_untaught
from training.scan import Record, fingerprint, scan
from training.split import Part, split


@dataclass(frozen=True)
class CutFolder:
    """A data folder, scanned and cut into labelled tiles: what every split of it starts from.

    classes: what the network tells apart, ok first. tiles, surfaces: all of them, on disk.
    """

    classes: tuple[str, ...]
    records: list[Record]
    fitting: Fitting
    tiles: TileSet
    surfaces: Surfaces

    def of(self, groups: Collection[str], where: str, needed: int) -> TileSet:
        """The tiles of some groups, in memory. Raises `DataFault` unless both labels are among them.

        where, needed: how the fault names these groups, and how many must show each label for all parts to have some.
        """
        chosen = self.tiles.select(np.isin(self.tiles.group, list(groups)))
        require_both_labels(chosen, f"{where} has", needed)
        return chosen


@dataclass(frozen=True)
class Prepared:
    """What one fit works on: labelled tiles of each part, how they were cut, and where training draws its own from.

    classes: what the network tells apart, ok first. parts: `Part.TRAIN` always; without `Part.CALIBRATION`
    there is no validation, and the network of the last epoch is taken.
    """

    classes: tuple[str, ...]
    records: list[Record]
    fitting: Fitting
    split: dict[str, Part]
    parts: dict[Part, TileSet]
    crops: CropSampler
    left_out: dict[str, int]

    @property
    def validation(self) -> TileSet | None:
        """Tiles of groups that choose the epoch, if there are any."""
        return self.parts.get(Part.CALIBRATION)


def prepare(run: Run, checkpoint: Checkpoint, agreed: dict[str, Part] | None = None) -> Prepared:
    """Scan, cut, split into four parts, or into those that were `agreed` on with a teacher. Raises `DataFault`."""
    folder = read_folder(run, checkpoint.folder)
    experiment = run.experiment
    groups = agreed or split(folder.records, experiment.split, experiment.seed)
    parts = {
        part: folder.of([group for group, its in groups.items() if its is part], f"the {part} part", len(Part))
        for part in Part
    }
    for part, chosen in parts.items():
        tell_tiles(part, chosen)
    tell_left_out(folder.tiles)
    return prepared_for(folder, groups, parts, experiment)


def read_folder(run: Run, scratch: Path) -> CutFolder:
    """Scan and cut; the tiles lie below `scratch`. Raises `DataFault`, also where the data are no longer the run's.

    Raises `UsageFault` where the experiment has nothing to pre-train on.
    """
    experiment = run.experiment
    records = labelled_records(run.data, experiment)
    if fingerprint(records) != run.fingerprint:
        raise DataFault(f"{run.data} has changed since this run was started; start the training anew")
    fit = choose_fit(records, experiment.fit)
    require_blends(experiment, fit)
    tell_unblended(experiment, fit)
    tell_untaught(experiment, experiment.resolved_network(), fit)
    fitting = Fitting(
        fit=fit,
        tile=experiment.resolved_network().input_size,
        stride=experiment.resolved_stride(),
    )
    with Surfaces(scratch) as surfaces:
        tiles = cut_all(records, fitting, experiment.min_defect_pixels, scratch, surfaces)
    classes = class_names(tile_kinds(tiles, records), experiment.heads)
    return CutFolder(classes, records, fitting, tiles, surfaces)


def prepared_for(
    folder: CutFolder, groups: dict[str, Part], parts: dict[Part, TileSet], experiment: Experiment
) -> Prepared:
    """What a fit on the train part of `parts` needs."""
    train = parts[Part.TRAIN]
    surfaces = {number: _surface(folder, number) for number in np.unique(train.file).tolist()}
    scale = drawn_scale(experiment, folder.fitting.fit)
    crops = CropSampler(surfaces, train, experiment.min_defect_pixels, experiment.defect_share, scale)
    left_out = dict(folder.tiles.left_out)
    return Prepared(folder.classes, folder.records, folder.fitting, groups, parts, crops, left_out)


def drawn_scale(experiment: Experiment, fit: Fit) -> float:
    """How much larger and smaller the sampler shows surfaces; 0 where whole images are resized.

    There nobody knows where the defect is, and a window without it would still be called one.
    """
    return 0.0 if fit is Fit.RESIZE else experiment.augmentation.scale


def require_binary(experiment: Experiment) -> None:
    """Raises `UsageFault` where tiles are labelled ok or defect and the network has more than that one output."""
    outputs = experiment.resolved_network().outputs
    if experiment.heads == "binary" and outputs != 1:
        raise UsageFault(
            f'the network ({experiment.preset}) has {outputs} outputs, and heads = "binary" labels tiles ok or defect, '
            'which is one: put heads = "defect_class" in the experiment file to learn the defect types, or take a '
            "network with one output (--preset steel-128, or outputs = 1 in the experiment's network)"
        )


def labelled_records(data: Path, experiment: Experiment) -> list[Record]:
    """The records an experiment uses, each with its group. Raises `DataFault`."""
    return with_groups(named_records(data, experiment))


def named_records(data: Path, experiment: Experiment) -> list[Record]:
    """The records an experiment uses, with the groups that labels.csv and file names tell. Raises `DataFault`."""
    records = of_types(scan(data), experiment.defect_types, data)
    return by_pattern(records, experiment.group_pattern)


def of_types(records: list[Record], defect_types: Collection[str] | None, data: Path) -> list[Record]:
    """The ok records and those of some defect types; all records where no type is given.

    Raises `DataFault` for a type that no record of `data` has.
    """
    if not defect_types:
        return records
    known = {record.defect_type for record in records}
    if unknown := sorted(set(defect_types) - known):
        raise DataFault(f"{data} has no defect type {unknown[0]!r}; it has: {', '.join(sorted(known))}")
    return [record for record in records if record.label == "ok" or record.defect_type in defect_types]


def cut_all(
    records: list[Record], fitting: Fitting, min_defect_pixels: int, scratch: Path, keep: Surfaces | None = None
) -> TileSet:
    """All tiles, with a progress bar. keep: is given the surfaces they are cut from."""
    with tqdm(total=len(records), desc="reading", unit="image", disable=not sys.stderr.isatty()) as bar:
        return cut(records, fitting, min_defect_pixels, scratch, bar.update, keep)


def _surface(folder: CutFolder, number: int) -> Surface:
    record = folder.records[number]
    return Surface(*folder.surfaces[number], record.defect_type, str(record.group))


def require_both_labels(tiles: TileSet, where: str, needed: int = len(Part)) -> None:
    """Raises `DataFault` unless there are ok and defect tiles; needed: groups that must show each."""
    defects = int(tiles.defect.sum())
    for label, count in (("defect", defects), ("ok", len(tiles) - defects)):
        if not count:
            raise DataFault(f"{where} no {label} tiles; at least {needed} groups must show {label} surface")


def tell_tiles(name: str, tiles: TileSet) -> None:
    """One line on stderr of what a part holds."""
    defects = int(tiles.defect.sum())
    print(
        f"{name:>14}: {len(tiles)} tiles of {tiles.groups} groups, {defects} defect, {len(tiles) - defects} ok",
        file=sys.stderr,
    )


def tell_left_out(tiles: TileSet) -> None:
    """Say on stderr what is missing, and why."""
    for reason, count in sorted(tiles.left_out.items()):
        print(f"  left out: {count} {reason}", file=sys.stderr)
