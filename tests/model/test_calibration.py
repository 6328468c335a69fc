"""model.calibration: logits to one defect probability, in the order of the logits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pydantic import TypeAdapter, ValidationError

from model.calibration import (
    Calibrator,
    IdentityCalibrator,
    IsotonicCalibrator,
    PlattCalibrator,
    TemperatureCalibrator,
    defect_logit,
)

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


class TestClassProbabilities:
    @given(some_logits)
    def test_rows_add_up_to_1_and_any_defect_keeps_its_probability(self, logits):
        calibrator = PlattCalibrator(slope=0.7, intercept=-0.4)
        found = calibrator.class_probabilities(logits)
        assert found.shape == (len(logits), max(2, logits.shape[1]))
        assert (found >= 0).all()
        np.testing.assert_allclose(found.sum(axis=1), 1)
        np.testing.assert_allclose(found[:, 1:].sum(axis=1), calibrator.probabilities(logits), atol=1e-12)

    def test_without_calibration_they_are_the_softmax(self):
        logits = np.random.default_rng(2).normal(0, 3, (50, 5)).astype(np.float32)
        powers = np.exp(logits.astype(np.float64))
        found = IdentityCalibrator().class_probabilities(logits)
        np.testing.assert_allclose(found, powers / powers.sum(axis=1, keepdims=True), atol=1e-12)

    def test_calibration_leaves_the_order_of_defect_classes(self):
        logits = np.random.default_rng(3).normal(0, 3, (50, 5)).astype(np.float32)
        found = TemperatureCalibrator(temperature=9).class_probabilities(logits)
        assert (found[:, 1:].argsort(axis=1) == logits[:, 1:].argsort(axis=1)).all()


slopes = st.floats(1e-6, 1e6)
rising = st.lists(st.floats(-50, 50), min_size=2, max_size=12, unique=True).map(sorted)
isotonic = st.tuples(rising, rising, slopes).map(
    lambda parts: IsotonicCalibrator(
        knot_logits=parts[0][: len(parts[1])], knot_calibrated=parts[1][: len(parts[0])], tail_slope=parts[2]
    )
)
calibrators = st.one_of(
    st.just(IdentityCalibrator()),
    st.builds(TemperatureCalibrator, temperature=slopes),
    st.builds(PlattCalibrator, slope=slopes, intercept=st.floats(-100, 100)),
    isotonic,
)


class TestEveryCalibrator:
    @given(calibrators, some_logits)
    def test_never_reorders_tiles(self, calibrator, logits):
        before = np.sort(defect_logit(logits))
        assert (np.diff(calibrator.calibrated(before)) >= 0).all()

    @given(calibrators)
    def test_never_reorders_neighbouring_numbers(self, calibrator):
        knots = getattr(calibrator, "knot_logits", (0.0,))
        close = np.sort(np.concatenate([np.nextafter(knots, side) for side in (-np.inf, np.inf)] + [np.array(knots)]))
        assert (np.diff(calibrator.calibrated(close)) >= 0).all()

    @given(calibrators, some_logits)
    def test_gives_probabilities(self, calibrator, logits):
        probabilities = calibrator.probabilities(logits)
        assert probabilities.shape == (len(logits),)
        assert probabilities.dtype == np.float64
        assert ((probabilities >= 0) & (probabilities <= 1)).all()

    @given(calibrators)
    def test_comes_back_from_json(self, calibrator):
        anyone = TypeAdapter(Calibrator)
        assert anyone.validate_json(anyone.dump_json(calibrator)) == calibrator

    @given(calibrators)
    def test_a_broken_network_stays_visible(self, calibrator):
        assert np.isnan(calibrator.probabilities(np.array([[np.nan]], np.float32))).all()

    @given(calibrators)
    def test_infinite_logits_saturate(self, calibrator):
        infinite = np.array([[-np.inf], [np.inf]], np.float32)
        assert calibrator.probabilities(infinite).tolist() == [0, 1]


def test_isotonic_meets_its_knots_and_keeps_apart_what_lies_between():
    calibrator = IsotonicCalibrator(knot_logits=(-1, 0, 2), knot_calibrated=(-4, 1, 1.5), tail_slope=0.3)
    assert calibrator.calibrated(np.array([-1.0, 0.0, 2.0])).tolist() == [-4, 1, 1.5]
    assert (np.diff(calibrator.calibrated(np.linspace(-10, 10, 1001))) > 0).all()


@pytest.mark.parametrize(
    "stored",
    [
        {"kind": "temperature", "temperature": 0},
        {"kind": "platt", "slope": -1, "intercept": 0},
        {"kind": "platt", "slope": 1, "intercept": float("nan")},
        {"kind": "isotonic", "knot_logits": [0, 1], "knot_calibrated": [1, 1], "tail_slope": 1},
        {"kind": "isotonic", "knot_logits": [1, 0], "knot_calibrated": [0, 1], "tail_slope": 1},
        {"kind": "isotonic", "knot_logits": [0, 1, 2], "knot_calibrated": [0, 1], "tail_slope": 1},
        {"kind": "isotonic", "knot_logits": [0], "knot_calibrated": [0], "tail_slope": 1},
        {"kind": "pickle"},
    ],
    ids=str,
)
def test_what_could_reorder_tiles_is_not_loaded(stored):
    with pytest.raises(ValidationError):
        TypeAdapter(Calibrator).validate_python(stored)
