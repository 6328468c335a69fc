"""What augmentation may and may not do to a tile."""

import numpy as np
import pytest

from training.augment import augment
from training.config import Augmentation

NONE = Augmentation(flips=False, gain=0, offset=0, noise=0)


@pytest.fixture
def tiles() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (16, 12, 12), np.uint8)


def test_with_everything_off_the_pixels_are_unchanged(tiles):
    assert np.array_equal(augment(tiles, NONE, np.random.default_rng(0)), tiles)


def test_the_same_generator_gives_the_same_tiles(tiles):
    first = augment(tiles, Augmentation(), np.random.default_rng(5))
    assert np.array_equal(first, augment(tiles, Augmentation(), np.random.default_rng(5)))
    assert not np.array_equal(first, augment(tiles, Augmentation(), np.random.default_rng(6)))


def test_values_stay_within_the_camera_range(tiles):
    strong = augment(tiles, Augmentation(gain=0.9, offset=128, noise=64), np.random.default_rng(0))
    assert strong.dtype == np.float32
    assert strong.min() >= 0
    assert strong.max() <= 255


def test_mirrors_never_turn_the_rolling_direction(tiles):
    mirrored = augment(tiles, NONE.model_copy(update={"flips": True}), np.random.default_rng(0))
    kinds = set()
    for before, after in zip(tiles, mirrored, strict=True):
        same = [np.array_equal(after, view) for view in (before, before[::-1], before[:, ::-1], before[::-1, ::-1])]
        assert sum(same) == 1
        kinds.add(same.index(True))
    assert kinds == {0, 1, 2, 3}


def test_the_given_tiles_are_not_written_to(tiles):
    before = tiles.copy()
    augment(tiles, Augmentation(), np.random.default_rng(0))
    assert np.array_equal(tiles, before)
