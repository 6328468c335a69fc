"""Intervals of shares cover the truth as often as they say, when tiles come in groups."""

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


def test_it_covers_the_truth_in_groups_that_differ():
    rng = np.random.default_rng(5)
    covered = 0
    for _ in range(400):
        share = rng.beta(1, 9, 40)
        size = rng.integers(1, 30, 40)
        hit = rng.random(size.sum()) < np.repeat(share, size)
        found = rate(hit, np.repeat(np.arange(40), size).astype(str))
        covered += found.low <= 0.1 <= found.high
    # 95 % promised; 400 draws of that fall below 366 once in 1,000.
    assert covered >= 366
