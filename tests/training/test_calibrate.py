"""A fitted calibrator makes probabilities true on surfaces it never saw, and keeps still where it cannot."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from model.calibration import IdentityCalibrator, PlattCalibrator
from training.calibrate import (
    CalibrationResult,
    assign_folds,
    fit_calibrator,
    fit_isotonic,
    fit_platt,
    fit_temperature,
    smoothed_targets,
)
from training.errors import DataFault
from training.reliability import reliability


def tiles(distort, groups=60, size=25, seed=0, spread=0.3):
    """Logits as a network gives them, labels, and groups; distort: true logit -> the network's, rising."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(groups), size)
    true = rng.normal(-0.5, 2, groups * size) + rng.normal(0, spread, groups)[group]
    return distort(true), rng.random(len(true)) < expit(true), group.astype(str)


def log_loss(calibrator, logit, defect):
    calibrated = calibrator.calibrated(logit)
    return float((np.logaddexp(0, calibrated) - defect * calibrated).mean())


class TestTheChoice:
    @pytest.mark.parametrize(
        ("distort", "expected"),
        [
            (lambda true: true, "identity"),
            (lambda true: 3 * true, "temperature"),
            (lambda true: true + 2, "platt"),
            (lambda true: np.where(true > -0.5, 6 * true, true) + 2, "isotonic"),
        ],
        ids=["true already", "overconfident", "class weights", "bent"],
    )
    def test_is_the_simplest_that_mends_what_is_wrong(self, distort, expected):
        result = fit_calibrator(*tiles(distort, groups=150), seed=0)
        assert result.calibrator.kind == expected
        assert result.reason.startswith(expected)

    @pytest.mark.parametrize("distort", [lambda true: 3 * true, lambda true: true + 2], ids=["scaled", "shifted"])
    def test_makes_unseen_surfaces_true(self, distort):
        result = fit_calibrator(*tiles(distort), seed=0)
        logit, defect, group = tiles(distort, groups=400, seed=1)
        unseen = reliability(expit(result.calibrator.calibrated(logit)), defect, group).error.value
        assert unseen < 0.05 < reliability(expit(logit), defect, group).error.value
        assert log_loss(result.calibrator, logit, defect) < log_loss(IdentityCalibrator(), logit, defect)
        assert result.after.error.value < 0.05 < result.before.error.value

    def test_class_weights_need_not_be_known(self):
        """Weighting defects by 9 adds log(9) to the logit of an ideal network; Platt takes it away again."""
        result = fit_calibrator(*tiles(lambda true: true + np.log(9), groups=200), seed=0)
        assert isinstance(result.calibrator, PlattCalibrator)
        assert result.calibrator.intercept / result.calibrator.slope == pytest.approx(-np.log(9), abs=0.25)

    def test_isotonic_is_no_candidate_with_little_data(self):
        few = fit_calibrator(*tiles(lambda true: 3 * true, groups=30), seed=0)
        assert [candidate.kind for candidate in few.candidates] == ["identity", "temperature", "platt"]

    def test_what_is_said_of_the_candidates_is_held_out(self):
        """Labels that are pure chance: what was learned of them must not look better than knowing nothing."""
        rng = np.random.default_rng(2)
        group = np.repeat(np.arange(20), 5).astype(str)
        result = fit_calibrator(rng.normal(0, 1, 100), rng.random(100) < 0.5, group, seed=0)
        assert min(candidate.log_loss for candidate in result.candidates) > np.log(2) - 0.01

    def test_the_same_seed_gives_the_same_answer_in_any_order(self):
        logit, defect, group = tiles(lambda true: 3 * true, groups=20)
        order = np.random.default_rng(3).permutation(len(logit))
        first, second = (
            fit_calibrator(logit[rows], defect[rows], group[rows], seed=5) for rows in (np.arange(len(logit)), order)
        )
        assert first.calibrator.kind == second.calibrator.kind
        assert first.calibrator.calibrated(logit) == pytest.approx(second.calibrator.calibrated(logit), rel=1e-4)

    def test_it_goes_into_json_and_comes_back(self):
        result = fit_calibrator(*tiles(lambda true: 3 * true, groups=20), seed=0)
        assert CalibrationResult.model_validate_json(result.model_dump_json()) == result


class TestWhereNothingCanBeFitted:
    @pytest.mark.parametrize("label", [True, False], ids=["all defects", "no defects"])
    def test_one_label_only(self, label):
        logit, defect, group = tiles(lambda true: true)
        result = fit_calibrator(logit, np.full_like(defect, label), group, seed=0)
        assert result.calibrator == IdentityCalibrator()
        assert "has 0 groups with" in result.reason
        assert result.candidates == ()
        assert result.after == result.before

    def test_very_few_groups(self):
        result = fit_calibrator(*tiles(lambda true: 3 * true, groups=4), seed=0)
        assert result.calibrator == IdentityCalibrator()
        assert "4 groups with defect tiles and 5 are needed" in result.reason

    def test_constant_logits(self):
        _, defect, group = tiles(lambda true: true)
        result = fit_calibrator(np.full(len(defect), 1.25), defect, group, seed=0)
        assert result.calibrator == IdentityCalibrator()
        assert "same logit" in result.reason

    def test_one_tile(self):
        result = fit_calibrator(np.array([1.0]), np.array([True]), np.array(["a"]), seed=0)
        assert result.calibrator == IdentityCalibrator()

    @pytest.mark.parametrize("broken", [np.nan, np.inf])
    def test_a_broken_network(self, broken):
        logit, defect, group = tiles(lambda true: true)
        logit[7] = broken
        with pytest.raises(DataFault, match="1 of 1500 logits are not finite"):
            fit_calibrator(logit, defect, group, seed=0)


class TestTheFits:
    def test_perfect_separation_stays_finite_and_sure_of_its_number_of_tiles(self):
        logit = np.concatenate([np.full(50, -3.0), np.full(50, 3.0)])
        defect = logit > 0
        for calibrator in (fit_platt(logit, defect), fit_temperature(logit, defect)):
            assert expit(calibrator.calibrated(np.array([3.0])))[0] == pytest.approx(51 / 52, abs=1e-3)

    def test_perfect_separation_with_many_groups_is_calibrated(self):
        logit, _, group = tiles(lambda true: true)
        result = fit_calibrator(logit, logit > 0, group, seed=0)
        assert result.after.error.value < result.before.error.value
        assert np.isfinite(result.calibrator.calibrated(logit)).all()

    def test_platt_finds_the_line_it_was_given(self):
        logit, defect, _ = tiles(lambda true: (true - 0.7) / 0.4, groups=400, spread=0)
        line = fit_platt(logit, defect)
        assert (line.slope, line.intercept) == pytest.approx((0.4, 0.7), abs=0.05)

    def test_a_network_that_is_worse_than_chance_is_not_turned_round(self):
        logit, defect, group = tiles(lambda true: true)
        result = fit_calibrator(-logit, defect, group, seed=0)
        rising = result.calibrator.calibrated(np.linspace(-5, 5, 11))
        assert (np.diff(rising) > 0).all()
        assert np.ptp(rising) < 1

    @pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
    def test_the_scale_of_the_logits_does_not_matter(self, scale):
        logit, defect, _ = tiles(lambda true: true)
        expected = fit_platt(logit, defect).calibrated(logit)
        assert fit_platt(scale * logit, defect).calibrated(scale * logit) == pytest.approx(expected, rel=1e-3, abs=1e-3)

    def test_isotonic_follows_a_bend(self):
        logit, defect, _ = tiles(lambda true: np.where(true > 0, 5 * true, true), groups=800, spread=0)
        found = fit_isotonic(logit, defect)
        assert expit(found.calibrated(np.array([-2.0, 5.0, 10.0]))) == pytest.approx(expit([-2, 1, 2]), abs=0.05)

    def test_isotonic_gives_up_where_nothing_rises(self):
        logit = np.linspace(-1, 1, 2000)
        assert fit_isotonic(logit, logit < 0) is None

    @settings(max_examples=50)
    @given(st.lists(st.tuples(st.integers(-5, 5), st.booleans()), min_size=2, max_size=40))
    def test_any_data_give_a_rising_finite_line(self, drawn):
        logit = np.array([float(value) for value, _ in drawn])
        defect = np.array([label for _, label in drawn])
        for fit in (fit_platt, fit_temperature):
            assert (np.diff(fit(logit, defect).calibrated(np.arange(-5.0, 6))) > 0).all()

    def test_targets_are_never_certain(self):
        for defect in (np.ones(3, bool), np.zeros(3, bool)):
            assert ((smoothed_targets(defect) > 0) & (smoothed_targets(defect) < 1)).all()


@given(st.lists(st.tuples(st.integers(0, 30), st.booleans()), min_size=10, max_size=100), st.integers(0, 5))
def test_a_group_is_in_one_fold_and_folds_share_the_groups(tiles, seed):
    group = np.array([str(number) for number, _ in tiles])
    fold = assign_folds(np.array([label for _, label in tiles]), group, seed)
    of_group = {name: set(fold[group == name]) for name in group}
    assert all(len(folds) == 1 for folds in of_group.values())
    counts = np.bincount([next(iter(folds)) for folds in of_group.values()])
    assert np.ptp(counts) <= 1


def test_a_shift_by_balanced_batches_is_mended_also_with_few_groups():
    """A weak network trained on as many defects as good tiles says a half where a quarter is right."""
    rng = np.random.default_rng(5)
    group = np.repeat([f"g{number}" for number in range(22)], 60)
    # Groups are all good or all defect, as coils can be: the standard error between them is wide.
    defect = np.isin(group, [f"g{number}" for number in range(6)])
    logit = rng.normal(0, 0.05, len(group)) + 0.02 * defect
    result = fit_calibrator(logit, defect, group, seed=0)
    assert result.calibrator.kind == "platt"
    assert result.after.error.value < 0.1 < result.before.error.value
