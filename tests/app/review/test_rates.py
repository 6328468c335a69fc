"""Rates of live operation: on plants with planted rates, in the degenerate cases, and in words."""

import numpy as np
import pytest

from app.review.queue import by_lot
from app.review.rates import Operation, Stratum, clopper_pearson, plan_to_halve
from app.review.sentence import sentence

NOTHING = Stratum(0, 0, 0, 0)
PLANTS = 1000


def drawn(frames: int, defects: int, sampled: int, rng: np.random.Generator) -> Stratum:
    """A stratum of which so many samples are drawn by lot, and all reviewed."""
    sampled = min(sampled, frames)
    found = int(rng.hypergeometric(defects, frames - defects, sampled)) if frames else 0
    return Stratum(frames, sampled, sampled, found)


def truth(passed: tuple[int, int], called: tuple[int, int]) -> tuple[float, float]:
    """Escape and overkill rates of (frames, defects) of both strata."""
    defective = passed[1] + called[1]
    good = passed[0] + called[0] - defective
    return passed[1] / defective, (called[0] - called[1]) / good


def covers(operation: Operation, escape: float, overkill: float) -> bool:
    """Both at once; a rate that cannot be told is no wrong statement."""
    bound = ((operation.escape(), escape), (operation.overkill(), overkill))
    return all(found is None or found.low <= true <= found.high for found, true in bound)


@pytest.mark.parametrize(
    ("passed", "called", "samples"),
    [
        pytest.param((100_000, 100), (2_000, 1_500), (1_000, 200), id="one escape in 16"),
        pytest.param((100_000, 10), (2_000, 1_000), (500, 100), id="rare escapes, mostly none in the sample"),
        pytest.param((10_000, 3_000), (1_000, 900), (60, 60), id="a bad model and few samples"),
        pytest.param((50_000, 50), (5_000, 50), (1_000, 500), id="most calls are false"),
        pytest.param((400, 40), (100, 50), (300, 80), id="most of a small plant is sampled"),
        pytest.param((20_000, 20), (300, 290), (200, 300), id="every called frame is reviewed"),
    ],
)
def test_planted_rates_are_inside_the_intervals(passed, called, samples):
    rng = np.random.default_rng(5)
    escape, overkill = truth(passed, called)
    inside = sum(
        covers(Operation(drawn(*passed, samples[0], rng), drawn(*called, samples[1], rng)), escape, overkill)
        for _ in range(PLANTS)
    )
    assert inside >= 0.95 * PLANTS


def test_frames_of_a_coil_are_alike_and_the_queue_is_worked_off_in_part():
    """Numbers as the service gives them, defects that come in whole coils, samples drawn by lot, reviewed in the order
    of the queue and not to its end: the rates of what was inspected are still inside.
    """
    rng = np.random.default_rng(6)
    plants, inside = 300, 0
    for plant in range(plants):
        rate = np.repeat(rng.beta(0.05, 2.0, 40), 250)
        defective = rng.random(len(rate)) < rate
        called = np.where(defective, rng.random(len(rate)) < 0.8, rng.random(len(rate)) < 0.02)
        numbers = (1_770_000_000_000_000 + plant * 10**9 + np.arange(len(rate)) * 40_000) << 11 | 77
        strata = []
        for of, share, reviewed in ((~called, 0.05, 200), (called, 0.3, 60)):
            sampled = of & (rng.random(len(rate)) < share)
            seen = np.isin(numbers, by_lot(numbers[sampled].tolist())[:reviewed])
            counts = int(of.sum()), int(sampled.sum()), int(seen.sum()), int((seen & defective).sum())
            strata.append(Stratum(*counts))
        good = ~defective
        escape = (defective & ~called).sum() / defective.sum()
        inside += covers(Operation(*strata), escape, (good & called).sum() / good.sum())
    assert inside >= 0.95 * plants


def test_reviewing_what_is_doubtful_instead_would_not_do():
    """The proof that the test above can fail: of the same plants, samples reviewed by their probability."""
    rng = np.random.default_rng(7)
    inside = 0
    for _ in range(100):
        probability = rng.random(10_000) ** 4 * 0.3
        defective = rng.random(10_000) < probability * 0.05
        sampled = rng.permutation(10_000)[:500]
        reviewed = sampled[np.argsort(-probability[sampled])[:200]]
        passed = Stratum(10_000, 500, 200, int(defective[reviewed].sum()))
        found = passed.bounds()
        inside += bool(found.low <= defective.mean() <= found.high)
    assert inside < 95


def test_clopper_pearson_is_that_of_the_tables():
    """NIST/SEMATECH e-Handbook 7.2.4.1: 4 of 20, two-sided at 90 %."""
    assert clopper_pearson(4, 20, 0.9) == pytest.approx((0.071354, 0.401029), abs=1e-5)


class TestDegenerate:
    @pytest.mark.parametrize(
        ("operation", "said"),
        [
            pytest.param(Operation(NOTHING, NOTHING), "inspected no frame", id="no frames"),
            pytest.param(
                Operation(Stratum(100, 10, 0, 0), Stratum(20, 5, 0, 0)),
                "none of the 10 samples of ok frames is reviewed, and none of the 5 samples of called",
                id="nothing reviewed",
            ),
            pytest.param(
                Operation(Stratum(100, 0, 0, 0), Stratum(20, 5, 5, 5)), "STEELSIGHT_SAMPLE_OK", id="nothing sampled"
            ),
            pytest.param(
                Operation(Stratum(100, 10, 10, 0), Stratum(20, 5, 0, 0)), "5 samples of called", id="only ok reviewed"
            ),
        ],
    )
    def test_nothing_can_be_told(self, operation, said):
        assert operation.escape() is None
        assert operation.overkill() is None
        assert plan_to_halve(operation) is None
        assert sentence(operation).startswith("No rate can be told: ")
        assert said in sentence(operation)

    def test_no_defects(self):
        operation = Operation(Stratum(9_000, 300, 300, 0), Stratum(1_000, 50, 50, 0))
        assert operation.escape() is None
        assert operation.overkill().value == pytest.approx(0.1)
        # 1 - 0.0125^(1/300) = 0.0145
        assert (
            "No escape rate can be told: no reviewed sample shows a defect. Of the frames passed as ok at most 1.5 %"
            in (sentence(operation))
        )

    def test_no_escape_was_seen(self):
        escape = Operation(Stratum(9_000, 300, 300, 0), Stratum(1_000, 50, 50, 40)).escape()
        assert (escape.value, escape.low) == (0, 0)
        assert 0.1 < escape.high < 0.2

    def test_all_defects(self):
        operation = Operation(Stratum(100, 10, 10, 10), Stratum(300, 30, 30, 30))
        assert operation.overkill() is None
        assert operation.escape().value == pytest.approx(0.25)
        assert operation.escape().low < 0.25 < operation.escape().high
        assert "no reviewed sample shows good surface" in sentence(operation)

    def test_all_calls_false_and_nothing_escaped_to_be_seen(self):
        operation = Operation(Stratum(1_000, 100, 100, 3), Stratum(50, 50, 50, 0))
        assert operation.escape().value == operation.escape().low == operation.escape().high == 1

    def test_no_called_frames(self):
        """Whatever is defective escaped, and nothing was called falsely."""
        some = Operation(Stratum(1_000, 100, 100, 2), NOTHING)
        assert (some.escape().value, some.escape().low, some.escape().high) == (1, 1, 1)
        assert (some.overkill().value, some.overkill().high) == (0, 0)
        assert "Of the defective frames 100 % were passed as ok. Of the good frames 0 % were called." in sentence(some)
        none = Operation(Stratum(1_000, 100, 100, 0), NOTHING)
        assert none.escape() is None

    def test_no_passed_frames(self):
        operation = Operation(NOTHING, Stratum(100, 50, 50, 20))
        assert (operation.escape().value, operation.escape().high) == (0, 0)
        assert operation.overkill().value == operation.overkill().low == 1

    def test_all_frames_reviewed_leave_nothing_to_guess(self):
        operation = Operation(Stratum(90, 90, 90, 1), Stratum(10, 10, 10, 9))
        assert operation.escape().low == operation.escape().value == operation.escape().high == pytest.approx(0.1)
        assert plan_to_halve(operation) is None


class TestIntervals:
    def test_more_samples_of_the_same_are_narrower(self):
        widths = []
        for times in (1, 2, 4, 8):
            escape = Operation(
                Stratum(10**6, 100 * times, 100 * times, 2 * times), Stratum(10**5, 50 * times, 50 * times, 25 * times)
            ).escape()
            widths.append(escape.high - escape.low)
        assert widths == sorted(widths, reverse=True)
        assert widths[-1] < widths[0] / 2

    def test_value_is_inside(self):
        rng = np.random.default_rng(8)
        for _ in range(200):
            strata = []
            for _ in range(2):
                reviewed = int(rng.integers(1, 60))
                counts = reviewed + int(rng.integers(0, 5000)), reviewed, int(rng.integers(0, reviewed + 1))
                strata.append(Stratum(counts[0], reviewed, reviewed, counts[2]))
            operation = Operation(*strata)
            for found in (operation.escape(), operation.overkill()):
                assert found is None or 0 <= found.low <= found.value <= found.high <= 1

    @pytest.mark.parametrize(
        "operation",
        [
            Operation(Stratum(10**6, 400, 400, 4), Stratum(10**4, 100, 100, 70)),
            Operation(Stratum(10**6, 400, 400, 0), Stratum(10**4, 100, 100, 70)),
            Operation(Stratum(10**5, 5_000, 5_000, 200), Stratum(10**4, 20, 20, 10)),
        ],
        ids=["some escapes", "none", "few called"],
    )
    def test_the_plan_halves_the_interval(self, operation):
        plan = plan_to_halve(operation)
        before = operation.escape()
        strata = {"passed": operation.passed, "called": operation.called}
        reviewed = sum(strata[of].reviewed for of in (strata if plan.of == "both" else [plan.of]))
        times = 1 + plan.more / reviewed
        after = Operation(
            **{
                of: Stratum(each.frames, each.sampled, each.reviewed * times, each.defects * times)
                if plan.of in (of, "both")
                else each
                for of, each in strata.items()
            }
        ).escape()
        # The plan is rounded up to two figures.
        assert 0.42 * (before.high - before.low) < after.high - after.low <= 0.501 * (before.high - before.low)

    def test_the_sentence_says_how_to_get_there(self):
        operation = Operation(Stratum(10**6, 500, 400, 4), Stratum(10**4, 100, 100, 70))
        assert "more reviewed samples of" in sentence(operation)
        assert f"About {plan_to_halve(operation).more} more" in sentence(operation)
        assert "not reviewed." in sentence(operation)
