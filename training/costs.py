"""Thresholds from what an escape, a false call and a look at the picture cost: cheapest on the threshold part."""

import numpy as np
import numpy.typing as npt
from pydantic import Field

from model.artifact import Interval, Record
from model.tiling import Probabilities
from model.verdict import Thresholds
from training.errors import UsageFault
from training.rates import rate
from training.threshold import Groups, Labels, require_scored
from training.wording import percent, percent_of, probability

Costs = npt.NDArray[np.float64]


class CostThresholds(Record):
    """The cheapest thresholds. They promise nothing about escapes: the rates are those of the tiles at hand.

    cost: mean cost of a tile with them, in the unit of the costs; cost_passing_all, cost_calling_all: with everything
    passed as ok, or called a defect. stated: whether the share of defects on the line was stated; if not it is that of
    the data. escape_rate and overkill are at `review`, overkill_defect at `defect`. sentence: all of it for a reader.
    """

    thresholds: Thresholds
    escape_cost: float = Field(gt=0)
    overkill_cost: float = Field(gt=0)
    review_cost: float | None
    defect_share: float = Field(gt=0, lt=1)
    stated: bool
    cost: float
    cost_passing_all: float
    cost_calling_all: float
    escape_rate: Interval
    overkill: Interval
    overkill_defect: Interval
    sentence: str


def from_costs(
    probabilities: Probabilities,
    defect: Labels,
    group: Groups,
    escape_cost: float,
    overkill_cost: float,
    *,
    review_cost: float | None = None,
    defect_share: float | None = None,
) -> CostThresholds:
    """The thresholds with the smallest mean cost of a tile; of equally cheap ones the most cautious.

    probabilities, defect, group: of shape (n,), tiles that nothing was fitted on. escape_cost: of a defect tile passed
    as ok. overkill_cost: of an ok tile called a defect. review_cost: of a tile a person looks at, who then decides
    right; None has no review, and both thresholds are one. defect_share: of defect tiles on the line; None
    takes the share of the data, which is mostly far too large, because defects are collected.

    The costs are counted, not computed from probabilities, so that miscalibration does not move the choice. For true
    probabilities p it is the textbook one: review where p * escape_cost exceeds review_cost (Elkan 2001).

    Raises `UsageFault` on a cost or share out of range, `DataFault` as `certify` does.

    >>> p, coils = np.linspace(0.005, 0.995, 100), np.arange(100).astype(str)
    >>> dear = from_costs(p, np.arange(100) % 10 < np.arange(100) / 10, coils, escape_cost=9, overkill_cost=1)
    >>> dear.thresholds.review < 0.2
    True
    """
    _require_costs(escape_cost, overkill_cost, review_cost, defect_share)
    require_scored(probabilities, defect)
    share = float(defect.mean()) if defect_share is None else defect_share
    weight = np.where(defect, share / defect.sum(), (1 - share) / (~defect).sum())
    escapes, overkill = np.where(defect, weight * escape_cost, 0), np.where(defect, 0, weight * overkill_cost)
    candidates = _candidates(probabilities)
    below = _summed_below(probabilities, escapes, candidates)
    above = float(overkill.sum()) - _summed_below(probabilities, overkill, candidates)
    if review_cost is None:
        review = defect_at = int(np.argmin(below + above))
        cost = float((below + above)[review])
    else:
        reviewed = _summed_below(probabilities, weight * review_cost, candidates)
        review, defect_at, cost = _cheapest_pair(below - reviewed, above + reviewed)
    thresholds = Thresholds(review=float(candidates[review]), defect=float(candidates[defect_at]))
    found = CostThresholds(
        thresholds=thresholds,
        escape_cost=escape_cost,
        overkill_cost=overkill_cost,
        review_cost=review_cost,
        defect_share=share,
        stated=defect_share is not None,
        cost=cost,
        cost_passing_all=share * escape_cost,
        cost_calling_all=(1 - share) * overkill_cost,
        escape_rate=rate(probabilities[defect] < thresholds.review, group[defect]),
        overkill=rate(probabilities[~defect] >= thresholds.review, group[~defect]),
        overkill_defect=rate(probabilities[~defect] >= thresholds.defect, group[~defect]),
        sentence="",
    )
    return found.model_copy(update={"sentence": _sentence(found)})


def _candidates(probabilities: Probabilities) -> Probabilities:
    """Every threshold that makes a difference, rising: each score, and one above all of them."""
    scores = np.unique(probabilities)
    return np.unique(np.append(scores, min(1.0, np.nextafter(scores[-1], 2.0))))


def _summed_below(probabilities: Probabilities, costs: Costs, candidates: Probabilities) -> Costs:
    """Sum of the costs of the tiles below each candidate, of its shape."""
    order = np.argsort(probabilities)
    summed = np.concatenate([[0.0], np.cumsum(costs[order])])
    return summed[np.searchsorted(probabilities[order], candidates, side="left")]


def _cheapest_pair(review: Costs, defect: Costs) -> tuple[int, int, float]:
    """Indices i <= j with the smallest review[i] + defect[j], and that sum."""
    best_from = np.minimum.accumulate(defect[::-1])[::-1]
    i = int(np.argmin(review + best_from))
    j = i + int(np.argmin(defect[i:]))
    return i, j, float(review[i] + defect[j])


def _require_costs(
    escape_cost: float, overkill_cost: float, review_cost: float | None, defect_share: float | None
) -> None:
    costs = {"escape_cost": escape_cost, "overkill_cost": overkill_cost, "review_cost": review_cost}
    for name, cost in costs.items():
        if cost is not None and not 0 < cost < np.inf:
            raise UsageFault(f"{name} must be a positive number; received {cost}")
    if defect_share is not None and not 0 < defect_share < 1:
        raise UsageFault(f"defect_share is a share between 0 and 1, such as 0.001; received {defect_share}")


def _sentence(found: CostThresholds) -> str:
    review, defect = probability(found.thresholds.review), probability(found.thresholds.defect)
    share = f"{percent(found.defect_share)} defect tiles "
    share += (
        "on the line" if found.stated else "as in the data, which hold far more than a line (state --line-defect-share)"
    )
    return (
        f"The cheapest thresholds, with {share}: review from {review} and defect from {defect} cost {found.cost:.4g} a "
        "tile on average, on the tiles that chose them and so more on others; passing everything would cost "
        f"{found.cost_passing_all:.4g}, calling everything a defect {found.cost_calling_all:.4g}. Of the tiles at hand "
        f"{percent_of(found.escape_rate)} of the defects escape and {percent_of(found.overkill)} of the ok tiles are "
        "called. Nothing is certified about escapes."
    )
