"""model.verdict: what a probability means to the line."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from model.verdict import Thresholds, Verdict, decide

probabilities = st.floats(0, 1)


@given(probabilities, probabilities, probabilities)
def test_exactly_one_verdict_and_thresholds_belong_to_the_worse_one(probability, one, other):
    thresholds = Thresholds(review=min(one, other), defect=max(one, other))
    verdict = decide(probability, thresholds)
    assert (verdict is Verdict.DEFECT) == (probability >= thresholds.defect)
    assert (verdict is Verdict.OK) == (probability < thresholds.review)


@given(probabilities, probabilities, probabilities, probabilities)
def test_a_higher_probability_is_never_a_better_verdict(first, second, one, other):
    order = [Verdict.OK, Verdict.REVIEW, Verdict.DEFECT]
    thresholds = Thresholds(review=min(one, other), defect=max(one, other))
    low, high = sorted((first, second))
    assert order.index(decide(low, thresholds)) <= order.index(decide(high, thresholds))


def test_just_below_a_threshold():
    thresholds = Thresholds(review=0.2, defect=0.6)
    assert decide(np.nextafter(0.2, 0), thresholds) is Verdict.OK
    assert decide(np.nextafter(0.6, 0), thresholds) is Verdict.REVIEW


def test_a_probability_that_is_none_is_never_ok():
    assert decide(float("nan"), Thresholds(review=0.2, defect=0.6)) is Verdict.DEFECT


def test_equal_thresholds_leave_no_review():
    thresholds = Thresholds(review=0.5, defect=0.5)
    assert {decide(p, thresholds) for p in (0, 0.49, 0.5, 1)} == {Verdict.OK, Verdict.DEFECT}


def test_threshold_zero_flags_everything_and_one_only_certainty():
    assert decide(0.0, Thresholds(review=0, defect=0)) is Verdict.DEFECT
    assert decide(np.nextafter(1, 0), Thresholds(review=1, defect=1)) is Verdict.OK
    assert decide(1.0, Thresholds(review=1, defect=1)) is Verdict.DEFECT


@pytest.mark.parametrize(
    "wrong",
    [
        {"review": 0.7, "defect": 0.6},
        {"review": -0.1, "defect": 0.6},
        {"review": 0.1, "defect": 1.1},
        {"review": float("nan"), "defect": 0.6},
        {"review": 0.1, "defect": float("nan")},
        {"review": 0.1},
        {"review": 0.1, "defect": 0.6, "alarm": 0.9},
    ],
    ids=str,
)
def test_invalid_thresholds_are_refused(wrong):
    with pytest.raises(ValidationError):
        Thresholds.model_validate(wrong)


def test_words_of_the_contract():
    assert [verdict.value for verdict in Verdict] == ["ok", "review", "defect"]
