"""The ok tiles that the network so far takes most for defects: drawn more often, they are where it learns most.

Which they are follows from (seed, epoch, weights) alone, so a resumed run mines what an uninterrupted one mines.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from model.image import Frame
from training.crops import Drawn, Sampler
from training.dataset import TileSet
from training.scan import NO_DEFECT

Scores = Callable[[Frame], npt.NDArray[np.float64]]

# Scored before each epoch: some seconds on two cores, however many tiles there are.
CANDIDATES = 4096
# Of a group's candidates. Fewer, and the same handful is learned by heart; more, and most of them are not hard.
HARDEST = 1 / 8


class HardTiles:
    """The ok tiles of the fixed training grid, and the share of all ok tiles that is to be drawn from the hard ones."""

    def __init__(self, tiles: TileSet, share: float, seed: int, candidates: int = CANDIDATES) -> None:
        self._tiles, self._share, self._seed, self._candidates = tiles, share, seed, candidates

    def mine(self, crops: Sampler, epoch: int, scores: Scores) -> Sampler:
        """`crops`, with a share of its ok tiles replaced by hard ones.

        scores: defect logits, float64 (n,), of uint8 tiles (n, tile, tile).
        """
        chosen = self._drawn(np.random.default_rng([self._seed, epoch]))
        if not len(chosen):
            return crops
        hard = hardest(scores(self._tiles.tiles[chosen]), self._tiles.group[chosen])
        return WithHardTiles(crops, self._tiles, [chosen[of_group] for of_group in hard], self._share)

    def _drawn(self, rng: np.random.Generator) -> npt.NDArray[np.intp]:
        """Candidates, as many of each group as of any other that has so many, in rising order."""
        ok = rng.permutation(np.flatnonzero(~self._tiles.defect))
        turn = _number_within(self._tiles.group[ok])
        return np.sort(ok[np.argsort(turn, kind="stable")[: self._candidates]])


class WithHardTiles:
    """Draws from another sampler, and replaces ok tiles with the chance `share`: any group's, any hard tile of it."""

    def __init__(self, crops: Sampler, tiles: TileSet, hard: list[npt.NDArray[np.intp]], share: float) -> None:
        self._crops, self._tiles, self._hard, self._share = crops, tiles, hard, share

    def draw(self, count: int, rng: np.random.Generator) -> Drawn:
        """So many tiles, some of the ok ones hard."""
        drawn = self._crops.draw(count, rng)
        for place in np.flatnonzero((drawn.kinds == NO_DEFECT) & (rng.random(count) < self._share)):
            of_group = self._hard[rng.integers(len(self._hard))]
            drawn.tiles[place] = self._tiles.tiles[of_group[rng.integers(len(of_group))]]
        return drawn

    @property
    def shares(self) -> dict[str, float]:
        """Those of the other sampler: an ok tile takes an ok tile's place."""
        return self._crops.shares


def hardest(scores: npt.NDArray[np.float64], group: npt.NDArray[np.str_]) -> list[npt.NDArray[np.intp]]:
    """Of each group in the order of their names the eighth with the highest scores, at least one: indices, worst first.

    A group apart, for one badly cleaned coil must not be all that a network is taught.

    >>> scores = np.array([0.1, 3.0, 0.2, 0.3, 9.0, 8.0])
    >>> [each.tolist() for each in hardest(scores, np.array(["a", "a", "a", "a", "b", "b"]))]
    [[1], [4]]
    """
    ranked = np.argsort(-scores, kind="stable")
    of_group = (ranked[group[ranked] == name] for name in np.unique(group))
    return [tiles[: max(1, round(HARDEST * len(tiles)))] for tiles in of_group]


def _number_within(group: npt.NDArray[np.str_]) -> npt.NDArray[np.intp]:
    """How many of the same group come before each: intp (n,)."""
    _, number = np.unique(group, return_inverse=True)
    order = np.argsort(number, kind="stable")
    begins = np.searchsorted(number[order], number[order], side="left")
    within = np.empty(len(group), np.intp)
    within[order] = np.arange(len(group)) - begins
    return within
