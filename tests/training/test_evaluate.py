"""Figures against their definitions, and intervals that know about groups."""

import numpy as np
import pytest

from model.verdict import Thresholds
from training.evaluate import confusion, evaluate, recall_at_false_calls

THRESHOLDS = Thresholds(review=0.5, defect=0.8)
FIGURES = {"auroc", "average_precision", "recall_at_5pct_false_calls", "escape_rate", "overkill_rate"}


def sample(groups: int, tiles_each: int, seed: int = 0):
    """Groups differ in how well their tiles are told apart, as coils do."""
    rng = np.random.default_rng(seed)
    defect = rng.random((groups, tiles_each)) < 0.5
    shift = rng.normal(1, 1, (groups, 1))
    logit = rng.normal(0, 1, (groups, tiles_each)) + shift * defect
    names = np.repeat([f"g{n}" for n in range(groups)], tiles_each)
    return defect.ravel(), 1 / (1 + np.exp(-logit.ravel())), names


def test_perfect_separation():
    defect = np.array([False] * 50 + [True] * 50)
    figures = evaluate(defect, defect * 0.9, np.array([str(n) for n in range(100)]), THRESHOLDS, seed=0)
    assert figures.keys() == FIGURES
    assert [figures[name].value for name in ("auroc", "average_precision", "recall_at_5pct_false_calls")] == [1, 1, 1]
    assert [figures[name].value for name in ("escape_rate", "overkill_rate")] == [0, 0]


def test_a_constant_score_is_chance():
    defect = np.array([False] * 60 + [True] * 40)
    figures = evaluate(defect, np.full(100, 0.6), np.array([str(n) for n in range(100)]), THRESHOLDS, seed=0)
    assert figures["auroc"].value == 0.5
    assert figures["average_precision"].value == pytest.approx(0.4)
    assert figures["recall_at_5pct_false_calls"].value == 0
    assert figures["overkill_rate"].value == 1


def test_intervals_hold_the_value_and_shrink_with_groups_not_with_tiles():
    def width(groups: int, tiles_each: int) -> float:
        auroc = evaluate(*sample(groups, tiles_each), THRESHOLDS, seed=0)["auroc"]
        assert auroc.low <= auroc.value <= auroc.high
        return auroc.high - auroc.low

    few, more_tiles, more_groups = width(10, 40), width(10, 160), width(40, 40)
    assert more_groups < 0.75 * few
    assert more_tiles > 0.75 * few


def test_the_order_of_tiles_does_not_matter():
    defect, probabilities, group = sample(8, 20)
    order = np.random.default_rng(1).permutation(len(defect))
    assert evaluate(defect, probabilities, group, THRESHOLDS, 0) == evaluate(
        defect[order], probabilities[order], group[order], THRESHOLDS, 0
    )


def test_one_group_gives_figures_and_no_interval():
    defect, probabilities, _ = sample(1, 50)
    alone = evaluate(defect, probabilities, np.array(["g"] * 50), THRESHOLDS, 0)["auroc"]
    assert alone.low is None
    assert alone.high is None


def test_recall_counts_ties_as_false_calls():
    defect = np.array([True, *[False] * 20])
    assert recall_at_false_calls(defect, np.array([0.5, 0.5, 0.5, *[0.1] * 18])) == 0
    assert recall_at_false_calls(defect, np.array([0.5, 0.5, *[0.1] * 19])) == 1


def test_confusion_counts_every_tile_once():
    defect, probabilities, _ = sample(5, 30)
    table = confusion(defect, probabilities, THRESHOLDS)
    assert sum(sum(row.values()) for row in table.values()) == len(defect)
    assert table["defect"]["ok"] == int((probabilities[defect] < 0.5).sum())
    assert table["ok"]["defect"] == int((probabilities[~defect] >= 0.8).sum())
