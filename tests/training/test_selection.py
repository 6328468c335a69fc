"""The figure that chooses the epoch: groups weigh the same, whatever number of tiles they have."""

import numpy as np
import pytest

from training.dataset import TileSet
from training.selection import group_auroc, group_weights, validation_figures


def shown(defect: list[bool], group: list[str]) -> TileSet:
    count = len(defect)
    return TileSet(np.zeros((count, 4, 4), np.uint8), np.array(defect), np.array(group), np.arange(count))


def test_a_group_with_many_tiles_does_not_outvote_the_others():
    """One coil with 98 easy defects and two with one missed defect each: a third is found, not 98 %."""
    scores = np.array([1.0] * 98 + [-1.0] * 2 + [0.0] * 10)
    defect = np.arange(110) < 100
    group = np.array(["a"] * 98 + ["b", "c"] + ["ok"] * 10)
    assert group_auroc(scores, defect, group) == pytest.approx(1 / 3)


def test_where_every_group_has_one_tile_it_is_the_plain_auroc():
    rng = np.random.default_rng(0)
    scores, defect = rng.normal(size=60).round(1), rng.random(60) < 0.4
    pairs = scores[defect][:, np.newaxis] - scores[~defect]
    plain = ((pairs > 0) + 0.5 * (pairs == 0)).mean()
    assert group_auroc(scores, defect, np.arange(60).astype(str)) == pytest.approx(plain)


def test_repeating_a_groups_tiles_changes_nothing():
    rng = np.random.default_rng(1)
    scores, defect, group = rng.normal(size=30), rng.random(30) < 0.5, rng.integers(0, 6, 30).astype(str)
    again = np.concatenate([np.arange(30), np.flatnonzero(group == "3")])
    once = group_auroc(scores, defect, group)
    assert group_auroc(scores[again], defect[again], group[again]) == pytest.approx(once)


def test_weights_of_a_group_add_up_to_one_for_each_label():
    weights = group_weights(np.array(["a", "a", "a", "b"]), np.array(["pit", "pit", "none", "pit"]))
    assert weights.tolist() == [0.5, 0.5, 1, 1]


def test_several_outputs_are_told_as_defect_or_not_and_by_class():
    classes, kinds = ("none", "fold", "pit"), np.array(["none", "fold", "pit", "pit"])
    logits = np.array([[5, 0, 0], [0, 5, 0], [0, 5, 0], [0, 5, 0]], np.float32)
    tiles = shown([False, True, True, True], ["a", "b", "c", "c"])
    figures = validation_figures(logits, tiles, kinds, classes)
    assert figures == {"validation_auroc": 1.0, "validation_accuracy": pytest.approx(2 / 3)}


def test_where_nothing_is_ok_it_is_the_accuracy():
    logits = np.array([[0, 5, 1], [0, 1, 5]], np.float32)
    tiles = shown([True, True], ["a", "b"])
    found = validation_figures(logits, tiles, np.array(["fold", "pit"]), ("ok", "fold", "pit"))
    assert found == {"validation_accuracy": 1.0}
    with pytest.raises(ValueError, match="one label"):
        validation_figures(logits[:, :1], tiles, None, ("ok", "defect"))
