"""What augmentation may and may not do to a tile."""

import numpy as np
import pytest
from scipy.stats import kurtosis

from training.augment import augment, smear
from training.config import Augmentation

NONE = Augmentation(flips=False, gain=0, offset=0, gamma=0, gradient=0, noise=0)


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


def test_masks_come_to_lie_as_their_tiles_do(tiles):
    masks = tiles > np.median(tiles)
    assert 0.3 < masks.mean() < 0.7
    before = masks.copy()
    lies = NONE.model_copy(update={"flips": True, "turns": True})
    laid = augment(tiles, lies, np.random.default_rng(0), masks)
    assert np.array_equal(masks, np.rint(laid) > np.median(tiles))
    assert not np.array_equal(masks, before)
    assert np.array_equal(laid, augment(tiles, lies, np.random.default_rng(0))), "masks change nothing of the images"


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


def alone(**settings: float) -> Augmentation:
    """One change and no other."""
    return NONE.model_copy(update=settings)


@pytest.mark.parametrize("change", ["gain", "offset", "gamma", "gradient", "noise", "blur"])
def test_each_change_alone_changes_something_and_0_changes_nothing(tiles, change):
    strong = {"offset": 30, "noise": 20, "blur": 5}.get(change, 0.4)
    assert not np.array_equal(augment(tiles, alone(**{change: strong}), np.random.default_rng(0)), tiles)
    assert np.array_equal(augment(tiles, alone(**{change: 0}), np.random.default_rng(0)), tiles)


def test_a_moving_strip_smears_along_the_rolling_direction_only(tiles):
    along = np.repeat(tiles[:, :1], tiles.shape[1], axis=1)
    assert np.allclose(augment(along, alone(blur=9), np.random.default_rng(0)), along, atol=1e-3)
    line = np.zeros((8, 33, 33), np.uint8)
    line[:, 16, :] = 200
    smeared = augment(line, alone(blur=9), np.random.default_rng(0))
    assert np.allclose(smeared, smeared[:, :, :1], atol=1e-4)
    assert (smeared[:, 15, 0] > 0).all()


def test_a_smear_is_at_most_as_long_as_it_may_be_and_any_length_below():
    line = np.zeros((400, 33, 3), np.uint8)
    line[:, 16] = 240
    smeared = augment(line, alone(blur=5), np.random.default_rng(0))
    # The pixel the line came from keeps its share: 1 / length of it.
    lengths = 240 / smeared[:, 16, 0]
    assert lengths.min() == pytest.approx(1, abs=0.05)
    assert lengths.max() == pytest.approx(5, abs=0.05)
    assert np.mean(np.abs(lengths - np.rint(lengths)) > 0.1) > 0.5
    assert (smeared[:, :14] == 0).all()


@pytest.mark.parametrize("longest", [2, 9, 32])
def test_a_smear_keeps_the_mean_and_the_place(tiles, longest):
    smeared = augment(tiles, alone(blur=longest), np.random.default_rng(0))
    assert np.allclose(smeared.mean(axis=(1, 2)), tiles.mean(axis=(1, 2)), atol=1e-2)
    weights = smear(longest)
    assert weights.sum() == pytest.approx(1)
    assert np.array_equal(weights, weights[::-1])


def test_noise_is_normal_and_its_own_in_every_pixel():
    grey = np.full((200, 64, 64), 128, np.uint8)
    noise = augment(grey, alone(noise=8), np.random.default_rng(0)) - 128
    spread = noise.std(axis=(1, 2))
    assert spread.min() < 0.5
    assert 7.5 < spread.max() < 8.2
    shape = noise[spread > 1] / spread[spread > 1][:, np.newaxis, np.newaxis]
    assert kurtosis(shape, axis=None) == pytest.approx(0, abs=0.02)
    assert np.mean(np.abs(shape) > 1.96) == pytest.approx(0.05, abs=0.001)
    assert np.mean(shape[:, :, 1:] * shape[:, :, :-1]) == pytest.approx(0, abs=0.005)
    assert np.mean(shape[1:] * shape[:-1]) == pytest.approx(0, abs=0.005)


def test_the_smear_comes_before_the_sensor_s_noise():
    """Noise that was smeared would be the same along the rolling direction."""
    grey = np.full((20, 64, 64), 128, np.uint8)
    noisy = augment(grey, alone(noise=10, blur=9), np.random.default_rng(0))
    along, across = np.diff(noisy, axis=1).std(), np.diff(noisy, axis=2).std()
    assert along == pytest.approx(across, rel=0.05)


def test_gamma_and_gain_bend_the_grey_scale_between_their_limits():
    grey = np.repeat(np.arange(256, dtype=np.uint8)[:200], 2).reshape(1, 20, 20).repeat(300, axis=0)
    gained = augment(grey, alone(gain=0.2), np.random.default_rng(0))
    assert np.allclose(gained / gained[:, -1:, -1:], grey / 199, atol=1e-5)
    assert gained.max() == pytest.approx(199 * 1.2, rel=0.01)
    bent = augment(grey, alone(gamma=0.3), np.random.default_rng(0))
    assert (np.diff(bent.reshape(300, -1), axis=1) >= 0).all()
    assert bent.max() == pytest.approx(255 * (199 / 255) ** 0.7, rel=0.01)
