"""The server's metrics as the page *Health* reads them: counts, gauges and percentiles, since the start or lately.

A counter alone says what happened since the server began, which may be months ago. Two readings say what happens now.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families

# Labels in order of name: one series of a metric.
Series = tuple[tuple[str, str], ...]
# (upper bound in seconds, how many were at most that), rising, the last bound infinite.
Buckets = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Readings:
    """Everything counted, at one moment. Samples by full name, such as `steelsight_frames_total`, and labels.

    at: seconds on any clock that only goes forward.
    """

    at: float
    samples: Mapping[str, Mapping[Series, float]] = field(default_factory=dict)

    def total(self, name: str) -> float:
        """Sum over all labels; 0 for a metric that has counted nothing."""
        return sum(self.samples.get(name, {}).values())

    def by(self, name: str, label: str) -> dict[str, float]:
        """Sum for each value of one label."""
        sums: defaultdict[str, float] = defaultdict(float)
        for series, value in self.samples.get(name, {}).items():
            sums[dict(series).get(label, "")] += value
        return dict(sums)

    def serving(self) -> list[tuple[str, str]]:
        """(version, engine) of what the workers serve, in order of name: two for a moment while they change."""
        series = self.samples.get("steelsight_model_info", {})
        return sorted((dict(each)["version"], dict(each)["engine"]) for each, value in series.items() if value > 0)

    def buckets(self, name: str, **labels: str) -> Buckets:
        """A histogram's cumulative buckets, added up over every other label."""
        sums: defaultdict[float, float] = defaultdict(float)
        for series, value in self.samples.get(f"{name}_bucket", {}).items():
            known = dict(series)
            if labels.items() <= known.items():
                sums[float(known["le"])] += value
        return tuple(sorted(sums.items()))

    def since(self, earlier: "Readings") -> "Readings":
        """What was counted in between. A counter that fell was begun anew: all it shows is new."""
        samples = {
            name: {
                series: _gained(value, earlier.samples.get(name, {}).get(series, 0.0)) for series, value in of.items()
            }
            for name, of in self.samples.items()
            if name.endswith(("_total", "_bucket", "_count", "_sum"))
        }
        return Readings(self.at, samples)


def read(text: str, at: float) -> Readings:
    r"""Prometheus' text format -> readings.

    >>> told = read('steelsight_refusals_total{code="overloaded"} 3.0\nsteelsight_refusals_total{code="x"} 1.0\n', 0)
    >>> told.total("steelsight_refusals_total"), told.by("steelsight_refusals_total", "code")["overloaded"]
    (4.0, 3.0)

    Raises ValueError on text that is not in the format.
    """
    samples: defaultdict[str, dict[Series, float]] = defaultdict(dict)
    parsed: Callable[[str], Iterable[object]] = text_string_to_metric_families
    for family in parsed(text):
        for sample in family.samples:  # type: ignore[attr-defined]
            samples[sample.name][tuple(sorted(sample.labels.items()))] = float(sample.value)
    return Readings(at, dict(samples))


def percentile(buckets: Buckets, share: float) -> float | None:
    """Below how many seconds that share of what was timed lay; None if nothing was timed.

    As Prometheus' `histogram_quantile`: even within a bucket. In the last, open bucket nothing more is known than
    that it was longer than the largest bound, which is returned.

    >>> percentile(((0.1, 50), (0.2, 100), (math.inf, 100)), 0.75)
    0.15
    >>> percentile(((0.1, 0), (math.inf, 4)), 0.5)
    0.1
    >>> percentile(((0.1, 0), (math.inf, 0)), 0.5) is None
    True
    """
    if not buckets or buckets[-1][1] <= 0:
        return None
    wanted = share * buckets[-1][1]
    lower, below = 0.0, 0.0
    for bound, count in buckets:
        if count >= wanted and count > below:
            if math.isinf(bound):
                return lower
            return round(lower + (bound - lower) * (wanted - below) / (count - below), 9)
        lower, below = bound, count
    return lower


def _gained(now: float, before: float) -> float:
    return now - before if now >= before else now
