"""Rates of live operation in plain words: what they are, what they rest on, and what would sharpen them."""

from app.review.rates import Operation, Stratum, plan_to_halve
from model.artifact import Interval

SAMPLES = {"passed": "ok frames", "called": "called frames", "both": "ok and called frames"}


def sentence(operation: Operation) -> str:
    """What can be said of a version's frames, or why nothing can.

    >>> sentence(Operation(Stratum(0, 0, 0, 0), Stratum(0, 0, 0, 0)))
    'No rate can be told: this version has inspected no frame.'
    """
    passed, called = operation.passed, operation.called
    if not passed.frames + called.frames:
        return "No rate can be told: this version has inspected no frame."
    lacking = [
        _lack(kind, stratum, setting)
        for kind, stratum, setting in (
            ("ok", passed, "STEELSIGHT_SAMPLE_OK"),
            ("called", called, "STEELSIGHT_SAMPLE_CALLED"),
        )
        if stratum.frames and not stratum.reviewed
    ]
    if lacking:
        return f"No rate can be told: {', and '.join(lacking)}."
    return " ".join([_escape(operation), _overkill(operation), _basis(operation), _advice(operation)]).strip()


def _lack(kind: str, stratum: Stratum, setting: str) -> str:
    if not stratum.sampled:
        return f"none of the {stratum.frames} {kind} frames was drawn as a sample ({setting} sets the share)"
    return f"none of the {stratum.sampled} samples of {kind} frames is reviewed"


def _escape(operation: Operation) -> str:
    escape = operation.escape()
    if escape is not None:
        return f"Of the defective frames {_told(escape)} were passed as ok."
    high = operation.passed.bounds().high if operation.passed.frames else 0.0
    return (
        "No escape rate can be told: no reviewed sample shows a defect. "
        f"Of the frames passed as ok at most {percent(high or 0.0)} are defective."
    )


def _overkill(operation: Operation) -> str:
    overkill = operation.overkill()
    if overkill is not None:
        return f"Of the good frames {_told(overkill)} were called."
    return "No overkill rate can be told: no reviewed sample shows good surface."


def _basis(operation: Operation) -> str:
    passed, called = operation.passed, operation.called
    return (
        f"This rests on {passed.reviewed:g} reviewed samples of {passed.frames} ok frames ({passed.defects:g} "
        f"defective) and {called.reviewed:g} of {called.frames} called frames ({called.defects:g} defective)."
    )


def _advice(operation: Operation) -> str:
    plan = plan_to_halve(operation)
    if plan is None:
        return ""
    passed, called = operation.passed, operation.called
    of = {"passed": [passed], "called": [called], "both": [passed, called]}[plan.of]
    waiting = sum(stratum.sampled - stratum.reviewed for stratum in of)
    return (
        f"About {plan.more} more reviewed samples of {SAMPLES[plan.of]} would halve the interval of the escape rate; "
        f"{waiting:g} are drawn and not reviewed."
    )


def _told(interval: Interval) -> str:
    if interval.low == interval.high:
        return percent(interval.value)
    return f"an estimated {percent(interval.value)} (between {percent(interval.low)} and {percent(interval.high)})"


def percent(share: float | None) -> str:
    """A share from 0 to 1 to two figures, and to whole numbers at most.

    >>> percent(0.01234), percent(0.5), percent(1.0), percent(0.00009), percent(0.0)
    ('1.2 %', '50 %', '100 %', '0.009 %', '0 %')
    """
    if not share:
        return "0 %"
    value = 100 * share
    places = next((places for places, least in enumerate((10, 1, 0.1, 0.01)) if value >= least), 4)
    written = f"{value:.{places}f}"
    return f"{written.rstrip('0').rstrip('.') if '.' in written else written} %"
