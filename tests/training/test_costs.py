"""Thresholds from costs are the cheapest there are."""

from itertools import combinations_with_replacement

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.costs import CostThresholds, from_costs
from training.errors import DataFault, UsageFault

# Few different scores, so that ties are common.
SCORED = st.lists(st.tuples(st.integers(0, 8).map(lambda step: step / 8), st.booleans()), min_size=2, max_size=30)
COST = st.sampled_from([0.5, 1.0, 3.0, 20.0])


def true_probabilities(n, seed=0):
    """Scores that are the probability of a defect, and labels drawn from them."""
    rng = np.random.default_rng(seed)
    probabilities = rng.uniform(0, 1, n)
    return probabilities, rng.uniform(0, 1, n) < probabilities, np.arange(n).astype(str)


def mean_cost(probabilities, defect, review, defect_at, escape_cost, overkill_cost, review_cost):
    passed, called = probabilities < review, probabilities >= defect_at
    looked_at = ~passed & ~called
    costs = (passed & defect) * escape_cost + (called & ~defect) * overkill_cost + looked_at * (review_cost or 0)
    return float(costs.mean())


@given(SCORED, COST, COST, st.none() | COST)
def test_no_other_pair_of_thresholds_is_cheaper(scored, escape_cost, overkill_cost, review_cost):
    probabilities = np.array([score for score, _ in scored])
    defect = np.array([label for _, label in scored])
    if defect.all() or not defect.any():
        defect[0] = not defect[0]
    costs = (escape_cost, overkill_cost, review_cost)
    found = from_costs(probabilities, defect, np.arange(len(defect)).astype(str), *costs[:2], review_cost=costs[2])
    levels = np.append(np.unique(probabilities), 1.0)
    pairs = combinations_with_replacement(levels, 2) if review_cost else ((level, level) for level in levels)
    cheapest = min(mean_cost(probabilities, defect, *pair, *costs) for pair in pairs)
    mine = mean_cost(probabilities, defect, found.thresholds.review, found.thresholds.defect, *costs)
    assert found.cost == pytest.approx(mine)
    assert mine <= cheapest + 1e-9
    assert found.cost <= found.cost_calling_all + 1e-9


def test_true_probabilities_give_the_textbook_thresholds():
    scored = true_probabilities(40_000)
    alone = from_costs(*scored, escape_cost=9, overkill_cost=1).thresholds
    assert alone.review == alone.defect == pytest.approx(0.1, abs=0.03)
    reviewed = from_costs(*scored, escape_cost=10, overkill_cost=4, review_cost=1).thresholds
    assert reviewed.review == pytest.approx(1 / 10, abs=0.03)
    assert reviewed.defect == pytest.approx(1 - 1 / 4, abs=0.03)


def test_a_review_that_costs_as_much_as_a_mistake_is_not_used():
    thresholds = from_costs(*true_probabilities(2000), 1, 1, review_cost=2).thresholds
    assert thresholds.review == thresholds.defect


def test_dearer_escapes_lower_the_threshold():
    scored = true_probabilities(2000)
    thresholds = [from_costs(*scored, cost, 1).thresholds.review for cost in (0.1, 1, 10, 100)]
    assert thresholds == sorted(thresholds, reverse=True)


def test_defects_that_are_rarer_on_the_line_than_in_the_data_raise_it():
    scored = true_probabilities(2000)
    rare = from_costs(*scored, 10, 1, defect_share=0.01)
    assert rare.thresholds.review > from_costs(*scored, 10, 1).thresholds.review
    assert rare.cost_passing_all == pytest.approx(0.1)
    assert rare.cost_calling_all == pytest.approx(0.99)


def test_it_goes_into_json_and_comes_back():
    found = from_costs(*true_probabilities(100), 10, 1)
    assert CostThresholds.model_validate_json(found.model_dump_json()) == found


@pytest.mark.parametrize(
    "wrong",
    [{"escape_cost": 0}, {"overkill_cost": -1}, {"review_cost": float("inf")}, {"defect_share": 1}],
    ids=lambda wrong: next(iter(wrong)),
)
def test_costs_that_are_none(wrong):
    with pytest.raises(UsageFault, match=next(iter(wrong))):
        from_costs(*true_probabilities(100), **({"escape_cost": 1, "overkill_cost": 1} | wrong))


def test_one_label_only():
    probabilities, defect, group = true_probabilities(100)
    with pytest.raises(DataFault, match="no defect tiles"):
        from_costs(probabilities, defect & False, group, 1, 1)
