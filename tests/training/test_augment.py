"""What augmentation may and may not do to a tile."""

import numpy as np
import pytest

from training.augment import augment
from training.config import Augmentation

NONE = Augmentation(flips=False, gain=0, offset=0, gamma=0, gradient=0, noise=0)


@pytest.fixture
def tiles() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (16, 12, 12), np.uint8)


def test_with_everything_off_the_pixels_are_unchanged(tiles):
    assert np.allclose(augment(tiles, NONE, np.random.default_rng(0)), tiles, atol=1e-4)


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
        same = [
            np.allclose(after, view, atol=1e-4) for view in (before, before[::-1], before[:, ::-1], before[::-1, ::-1])
        ]
        assert sum(same) == 1
        kinds.add(same.index(True))
    assert kinds == {0, 1, 2, 3}


def test_the_given_tiles_are_not_written_to(tiles):
    before = tiles.copy()
    augment(tiles, Augmentation(), np.random.default_rng(0))
    assert np.array_equal(tiles, before)


def test_turns_are_made_only_where_they_are_allowed(tiles):
    turned = augment(tiles, NONE.model_copy(update={"turns": True}), np.random.default_rng(0))
    kept = [np.allclose(after, before, atol=1e-4) for before, after in zip(tiles, turned, strict=True)]
    across = [np.allclose(after, before.T, atol=1e-4) for before, after in zip(tiles, turned, strict=True)]
    assert np.logical_xor(kept, across).all()
    assert any(kept)
    assert any(across)


def test_light_falls_off_smoothly_and_keeps_the_middle():
    grey = np.full((40, 33, 33), 100, np.uint8)
    lit = augment(grey, NONE.model_copy(update={"gradient": 0.3}), np.random.default_rng(0))
    assert np.allclose(lit[:, 16, 16], 100, atol=1e-3)
    assert lit.std(axis=(1, 2)).max() > 3
    assert np.abs(np.diff(lit, axis=1)).max() < 1
