"""How sure a figure is: groups drawn with replacement.

Tiles of one group show the same surface and are no independent evidence, so groups are drawn, never tiles
(Efron and Tibshirani 1993, chapter 13). A draw is kept as how often it holds each group: every figure of all
draws then follows from weighted sums, without copying a tile.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri, stdtrit

from model.artifact import Interval
from training.rates import CONFIDENCE, MIN_GROUPS, share_interval

Values = npt.NDArray[np.float64]

RESAMPLES = 1000
# With fewer usable draws, how far they spread says little.
MIN_RESAMPLES = 100
# Of a share that is the same in every draw; no reader sees less, and a beta function of more trials is not computed.
LEAST_ERROR = 1e-5
# Draws weighted at a time. Fixed, so that two sets of tiles with the same groups see the same draws; with
# 10,000 tiles an array of such a chunk is 2 MB and stays near the processor's caches.
CHUNK = 25


@dataclass(frozen=True)
class Draws:
    """The groups as they are, then `RESAMPLES` draws of as many groups with replacement.

    names: str (g,), in order, each once. With fewer than `MIN_GROUPS` groups only the groups as they are.
    """

    names: npt.NDArray[np.str_]
    seed: int

    @classmethod
    def of(cls, group: npt.NDArray[np.str_], seed: int) -> Self:
        """Draws of the groups that occur in `group`, str of shape (n,)."""
        return cls(np.unique(group), seed)

    def number(self, group: npt.NDArray[np.str_]) -> npt.NDArray[np.intp]:
        """Which of the names each of `group`, str of shape (n,), is: (n,), the column of its counts.

        >>> Draws.of(np.array(["b", "a", "b"]), seed=0).number(np.array(["b", "a"])).tolist()
        [1, 0]
        """
        return np.searchsorted(self.names, group)

    def counts(self) -> Iterator[Values]:
        """How often each draw holds each group: pieces of shape (at most CHUNK, g), the first draw all ones."""
        groups = len(self.names)
        yield np.ones((1, groups))
        if groups < MIN_GROUPS:
            return
        rng = np.random.default_rng(self.seed)
        for _ in range(RESAMPLES // CHUNK):
            # Each row counts in a stretch of its own, so that one count serves the whole piece.
            drawn = rng.integers(0, groups, (CHUNK, groups)) + groups * np.arange(CHUNK)[:, np.newaxis]
            yield np.bincount(drawn.ravel(), minlength=CHUNK * groups).reshape(CHUNK, groups).astype(np.float64)

    def sums(self, group: npt.NDArray[np.str_], columns: Values) -> Values:
        """What the tiles of each draw add up to: (draws, c). group: of each tile, str (n,). columns: (n, c).

        >>> Draws.of(np.array(["b", "a", "b"]), seed=0).sums(np.array(["b", "a", "b"]), np.eye(3)).tolist()
        [[1.0, 1.0, 1.0]]
        """
        of_group = np.zeros((len(self.names), columns.shape[1]))
        np.add.at(of_group, self.number(group), columns)
        return np.concatenate([counts @ of_group for counts in self.counts()])


def share(values: Values, groups: int) -> Interval:
    """The first value, a share, with its 95 % interval: Clopper-Pearson on how many trials vary as much as the draws.

    values: of shape (draws,) as `Draws.counts` orders them, NaN left out. groups: how many the figure rests on. Where
    the value is 0 or 1 every draw says so again, and it counts as observed on as many trials. Percentiles of the draws
    would end at 1 with the value, and few groups spread too little: docs/log.md.

    >>> found = share(np.array([0.9, *np.linspace(0.8, 1, 201)]), groups=20)
    >>> round(found.low, 2), found.value, round(found.high, 2)
    (0.7, 0.9, 0.99)
    >>> share(np.array([0.9, *np.linspace(0.8, 1, 201)]), groups=4)
    Interval(value=0.9, low=None, high=None)
    """
    value = float(values[0])
    if value in {0.0, 1.0}:
        return share_interval(value, groups)
    error = _standard_error(values, groups)
    if error is None:
        return Interval(value=value)
    few = _student(groups) / ndtri((1 + CONFIDENCE) / 2)
    return share_interval(value, value * (1 - value) / max(error * few, LEAST_ERROR) ** 2)


def difference(values: Values, groups: int) -> Interval:
    """The first value, of two shares one minus the other, with its 95 % interval: Student's t on the draws' spread.

    values, groups: as in `share`.

    >>> found = difference(np.array([0.5, *np.linspace(0.4, 0.6, 201)]), groups=9)
    >>> round(found.low, 2), found.value, round(found.high, 2)
    (0.36, 0.5, 0.64)
    """
    value, error = float(values[0]), _standard_error(values, groups)
    if error is None:
        return Interval(value=value)
    reach = error * _student(groups)
    return Interval(value=value, low=max(-1.0, value - reach), high=min(1.0, value + reach))


def _standard_error(values: Values, groups: int) -> float | None:
    """How far the draws lie from the first value, by root mean square; None where that cannot be told.

    Not from their own mean: where draws are biased, as at a threshold that is chosen anew in each, that would be too
    sure. Groups drawn with replacement vary by (groups - 1) / groups less than new ones.
    """
    usable = values[1:][np.isfinite(values[1:])]
    if groups < MIN_GROUPS or len(usable) < MIN_RESAMPLES:
        return None
    return float(np.sqrt(((usable - values[0]) ** 2).mean() * groups / (groups - 1)))


def _student(groups: int) -> float:
    """How many standard errors an interval reaches to each side, when so many groups tell the error."""
    return float(stdtrit(groups - 1, (1 + CONFIDENCE) / 2))
