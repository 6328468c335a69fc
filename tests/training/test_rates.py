"""Intervals of shares cover the truth as often as they say, when tiles come in groups."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from training.rates import clopper_pearson, effective_tiles, rate


@given(st.integers(1, 200).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_whole_counts_give_the_exact_interval(counts):
    hits, n = counts
    exact = binomtest(hits, n).proportion_ci(0.95, "exact")
    assert clopper_pearson(hits / n, n) == pytest.approx((exact.low, exact.high), abs=1e-9)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=1, max_size=60))
def test_the_interval_holds_the_share_and_stays_between_0_and_1(tiles):
    found = rate(np.array([hit for hit, _ in tiles]), np.array([str(group) for _, group in tiles]))
    assert 0 <= found.low <= found.value <= found.high <= 1


def test_copies_of_a_tile_are_no_evidence():
    rng = np.random.default_rng(0)
    hit = rng.random(60) < 0.3
    copies = np.repeat(hit, 20)
    assert effective_tiles(copies, np.repeat(np.arange(60).astype(str), 20)) == pytest.approx(60, rel=0.1)
    assert effective_tiles(copies, np.arange(1200).astype(str)) > 1100


def test_none_among_few_groups_is_known_badly_however_many_tiles_there_are():
    assert rate(np.zeros(10_000, bool), np.repeat(["a", "b", "c"], [1, 1, 9998])).high > 0.6


def test_one_group_says_next_to_nothing():
    found = rate(np.array([True, False] * 500), np.full(1000, "a"))
    assert found.low < 0.05
    assert found.high > 0.95


@pytest.mark.parametrize("sizes", [(5,) * 20, (1,) * 20, (200, *[5] * 19)], ids=["alike", "one tile each", "one large"])
def test_a_first_hit_never_makes_the_rest_look_surer(sizes):
    """2 escaped tiles of one surface once gave an upper limit of 3 % where none at all gave 17 %."""
    group = np.repeat(np.arange(20), sizes).astype(str)
    limits = [rate(np.isin(np.arange(len(group)), len(group) - 1 - np.arange(hits)), group).high for hits in range(5)]
    assert limits == sorted(limits)


def test_where_groups_are_counted_the_interval_is_exact():
    hit = np.arange(27) < 23
    exact = binomtest(23, 27).proportion_ci(0.95, "exact")
    found = rate(hit, np.arange(27).astype(str))
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high))


def covered(share: float, alike: float, sizes: Callable[[np.random.Generator], np.ndarray], plants: int = 400) -> int:
    """In how many plants the interval holds the true share. alike: correlation of the tiles of a group."""
    rng = np.random.default_rng(5)
    found = 0
    for _ in range(plants):
        size = sizes(rng)
        of_group = rng.beta(*(np.array([share, 1 - share]) * (1 - alike) / alike), len(size))
        hit = rng.random(size.sum()) < np.repeat(of_group, size)
        interval = rate(hit, np.repeat(np.arange(len(size)), size).astype(str))
        found += interval.low <= share <= interval.high
    return found


@pytest.mark.parametrize(
    ("share", "alike", "sizes"),
    [
        pytest.param(0.1, 0.09, lambda rng: rng.integers(1, 30, 40), id="40 groups of 1 to 29 tiles"),
        pytest.param(0.3, 0.1, lambda rng: np.array([500, *[10] * 11]), id="one group of 500 beside 11 of 10"),
        pytest.param(0.05, 0.5, lambda rng: np.array([500, *[10] * 39]), id="one group of 500 beside 39 of 10"),
        pytest.param(0.3, 0.1, lambda rng: 1 + rng.lognormal(2.5, 1.2, 8).astype(int), id="8 very unequal groups"),
        pytest.param(0.05, 0.5, lambda rng: np.full(12, 20), id="hits in few groups"),
    ],
)
def test_it_covers_the_truth_in_groups_that_differ(share, alike, sizes):
    # 95 % promised; 400 draws of that fall below 366 once in 1,000.
    assert covered(share, alike, sizes) >= 366
