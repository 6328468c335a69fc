"""Two versions on the same folder: differences with paired intervals, and the tiles whose verdict flips.

Both versions are measured on the same draws of groups (a paired bootstrap), so what makes a group hard or easy for
both cancels out; an interval of the difference that leaves out 0 shows a difference that the groups can carry.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from model.artifact import Interval
from model.files import replace_text
from training import galleries
from training.class_figures import class_figures
from training.errors import DataFault
from training.evaluate import Examination
from training.ranking import Labels, figures
from training.report import MEANINGS, environment
from training.resampling import Draws, Values, difference

PAGE, FIGURES = "comparison.html", "comparison.json"
VERDICTS = np.array(["ok", "review", "defect"])
# Figures of which less is better.
LESS_IS_BETTER = ("escape", "overkill", "error")


@dataclass(frozen=True)
class Difference:
    """One figure of both versions, and b minus a. shown: "better" or "worse" where the interval leaves out 0."""

    a: Interval
    b: Interval
    difference: Interval
    shown: str


@dataclass(frozen=True)
class Comparison:
    """Two versions on one folder. a, b: their examinations, of the same tiles where `same_tiles`."""

    a: Examination
    b: Examination
    metrics: dict[str, Difference]

    @property
    def same_tiles(self) -> bool:
        """Whether the versions look at tiles of one size at the same places; else no tile can flip."""
        return np.array_equal(self.a.tiles.file, self.b.tiles.file) and self.a.fitting == self.b.fitting

    def summary(self) -> dict[str, Any]:
        """What `--json` prints."""
        return {
            "a": self.a.manifest.version,
            "b": self.b.manifest.version,
            "data": self.a.data,
            "tiles": {"a": len(self.a.tiles), "b": len(self.b.tiles)},
            "groups": len(np.union1d(self.a.tiles.group, self.b.tiles.group)),
            "known_groups": {"a": self.a.known_groups, "b": self.b.known_groups},
            "metrics": {
                name: {
                    "a": each.a.model_dump(),
                    "b": each.b.model_dump(),
                    "difference": each.difference.model_dump(),
                    "shown": each.shown,
                }
                for name, each in self.metrics.items()
            },
            "flips": self.flips(),
        }

    def flips(self) -> dict[str, dict[str, dict[str, int]]] | None:
        """Tiles by label, verdict of a and verdict of b; None where the tiles are not the same."""
        if not self.same_tiles:
            return None
        a, b, defect = verdicts(self.a), verdicts(self.b), self.a.tiles.defect
        return {
            label: {
                str(of_a): {str(of_b): int(((a == of_a) & (b == of_b) & chosen).sum()) for of_b in VERDICTS}
                for of_a in VERDICTS
            }
            for label, chosen in (("ok", ~defect), ("defect", defect))
        }


def compare(a: Examination, b: Examination) -> Comparison:
    """Figures of both and their differences, b minus a, on the same draws of groups.

    Raises `DataFault` if the examinations are of different groups.
    """
    names = np.unique(a.tiles.group)
    if not np.array_equal(names, np.unique(b.tiles.group)):
        raise DataFault(
            f"{a.manifest.version} and {b.manifest.version} were not measured on the same groups of {a.data}: "
            f"{len(names)} and {b.tiles.groups}; both must be able to use the same images"
        )
    draws = Draws(names, a.seed)
    of_a, of_b = _in_draws(a, b, draws), _in_draws(b, a, draws)
    groups = min(each.scores.groups(label) for each in (a, b) for label in (each.tiles.defect, ~each.tiles.defect))
    alone_a, alone_b = a.metrics, b.metrics
    metrics = {}
    # A figure of classes is not defined where no tile shows a class that the versions know, and is then left out.
    for name in (name for name in of_a if all(name in found for found in (of_b, alone_a, alone_b))):
        apart = difference(of_b[name] - of_a[name], groups)
        metrics[name] = Difference(alone_a[name], alone_b[name], apart, _shown(name, apart))
    return Comparison(a, b, metrics)


def verdicts(examination: Examination) -> npt.NDArray[np.str_]:
    """The verdict on each tile, str (n,)."""
    return np.asarray(VERDICTS[examination.scores.verdict])


def write_comparison(folder: Path, comparison: Comparison) -> None:
    """Write comparison.html and comparison.json into `folder`, which is made if needed."""
    folder.mkdir(parents=True, exist_ok=True)
    summary = comparison.summary()
    replace_text(folder / FIGURES, json.dumps(summary, indent=1, allow_nan=False) + "\n")
    page = environment().get_template("comparison.html")
    sections = _sections(comparison) if comparison.same_tiles else []
    replace_text(folder / PAGE, page.render(found=summary, meanings=MEANINGS, sections=sections) + "\n")


def _in_draws(one: Examination, other: Examination, draws: Draws) -> dict[str, Values]:
    """Every figure of one version in every draw, (draws,); of classes only where the other tells the same apart."""
    found, named = figures(one.scores, draws), one.named
    if named and other.named and named.classes == other.named.classes:
        found |= class_figures(named, draws).overall
    return found


def _shown(name: str, difference: Interval) -> str:
    """What the interval shows of b against a.

    >>> clear, unclear = Interval(value=0.1, low=0.02, high=0.2), Interval(value=0.1, low=-0.1, high=0.2)
    >>> _shown("auroc", clear), _shown("escape_rate", clear), _shown("auroc", unclear)
    ('better', 'worse', '')
    """
    if difference.low is None or difference.high is None or difference.low <= 0 <= difference.high:
        return ""
    more_is_better = not any(word in name for word in LESS_IS_BETTER)
    return "better" if (difference.low > 0) == more_is_better else "worse"


def _sections(comparison: Comparison) -> list[Mapping[str, Any]]:
    """A gallery for each way a call can change, the largest change of probability first, one tile a group."""
    a, b, defect = comparison.a, comparison.b, comparison.a.tiles.defect
    a_called, b_called = (verdicts(each) != "ok" for each in (a, b))
    kinds: tuple[tuple[str, Labels], ...] = (
        ("Defects that only b calls", defect & ~a_called & b_called),
        ("Defects that only a calls: new escapes", defect & a_called & ~b_called),
        ("Ok tiles that only a calls", ~defect & a_called & ~b_called),
        ("Ok tiles that only b calls: new false calls", ~defect & ~a_called & b_called),
    )
    change = -np.abs(b.probabilities - a.probabilities)
    return [
        _section(comparison, title, galleries.ranked(chosen, change), better=number % 2 == 0)
        for number, (title, chosen) in enumerate(kinds)
    ]


def _section(comparison: Comparison, title: str, ordered: npt.NDArray[np.intp], *, better: bool) -> Mapping[str, Any]:
    chosen = galleries.first_of_each(ordered, comparison.a.tiles.group)
    shown = galleries.exhibits(comparison.a, chosen, heat=False)
    return {
        "title": title,
        "better": better,
        "tiles": len(ordered),
        "groups": len(chosen),
        "exhibits": shown,
        "of_b": comparison.b.probabilities[chosen[: len(shown)]].tolist(),
    }
