"""A version's figures on labelled tiles, as the command line tells them."""

from dataclasses import dataclass
from typing import Any, Self

from model.artifact import Interval
from training.evaluate import Examination, confusion


@dataclass(frozen=True)
class Outcome:
    """A version and its figures; version: None where none was published.

    class_confusion: tiles by true and named class; None for a version that tells no classes apart.
    cross_validation: the figures of each fold, their mean and spread, where the figures are those of folds.
    known_groups: as `Examination` tells it.
    """

    version: str | None
    tiles: int
    groups: int
    metrics: dict[str, Interval]
    confusion: dict[str, dict[str, int]]
    class_confusion: dict[str, dict[str, int]] | None = None
    cross_validation: dict[str, Any] | None = None
    known_groups: int | None = 0

    @classmethod
    def of(cls, examination: Examination) -> Self:
        """The figures of a version on labelled tiles."""
        named = examination.named
        return cls(
            version=examination.manifest.version,
            tiles=len(examination.tiles),
            groups=examination.tiles.groups,
            metrics=examination.metrics,
            confusion=confusion(examination.scores),
            class_confusion=named.confusion() if named else None,
            known_groups=examination.known_groups,
        )

    def summary(self) -> dict[str, Any]:
        """The JSON line that `--json` ends with."""
        optional = {"class_confusion": self.class_confusion, "cross_validation": self.cross_validation}
        return {
            "version": self.version,
            "tiles": self.tiles,
            "groups": self.groups,
            "metrics": {name: interval.model_dump() for name, interval in self.metrics.items()},
            "confusion": self.confusion,
            "known_groups": self.known_groups,
            **{name: found for name, found in optional.items() if found is not None},
        }
