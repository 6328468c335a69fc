"""Probabilities and labels -> figures with intervals.

Figures are counted over tiles; intervals are 95 % percentile bootstrap over groups, because tiles of one
group show the same surface and are no independent evidence (Efron and Tibshirani 1993, chapter 13).
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from model.artifact import Interval
from model.tiling import Probabilities
from model.verdict import Thresholds

Labels = npt.NDArray[np.bool_]
Figure = Callable[[Labels, Probabilities], float]

RESAMPLES = 1000
FALSE_CALLS = 0.05
# Drawn from fewer groups, or with fewer usable draws, percentiles say little: no interval is better than a wrong one.
MIN_GROUPS = 5
MIN_RESAMPLES = 100


def evaluate(
    defect: Labels, probabilities: Probabilities, group: npt.NDArray[np.str_], thresholds: Thresholds, seed: int
) -> dict[str, Interval]:
    """All figures by name. Arrays are of shape (n,); both labels must occur.

    escape_rate and overkill_rate are at the review threshold: what is not `ok` is called.
    """
    resamples = _resamples(defect, group, seed)
    return {
        name: _with_interval(figure, defect, probabilities, resamples) for name, figure in _figures(thresholds).items()
    }


def confusion(defect: Labels, probabilities: Probabilities, thresholds: Thresholds) -> dict[str, dict[str, int]]:
    """Tiles by true label and verdict.

    >>> confusion(np.array([True, False]), np.array([0.9, 0.1]), Thresholds(review=0.2, defect=0.6))
    {'ok': {'ok': 1, 'review': 0, 'defect': 0}, 'defect': {'ok': 0, 'review': 0, 'defect': 1}}
    """
    level = np.searchsorted([thresholds.review, thresholds.defect], probabilities, side="right")
    return {
        label: dict(zip(("ok", "review", "defect"), np.bincount(level[chosen], minlength=3).tolist(), strict=True))
        for label, chosen in (("ok", ~defect), ("defect", defect))
    }


def recall_at_false_calls(defect: Labels, probabilities: Probabilities, false_calls: float = FALSE_CALLS) -> float:
    """Share of defects found at the threshold that calls at most `false_calls` of the ok tiles.

    >>> recall_at_false_calls(np.array([False, False, True, True]), np.array([0.1, 0.8, 0.7, 0.9]))
    0.5
    """
    false_rate, recall, _ = roc_curve(defect, probabilities, drop_intermediate=False)
    return float(recall[false_rate <= false_calls].max())


def _figures(thresholds: Thresholds) -> dict[str, Figure]:
    return {
        "auroc": lambda defect, p: float(roc_auc_score(defect, p)),
        "average_precision": lambda defect, p: float(average_precision_score(defect, p)),
        "recall_at_5pct_false_calls": recall_at_false_calls,
        "escape_rate": lambda defect, p: float((p[defect] < thresholds.review).mean()),
        "overkill_rate": lambda defect, p: float((p[~defect] >= thresholds.review).mean()),
    }


def _resamples(defect: Labels, group: npt.NDArray[np.str_], seed: int) -> list[npt.NDArray[np.intp]]:
    """Tile indices of groups drawn with replacement, without the draws that hold one label only; none if too few."""
    _, number = np.unique(group, return_inverse=True)
    order = np.argsort(number, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(number))[:-1])
    if len(members) < MIN_GROUPS:
        return []
    rng = np.random.default_rng(seed)
    drawn = (
        np.concatenate([members[chosen] for chosen in rng.integers(0, len(members), len(members))])
        for _ in range(RESAMPLES)
    )
    usable = [tiles for tiles in drawn if 0 < defect[tiles].sum() < len(tiles)]
    return usable if len(usable) >= MIN_RESAMPLES else []


def _with_interval(
    figure: Figure, defect: Labels, probabilities: Probabilities, resamples: list[npt.NDArray[np.intp]]
) -> Interval:
    value = figure(defect, probabilities)
    if not resamples:
        return Interval(value=value)
    values = [figure(defect[tiles], probabilities[tiles]) for tiles in resamples]
    low, high = np.quantile(values, [0.025, 0.975])
    return Interval(value=value, low=float(low), high=float(high))
