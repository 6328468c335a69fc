"""Hard tiles are the ones that score highest, of every group, and nothing but (seed, epoch, weights) decides."""

from collections import Counter

import numpy as np
import pytest

from training.crops import Drawn
from training.dataset import TileSet
from training.hard_negatives import HardTiles, hardest


def grid(ok: dict[str, int], defects: int = 5) -> TileSet:
    """Group -> number of ok tiles; each tile's first pixels hold its number."""
    group = np.array([*np.repeat(list(ok), list(ok.values())), *["d"] * defects])
    tiles = np.zeros((len(group), 8, 8), np.uint8)
    tiles[:, 0, 0], tiles[:, 0, 1] = np.divmod(np.arange(len(group)), 256)
    return TileSet(tiles, np.arange(len(group)) >= len(group) - defects, group, np.arange(len(group)))


def numbers(tiles: np.ndarray) -> np.ndarray:
    return tiles[:, 0, 0].astype(int) * 256 + tiles[:, 0, 1]


def scores(tiles: np.ndarray) -> np.ndarray:
    """As good as drawn, and the same for the same tile."""
    return np.sin(numbers(tiles) * 12.9898)


class Plain:
    """Half ok tiles, all alike, and half defects."""

    def draw(self, count, rng):
        tiles, kinds = np.full((count, 8, 8), 255, np.uint8), np.where(np.arange(count) % 2, "pit", "none")
        return Drawn(tiles, kinds, np.zeros(tiles.shape, np.bool_))


def test_hard_tiles_score_higher_and_only_ok_tiles_are_replaced():
    shown = grid({"a": 200, "b": 200})
    sampler = HardTiles(shown, 0.5, seed=1).mine(Plain(), 2, scores)
    tiles, kinds, _ = sampler.draw(2000, np.random.default_rng(0))
    hard = numbers(tiles) != 255 * 256 + 255
    assert not hard[kinds == "pit"].any()
    assert hard[kinds == "none"].mean() == pytest.approx(0.5, abs=0.05)
    ok = shown.tiles[~shown.defect]
    assert scores(tiles[hard]).min() > np.quantile(scores(ok), 0.8)
    assert len(set(numbers(tiles[hard]))) == 50


def test_one_bad_group_does_not_take_all():
    shown = grid({"bad": 400, "fine": 40, "small": 3})
    worst = HardTiles(shown, 0.9, seed=0).mine(Plain(), 2, lambda tiles: np.where(numbers(tiles) < 400, 9.0, -9.0))
    tiles, _, _ = worst.draw(3000, np.random.default_rng(0))
    drawn = Counter(shown.group[number] for number in numbers(tiles) if number < len(shown))
    assert set(drawn) == {"bad", "fine", "small"}
    assert max(drawn.values()) < 1.3 * min(drawn.values())


def test_no_more_than_the_candidates_are_scored_and_of_each_group_as_many():
    asked = []
    shown = grid({"a": 300, "b": 30, "c": 300})

    def count(tiles):
        asked.extend(numbers(tiles))
        return np.zeros(len(tiles))

    HardTiles(shown, 0.5, seed=0, candidates=90).mine(Plain(), 2, count)
    assert Counter(shown.group[asked]) == {"a": 30, "b": 30, "c": 30}
    assert not shown.defect[asked].any()


def test_seed_epoch_and_weights_decide_alone():
    shown = grid({"a": 300, "b": 300})

    def drawn(epoch: int, score=scores) -> np.ndarray:
        hard = HardTiles(shown, 0.5, seed=3, candidates=100)
        return hard.mine(Plain(), epoch, score).draw(64, np.random.default_rng(0))[0]

    assert np.array_equal(drawn(2), drawn(2))
    assert not np.array_equal(drawn(2), drawn(3))
    assert not np.array_equal(drawn(2), drawn(2, lambda tiles: -scores(tiles)))


def test_a_folder_without_ok_tiles_has_no_hard_ones():
    plain = Plain()
    assert HardTiles(grid({}), 0.5, seed=0).mine(plain, 2, scores) is plain


def test_the_hardest_of_few_is_one():
    assert [each.tolist() for each in hardest(np.array([1.0, 2.0, 3.0]), np.array(["x", "y", "x"]))] == [[2], [1]]
