"""Rates of live operation, from frames that were drawn at random and reviewed: what escaped, what was called falsely.

Frames are drawn from those passed and from those called, with a share for each, and nobody looks at the rest. The draw
is by lot, frame by frame, so that what the intervals say of the frames inspected so far holds however alike the frames
of a coil are. docs/review.md says what they do not say.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from model.artifact import Interval

CONFIDENCE = 0.95
# Both shares must be inside their intervals at once: each gets half of what may go wrong (Bonferroni).
CONFIDENCE_OF_EACH = 1 - (1 - CONFIDENCE) / 2
# Samples past this factor are no plan any more.
MOST_TIMES = 1000


@dataclass(frozen=True)
class Stratum:
    """Frames with one kind of verdict: how many there are, were drawn at random, were then reviewed, and are defective.

    0 <= defects <= reviewed <= sampled <= frames; reviewed and defects need not be whole where they are only imagined.
    """

    frames: int
    sampled: int
    reviewed: float
    defects: float

    def bounds(self) -> Interval:
        """Share of defective frames, where some are reviewed: observed, and its Clopper-Pearson interval.

        A sample of all frames there are leaves nothing to guess.

        >>> round(Stratum(frames=1000, sampled=10, reviewed=10, defects=0).bounds().high, 4)
        0.3548
        >>> Stratum(frames=10, sampled=10, reviewed=10, defects=1).bounds()
        Interval(value=0.1, low=0.1, high=0.1)
        """
        share = self.defects / self.reviewed
        if self.reviewed >= self.frames:
            return Interval(value=share, low=share, high=share)
        low, high = clopper_pearson(self.defects, self.reviewed, CONFIDENCE_OF_EACH)
        return Interval(value=share, low=low, high=high)


def clopper_pearson(hits: float, trials: float, confidence: float) -> tuple[float, float]:
    """Two-sided interval of a share, `hits` of `trials`, neither of which need be whole.

    Clopper and Pearson 1934, Biometrika 26, 404-413, as quantiles of beta distributions.

    >>> [round(bound, 4) for bound in clopper_pearson(0, 10, 0.95)]
    [0.0, 0.3085]
    """
    # SciPy takes longer to import than the rest of a route, and a server that is asked for no rates has no need of it.
    from scipy.special import betaincinv  # noqa: PLC0415

    tail = (1 - confidence) / 2
    low = float(betaincinv(hits, trials - hits + 1, tail)) if hits > 0 else 0.0
    high = float(betaincinv(hits + 1, trials - hits, 1 - tail)) if hits < trials else 1.0
    return low, high


@dataclass(frozen=True)
class Operation:
    """What is known of a model version's frames: those passed as ok, and those called, for review or as a defect.

    With N the frames and d the defective share of each stratum, the defective frames are N_ok d_ok + N_called d_called,
    and of these the first escaped; the good ones are N_ok (1 - d_ok) + N_called (1 - d_called), and the second were
    called (Begg and Greenes 1983, Biometrics 39, 207-215: a diagnosis that is verified for some only). Both rates rise
    with d_ok and fall with d_called: their extremes over the rectangle of the two intervals are at two of its corners.
    The rectangle covers both shares with 95 % confidence, and with it both rates at once.
    """

    passed: Stratum
    called: Stratum

    def escape(self) -> Interval | None:
        """Share of the defective frames that were passed; None where it cannot be told.

        >>> Operation(Stratum(9000, 90, 90, 1), Stratum(1000, 100, 100, 90)).escape().value
        0.1
        """
        return self._rate(lambda ok, called: _share(self.passed.frames * ok, self.called.frames * called))

    def overkill(self) -> Interval | None:
        """Share of the good frames that were called; None where it cannot be told."""
        return self._rate(lambda ok, called: _share(self.called.frames * (1 - called), self.passed.frames * (1 - ok)))

    def _rate(self, rate: Callable[[float, float], float | None]) -> Interval | None:
        if any(stratum.frames and not stratum.reviewed for stratum in (self.passed, self.called)):
            return None
        # Of frames that do not exist, any share will do.
        ok, called = (
            stratum.bounds() if stratum.frames else Interval(value=0, low=0, high=0)
            for stratum in (self.passed, self.called)
        )
        value = rate(ok.value, called.value)
        if value is None:
            return None
        low, high = rate(_low(ok), _high(called)), rate(_high(ok), _low(called))
        return Interval(value=value, low=low, high=high)


def _share(part: float, rest: float) -> float | None:
    """None of nothing."""
    return part / (part + rest) if part + rest > 0 else None


def _low(interval: Interval) -> float:
    assert interval.low is not None
    return interval.low


def _high(interval: Interval) -> float:
    assert interval.high is not None
    return interval.high


@dataclass(frozen=True)
class Plan:
    """How many more samples of which frames would do."""

    of: Literal["passed", "called", "both"]
    more: int


def plan_to_halve(operation: Operation) -> Plan | None:
    """The fewest further reviewed samples that halve the interval of the escape rate, if they show what the others did.

    None where there is no interval, it has no width, or no number of samples would do.

    >>> plan_to_halve(Operation(Stratum(10**6, 400, 400, 4), Stratum(10**4, 2000, 2000, 1000))).of
    'passed'
    """
    width = _width(operation)
    if not width:
        return None
    return min(_plans(operation, width / 2), key=lambda plan: plan.more, default=None)


def _plans(operation: Operation, wanted: float) -> Iterator[Plan]:
    passed, called = operation.passed, operation.called
    grown: dict[Literal["passed", "called", "both"], Callable[[float], Operation]] = {
        "passed": lambda times: Operation(_grown(passed, times), called),
        "called": lambda times: Operation(passed, _grown(called, times)),
        "both": lambda times: Operation(_grown(passed, times), _grown(called, times)),
    }
    for of, grow in grown.items():
        if (_width(grow(MOST_TIMES)) or 0) > wanted:
            continue
        few, enough = 1.0, float(MOST_TIMES)
        while enough / few > 1.001:
            middle = (few * enough) ** 0.5
            few, enough = (few, middle) if (_width(grow(middle)) or 0) <= wanted else (middle, enough)
        after = grow(enough)
        more = after.passed.reviewed - passed.reviewed + after.called.reviewed - called.reviewed
        yield Plan(of, _rounded_up(more))


def _grown(stratum: Stratum, times: float) -> Stratum:
    """With so many times the reviewed samples, as far as there are frames, and the same share of defects."""
    times = min(times, stratum.frames / stratum.reviewed) if stratum.reviewed else times
    return replace(stratum, reviewed=stratum.reviewed * times, defects=stratum.defects * times)


def _width(operation: Operation) -> float | None:
    interval = operation.escape()
    return None if interval is None else _high(interval) - _low(interval)


def _rounded_up(count: float) -> int:
    """To two figures: the rest of them would be guessed.

    >>> _rounded_up(1234.5), _rounded_up(7.2), _rounded_up(0)
    (1300, 8, 1)
    """
    whole = max(1, int(-(-count // 1)))
    unit = int(10 ** max(0, len(str(whole)) - 2))
    return -(-whole // unit) * unit
