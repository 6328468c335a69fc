"""Windows round the parts of a mask: all that show some of it, each as likely."""

from collections import Counter

import numpy as np
import pytest

from training.parts import MOST_PARTS, Parts

APART = 8


def marked(*boxes: tuple[int, int, int, int], size: tuple[int, int] = (24, 90)) -> np.ndarray:
    """A mask of rectangles (first row, first column, height, width)."""
    mask = np.zeros(size, bool)
    for y, x, height, width in boxes:
        mask[y : y + height, x : x + width] = True
    return mask


MASKS = {
    "one pixel in a corner": marked((23, 0, 1, 1)),
    "far apart": marked((2, 1, 2, 3), (20, 80, 3, 2)),
    "three, one of them large": marked((0, 0, 1, 1), (0, 30, 24, 20), (12, 88, 1, 2)),
    # An L, and a part inside its box: windows between them lie round both.
    "boxes in each other": marked((0, 0, 24, 2), (22, 0, 2, 60), (2, 40, 2, 2)),
    "the whole frame": marked((0, 0, 24, 90)),
}


def windows(mask: np.ndarray, side: int) -> set[tuple[int, int]]:
    """Every window that shows a masked pixel."""
    height, width = mask.shape
    return {
        (y, x)
        for y in range(height - side + 1)
        for x in range(width - side + 1)
        if mask[y : y + side, x : x + side].any()
    }


@pytest.mark.parametrize("side", [5, 8, 24])
@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_every_window_that_shows_some_of_it_is_as_likely(mask, side):
    parts, rng = Parts(mask, APART), np.random.default_rng(0)
    expected = windows(mask, side)
    drawn = Counter(window for _ in range(60 * len(expected)) if (window := parts.draw(side, rng)) in expected)
    assert set(drawn) == expected
    mean = drawn.total() / len(expected)
    assert mean > 5
    # Of a count with that mean, five standard deviations and a little for the smallest means.
    assert max(abs(count - mean) for count in drawn.values()) < 5 * np.sqrt(mean) + 3


def test_nearly_every_draw_shows_one_of_two_that_are_far_apart():
    mask = marked((250, 200, 2, 2), (260, 4000, 2, 2), size=(512, 4096))
    parts, rng = Parts(mask, 128), np.random.default_rng(0)
    drawn = [parts.draw(128, rng) for _ in range(200)]
    shown = [window is not None and mask[window[0] :, window[1] :][:128, :128].any() for window in drawn]
    assert all(shown)
    assert 70 < sum(window is not None and window[1] < 2000 for window in drawn) < 130


def test_a_mask_of_very_many_parts_is_one():
    mask = np.zeros((8, 64 * (MOST_PARTS + 1)), bool)
    mask[4, ::64] = True
    parts, rng = Parts(mask, APART), np.random.default_rng(0)
    drawn = [parts.draw(APART, rng) for _ in range(2000)]
    assert {window[1] // 64 for window in drawn if window} == set(range(MOST_PARTS + 1))
    # Some show nothing, for whoever draws to try again.
    assert any(window and not mask[:, window[1] : window[1] + APART].any() for window in drawn)
