"""model.quality: what is wrong with a frame is said, and never more than that."""

import numpy as np
import pytest

from model.quality import assess


def split(dark, bright, share):
    """A frame of which `share` has the value `bright`, the rest `dark`."""
    frame = np.full(1000, dark, np.uint8)
    frame[: int(1000 * share)] = bright
    return frame.reshape(20, 50)


def test_a_textured_frame_has_no_warning(steel_frame):
    assert assess(steel_frame(64, 64)).warnings == ()


@pytest.mark.parametrize(
    ("frame", "warnings"),
    [
        (np.full((8, 8), 0, np.uint8), ("constant", "under_exposed")),
        (np.full((8, 8), 128, np.uint8), ("constant",)),
        (np.full((8, 8), 255, np.uint8), ("constant", "over_exposed", "saturated")),
        (split(100, 255, 0.20), ()),
        (split(100, 255, 0.21), ("saturated",)),
        (split(100, 254, 0.50), ()),
        (split(10, 20, 0.50), ("under_exposed",)),
        (split(239, 240, 0.50), ("over_exposed",)),
        (split(16, 16, 1.0), ("constant",)),
    ],
)
def test_degenerate_frames(frame, warnings):
    quality = assess(frame)
    assert quality.warnings == warnings
    assert quality.accepted


def test_turning_or_mirroring_changes_nothing(steel_frame):
    frame = steel_frame(40, 60)
    assert assess(frame) == assess(frame[::-1]) == assess(frame.T)
