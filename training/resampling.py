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

from model.artifact import Interval
from training.rates import CONFIDENCE, MIN_GROUPS

Values = npt.NDArray[np.float64]

RESAMPLES = 1000
# With fewer usable draws, how far they spread says little.
MIN_RESAMPLES = 100
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


def interval(values: Values, groups: int) -> Interval:
    """The first value with the 2.5 and 97.5 % percentiles of the others, NaN left out.

    values: of shape (draws,) as `Draws.counts` orders them. groups: how many the figure rests on.

    >>> found = interval(np.array([0.5, *np.linspace(0, 1, 201)]), groups=9)
    >>> round(found.low, 6), found.value, round(found.high, 6)
    (0.025, 0.5, 0.975)
    >>> interval(np.array([0.5, *np.linspace(0, 1, 201)]), groups=4)
    Interval(value=0.5, low=None, high=None)
    """
    usable = values[1:][np.isfinite(values[1:])]
    if groups < MIN_GROUPS or len(usable) < MIN_RESAMPLES:
        return Interval(value=float(values[0]))
    low, high = np.quantile(usable, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(value=float(values[0]), low=float(low), high=float(high))
