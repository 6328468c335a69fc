"""Figures of classes against their definitions, and intervals that know about groups."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, precision_score, recall_score

from training.class_figures import Named, class_figures
from training.evaluate import class_metrics, class_rows
from training.resampling import Draws

CLASSES = ("ok", "fold", "pit", "scratch")
KINDS = np.array(["none", *CLASSES[1:]])


def sample(tiles: int = 300, groups: int = 30, seed: int = 0):
    """True kinds, class probabilities that are right more often than not, and groups."""
    rng = np.random.default_rng(seed)
    true = rng.integers(0, 4, tiles)
    logits = rng.normal(0, 1, (tiles, 4)) + 1.5 * np.eye(4)[true]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return true, probabilities, rng.integers(0, groups, tiles).astype(str)


@pytest.mark.parametrize("seed", range(3))
def test_figures_are_what_their_names_say(seed):
    true, probabilities, group = sample(seed=seed)
    found = class_metrics(KINDS[true], probabilities, CLASSES, group, seed=0)
    named, defect = probabilities.argmax(axis=1), true > 0
    assert found.keys() == {"class_accuracy", "balanced_class_accuracy", "defect_class_accuracy"}
    assert found["class_accuracy"].value == pytest.approx(accuracy_score(true, named))
    assert found["balanced_class_accuracy"].value == pytest.approx(balanced_accuracy_score(true, named))
    as_defect = probabilities[defect, 1:].argmax(axis=1) + 1
    assert found["defect_class_accuracy"].value == pytest.approx(accuracy_score(true[defect], as_defect))
    for each in found.values():
        assert each.low < each.value < each.high

    rows = class_rows(Named.of(KINDS[true], probabilities, CLASSES, group), seed=0)
    assert [row.name for row in rows] == list(CLASSES)
    assert [row.tiles for row in rows] == np.bincount(true).tolist()
    recalls, precisions = (
        score(true, named, average=None, labels=range(4)) for score in (recall_score, precision_score)
    )
    assert [row.metrics["recall"].value for row in rows] == pytest.approx(recalls.tolist())
    assert [row.metrics["precision"].value for row in rows] == pytest.approx(precisions.tolist())


def test_every_draw_is_the_figure_of_the_tiles_it_holds():
    true, probabilities, group = sample(tiles=60, groups=6)
    named = Named.of(KINDS[true], probabilities, CLASSES, group)
    draws = Draws.of(group, seed=3)
    values = class_figures(named, draws).overall
    counts = np.concatenate(list(draws.counts()))
    for draw in (1, 17, 999):
        tiles = np.repeat(np.arange(60), counts[draw][draws.number(group)].astype(int))
        own = class_metrics(KINDS[true][tiles], probabilities[tiles], CLASSES, group[tiles], seed=0)
        assert {name: each.value for name, each in own.items()} == pytest.approx(
            {name: value[draw] for name, value in values.items()}
        )


def test_intervals_count_groups_and_not_tiles():
    true, probabilities, group = sample()
    once = class_metrics(KINDS[true], probabilities, CLASSES, group, seed=0)["class_accuracy"]
    twice = class_metrics(np.tile(KINDS[true], 2), np.tile(probabilities, (2, 1)), CLASSES, np.tile(group, 2), seed=0)[
        "class_accuracy"
    ]
    assert twice == once


def test_the_mean_over_classes_is_known_as_badly_as_the_rarest_of_them():
    true, probabilities, group = sample()
    rare = (true == 3) & (group != group[true == 3][0])
    found = class_metrics(KINDS[true][~rare], probabilities[~rare], CLASSES, group[~rare], seed=0)
    assert found["balanced_class_accuracy"].low is None
    assert found["class_accuracy"].low is not None


def test_a_folder_without_ok_tiles_has_figures_too():
    true, probabilities, group = sample()
    defect = true > 0
    found = class_metrics(KINDS[true][defect], probabilities[defect], CLASSES, group[defect], seed=0)
    right = probabilities[defect].argmax(axis=1) == true[defect]
    assert found["class_accuracy"].value == pytest.approx(right.mean())
    assert found["defect_class_accuracy"].value >= found["class_accuracy"].value


def test_a_folder_without_defects_has_no_figure_of_them():
    true, probabilities, group = sample()
    found = class_metrics(KINDS[true][true == 0], probabilities[true == 0], CLASSES, group[true == 0], seed=0)
    assert found.keys() == {"class_accuracy", "balanced_class_accuracy"}


def test_a_type_without_a_class_counts_in_no_figure():
    true, probabilities, group = sample()
    names = np.where(true == 3, "dent", KINDS[true])
    named = Named.of(names, probabilities, CLASSES, group)
    assert named.unknown == (true == 3).sum()
    known = true != 3
    assert class_metrics(names, probabilities, CLASSES, group, seed=0) == class_metrics(
        KINDS[true][known], probabilities[known], CLASSES, group[known], seed=0
    )
    (*_, scratch) = class_rows(named, seed=0)
    assert (scratch.tiles, scratch.groups) == (0, 0)
    assert "recall" not in scratch.metrics
    assert scratch.metrics["precision"].value == 0


def test_nothing_known_has_no_figures():
    unknown = np.array(["dent", "dent"])
    assert class_metrics(unknown, np.full((2, 4), 0.25), CLASSES, np.array(["a", "b"]), seed=0) == {}


def test_where_everything_is_right_the_interval_still_knows_how_many_groups_there_are():
    true, _, _ = sample(tiles=40)
    found = class_metrics(KINDS[true], np.eye(4)[true], CLASSES, np.arange(40).astype(str), seed=0)
    assert {each.value for each in found.values()} == {1.0}
    assert 0.8 < found["class_accuracy"].low < 1


def test_the_confusion_holds_every_tile_once():
    true, probabilities, group = sample()
    table = Named.of(KINDS[true], probabilities, CLASSES, group).confusion()
    assert list(table) == list(CLASSES)
    assert [sum(row.values()) for row in table.values()] == np.bincount(true).tolist()
    assert table["ok"]["pit"] == ((true == 0) & (probabilities.argmax(axis=1) == 2)).sum()
