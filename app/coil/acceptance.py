"""May this coil go on? The plant's acceptance matrix, applied to what was found and to what was not seen."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from app.coil.coverage import CoilCoverage
from app.coil.events import Events, Flags, Floats, Integers, Words
from app.plant import Acceptance, Plant, Severity

WINDOW_MM = 100_000.0


class Release(StrEnum):
    """What becomes of a coil."""

    ACCEPT = "accept"
    HOLD = "hold"
    REJECT = "reject"


GRAVITY = {Release.ACCEPT: 0, Release.HOLD: 1, Release.REJECT: 2}


@dataclass(frozen=True)
class Finding:
    """One rule against one coil. found: events in the worst 100 m, cameras, or a share of the strip; None: not known.

    allowed: the limit that was broken, else the lowest. verdict: what follows from this rule alone, None if nothing.
    from_mm, to_mm: where the worst 100 m lie.
    """

    rule: str
    allowed: float
    found: float | None
    verdict: Release | None
    from_mm: float | None = None
    to_mm: float | None = None


@dataclass(frozen=True)
class Decision:
    """decided_by: the first of the gravest findings; None if the coil breaks no rule. defaults: parts of the plant file
    that are not written, so that the house's own rules decided.
    """

    verdict: Release
    decided_by: Finding | None
    rules: tuple[Finding, ...]
    defaults: tuple[str, ...]


def severities(size_mm: Floats, steps: tuple[Severity, ...]) -> Integers:
    """Of each event the index of its severity in `steps`; one of unknown size counts as the gravest.

    >>> steps = Severity(name="minor", least_mm=0), Severity(name="major", least_mm=50)
    >>> severities(np.array([10.0, 50.0, np.nan]), steps).tolist()
    [0, 1, 1]
    """
    grades = np.searchsorted([step.least_mm for step in steps], np.nan_to_num(size_mm, nan=np.inf), side="right") - 1
    return np.asarray(grades, np.int64)


def worst_window(position_mm: Floats, window_mm: float = WINDOW_MM) -> tuple[int, float | None]:
    """Most events in any stretch of so many mm, and where it begins. Those without a position count in every stretch:
    nobody knows that they are elsewhere.

    >>> worst_window(np.array([0.0, 90.0, 150.0, 240.0, np.nan]), window_mm=100.0)
    (3, 0.0)
    """
    placed = np.sort(position_mm[np.isfinite(position_mm)])
    unplaced = len(position_mm) - len(placed)
    if not len(placed):
        return unplaced, None
    inside = np.searchsorted(placed, placed + window_mm, side="left") - np.arange(len(placed))
    first = int(inside.argmax())
    return int(inside[first]) + unplaced, float(placed[first])


def decide(events: Events, grades: Integers, coverage: CoilCoverage, plant: Plant) -> Decision:
    """events: one for each defect, without what a person has called false. grades: as of `severities`."""
    findings = (
        _anything(coverage),
        *(_density(rule, events, grades, plant) for rule in plant.acceptance),
        *_unseen(coverage, plant),
        *_silent(coverage, plant),
    )
    gravest = max(findings, key=lambda finding: GRAVITY[finding.verdict or Release.ACCEPT])
    verdict = gravest.verdict or Release.ACCEPT
    return Decision(verdict, gravest if gravest.verdict else None, findings, plant.defaults)


def _anything(coverage: CoilCoverage) -> Finding:
    frames = sum(camera.frames for camera in coverage.cameras)
    rule = "no frame of the coil was inspected: hold"
    return Finding(rule, 0, 0 if frames else 1, None if frames else Release.HOLD)


def _density(rule: Acceptance, events: Events, grades: Integers, plant: Plant) -> Finding:
    counted = _may_be(events.defect_class, rule.defect_class) & _may_be(events.side, rule.side)
    if rule.severity is not None:
        counted &= grades >= [step.name for step in plant.severities].index(rule.severity)
    found, first = worst_window(events.position_mm[counted])
    allowed, verdict = _judged(found, rule.hold_above, rule.reject_above)
    last = None if first is None else first + WINDOW_MM
    return Finding(_words(rule, plant), allowed, found, verdict, first, last)


def _may_be(told: Words, wanted: str | None) -> Flags:
    """Of events whose class or side nobody knows, nobody knows that it is another: the same as of their places."""
    if wanted is None:
        return np.ones(len(told), np.bool_)
    return np.array([word is None or word == wanted for word in told], np.bool_)


def _words(rule: Acceptance, plant: Plant) -> str:
    what = rule.defect_class or "all classes"
    if rule.severity is not None:
        gravest = rule.severity == plant.severities[-1].name
        what += f", {rule.severity}" + ("" if gravest else " or graver")
    if rule.side is not None:
        what += f", {rule.side} side"
    limits = ((rule.hold_above, Release.HOLD), (rule.reject_above, Release.REJECT))
    return f"{what}: " + ", ".join(f"more than {limit} in 100 m {name}" for limit, name in limits if limit is not None)


def _unseen(coverage: CoilCoverage, plant: Plant) -> tuple[Finding, ...]:
    limits = plant.coverage
    if limits.hold_above is None and limits.reject_above is None:
        return ()
    share = coverage.uninspected_share
    told = ((limits.hold_above, Release.HOLD), (limits.reject_above, Release.REJECT))
    words = ", ".join(f"more than {100 * limit:g} % {name}" for limit, name in told if limit is not None)
    rule = f"not inspected: {words}"
    allowed, verdict = _judged(share or 0.0, limits.hold_above, limits.reject_above)
    if share is None:
        held = Release.HOLD if limits.unknown == "hold" else None
        return (Finding(f"{rule}; unknown {limits.unknown}", allowed, None, held),)
    return (Finding(rule, allowed, share, verdict),)


def _silent(coverage: CoilCoverage, plant: Plant) -> tuple[Finding, ...]:
    if plant.coverage.silent_camera == "accept":
        return ()
    silent = coverage.silent(camera.id for camera in plant.cameras)
    rule = "a camera of the plant file sent no frame of the coil: hold"
    return (Finding(rule, 0, len(silent), Release.HOLD if silent else None),)


def _judged(found: float, hold_above: float | None, reject_above: float | None) -> tuple[float, Release | None]:
    """The limit that counts, and what follows."""
    if reject_above is not None and found > reject_above:
        return reject_above, Release.REJECT
    if hold_above is not None:
        return hold_above, Release.HOLD if found > hold_above else None
    assert reject_above is not None
    return reject_above, None
