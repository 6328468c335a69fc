"""The expected calibration error is what it is defined as, and its interval knows that tiles come in groups."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from training.reliability import MAX_BINS, Reliability, equal_mass_bins, reliability

SCORES = arrays.arrays(np.float64, st.integers(1, 400), elements=st.integers(0, 30).map(lambda step: step / 30))


def tiles(groups, size, exaggerated=1.0, spread=0.0, seed=0):
    """Tiles whose logits are `exaggerated` times the true ones; each group's truth is shifted by `spread`."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(groups), size)
    logit = rng.normal(0, 1.5, groups * size)
    truth = 1 / (1 + np.exp(-(logit + rng.normal(0, spread, groups)[group])))
    return 1 / (1 + np.exp(-logit * exaggerated)), rng.random(len(logit)) < truth, group.astype(str)


@given(SCORES)
def test_bins_rise_hold_every_tile_and_never_divide_equal_probabilities(probabilities):
    bins = equal_mass_bins(probabilities)
    order = np.argsort(probabilities)
    assert (np.diff(bins[order]) >= 0).all()
    assert set(bins) == set(range(bins.max() + 1))
    assert bins.max() < MAX_BINS
    assert all(len(set(bins[probabilities == value])) == 1 for value in set(probabilities))


def test_different_probabilities_fill_the_bins_alike():
    counts = np.bincount(equal_mass_bins(np.random.default_rng(0).random(1501)))
    assert len(counts) == MAX_BINS
    assert np.ptp(counts) <= 1


def test_the_error_is_the_definition():
    probabilities, defect, group = tiles(100, 5, exaggerated=3)
    bins = equal_mass_bins(probabilities)
    by_hand = sum(
        (bins == number).mean() * abs(probabilities[bins == number].mean() - defect[bins == number].mean())
        for number in range(bins.max() + 1)
    )
    assert reliability(probabilities, defect, group).error.value == pytest.approx(by_hand)


def test_the_diagram_says_what_is_in_each_bin():
    probabilities, defect, group = tiles(50, 10)
    bins = reliability(probabilities, defect, group).bins
    assert sum(each.tiles for each in bins) == 500
    assert sum(each.tiles * each.observed.value for each in bins) == pytest.approx(defect.sum())
    assert all(each.low <= each.predicted <= each.high for each in bins)
    assert all(before.high < after.low for before, after in pairwise(bins))


def test_exaggerated_probabilities_are_found_out():
    true, exaggerated = (reliability(*tiles(200, 5, factor)).error for factor in (1, 3))
    assert true.high < exaggerated.low


def test_true_probabilities_have_an_interval_that_reaches_to_almost_nothing():
    lows = [reliability(*tiles(150, 5, seed=seed), seed=seed).error.low for seed in range(40)]
    assert np.mean(np.array(lows) < 0.01) >= 0.9


def test_surfaces_that_differ_widen_the_interval():
    probabilities, defect, group = tiles(40, 50, exaggerated=4, spread=2)
    by_group = reliability(probabilities, defect, group).error
    as_if_independent = reliability(probabilities, defect, np.arange(2000).astype(str)).error
    assert by_group.high - by_group.low > 1.5 * (as_if_independent.high - as_if_independent.low)


def test_too_few_groups_have_no_interval():
    found = reliability(*tiles(4, 100)).error
    assert found.low is found.high is None


@pytest.mark.parametrize("label", [True, False], ids=["all defects", "no defects"])
def test_one_label_only(label):
    probabilities, _, group = tiles(10, 10)
    found = reliability(probabilities, np.full(100, label), group)
    assert found.error.value == pytest.approx(abs(probabilities - label).mean())


def test_one_tile():
    found = reliability(np.array([0.3]), np.array([True]), np.array(["a"]))
    assert found.error.value == pytest.approx(0.7)
    assert len(found.bins) == 1


def test_it_goes_into_json_and_comes_back():
    found = reliability(*tiles(50, 5))
    assert Reliability.model_validate_json(found.model_dump_json()) == found


def test_no_error_is_above_1():
    """Probabilities that are the wrong way round on all surfaces but one."""
    defect, group = np.arange(60) % 2 == 0, np.arange(60) // 3
    told = np.where(group == 19, defect, ~defect).astype(float)
    assert reliability(told, defect, group.astype(str)).error.high == 1
