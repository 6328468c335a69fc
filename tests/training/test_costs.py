"""Thresholds from costs are the cheapest there are."""

from itertools import combinations_with_replacement

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from training.costs import CostThresholds, Prices, cost_per_tile, from_costs
from training.errors import DataFault

# Few different scores, so that ties are common.
SCORED = st.lists(st.tuples(st.integers(0, 8).map(lambda step: step / 8), st.booleans()), min_size=2, max_size=30)
COST = st.sampled_from([0.5, 1.0, 3.0, 20.0])


def true_probabilities(n, seed=0):
    """Scores that are the probability of a defect, and labels drawn from them."""
    rng = np.random.default_rng(seed)
    probabilities = rng.uniform(0, 1, n)
    return probabilities, rng.uniform(0, 1, n) < probabilities, np.arange(n).astype(str)


def prices(escape_cost, overkill_cost, review_cost=None, defect_share=0.5):
    return Prices(
        escape_cost=escape_cost, overkill_cost=overkill_cost, review_cost=review_cost, defect_share=defect_share
    )


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
    group = np.arange(len(defect)).astype(str)
    found = from_costs(probabilities, defect, group, prices(*costs, defect_share=float(defect.mean())))
    levels = np.append(np.unique(probabilities), 1.0)
    pairs = combinations_with_replacement(levels, 2) if review_cost else ((level, level) for level in levels)
    cheapest = min(mean_cost(probabilities, defect, *pair, *costs) for pair in pairs)
    mine = mean_cost(probabilities, defect, found.thresholds.review, found.thresholds.defect, *costs)
    assert found.cost == pytest.approx(mine)
    assert mine <= cheapest + 1e-9
    assert found.cost <= found.cost_calling_all + 1e-9


def test_true_probabilities_give_the_textbook_thresholds():
    scored = true_probabilities(40_000)
    alone = from_costs(*scored, prices(9, 1)).thresholds
    assert alone.review == alone.defect == pytest.approx(0.1, abs=0.03)
    reviewed = from_costs(*scored, prices(10, 4, 1)).thresholds
    assert reviewed.review == pytest.approx(1 / 10, abs=0.03)
    assert reviewed.defect == pytest.approx(1 - 1 / 4, abs=0.03)


def test_a_review_that_costs_as_much_as_a_mistake_is_not_used():
    thresholds = from_costs(*true_probabilities(2000), prices(1, 1, 2)).thresholds
    assert thresholds.review == thresholds.defect


def test_dearer_escapes_lower_the_threshold():
    scored = true_probabilities(2000)
    thresholds = [from_costs(*scored, prices(cost, 1)).thresholds.review for cost in (0.1, 1, 10, 100)]
    assert thresholds == sorted(thresholds, reverse=True)


def test_defects_that_are_rarer_on_the_line_than_in_the_data_raise_it():
    scored = true_probabilities(2000)
    rare = from_costs(*scored, prices(10, 1, defect_share=0.01))
    assert rare.thresholds.review > from_costs(*scored, prices(10, 1)).thresholds.review
    assert rare.cost_passing_all == pytest.approx(0.1)
    assert rare.cost_calling_all == pytest.approx(0.99)


def test_it_goes_into_json_and_comes_back():
    found = from_costs(*true_probabilities(100), prices(10, 1))
    assert CostThresholds.model_validate_json(found.model_dump_json()) == found


@pytest.mark.parametrize(
    "wrong",
    [{"escape_cost": 0}, {"overkill_cost": -1}, {"review_cost": float("inf")}, {"defect_share": 1}],
    ids=lambda wrong: next(iter(wrong)),
)
def test_prices_that_are_none(wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        prices(**({"escape_cost": 1, "overkill_cost": 1} | wrong))


def test_one_label_only():
    probabilities, defect, group = true_probabilities(100)
    with pytest.raises(DataFault, match="no defect tiles"):
        from_costs(probabilities, defect & False, group, prices(1, 1))


class TestCostPerTile:
    @pytest.mark.parametrize("review_cost", [None, 0.5, 8.0])
    def test_is_that_of_the_tiles_weighed_as_on_the_line(self, review_cost):
        probabilities, defect, group = true_probabilities(400)
        verdict = np.digitize(probabilities, [0.3, 0.3 if review_cost is None else 0.6])
        line = prices(6, 2, review_cost, defect_share=0.02)
        told = {0: 6 * defect, 1: review_cost or 0, 2: 2 * ~defect}
        cost = np.select([verdict == said for said in told], list(told.values()))
        expected = 0.02 * cost[defect].mean() + 0.98 * cost[~defect].mean()
        found = cost_per_tile(verdict, defect, group, line)
        assert found.value == pytest.approx(expected)
        assert found.low < found.value < found.high

    def test_is_what_chose_the_thresholds_on_the_tiles_that_chose_them(self):
        scored = true_probabilities(500)
        line = prices(20, 3, 1, defect_share=0.05)
        chosen = from_costs(*scored, line)
        verdict = np.digitize(scored[0], [chosen.thresholds.review, chosen.thresholds.defect])
        assert cost_per_tile(verdict, *scored[1:], line).value == pytest.approx(chosen.cost)
        assert Prices.of(chosen.model_dump(mode="json")) == line

    def test_thresholds_of_a_budget_have_none(self):
        assert Prices.of({"sentence": "At most 1 % escape."}) is None

    @pytest.mark.parametrize(("share", "review_cost"), [(0.5, None), (0.02, 0.3), (0.02, 3.0)])
    @pytest.mark.parametrize("within", [0.3, 3.0], ids=["groups differ much", "groups differ little"])
    def test_the_interval_holds_the_truth_in_resampled_plants(self, share, review_cost, within):
        """20 groups of each label, whose tiles are judged alike the more the groups differ."""
        rng = np.random.default_rng(7)
        line = prices(9, 1, review_cost, defect_share=share)
        # Of ok, review and defect: on defects, and on ok tiles.
        chances = {True: np.array([0.1, 0.2, 0.7]), False: np.array([0.9, 0.07, 0.03])}
        cost = {True: np.array([9, review_cost or 0, 0]), False: np.array([0, review_cost or 0, 1])}
        truth = share * chances[True] @ cost[True] + (1 - share) * chances[False] @ cost[False]
        group, defect = np.repeat(np.arange(40), 15).astype(str), np.repeat([True, False], 300)
        plants, held = 200, 0
        for _ in range(plants):
            own = [
                rng.dirichlet(np.maximum(chances[label] * within * 10, 1e-3)) for label in [True] * 20 + [False] * 20
            ]
            verdict = np.concatenate([rng.choice(3, 15, p=each) for each in own])
            found = cost_per_tile(verdict, defect, group, line)
            held += found.low <= truth <= found.high
        assert held >= 0.95 * plants
