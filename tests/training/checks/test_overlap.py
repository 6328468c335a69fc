"""Tiles cut from one frame with overlap find each other at any shift; a straight line is no proof."""

import numpy as np
import pytest

from training.checks.likeness import Surfaces, pack, structure
from training.checks.overlap import overlaps


def tiles_at(frame, *places) -> Surfaces:
    return Surfaces(np.stack([pack(structure(frame[y : y + 128, x : x + 128])) for y, x in places]))


@pytest.mark.parametrize("place", [(0, 64), (64, 0), (48, 48), (0, 37), (21, 50)])
def test_overlapping_tiles_are_found(steel_frame, place):
    frame = steel_frame(400, 400, seed=5, defects=30)
    assert overlaps(tiles_at(frame, (0, 0), place, (260, 260))).tolist() == [[0, 1]]


def test_tiles_side_by_side_do_not_overlap(steel_frame):
    frame = steel_frame(400, 400, seed=6, defects=30)
    assert len(overlaps(tiles_at(frame, (0, 0), (0, 128), (128, 0), (128, 128)))) == 0


def test_two_scratches_are_not_one(steel_frame):
    """Alike at every shift along them."""
    frames = [steel_frame(128, 128, seed=seed) // 4 + 60 for seed in (7, 8)]
    for frame, x in zip(frames, (30, 80), strict=True):
        frame[:, x : x + 4] = 240
    assert len(overlaps(Surfaces(np.stack([pack(structure(frame)) for frame in frames])))) == 0


def test_blank_images_have_no_marks():
    assert overlaps(Surfaces(np.zeros((3, 64, 64), np.int8))).shape == (0, 2)
