"""Group cross-validation: every group is judged by a network of the recipe that has not seen it.

K networks are fitted, each on all folds but one, and score the fold that was left out. A fold's folder below the run's
keeps its network and its logits, so that a run that was stopped repeats no finished fold.
"""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from model import export
from model.calibration import Logit, Logits, defect_logit
from model.engine import KerasEngine, open_engine
from model.files import sync_folder, sync_tree
from training.checkpoint import Checkpoint, Run
from training.classes import Kinds, tile_kinds
from training.config import Experiment
from training.dataset import TileSet
from training.errors import DataFault
from training.folds import deal_folds
from training.prepare import CutFolder, prepared_for, tell_left_out, tell_tiles
from training.recipe import fit_network
from training.scoring import unpublished
from training.split import Part
from training.start import Start

LOGITS, NETWORK, FINAL = "logits.npy", "network", "final"


@dataclass(frozen=True)
class OutOfFold:
    """What the networks of all folds say of the tiles each of them has not seen.

    folds: how many. classes: as the networks know them, ok first. fold_of: group -> fold, from 0. tiles: all of the
    folder, and kinds the defect type of each, "none" for ok, str (n,). fold: of each tile, (n,). logits:
    float32 (n, outputs). networks: folder of each fold's network, as `KerasEngine` opens it.
    """

    folds: int
    classes: tuple[str, ...]
    fold_of: dict[str, int]
    tiles: TileSet
    kinds: Kinds
    fold: npt.NDArray[np.intp]
    logits: Logits
    networks: tuple[Path, ...]

    @property
    def both_labels(self) -> bool:
        """Whether there are ok and defect tiles, without which only classes can be told apart."""
        return bool(self.tiles.defect.any() and not self.tiles.defect.all())

    @property
    def defect_logits(self) -> Logit:
        """The logit of "any defect", float64 (n,)."""
        return defect_logit(self.logits)

    def split(self) -> dict[str, str]:
        """Group -> the fold it was left out in, such as "fold-1"."""
        return {group: fold_name(number) for group, number in self.fold_of.items()}

    def parts(self) -> dict[str, TileSet]:
        """The labelled tiles of each fold, without their pixels."""
        return {fold_name(number): _labels(self.tiles, self.fold == number) for number in range(self.folds)}


def cross_validate(run: Run, folder: CutFolder, checkpoint: Checkpoint, start: Start | None = None) -> OutOfFold:
    """Fit and score every fold, or those that are not finished yet. start: what each fit begins with.

    Raises `DataFault` where a fold cannot have both labels, KeyboardInterrupt on Ctrl-C.
    """
    folds, tiles = run.experiment.folds or 0, folder.tiles
    fold_of, fold = dealt(run.experiment, folder)
    print(f"{folds} folds of {len(tiles)} tiles of {tiles.groups} groups", file=sys.stderr)
    tell_left_out(tiles)
    logits = [_fold(run.experiment, folder, fold_of, fold, number, checkpoint, start) for number in range(folds)]
    pooled = np.empty((len(tiles), logits[0].shape[1]), np.float32)
    for number, found in enumerate(logits):
        pooled[fold == number] = found
    kinds = tile_kinds(tiles, folder.records)
    networks = tuple(fold_checkpoint(checkpoint, number).folder / NETWORK for number in range(folds))
    return OutOfFold(folds, folder.classes, fold_of, tiles, kinds, fold, pooled, networks)


def dealt(experiment: Experiment, folder: CutFolder) -> tuple[dict[str, int], npt.NDArray[np.intp]]:
    """Group -> fold, from 0, and the fold of each tile, (n,). Raises `DataFault` where a fold cannot have both labels.

    Where classes alone are measured, on a folder without ok surface, one label is enough.
    """
    folds, tiles = experiment.folds or 0, folder.tiles
    fold_of = deal_folds(folder.records, folds, experiment.seed)
    fold = np.array([fold_of[group] for group in tiles.group.tolist()], np.intp)
    classes_alone = experiment.figures_only and experiment.heads == "defect_class" and tiles.defect.all()
    if not classes_alone:
        _require_labels(tiles, fold, folds)
    return fold_of, fold


def fold_name(number: int) -> str:
    """Of a fold counted from 0: people count from 1.

    >>> fold_name(0)
    'fold-1'
    """
    return f"fold-{number + 1}"


def fold_checkpoint(checkpoint: Checkpoint, number: int) -> Checkpoint:
    """Where the fit without fold `number`, from 0, is kept."""
    return Checkpoint(checkpoint.folder / fold_name(number))


def final_checkpoint(checkpoint: Checkpoint) -> Checkpoint:
    """Where the fit on all folds is kept."""
    return Checkpoint(checkpoint.folder / FINAL)


def fold_experiment(experiment: Experiment, number: int) -> Experiment:
    """The recipe of the fit without fold `number`: its seed is the experiment's plus 1 + number.

    No two fits of a run then start alike, as no two runs of a plant will.

    >>> [fold_experiment(Experiment(seed=7), number).seed for number in (0, 1)]
    [8, 9]
    """
    return experiment.model_copy(update={"seed": (experiment.seed + 1 + number) % 2**32})


def finished_folds(checkpoint: Checkpoint, folds: int) -> int:
    """How many folds of a run have been scored."""
    return sum((fold_checkpoint(checkpoint, number).folder / LOGITS).is_file() for number in range(folds))


def _fold(
    experiment: Experiment,
    folder: CutFolder,
    fold_of: dict[str, int],
    fold: npt.NDArray[np.intp],
    number: int,
    checkpoint: Checkpoint,
    start: Start | None,
) -> Logits:
    """Logits of the tiles of one fold, by the network that was fitted on the others."""
    own = fold_checkpoint(checkpoint, number)
    own.folder.mkdir(exist_ok=True)
    kept = own.folder / LOGITS
    if kept.is_file():
        return np.asarray(np.load(kept, allow_pickle=False))
    split = {group: Part.TEST if its == number else Part.TRAIN for group, its in fold_of.items()}
    train = folder.tiles.select(fold != number)
    tell_tiles(f"all but {fold_name(number)}", train)
    its_experiment = fold_experiment(experiment, number)
    prepared = prepared_for(folder, split, {Part.TRAIN: train}, its_experiment)
    model, _ = fit_network(its_experiment, prepared, own, start=start)
    (own.folder / NETWORK).mkdir(exist_ok=True)
    export.save_keras(model, own.folder / NETWORK)
    # The logits say that the fold is finished: what they stand for must outlive a power cut, and so must they.
    sync_tree(own.folder / NETWORK)
    inspector = unpublished(open_engine(KerasEngine.name, own.folder / NETWORK), folder.fitting, folder.classes)
    logits = inspector.logits(folder.tiles.select(fold == number).tiles)
    beside = own.folder / f".{LOGITS}.partial"
    with beside.open("wb") as file:
        np.save(file, logits)
        file.flush()
        os.fsync(file.fileno())
    beside.rename(kept)
    sync_folder(own.folder)
    return logits


def _require_labels(tiles: TileSet, fold: npt.NDArray[np.intp], folds: int) -> None:
    for number in range(folds):
        for label, shown in (("defect", tiles.defect), ("ok", ~tiles.defect)):
            if not shown[fold == number].any():
                raise DataFault(
                    f"{fold_name(number)} of {folds} has no {label} tiles; take fewer folds or another seed, or add "
                    f"groups that show {label} surface"
                )


def _labels(tiles: TileSet, chosen: npt.NDArray[np.bool_]) -> TileSet:
    """The chosen tiles without their pixels, which lie on disk and nobody asks for."""
    return TileSet(tiles.tiles[:0], tiles.defect[chosen], tiles.group[chosen], tiles.file[chosen])
