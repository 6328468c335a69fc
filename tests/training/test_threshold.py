"""Thresholds from tolerated overkill keep what they promise on the tiles they were chosen from."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from training.threshold import from_overkill

PROBABILITIES = arrays.arrays(np.float64, st.integers(1, 200), elements=st.floats(0, 1, exclude_max=True))


@given(PROBABILITIES)
def test_overkill_is_never_above_what_was_tolerated(ok):
    thresholds = from_overkill(ok, np.zeros(len(ok), bool))
    assert (ok >= thresholds.review).mean() <= 0.05
    assert (ok >= thresholds.defect).mean() <= 0.01


def test_defects_do_not_move_the_thresholds():
    ok = np.linspace(0, 0.5, 100)
    alone = from_overkill(ok, np.zeros(100, bool))
    both = from_overkill(np.concatenate([ok, [0.001, 0.9]]), np.array([False] * 100 + [True] * 2))
    assert alone == both


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_all_ok_tiles_alike(value):
    thresholds = from_overkill(np.full(10, value), np.zeros(10, bool))
    assert value <= thresholds.review <= thresholds.defect <= 1
