"""Structure survives the lamp, the exposure and the packing; what all images share is no likeness."""

import numpy as np
import pytest

from training.checks.likeness import MIN_COMMON, SIDE, Surfaces, pack, structure

ONE, OTHER = np.array([0]), np.array([1])


def surfaces(frames) -> Surfaces:
    return Surfaces(np.stack([pack(structure(frame)) for frame in frames]))


def relit(frame, seed=0):
    """Another exposure, a lamp that falls off to one side, and sensor noise."""
    height, width = frame.shape
    light = np.linspace(0.5, 1.1, width) * np.linspace(1.0, 0.8, height)[:, np.newaxis]
    noise = np.random.default_rng(seed).normal(0, 2, frame.shape)
    return np.clip(frame * light + noise, 0, 255).astype(np.uint8)


def test_structure_is_of_unit_length_without_mean(steel_frame):
    found = structure(steel_frame(120, 90))
    assert found.shape == (SIDE, SIDE)
    assert found.mean() == pytest.approx(0, abs=1e-6)
    assert np.linalg.norm(found) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("level", [0, 90, 255])
def test_a_constant_frame_has_no_structure_and_is_like_nothing(level):
    blank = np.full((50, 50), level, np.uint8)
    assert not structure(blank).any()
    assert surfaces([blank] * 2).upright_likeness(ONE, OTHER) == 0


def test_packing_keeps_the_structure(steel_frame):
    found = structure(steel_frame(128, 128))
    assert (surfaces([steel_frame(128, 128)]).load(ONE)[0] * found).sum() > 0.999


def test_another_light_is_the_same_surface_and_another_surface_is_not(steel_frame):
    frame = steel_frame(128, 128, seed=1)
    assert surfaces([frame, relit(frame)]).upright_likeness(ONE, OTHER) > 0.8
    assert surfaces([frame, steel_frame(128, 128, seed=2)]).upright_likeness(ONE, OTHER) < 0.5


def test_a_strip_that_moved_a_little_is_the_same_surface(steel_frame):
    long = steel_frame(140, 128, seed=3)
    assert surfaces([long[:128], long[4:132]]).upright_likeness(ONE, OTHER) > 0.8


@pytest.mark.parametrize("turn", range(8))
def test_flips_and_turns_are_found_by_the_hash_and_by_correlation(steel_frame, turn):
    frame = steel_frame(128, 128, seed=4)
    laid = np.rot90(frame[:, ::-1] if turn >= 4 else frame, turn % 4)
    found = surfaces([frame, relit(laid)])
    others = [steel_frame(128, 128, seed=seed) for seed in range(10, 50)]
    sketch = surfaces([frame, laid, *others]).sketches[1]
    assert found.turned_likeness(ONE, OTHER) > 0.8
    assert sketch[0] @ sketch[1] > 0.99
    assert (sketch[0] @ sketch[2:].T).max() < 0.8


def test_what_all_images_of_a_part_share_does_not_make_them_alike(steel_frame):
    ys, xs = np.mgrid[:128, :128]
    rim = np.where((ys - 64) ** 2 + (xs - 64) ** 2 < 50**2, 1.0, 0.3)
    parts = [(rim * steel_frame(128, 128, seed=seed)).astype(np.uint8) for seed in range(MIN_COMMON + 8)]
    few, many = surfaces(parts[:2]), surfaces(parts)
    assert many.upright_likeness(ONE, OTHER) < few.upright_likeness(ONE, OTHER) - 0.1
    assert surfaces([*parts, relit(parts[0])]).upright_likeness(ONE, np.array([len(parts)])) > 0.6
