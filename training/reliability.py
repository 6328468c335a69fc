"""Do tiles with a probability of 0.3 show a defect three times in ten? The diagram and the one figure of it."""

import numpy as np
import numpy.typing as npt
from pydantic import Field

from model.artifact import Interval, Record
from model.tiling import Probabilities
from training.rates import MIN_GROUPS, rate

Labels = npt.NDArray[np.bool_]
Groups = npt.NDArray[np.str_]

# 15 bins are what most published figures use (Guo et al. 2017); below 20 tiles a bin shows noise.
MAX_BINS = 15
MIN_TILES_A_BIN = 20
RESAMPLES = 1000


class ReliabilityBin(Record):
    """Tiles of neighbouring probabilities.

    low, high: smallest and largest probability in it. predicted: their mean. observed: share of defects among
    its tiles, with a 95 % interval that counts groups, not tiles.
    """

    low: float
    high: float
    predicted: float
    observed: Interval
    tiles: int = Field(ge=1)


class Reliability(Record):
    """The reliability diagram, bins by rising probability, and the expected calibration error over them."""

    error: Interval
    bins: tuple[ReliabilityBin, ...] = Field(min_length=1)


def reliability(probabilities: Probabilities, defect: Labels, group: Groups, seed: int = 0) -> Reliability:
    """Compare probabilities with what was there. Arrays are of shape (n,), n >= 1; seed: of the bootstrap.

    The expected calibration error is the sum over bins of (tiles in the bin / n) * |mean probability - share
    of defects| (Naeini et al. 2015), of the defect probability itself, over bins of equal mass: as many
    tiles in each as equal probabilities allow, for they share a bin. Equal mass has the smaller bias of the two usual
    binnings (Roelofs et al. 2022); both read above zero for a perfect model by chance.

    The interval comes from a bootstrap over groups, within the bins. Its low end is the value less what chance alone
    adds up to over the bins in all but 2.5 % of the draws, and so 0 where chance explains the value. Its high end adds
    the spread of the draws above their mean, without taking off the bias: an error is rather over- than understated.

    >>> sure = np.repeat([0.0, 1.0], 100)
    >>> reliability(sure, sure > 0.5, np.arange(200).astype(str)).error.value
    0.0
    """
    chosen = equal_mass_bins(probabilities)
    gap = probabilities - defect
    sums = np.bincount(chosen, gap)
    value = float(np.abs(sums).sum() / len(gap))
    bins = (chosen == number for number in range(len(sums)))
    return Reliability(
        error=_with_interval(value, gap, chosen, group, seed),
        bins=tuple(_bin(probabilities[inside], defect[inside], group[inside]) for inside in bins),
    )


def equal_mass_bins(probabilities: Probabilities) -> npt.NDArray[np.intp]:
    """Bin of each tile, 0 to bins - 1 by rising probability, of shape (n,); equal probabilities share a bin.

    >>> equal_mass_bins(np.linspace(0, 1, 45)).tolist() == [0] * 22 + [1] * 23
    True
    """
    n = len(probabilities)
    count = max(1, min(MAX_BINS, n // MIN_TILES_A_BIN))
    cuts = np.unique(np.sort(probabilities)[np.arange(1, count) * n // count])
    return np.unique(np.searchsorted(cuts, probabilities, side="right"), return_inverse=True)[1]


def _bin(probabilities: Probabilities, defect: Labels, group: Groups) -> ReliabilityBin:
    return ReliabilityBin(
        low=float(probabilities.min()),
        high=float(probabilities.max()),
        predicted=float(probabilities.mean()),
        observed=rate(defect, group),
        tiles=len(defect),
    )


def _with_interval(
    value: float, gap: Probabilities, chosen: npt.NDArray[np.intp], group: Groups, seed: int
) -> Interval:
    """gap: probability - label of each tile; chosen: its bin."""
    names, number = np.unique(group, return_inverse=True)
    groups = len(names)
    if groups < MIN_GROUPS:
        return Interval(value=value)
    gaps = np.zeros((groups, int(chosen.max()) + 1))
    np.add.at(gaps, (number, chosen), gap)
    tiles = np.bincount(number)
    rng = np.random.default_rng(seed)
    draws = [np.bincount(rng.integers(0, groups, groups), minlength=groups) for _ in range(RESAMPLES)]
    errors = [np.abs(times @ gaps).sum() / (times @ tiles) for times in draws]
    above = max(0.0, float(np.quantile(errors, 0.975) - np.mean(errors)))
    chance = float(np.quantile([np.abs((times - 1) @ gaps).sum() / len(gap) for times in draws], 0.975))
    return Interval(value=value, low=max(0.0, value - chance), high=min(1.0, value + above))
