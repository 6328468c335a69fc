"""Which class was named where: every figure of it in all draws at once, and the table of what was taken for what."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model.tiling import Probabilities
from training.classes import Kinds, class_numbers
from training.reliability import Groups
from training.resampling import Draws, Values


@dataclass(frozen=True)
class Named:
    """True and named class of each tile, numbers of `classes`, each array of shape (n,).

    named: the most probable class. named_defect: the most probable of the defect classes alone, which is what an event
    is called. Tiles of a defect type that is none of the classes are not among them; `unknown` counts those.
    """

    classes: tuple[str, ...]
    true: npt.NDArray[np.intp]
    named: npt.NDArray[np.intp]
    named_defect: npt.NDArray[np.intp]
    group: Groups
    unknown: int

    @classmethod
    def of(cls, kinds: Kinds, probabilities: Probabilities, classes: Sequence[str], group: Groups) -> "Named":
        """kinds: defect type of each tile, "none" for ok. probabilities: of each class, (n, classes)."""
        true = class_numbers(kinds, classes)
        known = true >= 0
        told = probabilities[known]
        return cls(
            classes=tuple(classes),
            true=true[known],
            named=told.argmax(axis=1),
            named_defect=told[:, 1:].argmax(axis=1) + 1,
            group=group[known],
            unknown=int((~known).sum()),
        )

    def confusion(self) -> dict[str, dict[str, int]]:
        """Tiles by true class and named class, every class in its order."""
        size = len(self.classes)
        table = np.bincount(self.true * size + self.named, minlength=size * size).reshape(size, size)
        return {
            name: dict(zip(self.classes, row, strict=True))
            for name, row in zip(self.classes, table.tolist(), strict=True)
        }


@dataclass(frozen=True)
class ClassFigures:
    """Figures in every draw, (draws,): over all classes, and recall and precision of each; NaN where undefined."""

    overall: Mapping[str, Values]
    recall: Mapping[str, Values]
    precision: Mapping[str, Values]


def class_figures(named: Named, draws: Draws) -> ClassFigures:
    """Accuracy over all tiles, accuracy among defects when they must be called one, and the mean recall of classes.

    Balanced accuracy is over the classes that a draw shows (Brodersen et al. 2010, with more than two classes).
    """
    defect = named.true > 0
    # Per group and class: tiles that are it, that are called it, that are both, and defects rightly called it.
    of_group = np.concatenate(
        [
            _counted(named, draws, named.true, np.ones(len(defect), np.bool_)),
            _counted(named, draws, named.named, np.ones(len(defect), np.bool_)),
            _counted(named, draws, named.true, named.true == named.named),
            _counted(named, draws, named.true, defect & (named.true == named.named_defect)),
        ],
        axis=1,
    )
    sums = np.concatenate([counts @ of_group for counts in draws.counts()])
    true, called, both, defect_hits = np.split(sums, 4, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        recall, precision = both / true, both / called
        shown = (true > 0).sum(axis=1)
        overall = {
            "class_accuracy": both.sum(axis=1) / true.sum(axis=1),
            "balanced_class_accuracy": np.nansum(recall, axis=1) / shown,
            "defect_class_accuracy": defect_hits.sum(axis=1) / true[:, 1:].sum(axis=1),
        }
    return ClassFigures(
        overall=overall,
        recall=dict(zip(named.classes, recall.T, strict=True)),
        precision=dict(zip(named.classes, precision.T, strict=True)),
    )


def _counted(
    named: Named, draws: Draws, number: npt.NDArray[np.intp], chosen: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    """Chosen tiles by group and by class number: (groups, classes)."""
    groups, size = len(draws.names), len(named.classes)
    place = draws.number(named.group)[chosen] * size + number[chosen]
    return np.bincount(place, minlength=groups * size).reshape(groups, size).astype(np.float64)
