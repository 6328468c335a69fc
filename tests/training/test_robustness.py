"""Changes do what they say, at the level they say; and figures under them are those of the changed tiles."""

import numpy as np
import pytest

from model.verdict import Thresholds
from training import robustness
from training.evaluate import evaluate
from training.ranking import Scores
from training.robustness import LEVELS, UNCHANGED, blur, brightness, contrast, jpeg, noise, sample

THRESHOLDS = Thresholds(review=0.4, defect=0.6)


@pytest.fixture(scope="module")
def tiles(steel_frame):
    return np.stack([steel_frame(32, 32, seed=number, defects=number % 2) for number in range(40)])


@pytest.fixture(scope="module")
def scores(tiles):
    defect = np.arange(40) % 2 == 1
    return Scores(defect, darkest(tiles), np.array([f"coil {number // 2}" for number in range(40)]), THRESHOLDS)


def darkest(tiles):
    """A scorer that a person can follow: how far the darkest pixel lies below the tile's mean."""
    return np.clip((tiles.mean(axis=(1, 2)) - tiles.min(axis=(1, 2))) / 160, 0, 1)


def scored(tiles, numbers):
    return darkest(tiles)


@pytest.mark.parametrize("level", [UNCHANGED, *LEVELS], ids=lambda level: f"{level.change} {level.level}")
@pytest.mark.parametrize("grey", [0, 128, 255])
def test_every_change_keeps_shape_and_type_and_stays_in_range(level, grey, tiles):
    for given in (tiles[:3], np.full((2, 16, 16), grey, np.uint8)):
        before = given.copy()
        changed = level.apply(given)
        assert changed.dtype == np.uint8
        assert changed.shape == given.shape
        assert np.array_equal(given, before), "the tiles themselves must stay what they are"


def test_brightness_and_contrast_are_exact_where_nothing_clips():
    tile = np.array([[[100, 120], [140, 160]]], np.uint8)
    assert np.array_equal(brightness(-40)(tile), tile - 40)
    assert np.array_equal(contrast(1.5)(tile), [[[85, 115], [145, 175]]])


@pytest.mark.parametrize(("gentle", "harsh"), [(blur(0.5), blur(2)), (noise(4), noise(16)), (jpeg(90), jpeg(40))])
def test_a_harsher_level_changes_more(tiles, gentle, harsh):
    error = [np.abs(change(tiles).astype(float) - tiles).mean() for change in (gentle, harsh)]
    assert 0 < error[0] < error[1]


def test_noise_has_the_deviation_it_says():
    grey = np.full((4, 64, 64), 128, np.uint8)
    assert noise(8)(grey).astype(float).std() == pytest.approx(8, rel=0.05)


def test_one_row_a_level_and_the_first_is_the_figures_as_they_are(tiles, scores):
    unchanged, *changed = robustness.robustness(tiles, scores, scored, seed=0)
    assert [(row.change, row.level) for row in changed] == [(level.change, level.level) for level in LEVELS]
    whole = evaluate(scores.defect, scores.probabilities, scores.group, THRESHOLDS, 0)
    assert unchanged.metrics == {name: whole[name] for name in robustness.FIGURES}
    assert (unchanged.tiles, unchanged.groups) == (40, 20)


def test_what_a_scorer_cannot_see_costs_nothing_and_what_it_sees_shows(tiles, scores):
    table = {(row.change, row.level): row.metrics for row in robustness.robustness(tiles, scores, scored, seed=0)}
    base = table["unchanged", ""]["escape_rate"].value
    assert table["contrast", "x 0.6"]["escape_rate"].value > base, "less contrast hides dark blobs from it"
    assert table["brightness", "+20 grey values"]["auroc"].value == pytest.approx(
        table["unchanged", ""]["auroc"].value, abs=0.02
    )


def test_a_sample_is_of_whole_groups_within_the_limit():
    group = np.repeat([f"coil {number}" for number in range(30)], 10)
    scores = Scores(np.arange(300) % 2 == 0, np.full(300, 0.5), group, THRESHOLDS)
    chosen = sample(scores, seed=1, limit=100)
    assert len(chosen) == 100
    assert all(count == 10 for count in np.unique(group[chosen], return_counts=True)[1])


@pytest.mark.parametrize("seed", range(4))
def test_a_group_above_the_limit_is_left_out_whenever_it_is_drawn(seed):
    """Drawn first it once made the sample empty, and all tiles were scored anew for every change."""
    group = np.repeat(["a", "b", "large", "c"], [30, 30, 2000, 30])
    scores = Scores(np.arange(2090) % 2 == 0, np.full(2090, 0.5), group, THRESHOLDS)
    assert set(group[sample(scores, seed, limit=100)]) == {"a", "b", "c"}


def test_a_sample_that_would_lack_a_label_is_all_tiles():
    group = np.repeat(["ok coil", "bad coil"], 10)
    scores = Scores(group == "bad coil", np.full(20, 0.5), group, THRESHOLDS)
    assert len(sample(scores, seed=0, limit=10)) == 20
