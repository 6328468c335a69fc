"""Calibration part -> calibrator, chosen among few by what it says of groups it was not fitted on.

Class weights, balanced batches and focal loss all bend a network's probabilities on purpose. What is fitted
here on tiles as they come unbends them: nothing needs to be known of how the network was trained.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field
from scipy.optimize import isotonic_regression, minimize
from scipy.special import expit, logit

from model.artifact import Record
from model.calibration import (
    Calibrator,
    IdentityCalibrator,
    IsotonicCalibrator,
    Logit,
    PlattCalibrator,
    TemperatureCalibrator,
)
from training.errors import DataFault
from training.reliability import Groups, Labels, Reliability, reliability

Kind = Literal["identity", "temperature", "platt", "isotonic"]
Fitter = Callable[[Logit, Labels], Calibrator | None]

FOLDS = 10
# With fewer groups of a label, a held-out log loss is that of two or three surfaces: chance would choose.
MIN_GROUPS_A_LABEL = 5
# Nats. With few groups the standard error is wide, and balanced batches shift every probability: simplicity alone once
# kept a network that called half of all tiles defects where a fifth were (0.13 nats behind, "within the error").
NEGLIGIBLE_LOSS = 0.01
# A free shape needs about a thousand cases to beat a line (Niculescu-Mizil and Caruana 2005), and many surfaces.
ISOTONIC_TILES = 1000
ISOTONIC_TILES_A_LABEL = 100
ISOTONIC_GROUPS_A_LABEL = 20
# Tiles a bin and most bins, before neighbours out of order are merged: more would draw the noise.
ISOTONIC_BIN = 50
ISOTONIC_BINS = 100
# Slope limits after the logits are scaled to a spread of 1. At the lower one, twice the spread moves the logit by
# 0.02: a network at chance gets the base rate, and its order is kept. Smoothed targets never meet the upper one.
SLOPES = (0.01, 1000.0)


class Candidate(Record):
    """How one kind of calibrator did on tiles of groups it was not fitted on.

    log_loss: mean over tiles, natural logarithm. behind: how much larger than the best candidate's, and
    standard_error of that difference, over groups.
    """

    kind: Kind
    log_loss: float = Field(ge=0)
    behind: float = Field(ge=0)
    standard_error: float = Field(ge=0)


class CalibrationResult(Record):
    """The calibrator, why it, and how true its probabilities are.

    candidates: simplest first; empty where the data allowed no choice. before: the network's own probabilities.
    after: those of the chosen kind, each tile by a calibrator that was fitted without its group.
    """

    calibrator: Calibrator
    reason: str
    tiles: int = Field(ge=1)
    groups: int = Field(ge=1)
    folds: int = Field(ge=0)
    candidates: tuple[Candidate, ...]
    before: Reliability
    after: Reliability


def fit_calibrator(logit: Logit, defect: Labels, group: Groups, seed: int) -> CalibrationResult:
    """Choose and fit a calibrator on tiles the network was not trained on.

    logit: the network's, of "any defect" (`model.calibration.defect_logit`), finite; all arrays of shape (n,), n >= 1.
    Folds are groups. Of the candidates identity, temperature, Platt and (with enough data) isotonic, the
    simplest is taken whose held-out log loss is at most one standard error behind the best one's (Breiman et al.
    1984, 3.4.3), and by no more than matters (`NEGLIGIBLE_LOSS`). Where no choice can be made it is identity, and the
    reason says why.

    Raises `DataFault` where a logit is not a finite number.
    """
    _require_finite(logit)
    before = reliability(expit(logit), defect, group, seed)
    base = {"tiles": len(logit), "groups": len(np.unique(group)), "before": before}
    if reason := _no_choice(logit, defect, group):
        return CalibrationResult(
            **base, calibrator=IdentityCalibrator(), reason=reason, folds=0, candidates=(), after=before
        )
    fold = assign_folds(defect, group, seed)
    held_out = {kind: _held_out(fitter, logit, defect, fold) for kind, fitter in _fitters(defect, group).items()}
    usable = {kind: calibrated for kind, calibrated in held_out.items() if calibrated is not None}
    candidates = _compare(usable, defect, group)
    kind = next(candidate.kind for candidate in candidates if _as_good(candidate))
    return CalibrationResult(
        **base,
        # A kind that could be fitted without each fold can be fitted with all of them.
        calibrator=FITTERS[kind](logit, defect) or IdentityCalibrator(),
        reason=_why(kind, candidates),
        folds=int(fold.max()) + 1,
        candidates=candidates,
        after=reliability(expit(usable[kind]), defect, group, seed),
    )


def fit_platt(logit: Logit, defect: Labels) -> PlattCalibrator:
    """Slope and intercept of the largest likelihood, with Platt's targets and a slope above 0.

    The targets are (defects + 1) / (defects + 2) and 1 / (ok + 2) in place of 1 and 0 (Platt 1999, 2.2), so that the
    parameters stay finite where one threshold separates the labels perfectly.

    >>> separated = fit_platt(np.array([-2.0, -1.0, 1.0, 2.0]), np.array([False, False, True, True]))
    >>> 0 < separated.slope < 10
    True
    """
    scale = float(logit.std()) or 1.0
    z, target = logit / scale, smoothed_targets(defect)

    def loss(line: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        calibrated = line[0] * z + line[1]
        gap = expit(calibrated) - target
        value = float((np.logaddexp(0, calibrated) - target * calibrated).mean())
        return value, np.array([(gap * z).mean(), gap.mean()])

    found = minimize(loss, [1.0, 0.0], jac=True, method="L-BFGS-B", bounds=[SLOPES, (None, None)])
    return PlattCalibrator(slope=float(found.x[0]) / scale, intercept=float(found.x[1]))


def fit_temperature(logit: Logit, defect: Labels) -> TemperatureCalibrator:
    """The temperature of the largest likelihood, with the targets of `fit_platt`.

    >>> exaggerated = np.tile([-4.0, 4.0], 100)
    >>> wrong_once_in_four = (exaggerated > 0) ^ (np.arange(200) // 2 % 4 == 0)
    >>> round(fit_temperature(exaggerated, wrong_once_in_four).temperature, 1)
    3.7
    """
    scale = float(np.sqrt((logit**2).mean())) or 1.0
    z, target = logit / scale, smoothed_targets(defect)

    def loss(slope: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        calibrated = slope[0] * z
        value = float((np.logaddexp(0, calibrated) - target * calibrated).mean())
        return value, np.array([((expit(calibrated) - target) * z).mean()])

    found = minimize(loss, [1.0], jac=True, method="L-BFGS-B", bounds=[SLOPES])
    return TemperatureCalibrator(temperature=scale / float(found.x[0]))


def fit_isotonic(logit: Logit, defect: Labels) -> IsotonicCalibrator | None:
    """Centred isotonic regression (Oron and Flournoy 2017) over bins of equal mass; None if nothing rises.

    Bins of about 50 tiles or more, equal logits in one; their defect rates (defects + 1/2) / (tiles + 1) are made to
    rise by merging neighbours, and each block is a knot at its mean logit. Beyond the ends it goes on with the
    slope of Platt's line.
    """
    n = len(logit)
    count = max(1, min(ISOTONIC_BINS, n // ISOTONIC_BIN))
    cuts = np.unique(np.sort(logit)[np.arange(1, count) * n // count])
    number = np.unique(np.searchsorted(cuts, logit, side="right"), return_inverse=True)[1]
    tiles = np.bincount(number)
    rates = (np.bincount(number, defect) + 0.5) / (tiles + 1)
    # Blocks of equal height are one: a knot each would make a step, on which tiles could not be told apart.
    heights, block_of_bin = np.unique(_logit(isotonic_regression(rates, weights=tiles).x), return_inverse=True)
    if len(heights) == 1:
        return None
    block = block_of_bin[number]
    centres = np.bincount(block, logit) / np.bincount(block)
    return IsotonicCalibrator(
        knot_logits=tuple(centres.tolist()),
        knot_calibrated=tuple(heights.tolist()),
        tail_slope=fit_platt(logit, defect).slope,
    )


def smoothed_targets(defect: Labels) -> npt.NDArray[np.float64]:
    """Platt's targets, of shape (n,).

    >>> smoothed_targets(np.array([True, False, False])).round(3).tolist()
    [0.667, 0.25, 0.25]
    """
    defects = int(defect.sum())
    return np.where(defect, (defects + 1) / (defects + 2), 1 / (len(defect) - defects + 2))


def assign_folds(defect: Labels, group: Groups, seed: int) -> npt.NDArray[np.intp]:
    """Fold of each tile, 0 to folds - 1, of shape (n,): groups whole, and those with defects dealt out evenly.

    >>> defect, group = np.array([True, False] * 6), np.repeat(["a", "b", "c", "d", "e", "f"], 2)
    >>> sorted(assign_folds(defect, group, seed=0).tolist())
    [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    """
    names, number = np.unique(group, return_inverse=True)
    shuffled = np.random.default_rng(seed).permutation(len(names))
    # Groups with both labels, then with defects only, then with ok only: dealt in turn, each fold gets its share.
    shows = np.bincount(number, defect) > 0, np.bincount(number, ~defect) > 0
    stratum = np.select([shows[0] & shows[1], shows[0]], [0, 1], 2)
    dealt = shuffled[np.argsort(stratum[shuffled], kind="stable")]
    fold = np.empty(len(names), np.intp)
    fold[dealt] = np.arange(len(names)) % min(FOLDS, len(names))
    return fold[number]


# From the simplest to the most flexible: the order in which they are preferred.
FITTERS: dict[Kind, Fitter] = {
    "identity": lambda _logit, _defect: IdentityCalibrator(),
    "temperature": fit_temperature,
    "platt": fit_platt,
    "isotonic": fit_isotonic,
}


def _fitters(defect: Labels, group: Groups) -> dict[Kind, Fitter]:
    """Those that the amount of data allows."""
    tiles = min(int(defect.sum()), int((~defect).sum()))
    groups = min(len(np.unique(group[defect])), len(np.unique(group[~defect])))
    enough = len(defect) >= ISOTONIC_TILES and tiles >= ISOTONIC_TILES_A_LABEL and groups >= ISOTONIC_GROUPS_A_LABEL
    return {kind: fitter for kind, fitter in FITTERS.items() if kind != "isotonic" or enough}


def _held_out(fitter: Fitter, logit: Logit, defect: Labels, fold: npt.NDArray[np.intp]) -> Logit | None:
    """Calibrated logit of each tile by a fit without its fold; None if a fit was not possible."""
    calibrated = np.empty(len(logit))
    for inside in (fold == number for number in range(int(fold.max()) + 1)):
        calibrator = fitter(logit[~inside], defect[~inside])
        if calibrator is None:
            return None
        calibrated[inside] = calibrator.calibrated(logit[inside])
    return calibrated


def _compare(held_out: dict[Kind, Logit], defect: Labels, group: Groups) -> tuple[Candidate, ...]:
    losses = {kind: np.logaddexp(0, logit) - defect * logit for kind, logit in held_out.items()}
    best = min(losses.values(), key=lambda loss: float(loss.mean()))
    return tuple(
        Candidate(
            kind=kind,
            log_loss=float(loss.mean()),
            behind=max(0.0, float((loss - best).mean())),
            standard_error=_standard_error(loss - best, group),
        )
        for kind, loss in losses.items()
    )


def _standard_error(difference: npt.NDArray[np.float64], group: Groups) -> float:
    """Of a mean over tiles that vary by group: the linearised ratio estimator (Cochran 1977, 6.4)."""
    _, number = np.unique(group, return_inverse=True)
    tiles = np.bincount(number)
    deviation = np.bincount(number, difference) - difference.mean() * tiles
    return float(np.sqrt(len(tiles) / (len(tiles) - 1) * (deviation**2).sum()) / len(difference))


def _require_finite(logit: Logit) -> None:
    broken = int((~np.isfinite(logit)).sum())
    if broken:
        raise DataFault(
            f"{broken} of {len(logit)} logits are not finite numbers: the network is broken and cannot be calibrated; "
            "train it anew with a smaller learning rate"
        )


def _no_choice(logit: Logit, defect: Labels, group: Groups) -> str | None:
    """Why no calibrator can be fitted, or None."""
    for label, labelled in (("defect", defect), ("ok", ~defect)):
        groups = len(np.unique(group[labelled]))
        if groups < MIN_GROUPS_A_LABEL:
            return (
                f"the calibration part has {groups} groups with {label} tiles and {MIN_GROUPS_A_LABEL} are needed: "
                "the probabilities are the network's own"
            )
    if (logit == logit[0]).all():
        return "the network gives every tile the same logit: there is nothing to calibrate"
    return None


def _as_good(candidate: Candidate) -> bool:
    return candidate.behind <= min(candidate.standard_error, NEGLIGIBLE_LOSS)


def _why(kind: Kind, candidates: tuple[Candidate, ...]) -> str:
    best = min(candidates, key=lambda candidate: candidate.log_loss)
    chosen = next(candidate for candidate in candidates if candidate.kind == kind)
    if chosen is best:
        return f"{kind} has the smallest held-out log loss ({chosen.log_loss:.4f})"
    return (
        f"{kind} has a held-out log loss of {chosen.log_loss:.4f}: {chosen.behind:.4f} behind {best.kind}, within one "
        f"standard error ({chosen.standard_error:.4f}), and is the simpler one"
    )


def _logit(share: npt.NDArray[np.float64]) -> Logit:
    return np.asarray(logit(share))
