"""Rows of the record -> the queue and the rates, in the words of the API."""

from collections import Counter
from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, RowMapping

from app.review.queue import Why, by_lot, queue, threshold_distance
from app.review.rates import Operation, Stratum
from app.review.schemas import QueuedRow, QueueReply, RatesReply, VersionRates
from app.review.sentence import sentence
from app.store import reviews
from app.store.queries import inspections_of
from app.store.reviews import Count, Waiting

DEFECT = "defect"
GRAVITY = {"ok": 0, "review": 1, DEFECT: 2}


def review_queue(connection: Connection, most: int) -> QueueReply:
    """The frames that a person should look at next."""
    waiting = reviews.waiting(connection)
    order = queue(lists(waiting), most, reviews.latest_number(connection))
    rows = {row["number"]: row for row in inspections_of(connection, [number for number, _ in order])}
    return QueueReply(queue=[QueuedRow.because(why, rows[number]) for number, why in order], waiting=waiting.count)


def lists(waiting: Waiting) -> dict[Why, list[list[int]]]:
    """For each reason what waits for it, best first. Samples of passed and of called frames take turns."""
    doubtful = sorted(waiting.called, key=_distance)
    differing = sorted(waiting.differing, key=_disagreement, reverse=True)
    return {
        Why.NEAR_THRESHOLD: [[row["number"] for row in doubtful]],
        Why.SAMPLE: [_drawn(waiting.passed_samples), _drawn(waiting.called_samples)],
        Why.SHADOW: [[row["number"] for row in differing]],
    }


def _distance(row: RowMapping) -> tuple[float, int]:
    """Of equally doubtful frames the newest first."""
    thresholds = row["review_threshold"], row["defect_threshold"]
    return threshold_distance(row["defect_probability"], thresholds), -row["number"]


def _disagreement(row: RowMapping) -> tuple[int, float, int]:
    """How many verdicts the shadow is away, how far its probability is, and of equal ones the newest."""
    steps = abs(GRAVITY[row["verdict"]] - GRAVITY[row["shadow_verdict"]])
    return steps, abs(row["defect_probability"] - row["shadow_probability"]), row["number"]


def _drawn(samples: Iterable[Sequence[int]]) -> list[int]:
    return [number for of_version in samples for number in by_lot(of_version)]


def live_rates(connection: Connection) -> RatesReply:
    """The rates of every version that has inspected frames."""
    frames, samples = reviews.frame_counts(connection), reviews.sample_counts(connection)
    versions = dict.fromkeys(count.version for count in frames)
    return RatesReply(
        versions=[version_rates(version, _of(version, frames), _of(version, samples)) for version in versions]
    )


def _of(version: str, counts: Iterable[Count]) -> list[Count]:
    return [count for count in counts if count.version == version]


def version_rates(version: str, frames: Sequence[Count], samples: Sequence[Count]) -> VersionRates:
    """One version's, from the counts of its frames and of the samples among them.

    >>> counts = [Count("m1", "ok", 900), Count("m1", "review", 60), Count("m1", "defect", 40)]
    >>> version_rates("m1", counts, [Count("m1", "ok", 20, None), Count("m1", "ok", 30, "ok")]).reviewed_ok
    30
    """
    operation = Operation(_stratum(frames, samples, called=False), _stratum(frames, samples, called=True))
    passed, called = operation.passed, operation.called
    return VersionRates(
        version=version,
        frames=passed.frames + called.frames,
        ok=passed.frames,
        called=called.frames,
        sampled_ok=passed.sampled,
        reviewed_ok=int(passed.reviewed),
        defects_in_ok=int(passed.defects),
        sampled_called=called.sampled,
        reviewed_called=int(called.reviewed),
        defects_in_called=int(called.defects),
        escape=operation.escape(),
        overkill=operation.overkill(),
        sentence=sentence(operation),
    )


def _stratum(frames: Iterable[Count], samples: Iterable[Count], *, called: bool) -> Stratum:
    by_label: Counter[str | None] = Counter()
    for count in samples:
        if (count.verdict in reviews.CALLED_VERDICTS) is called:
            by_label[count.review] += count.frames
    return Stratum(
        frames=sum(count.frames for count in frames if (count.verdict in reviews.CALLED_VERDICTS) is called),
        sampled=by_label.total(),
        reviewed=by_label.total() - by_label[None],
        defects=by_label[DEFECT],
    )
