"""What an escape, a false call and a look at the picture cost: the cheapest thresholds, and their cost elsewhere."""

from collections.abc import Mapping
from math import hypot
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field

from model.artifact import Interval, Record
from model.tiling import Probabilities
from model.verdict import Thresholds
from training.rates import rate
from training.threshold import Groups, Labels, require_scored
from training.wording import percent, percent_of, probability

Costs = npt.NDArray[np.float64]


class Prices(Record):
    """What errors cost, in one unit, and how often they may be made.

    escape_cost: of a defect tile passed as ok. overkill_cost: of an ok tile called a defect. review_cost: of a tile a
    person looks at, who then decides right; None has no review. defect_share: of defect tiles on the line.
    """

    escape_cost: float = Field(gt=0)
    overkill_cost: float = Field(gt=0)
    review_cost: float | None = Field(None, gt=0)
    defect_share: float = Field(gt=0, lt=1)

    @classmethod
    def of(cls, certificate: Mapping[str, Any]) -> Self | None:
        """Those that thresholds were chosen by, as `CostThresholds` in a manifest keeps them; None if by none."""
        if "escape_cost" not in certificate:
            return None
        return cls(**{name: certificate[name] for name in Prices.model_fields})


class CostThresholds(Prices):
    """The cheapest thresholds. They promise nothing about escapes: the rates are those of the tiles at hand.

    cost: mean cost of a tile with them, in the unit of the costs; cost_passing_all, cost_calling_all: with everything
    passed as ok, or called a defect. stated: whether the share of defects on the line was stated; if not it is that of
    the data. escape_rate and overkill are at `review`, overkill_defect at `defect`. sentence: all of it for a reader.
    """

    thresholds: Thresholds
    stated: bool
    cost: float
    cost_passing_all: float
    cost_calling_all: float
    escape_rate: Interval
    overkill: Interval
    overkill_defect: Interval
    sentence: str


def from_costs(
    probabilities: Probabilities, defect: Labels, group: Groups, prices: Prices, *, stated: bool = True
) -> CostThresholds:
    """The thresholds with the smallest mean cost of a tile; of equally cheap ones the most cautious.

    probabilities, defect, group: of shape (n,), tiles that nothing was fitted on. Without a review both thresholds are
    one. stated: whether the plant named the share of defects, or it is that of these tiles.

    The costs are counted, not computed from probabilities, so that miscalibration does not move the choice. For true
    probabilities p it is the textbook one: review where p * escape_cost exceeds review_cost (Elkan 2001).

    Raises `DataFault` as `certify` does.

    >>> p, coils = np.linspace(0.005, 0.995, 100), np.arange(100).astype(str)
    >>> prices = Prices(escape_cost=9, overkill_cost=1, defect_share=0.45)
    >>> from_costs(p, np.arange(100) % 10 < np.arange(100) / 10, coils, prices).thresholds.review < 0.2
    True
    """
    require_scored(probabilities, defect)
    share, review_cost = prices.defect_share, prices.review_cost
    weight = np.where(defect, share / defect.sum(), (1 - share) / (~defect).sum())
    escapes = np.where(defect, weight * prices.escape_cost, 0)
    overkill = np.where(defect, 0, weight * prices.overkill_cost)
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
        **prices.model_dump(),
        thresholds=thresholds,
        stated=stated,
        cost=cost,
        cost_passing_all=share * prices.escape_cost,
        cost_calling_all=(1 - share) * prices.overkill_cost,
        escape_rate=rate(probabilities[defect] < thresholds.review, group[defect]),
        overkill=rate(probabilities[~defect] >= thresholds.review, group[~defect]),
        overkill_defect=rate(probabilities[~defect] >= thresholds.defect, group[~defect]),
        sentence="",
    )
    return found.model_copy(update={"sentence": _sentence(found)})


def cost_per_tile(verdict: npt.NDArray[np.intp], defect: Labels, group: Groups, prices: Prices) -> Interval:
    """Mean cost of a tile on the line, with its 95 % interval, from verdicts on tiles that chose no threshold.

    verdict: 0 ok, 1 review, 2 defect; defect, group: all of shape (n,); both labels must occur. The share of defects on
    the line is taken as known.

    The cost is a sum of weighted rates, and its interval comes from theirs: those of the same tiles may all be off
    to the same side, so that their distances add up; defects and ok tiles are off by themselves, so that squares do
    (Zou and Donner 2008, Statistics in Medicine 27, 1693-1702).

    >>> verdict, defect, coils = np.repeat([0, 2], 100), np.repeat([False, True], 100), np.arange(200).astype(str)
    >>> prices = Prices(escape_cost=9, overkill_cost=1, defect_share=0.1)
    >>> found = cost_per_tile(verdict, defect, coils, prices)
    >>> found.low, found.value, round(found.high, 3)
    (0.0, 0.0, 0.046)
    """
    review, share = prices.review_cost or 0.0, prices.defect_share

    def of_rate(weight: float, hit: npt.NDArray[np.bool_], of: Labels) -> tuple[float, float, float]:
        """What a rate costs, and how far that may be too little and too much."""
        found = rate(hit[of], group[of])
        assert found.low is not None
        assert found.high is not None
        reaches = weight * (found.high - found.value), weight * (found.value - found.low)
        return weight * found.value, *(reaches if weight >= 0 else (-reaches[1], -reaches[0]))

    sides = [
        (share, prices.escape_cost, defect, verdict < 1, verdict < 2),
        (1 - share, prices.overkill_cost, ~defect, verdict >= 2, verdict >= 1),
    ]
    costs, above, below = zip(
        *(
            np.add(of_rate(weight * (dear - review), wrong, of), of_rate(weight * review, wrong_or_looked_at, of))
            for weight, dear, of, wrong, wrong_or_looked_at in sides
        ),
        strict=True,
    )
    cost = float(sum(costs))
    return Interval(value=cost, low=max(0.0, cost - hypot(*below)), high=cost + hypot(*above))


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


def _sentence(found: CostThresholds) -> str:
    review, defect = probability(found.thresholds.review), probability(found.thresholds.defect)
    share = f"{percent(found.defect_share)} defect tiles "
    share += (
        "on the line" if found.stated else "as in the data, which hold far more than a line (state --line-defect-share)"
    )
    return (
        f"The cheapest thresholds, with {share}: review from {review} and defect from {defect} cost {found.cost:.4g} a "
        "tile on average, on the tiles that chose them and so more on others (cost_per_tile); passing everything would "
        f"cost {found.cost_passing_all:.4g}, calling everything a defect {found.cost_calling_all:.4g}. Of the tiles at "
        f"hand {percent_of(found.escape_rate)} of the defects escape and {percent_of(found.overkill)} of the ok tiles "
        "are called. Nothing is certified about escapes."
    )
