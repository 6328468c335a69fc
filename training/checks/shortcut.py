"""Could a network tell the label without looking at the surface? One figure of the image and one threshold try it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model.artifact import Interval
from training.checks.finding import Finding, Severity
from training.checks.signature import Signature
from training.resampling import Draws, share
from training.scan import Record

Values = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

FOLDS = 5
# Groups of each label below which a threshold's accuracy says nothing.
MIN_GROUPS = 8
# Balanced accuracy of the classifier: a coin has 0.5. At WORTH_A_LOOK a network starts to prefer the light to the
# defect; at TELLS_THE_LABEL what it will learn is the light. The lower end of the interval over groups must be clear of
# a coin for the one, and of what is only worth a look for the other.
WORTH_A_LOOK, TELLS_THE_LABEL = 0.7, 0.9
CLEAR_OF_CHANCE = 0.6

# Where each figure stands in a signature, and what a person should look at.
FIGURES = {
    "brightness": "expose both classes alike",
    "contrast": "expose both classes alike",
    "sharpness": "see to focus, speed and file compression of both classes",
    "dark": "expose both classes alike",
    "bright": "expose both classes alike",
    "width": "cut both classes to one size",
    "height": "cut both classes to one size",
}


@dataclass(frozen=True)
class Shortcut:
    """What one figure of an image tells of its label: balanced accuracy 0 to 1 on groups it was not set on.

    low, high: 95 % interval over groups. ok, defect: the figure's median in each class.
    """

    figure: str
    accuracy: float
    low: float
    high: float
    ok: float
    defect: float


def shortcuts(records: Sequence[Record], signatures: Sequence[Signature | None]) -> list[Shortcut]:
    """Every figure's classifier, the most telling first; empty where there are too few groups of a label."""
    pairs = [(record, found) for record, found in zip(records, signatures, strict=True) if found and not found.constant]
    defect = np.array([record.label == "defect" for record, _ in pairs], np.bool_)
    group = np.array([str(record.group) for record, _ in pairs])
    if min(len(np.unique(group[defect])), len(np.unique(group[~defect]))) < MIN_GROUPS:
        return []
    figures = {name: np.array([getattr(found, name) for _, found in pairs], np.float64) for name in FIGURES}
    telling = {name: values for name, values in figures.items() if values.min() < values.max()}
    if not telling:
        return []
    right = np.stack([cross_validated(values, defect, group) for values in telling.values()], axis=1)
    found = []
    for (name, values), accuracy in zip(telling.items(), balanced_accuracies(right, defect, group), strict=True):
        # Where draws of groups cannot tell how sure it is, it accuses nobody.
        if accuracy.low is not None and accuracy.high is not None:
            medians = float(np.median(values[~defect])), float(np.median(values[defect]))
            found.append(Shortcut(name, accuracy.value, accuracy.low, accuracy.high, *medians))
    return sorted(found, key=lambda one: -one.accuracy)


def shortcut_findings(found: Sequence[Shortcut], masked: bool) -> Iterable[Finding]:
    """A finding for each figure that tells too much. masked: the figures of defects were taken outside their masks."""
    itself = "" if masked else ", and without masks it may be the defect itself that tells"
    for one in found:
        if one.accuracy < WORTH_A_LOOK or one.low < CLEAR_OF_CHANCE:
            continue
        told = one.accuracy >= TELLS_THE_LABEL and one.low >= WORTH_A_LOOK
        severity = Severity.ERROR if told else Severity.WARNING
        yield Finding(
            "shortcut",
            severity,
            f"{one.figure} alone tells ok from defect with {one.accuracy:.0%} balanced accuracy "
            f"({one.low:.0%} to {one.high:.0%}; median {one.ok:.3g} ok, {one.defect:.3g} defect): "
            f"a network could cheat on it{itself}; {FIGURES[one.figure]}",
            (),
        )


def cross_validated(values: Values, defect: Flags, group: npt.NDArray[np.str_]) -> Flags:
    """Whether each image is told rightly by a threshold set on the groups of the other folds: bool (n,)."""
    names, member = np.unique(group, return_inverse=True)
    fold = np.random.default_rng(0).permutation(len(names))[member] % FOLDS
    right = np.zeros(len(values), np.bool_)
    for held_out in range(FOLDS):
        inside = fold == held_out
        if defect[~inside].any() and not defect[~inside].all():
            threshold, defect_above = best_threshold(values[~inside], defect[~inside])
            right[inside] = ((values[inside] > threshold) == defect_above) == defect[inside]
    return right


def best_threshold(values: Values, defect: Flags) -> tuple[float, bool]:
    """The threshold of the best balanced accuracy, and whether values above it mean defect.

    >>> best_threshold(np.array([1.0, 2.0, 5.0, 6.0]), np.array([False, False, True, True]))
    (3.5, True)
    """
    order = np.argsort(values, kind="stable")
    ranked, of_defect = values[order], defect[order]
    # Share of each class at or below every value: their difference is how well a threshold there parts the classes.
    parted = np.cumsum(~of_defect) / max((~of_defect).sum(), 1) - np.cumsum(of_defect) / max(of_defect.sum(), 1)
    # Between equal values no threshold fits.
    parted[:-1][ranked[1:] == ranked[:-1]] = 0
    best = int(np.argmax(np.abs(parted)))
    above = ranked[min(best + 1, len(ranked) - 1)]
    return float((ranked[best] + above) / 2), bool(parted[best] > 0)


def balanced_accuracies(right: Flags, defect: Flags, group: npt.NDArray[np.str_]) -> list[Interval]:
    """Balanced accuracy of each figure, with its 95 % interval over groups: it rests on the label with fewer of them.

    right: bool (n, figures), a column as `cross_validated` finds it.
    """
    draws = Draws.of(group, seed=0)
    of_label = []
    for shown in (defect, ~defect):
        sums = draws.sums(group, np.column_stack([right, np.ones(len(right))]) * shown[:, np.newaxis])
        # A draw may lack the label: it has no share of it.
        with np.errstate(invalid="ignore"):
            of_label.append(sums[:, :-1] / sums[:, -1:])
    fewest = min(len(np.unique(group[shown])) for shown in (defect, ~defect))
    return [share(values, fewest) for values in ((of_label[0] + of_label[1]) / 2).T]
