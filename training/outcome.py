"""A version's figures on labelled tiles, as the command line tells them."""

from dataclasses import dataclass
from typing import Any

from model.artifact import Interval
from model.tiling import Probabilities
from model.verdict import Thresholds
from training.dataset import TileSet
from training.evaluate import confusion, evaluate


@dataclass(frozen=True)
class Outcome:
    """A published version and its figures."""

    version: str
    tiles: int
    groups: int
    metrics: dict[str, Interval]
    confusion: dict[str, dict[str, int]]

    def summary(self) -> dict[str, Any]:
        """The JSON line that `--json` ends with."""
        return {
            "version": self.version,
            "tiles": self.tiles,
            "groups": self.groups,
            "metrics": {name: interval.model_dump() for name, interval in self.metrics.items()},
            "confusion": self.confusion,
        }


def measure(version: str, tiles: TileSet, probabilities: Probabilities, thresholds: Thresholds, seed: int) -> Outcome:
    """Figures of a version on labelled tiles."""
    return Outcome(
        version=version,
        tiles=len(tiles),
        groups=tiles.groups,
        metrics=evaluate(tiles.defect, probabilities, tiles.group, thresholds, seed),
        confusion=confusion(tiles.defect, probabilities, thresholds),
    )
