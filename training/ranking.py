"""Every figure of all draws at once: tiles ranked by probability, and weighted sums over the ranks."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model.tiling import Probabilities
from model.verdict import Thresholds
from training.costs import Prices
from training.reliability import equal_mass_bins
from training.resampling import Draws, Values

Labels = npt.NDArray[np.bool_]

FALSE_CALLS = 0.05
# Recall is told at these shares of called ok tiles.
RECALLS = {"recall_at_5pct_false_calls": FALSE_CALLS, "recall_at_1pct_false_calls": 0.01}


@dataclass(frozen=True)
class Scores:
    """What a version said of labelled tiles, all arrays of shape (n,); both labels must occur.

    own_thresholds: review and defect of each tile, (n, 2), where not all are judged by the same; then `thresholds`,
    which are the version's, judge none of them. prices: what the thresholds were chosen by, if by costs.
    """

    defect: Labels
    probabilities: Probabilities
    group: npt.NDArray[np.str_]
    thresholds: Thresholds
    own_thresholds: Values | None = None
    prices: Prices | None = None

    @property
    def verdict(self) -> npt.NDArray[np.intp]:
        """0 ok, 1 review, 2 defect: (n,)."""
        shared = np.array([[self.thresholds.review, self.thresholds.defect]])
        levels = shared if self.own_thresholds is None else self.own_thresholds
        return np.asarray((self.probabilities[:, np.newaxis] >= levels).sum(axis=1))

    def groups(self, chosen: Labels) -> int:
        """Number of groups that the tiles where `chosen` is true belong to."""
        return len(np.unique(self.group[chosen]))


def figures(scores: Scores, draws: Draws) -> dict[str, Values]:
    """Every figure over all tiles: its value in every draw, (draws,)."""
    return {
        **detection(scores, {"all": scores.defect}, draws)["all"],
        **overkill(scores, draws),
        "expected_calibration_error": calibration_error(scores, draws),
    }


def detection(scores: Scores, subsets: Mapping[str, Labels], draws: Draws) -> dict[str, dict[str, Values]]:
    """Name of subset -> figure -> its value in every draw, (draws,); NaN where a draw lacks ok or such defects."""
    ok, subset = _Ok.of(scores, draws), {name: _Subset.of(scores, chosen, draws) for name, chosen in subsets.items()}
    pieces: dict[str, list[dict[str, Values]]] = {name: [] for name in subsets}
    for counts in draws.counts():
        above = ok.called_above(counts)
        for name, defects in subset.items():
            pieces[name].append(defects.figures(counts, above))
    return {
        name: {figure: np.concatenate([piece[figure] for piece in found]) for figure in found[0]}
        for name, found in pieces.items()
    }


def overkill(scores: Scores, draws: Draws) -> dict[str, Values]:
    """Shares of ok tiles called, in every draw (draws,)."""
    levels = {"overkill_rate": 1, "overkill_rate_at_defect": 2}
    ok, verdict = ~scores.defect, scores.verdict
    columns = [ok, *(ok & (verdict >= level) for level in levels.values())]
    sums = draws.sums(scores.group, np.stack(columns, axis=1).astype(np.float64))
    with np.errstate(invalid="ignore"):
        return {name: sums[:, column] / sums[:, 0] for column, name in enumerate(levels, start=1)}


def calibration_error(scores: Scores, draws: Draws) -> Values:
    """Expected calibration error over the bins of `training.reliability`, in every draw (draws,).

    Drawing adds noise, which this figure counts as error: good for differences between versions, while the interval
    of one version's error is that of `reliability`, which takes the bias out.
    """
    difference = scores.probabilities - scores.defect
    in_bin = equal_mass_bins(scores.probabilities)
    columns = np.zeros((len(difference), in_bin.max() + 2))
    columns[np.arange(len(difference)), in_bin] = difference
    columns[:, -1] = 1
    sums = draws.sums(scores.group, columns)
    error: Values = np.abs(sums[:, :-1]).sum(axis=1) / sums[:, -1]
    return error


@dataclass(frozen=True)
class _Ok:
    """The ok tiles, most probable first: the column of each one's group, (k,)."""

    number: npt.NDArray[np.intp]

    @classmethod
    def of(cls, scores: Scores, draws: Draws) -> "_Ok":
        ok = np.flatnonzero(~scores.defect)
        return cls(draws.number(scores.group[ok[np.argsort(-scores.probabilities[ok], kind="stable")]]))

    def called_above(self, counts: Values) -> Values:
        """Weight of the first 0, 1, ... k ok tiles in each draw: (draws, k + 1)."""
        called = np.zeros((len(counts), len(self.number) + 1))
        np.cumsum(counts[:, self.number], axis=1, out=called[:, 1:])
        return called


@dataclass(frozen=True)
class _Subset:
    """Some defects, most probable first, each array (m,).

    verdict: as `Scores` tells it. number: column of the group. above, reached: how many ok tiles have a higher
    probability, and as high a one. last: index of the last defect with the same probability.
    """

    verdict: npt.NDArray[np.intp]
    number: npt.NDArray[np.intp]
    above: npt.NDArray[np.intp]
    reached: npt.NDArray[np.intp]
    last: npt.NDArray[np.intp]

    @classmethod
    def of(cls, scores: Scores, chosen: Labels, draws: Draws) -> "_Subset":
        tiles = np.flatnonzero(chosen)
        tiles = tiles[np.argsort(-scores.probabilities[tiles], kind="stable")]
        probability, ok = scores.probabilities[tiles], np.sort(scores.probabilities[~scores.defect])
        return cls(
            verdict=scores.verdict[tiles],
            number=draws.number(scores.group[tiles]),
            above=len(ok) - np.searchsorted(ok, probability, side="right"),
            reached=len(ok) - np.searchsorted(ok, probability, side="left"),
            last=np.searchsorted(-probability, -probability, side="right") - 1,
        )

    def figures(self, counts: Values, called: Values) -> dict[str, Values]:
        """Every figure in each draw, (draws,). called: as `_Ok.called_above` gives it."""
        weight, ok = counts[:, self.number], called[:, -1:]
        reached = called[:, self.reached]
        found = np.cumsum(weight, axis=1)[:, self.last]
        # A tile of weight 0 before all others has found nothing among nothing; it adds nothing either.
        precision = found / np.maximum(found + reached, 1)
        with np.errstate(invalid="ignore"):
            false_calls = reached / ok
            share = {
                # The probability that a defect ranks above an ok tile, ties counting half (Hanley and McNeil 1982).
                "auroc": 1 - (called[:, self.above] + reached) / 2 / ok,
                "average_precision": np.where(ok > 0, precision, np.nan),
                **{name: np.where(ok > 0, false_calls <= limit, np.nan) for name, limit in RECALLS.items()},
                "escape_rate": np.broadcast_to(self.verdict < 1, weight.shape),
                "escape_rate_at_defect": np.broadcast_to(self.verdict < 2, weight.shape),
            }
            total = weight.sum(axis=1)
            return {
                name: np.einsum("ij,ij->i", weight, each.astype(np.float64)) / total for name, each in share.items()
            }
