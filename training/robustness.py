"""The same figures under changes that a line camera brings about, at stated levels.

Thresholds stay where they are: what is asked is how a version in service would do on the morning after
somebody touched the lamp, the lens or the image settings.
"""

import io
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage
from tqdm import tqdm

from model.artifact import Interval
from model.image import Frame
from model.tiling import Probabilities
from training.evaluate import score_figures
from training.ranking import Scores

# Changed tiles, and the numbers of the tiles they were made from -> probabilities.
Score = Callable[[Frame, npt.NDArray[np.intp]], Probabilities]
Change = Callable[[Frame], Frame]

# Every change scores all of them anew; more tiles narrow the intervals little, for groups are what counts.
MAX_TILES = 1000
# Tiles changed at a time, so that a float copy of them stays small.
BATCH = 128
FIGURES = ("auroc", "average_precision", "recall_at_5pct_false_calls", "escape_rate", "overkill_rate")


@dataclass(frozen=True)
class Level:
    """One change at one level: what it is, how strong in its own unit, and what it does to uint8 (n, size, size)."""

    change: str
    level: str
    apply: Change


@dataclass(frozen=True)
class RobustnessRow:
    """The figures under one change, over so many tiles and groups."""

    change: str
    level: str
    tiles: int
    groups: int
    metrics: dict[str, Interval]


def brightness(grey_values: float) -> Change:
    """Adds to every pixel.

    >>> brightness(20)(np.array([[[0, 250]]], np.uint8)).tolist()
    [[[20, 255]]]
    """
    return lambda tiles: _rounded(tiles + np.float32(grey_values))


def contrast(factor: float) -> Change:
    """Spreads every tile about its own mean.

    >>> contrast(0.5)(np.array([[[100, 200]]], np.uint8)).tolist()
    [[[125, 175]]]
    """

    def apply(tiles: Frame) -> Frame:
        mean = tiles.mean(axis=(1, 2), keepdims=True, dtype=np.float32)
        return _rounded(mean + np.float32(factor) * (tiles - mean))

    return apply


def blur(sigma_px: float) -> Change:
    """A lens out of focus: Gaussian, the same in both directions, reflected at the tile's edge."""
    return lambda tiles: _rounded(ndimage.gaussian_filter(tiles.astype(np.float32), (0, sigma_px, sigma_px)))


def noise(deviation: float) -> Change:
    """Sensor noise: independent, Gaussian, in grey values; the same at every call."""

    def apply(tiles: Frame) -> Frame:
        rng = np.random.default_rng(0)
        return _rounded(tiles + np.float32(deviation) * rng.standard_normal(tiles.shape, np.float32))

    return apply


def jpeg(quality: int) -> Change:
    """Compressed and decoded again at a JPEG quality of 1 to 95."""

    def apply(tiles: Frame) -> Frame:
        return np.stack([_through_jpeg(tile, quality) for tile in tiles])

    return apply


LEVELS = (
    *(Level("brightness", f"{step:+d} grey values", brightness(step)) for step in (-40, -20, 20, 40)),
    *(Level("contrast", f"x {factor:g}", contrast(factor)) for factor in (0.6, 0.8, 1.25, 1.6)),
    *(Level("blur", f"sigma {sigma:g} px", blur(sigma)) for sigma in (0.5, 1.0, 2.0)),
    *(Level("noise", f"deviation {deviation} grey values", noise(deviation)) for deviation in (4, 8, 16)),
    *(Level("JPEG", f"quality {quality}", jpeg(quality)) for quality in (90, 70, 40)),
)
UNCHANGED = Level("unchanged", "", lambda tiles: tiles)


def robustness(tiles: Frame, scores: Scores, score: Score, seed: int) -> tuple[RobustnessRow, ...]:
    """A row for the unchanged tiles and one for each of `LEVELS`, all over the same tiles at their own thresholds.

    tiles: uint8 (n, size, size), to which `scores` belong. Whole groups are drawn where there are more than
    `MAX_TILES`.
    """
    chosen = sample(scores, seed)
    own = None if scores.own_thresholds is None else scores.own_thresholds[chosen]
    drawn = replace(scores, defect=scores.defect[chosen], group=scores.group[chosen], own_thresholds=own)
    table = []
    for level in tqdm((UNCHANGED, *LEVELS), desc="robustness", unit="level", disable=not sys.stderr.isatty()):
        probabilities = _changed_scores(tiles, chosen, level.apply, score)
        metrics = score_figures(replace(drawn, probabilities=probabilities), seed)
        table.append(
            RobustnessRow(
                change=level.change,
                level=level.level,
                tiles=len(chosen),
                groups=len(np.unique(drawn.group)),
                metrics={name: metrics[name] for name in FIGURES},
            )
        )
    return tuple(table)


def sample(scores: Scores, seed: int, limit: int = MAX_TILES) -> npt.NDArray[np.intp]:
    """Indices of the tiles of whole groups in random order, each that the limit leaves room for; all where that fails.

    It fails where the drawn groups show one label only.
    """
    everything = np.arange(len(scores.defect))
    names, number, sizes = np.unique(scores.group, return_inverse=True, return_counts=True)
    taken, room = [], limit
    for drawn in np.random.default_rng(seed).permutation(len(names)).tolist():
        if sizes[drawn] <= room:
            taken.append(drawn)
            room -= int(sizes[drawn])
    chosen = everything[np.isin(number, taken)]
    return chosen if len(np.unique(scores.defect[chosen])) == 2 else everything


def _changed_scores(tiles: Frame, chosen: npt.NDArray[np.intp], change: Change, score: Score) -> Probabilities:
    batches = (chosen[start : start + BATCH] for start in range(0, len(chosen), BATCH))
    return np.concatenate([score(change(np.asarray(tiles[batch])), batch) for batch in batches])


def _rounded(grey: npt.NDArray[np.float32]) -> Frame:
    return np.clip(np.rint(grey), 0, 255).astype(np.uint8)


def _through_jpeg(tile: Frame, quality: int) -> Frame:
    file = io.BytesIO()
    Image.fromarray(tile).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))
