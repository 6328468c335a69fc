"""Probabilities and labels -> figures with intervals, over all tiles and for each defect class, size and group.

Figures are counted over tiles; 95 % intervals know groups. They are Clopper-Pearson: of rates on the number of tiles
that the groups are worth, of what ranks tiles or names classes on the number of trials that vary as much as draws of
whole groups, and on groups where groups are counted.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from model.artifact import Fitting, Interval, Manifest
from model.image import Frame
from model.tiling import Probabilities
from model.verdict import Thresholds
from training.class_figures import Named, class_figures
from training.classes import Kinds, tile_kinds
from training.costs import Prices, cost_per_tile
from training.dataset import TileSet
from training.ranking import FALSE_CALLS, RECALLS, Labels, Scores, detection
from training.rates import rate
from training.reliability import Groups, reliability
from training.resampling import Draws, Values, share
from training.scan import Record

# Upper ends, in masked pixels of the tile: a doubling of a defect's diameter each.
SIZE_ENDS = (64, 256, 1024, 4096)


@dataclass(frozen=True)
class OutOfFoldFigures:
    """What differs in an examination whose tiles were each scored by a network of its own fold.

    thresholds: review and defect of each tile's fold, (n, 2), in place of those that these very tiles chose.
    rescore: changed tiles uint8 (m, tile, tile), and the numbers of the tiles they come from -> (m,), by their folds.
    sentence: whose figures they are, for a reader.
    """

    thresholds: Values
    rescore: Callable[[Frame, npt.NDArray[np.intp]], Probabilities]
    sentence: str


@dataclass(frozen=True)
class Examination:
    """One version on labelled tiles: everything that a report says follows from this.

    data: name of the folder. fitting: how the tiles were cut. probabilities: calibrated, (n,).
    score: uint8 (m, tile, tile) -> (m,), the same path that gave the probabilities; with `out_of_fold` the published
    network's, which gave none of them.
    class_probabilities: calibrated, of each class, (n, classes); None for a version that tells no classes apart.
    files_used: of `records`, those in a group that the version was fitted or tuned on; None where nobody can tell.
    """

    manifest: Manifest
    data: str
    records: Sequence[Record]
    fitting: Fitting
    tiles: TileSet
    probabilities: Probabilities
    score: Callable[[Frame], Probabilities]
    seed: int
    class_probabilities: Probabilities | None = None
    out_of_fold: OutOfFoldFigures | None = None
    files_used: Collection[str] | None = frozenset()

    def rescore(self, tiles: Frame, numbers: npt.NDArray[np.intp]) -> Probabilities:
        """Of changed tiles, by what scored the tiles they come from; numbers: of those, (m,)."""
        return self.out_of_fold.rescore(tiles, numbers) if self.out_of_fold else self.score(tiles)

    @property
    def named(self) -> Named | None:
        """Which class was named for each tile; None for a version that tells no classes apart."""
        if self.class_probabilities is None:
            return None
        kinds = tile_kinds(self.tiles, self.records)
        return Named.of(kinds, self.class_probabilities, self.manifest.classes, self.tiles.group)

    @property
    def scores(self) -> Scores:
        """The labels, probabilities and verdicts, without the pixels."""
        own = self.out_of_fold.thresholds if self.out_of_fold else None
        prices = Prices.of(self.manifest.training.get("thresholds", {}))
        return Scores(self.tiles.defect, self.probabilities, self.tiles.group, self.manifest.thresholds, own, prices)

    @cached_property
    def metrics(self) -> dict[str, Interval]:
        """All figures by name."""
        found = score_figures(self.scores, self.seed)
        return found | (named_metrics(self.named, self.seed) if self.named else {})

    @property
    def defect_class(self) -> npt.NDArray[np.str_]:
        """Defect class of each tile, str (n,); that of the image also where the tile itself is ok."""
        return np.array([record.defect_type for record in self.records])[self.tiles.file]

    @property
    def escaped(self) -> Labels:
        """Defects passed as ok, bool (n,)."""
        return self.tiles.defect & (self.scores.verdict < 1)

    @property
    def false_called(self) -> Labels:
        """Ok tiles called for review or worse, bool (n,)."""
        return ~self.tiles.defect & (self.scores.verdict >= 1)

    @property
    def known_groups(self) -> int | None:
        """Groups that hold what this version was fitted or tuned on: their figures are flattering. None: not known."""
        # Out of fold, each group's figures are by a network that has not seen it.
        if self.out_of_fold:
            return 0
        if self.files_used is None:
            return None
        used = np.array([record.file in self.files_used for record in self.records], np.bool_)
        return len(np.unique(self.tiles.group[used[self.tiles.file]]))


@dataclass(frozen=True)
class Row:
    """The figures of some tiles, which `tiles` and `groups` count: defects against all ok tiles, or a class."""

    name: str
    tiles: int
    groups: int
    metrics: dict[str, Interval]


@dataclass(frozen=True)
class GroupRow:
    """One group, without intervals: it is one draw. auroc is None where all its tiles have one label."""

    name: str
    ok: int
    defects: int
    escapes: int
    false_calls: int
    auroc: float | None


def evaluate(
    defect: Labels, probabilities: Probabilities, group: npt.NDArray[np.str_], thresholds: Thresholds, seed: int
) -> dict[str, Interval]:
    """All figures by name. Arrays are of shape (n,); both labels must occur.

    escape_rate and overkill_rate are at the review threshold: what is not `ok` is called. Those `_at_defect` count
    only the verdict `defect` as a call. groups_with_* are shares of the groups that show such tiles.
    """
    return score_figures(Scores(defect, probabilities, group, thresholds), seed)


def score_figures(scores: Scores, seed: int) -> dict[str, Interval]:
    """`evaluate` of what was said of the tiles, each at the thresholds that judge it."""
    defect, group, verdict, prices = scores.defect, scores.group, scores.verdict, scores.prices
    (found,) = rows(scores, {"all": defect}, Draws.of(group, seed))
    return {
        **found.metrics,
        "overkill_rate": rate(verdict[~defect] >= 1, group[~defect]),
        "overkill_rate_at_defect": rate(verdict[~defect] >= 2, group[~defect]),
        "groups_with_escape": _groups_with(scores, defect, verdict < 1),
        "groups_with_overkill": _groups_with(scores, ~defect, verdict >= 1),
        "expected_calibration_error": reliability(scores.probabilities, defect, group, seed).error,
        **({"cost_per_tile": cost_per_tile(verdict, defect, group, prices)} if prices else {}),
    }


def class_metrics(
    kinds_true: Kinds, class_probabilities: Probabilities, classes: Sequence[str], group: Groups, seed: int
) -> dict[str, Interval]:
    """How often the right class is the most probable one; no tile needs to be ok.

    kinds_true: defect type of each tile, "none" for ok, (n,). class_probabilities: (n, classes), of `classes` in
    order, ok first. group: (n,). Tiles of a type that is none of the classes are left out. defect_class_accuracy is
    over the tiles that show a defect, by the most probable defect class; it is absent where there are none.
    """
    return named_metrics(Named.of(kinds_true, class_probabilities, classes, group), seed)


def named_metrics(named: Named, seed: int) -> dict[str, Interval]:
    """`class_metrics` of what was named."""
    if not len(named.true):
        return {}
    found = class_figures(named, Draws.of(named.group, seed)).overall
    groups = dict.fromkeys(found, len(np.unique(named.group)))
    # Every class weighs the same in it, so that it is known as badly as the one of which fewest groups are there.
    groups["balanced_class_accuracy"] = min(
        len(np.unique(named.group[named.true == number])) for number in np.unique(named.true)
    )
    groups["defect_class_accuracy"] = len(np.unique(named.group[named.true > 0]))
    return {name: share(values, groups[name]) for name, values in found.items() if np.isfinite(values[0])}


def class_rows(named: Named, seed: int) -> tuple[Row, ...]:
    """A row for each class in order: its tiles and groups, and recall and precision where they are defined."""
    found = class_figures(named, Draws.of(named.group, seed))
    table = []
    for number, name in enumerate(named.classes):
        shown, called = (named.group[each == number] for each in (named.true, named.named))
        figures = {
            "recall": (found.recall[name], len(np.unique(shown))),
            "precision": (found.precision[name], len(np.unique(called))),
        }
        metrics = {figure: share(values, groups) for figure, (values, groups) in figures.items() if groups}
        table.append(Row(name, len(shown), len(np.unique(shown)), metrics))
    return tuple(table)


def rows(scores: Scores, subsets: Mapping[str, Labels], draws: Draws) -> tuple[Row, ...]:
    """The figures of each subset of the defects, bool of shape (n,), against all ok tiles."""
    return tuple(
        _row(scores, name, subsets[name], values) for name, values in detection(scores, subsets, draws).items()
    )


def by_class(scores: Scores, defect_class: npt.NDArray[np.str_], draws: Draws) -> tuple[Row, ...]:
    """A row for each defect class, most tiles first; defect_class: str of shape (n,)."""
    names, counts = np.unique(defect_class[scores.defect], return_counts=True)
    ordered = names[np.argsort(-counts, kind="stable")]
    return rows(scores, {str(name): scores.defect & (defect_class == name) for name in ordered}, draws)


def by_size(scores: Scores, masked: npt.NDArray[np.intp] | None, draws: Draws) -> tuple[Row, ...]:
    """A row for each range of masked pixels in the tile, smallest first; none where no pixel was counted."""
    if masked is None or not masked.any():
        return ()
    level = np.digitize(masked, SIZE_ENDS)
    subsets = {size_name(number): scores.defect & (level == number) for number in range(len(SIZE_ENDS) + 1)}
    return rows(scores, {name: chosen for name, chosen in subsets.items() if chosen.any()}, draws)


def size_name(number: int) -> str:
    """How a range of masked pixels is written.

    >>> [size_name(number) for number in (0, 1, 4)]
    ['below 64 px', '64 to 255 px', '4096 px and more']
    """
    if number == 0:
        return f"below {SIZE_ENDS[0]} px"
    if number == len(SIZE_ENDS):
        return f"{SIZE_ENDS[-1]} px and more"
    return f"{SIZE_ENDS[number - 1]} to {SIZE_ENDS[number] - 1} px"


def by_group(scores: Scores) -> tuple[GroupRow, ...]:
    """A row for each group, most errors first."""
    called = scores.verdict >= 1
    names, number = np.unique(scores.group, return_inverse=True)
    # Sorted once: a comparison with every name would cost groups times tiles.
    members = np.split(np.argsort(number, kind="stable"), np.cumsum(np.bincount(number))[:-1])
    table = []
    for name, tiles in zip(names, members, strict=True):
        defect, found = scores.defect[tiles], called[tiles]
        both = defect.any() and not defect.all()
        table.append(
            GroupRow(
                name=str(name),
                ok=int((~defect).sum()),
                defects=int(defect.sum()),
                escapes=int((defect & ~found).sum()),
                false_calls=int((~defect & found).sum()),
                auroc=_auroc(defect, scores.probabilities[tiles]) if both else None,
            )
        )
    return tuple(sorted(table, key=lambda row: (-(row.escapes + row.false_calls), row.name)))


def confusion(scores: Scores) -> dict[str, dict[str, int]]:
    """Tiles by true label and verdict.

    >>> thresholds = Thresholds(review=0.2, defect=0.6)
    >>> confusion(Scores(np.array([True, False]), np.array([0.9, 0.1]), np.array(["a", "b"]), thresholds))
    {'ok': {'ok': 1, 'review': 0, 'defect': 0}, 'defect': {'ok': 0, 'review': 0, 'defect': 1}}
    """
    return {
        label: dict(
            zip(("ok", "review", "defect"), np.bincount(scores.verdict[chosen], minlength=3).tolist(), strict=True)
        )
        for label, chosen in (("ok", ~scores.defect), ("defect", scores.defect))
    }


def recall_at_false_calls(defect: Labels, probabilities: Probabilities, false_calls: float = FALSE_CALLS) -> float:
    """Share of defects found at the threshold that calls at most `false_calls` of the ok tiles.

    >>> recall_at_false_calls(np.array([False, False, True, True]), np.array([0.1, 0.8, 0.7, 0.9]))
    0.5
    """
    ok = np.sort(probabilities[~defect])
    called = len(ok) - np.searchsorted(ok, probabilities[defect], side="left")
    return float((called / len(ok) <= false_calls).mean())


def _row(scores: Scores, name: str, chosen: Labels, values: Mapping[str, Values]) -> Row:
    verdict, group = scores.verdict[chosen], scores.group[chosen]
    groups = scores.groups(chosen)
    # These weigh defects against ok tiles, and one ok surface says as little of the next as one defect does.
    fewer = min(groups, scores.groups(~scores.defect))
    metrics = {figure: share(values[figure], fewer) for figure in ("auroc", "average_precision", *RECALLS)}
    metrics["escape_rate"] = rate(verdict < 1, group)
    metrics["escape_rate_at_defect"] = rate(verdict < 2, group)
    return Row(name, int(chosen.sum()), groups, metrics)


def _groups_with(scores: Scores, shown: Labels, failed: Labels) -> Interval:
    names = np.unique(scores.group[shown])
    return rate(np.isin(names, scores.group[shown & failed]), names)


def _auroc(defect: Labels, probabilities: Probabilities) -> float:
    ok = np.sort(probabilities[~defect])
    below, reached = (np.searchsorted(ok, probabilities[defect], side=side) for side in ("left", "right"))
    return float((below + reached).mean() / 2 / len(ok))
