"""model.calibration: logits to one defect probability, whatever the number of classes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from model.calibration import IdentityCalibrator, defect_logit

some_logits = hnp.arrays(
    np.float32, st.tuples(st.integers(1, 20), st.integers(1, 6)), elements=st.floats(-1e4, 1e4, width=32)
)


@given(some_logits)
def test_probabilities_are_finite_and_between_0_and_1(logits):
    probabilities = IdentityCalibrator().probabilities(logits)
    assert probabilities.shape == (len(logits),)
    assert probabilities.dtype == np.float64
    assert ((probabilities >= 0) & (probabilities <= 1)).all()


@given(some_logits)
def test_a_tile_s_answer_does_not_depend_on_its_neighbours(logits):
    together = IdentityCalibrator().probabilities(logits)
    alone = [IdentityCalibrator().probabilities(row[np.newaxis])[0] for row in logits]
    np.testing.assert_allclose(together, alone, rtol=1e-12)


def test_one_logit_keeps_its_order():
    logits = np.linspace(-20, 20, 101, dtype=np.float32)[:, np.newaxis]
    assert (np.diff(IdentityCalibrator().probabilities(logits)) > 0).all()


def test_several_classes_give_one_minus_the_probability_of_ok():
    logits = np.random.default_rng(0).normal(0, 3, (50, 5)).astype(np.float32)
    powers = np.exp(logits.astype(np.float64))
    np.testing.assert_allclose(
        IdentityCalibrator().probabilities(logits), 1 - powers[:, 0] / powers.sum(axis=1), atol=1e-12
    )


def test_relabelling_the_defect_classes_changes_nothing():
    logits = np.random.default_rng(1).normal(0, 3, (50, 5)).astype(np.float32)
    np.testing.assert_allclose(defect_logit(logits), defect_logit(logits[:, [0, 3, 1, 4, 2]]), rtol=1e-12)


def test_two_classes_are_the_difference_of_their_logits():
    logits = np.array([[1, 3], [2, -1]], np.float32)
    np.testing.assert_allclose(defect_logit(logits), [2, -3])


@pytest.mark.parametrize(("value", "expected"), [(1e30, 1.0), (-1e30, 0.0)])
def test_extreme_logits_saturate_without_a_warning(value, expected):
    assert IdentityCalibrator().probabilities(np.array([[value]], np.float32)).tolist() == [expected]
