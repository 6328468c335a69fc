"""Out-of-fold logits -> figures: pooled with intervals, fold by fold, and what a reader must know of them.

Calibrator and thresholds are cross-fitted too: a fold's tiles are judged with those of the other folds, so that no
figure comes from tiles that chose what it measures. The crossing is not nested: the other folds' logits are of networks
that were fitted on this fold among others.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from model.artifact import Fitting, Interval
from model.calibration import Calibrator, IdentityCalibrator
from model.engine import KerasEngine, open_engine
from model.image import Frame
from model.tiling import Probabilities
from model.verdict import Thresholds
from training.calibrate import fit_calibrator
from training.class_figures import Named
from training.config import Experiment
from training.costs import Prices
from training.cross_validation import OutOfFold
from training.evaluate import confusion, named_metrics, score_figures
from training.operating_point import operating_point, prices
from training.outcome import Outcome
from training.ranking import Labels, Scores
from training.resampling import Values
from training.scoring import unpublished

Rescore = Callable[[Frame, npt.NDArray[np.intp]], Probabilities]

# Never asked, for every tile is judged by its own fold's; a set of scores has some all the same.
NOBODYS = Thresholds(review=1, defect=1)

FIGURES_SENTENCE = (
    "The figures are those of {folds} networks of this recipe, each on groups it had not seen, judged with the "
    "calibrator and thresholds of the other folds."
)
FINAL_SENTENCE = (
    " The published network was fitted on all groups by the same recipe: no group is left to test it, and its own "
    "figures are not known. What is told of single defect classes, sizes and groups and under changes is judged in the "
    "same way; the published calibrator and thresholds come from all folds and judge none of these tiles."
)
# First, so that who quotes the sentence quotes this.
OF_RECIPE = "Of the recipe, not of this very network:"
VALID_FOR = (
    "All this is said of networks of this recipe on surfaces they have not seen, as far as new surfaces are like those "
    "of the data. The scores are those of {folds} networks, each on groups it had not seen; the published network, "
    "fitted on all groups, has the same recipe and is not measured itself."
)


@dataclass(frozen=True)
class CrossFigures:
    """All figures of a cross-validation.

    calibrators: each fold's, from the other folds. probabilities: of each tile by its fold's calibrator, (n,).
    thresholds: review and defect of each tile's fold, (n, 2), chosen on the other folds. class_probabilities:
    (n, classes); None for networks that tell no classes apart. metrics: over all tiles, by name. confusion: of
    verdicts by each fold's thresholds. folds: the figures of each fold alone.
    """

    calibrators: tuple[Calibrator, ...]
    probabilities: Probabilities
    thresholds: Values
    class_probabilities: Probabilities | None
    metrics: dict[str, Interval]
    confusion: dict[str, dict[str, int]]
    class_confusion: dict[str, dict[str, int]] | None
    folds: tuple[dict[str, Interval], ...]

    def summary(self) -> dict[str, Any]:
        """What the manifest and `--json` say of the folds; spread: standard deviation of one fold's figure."""
        names = [name for name in self.folds[0] if all(name in fold for fold in self.folds)]
        values = {name: np.array([fold[name].value for fold in self.folds]) for name in names}
        return {
            "folds": [{name: each.model_dump() for name, each in fold.items()} for fold in self.folds],
            "mean": {name: float(found.mean()) for name, found in values.items()},
            "spread": {name: float(found.std(ddof=1)) for name, found in values.items()},
        }

    def outcome(self, version: str | None, found: OutOfFold) -> Outcome:
        """The figures as the command line tells them; version: None where none is published."""
        return Outcome(
            version=version,
            tiles=len(found.tiles),
            groups=found.tiles.groups,
            metrics=self.metrics,
            confusion=self.confusion,
            class_confusion=self.class_confusion,
            cross_validation=self.summary(),
        )


@dataclass(frozen=True)
class _Judged:
    """The tiles, each by the calibrator and thresholds of the other folds, which are (n, 2).

    prices: what the thresholds were chosen by, if by costs.
    """

    calibrators: tuple[Calibrator, ...]
    probabilities: Probabilities
    thresholds: Values
    class_probabilities: Probabilities | None
    prices: Prices | None = None


def cross_figures(found: OutOfFold, experiment: Experiment) -> CrossFigures:
    """Figures of out-of-fold logits; the experiment says which thresholds are wanted. Raises `DataFault`.

    Tiles of one label only have no figures but those of their classes.
    """
    judged = _judge(found, experiment) if found.both_labels else _uncalibrated(found)
    everything = np.ones(len(found.tiles), np.bool_)
    metrics = _figures(found, judged, everything, experiment.seed)
    folds = tuple(_figures(found, judged, found.fold == number, experiment.seed) for number in range(found.folds))
    named = _named(found, judged, everything)
    return CrossFigures(
        calibrators=judged.calibrators,
        probabilities=judged.probabilities,
        thresholds=judged.thresholds,
        class_probabilities=judged.class_probabilities,
        metrics=metrics,
        confusion=confusion(_scores(found, judged, everything)) if found.both_labels else {},
        class_confusion=named.confusion() if named else None,
        folds=folds,
    )


def figures_sentence(folds: int, *, published: bool) -> str:
    """Whose figures they are, for a reader.

    >>> figures_sentence(5, published=False).startswith("The figures are those of 5 networks of this recipe")
    True
    """
    return FIGURES_SENTENCE.format(folds=folds) + FINAL_SENTENCE * published


def for_recipe(certificate: dict[str, Any], folds: int) -> dict[str, Any]:
    """What is said for thresholds from out-of-fold scores, with what it is true of, which is not one network.

    >>> for_recipe({"sentence": "At most 1 % escape."}, 5)["sentence"][:61]
    'Of the recipe, not of this very network: At most 1 % escape. '
    """
    valid_for = VALID_FOR.format(folds=folds)
    return certificate | {"valid_for": valid_for, "sentence": f"{OF_RECIPE} {certificate['sentence']} {valid_for}"}


def fold_scorer(found: OutOfFold, calibrators: tuple[Calibrator, ...], fitting: Fitting) -> Rescore:
    """Changed tiles, and the numbers of the tiles they were made from -> probabilities, by each one's own fold."""
    scorers = [
        unpublished(open_engine(KerasEngine.name, network), fitting, found.classes, calibrator).probabilities
        for network, calibrator in zip(found.networks, calibrators, strict=True)
    ]

    def rescore(tiles: Frame, numbers: npt.NDArray[np.intp]) -> Probabilities:
        probabilities = np.empty(len(tiles))
        for number in np.unique(found.fold[numbers]).tolist():
            chosen = found.fold[numbers] == number
            probabilities[chosen] = scorers[number](tiles[chosen])
        return probabilities

    return rescore


def _judge(found: OutOfFold, experiment: Experiment) -> _Judged:
    defect, group, logit = found.tiles.defect, found.tiles.group, found.defect_logits
    probabilities, levels = np.empty(len(defect)), np.empty((len(defect), 2))
    of_classes = np.empty((len(defect), len(found.classes))) if found.logits.shape[1] > 1 else None
    calibrators = []
    for number in range(found.folds):
        inside = found.fold == number
        others = defect[~inside], group[~inside]
        frame = found.tiles.file[~inside]
        calibrator = fit_calibrator(logit[~inside], *others, experiment.seed).calibrator
        thresholds, _ = operating_point(calibrator.probabilities(found.logits[~inside]), *others, frame, experiment)
        probabilities[inside] = calibrator.probabilities(found.logits[inside])
        levels[inside] = thresholds.review, thresholds.defect
        if of_classes is not None:
            of_classes[inside] = calibrator.class_probabilities(found.logits[inside])
        calibrators.append(calibrator)
    return _Judged(tuple(calibrators), probabilities, levels, of_classes, prices(experiment, defect))


def _uncalibrated(found: OutOfFold) -> _Judged:
    """Where all tiles are defects there is nothing to calibrate by; which class is likeliest does not depend on it."""
    own = IdentityCalibrator()
    probabilities = own.probabilities(found.logits)
    nothing_called = np.full((len(probabilities), 2), np.inf)
    return _Judged((own,) * found.folds, probabilities, nothing_called, own.class_probabilities(found.logits))


def _figures(found: OutOfFold, judged: _Judged, chosen: Labels, seed: int) -> dict[str, Interval]:
    metrics = score_figures(_scores(found, judged, chosen), seed) if found.both_labels else {}
    named = _named(found, judged, chosen)
    return metrics | (named_metrics(named, seed) if named else {})


def _scores(found: OutOfFold, judged: _Judged, chosen: Labels) -> Scores:
    tiles = found.tiles
    told = judged.probabilities[chosen], tiles.group[chosen], NOBODYS, judged.thresholds[chosen], judged.prices
    return Scores(tiles.defect[chosen], *told)


def _named(found: OutOfFold, judged: _Judged, chosen: Labels) -> Named | None:
    if judged.class_probabilities is None:
        return None
    told = judged.class_probabilities[chosen]
    return Named.of(found.kinds[chosen], told, found.classes, found.tiles.group[chosen])
