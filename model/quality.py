"""Is this frame fit to be judged? Exposure and saturation, as warnings beside the verdict.

A warning never changes the verdict: the line decides what a badly lit frame is worth.
"""

from dataclasses import dataclass

import numpy as np

from model.image import Frame

# Shares and levels past which a rolled surface no longer shows its texture; a plant's camera set-up keeps
# well inside them, so that a warning means a lamp, a lens or an exposure time.
SATURATED_SHARE = 0.2
DARK_MEAN = 16.0
BRIGHT_MEAN = 239.0


@dataclass(frozen=True)
class Quality:
    """accepted: the frame may be judged; warnings: stable words naming what is wrong with it."""

    accepted: bool
    warnings: tuple[str, ...]


def assess(frame: Frame) -> Quality:
    """Warnings for a uint8 frame of shape (height, width).

    >>> assess(np.zeros((8, 8), np.uint8)).warnings
    ('constant', 'under_exposed')
    """
    histogram = np.bincount(frame.ravel(), minlength=256)
    mean = float(histogram @ np.arange(256)) / frame.size
    findings = {
        "constant": int(histogram.max()) == frame.size,
        "under_exposed": mean < DARK_MEAN,
        "over_exposed": mean > BRIGHT_MEAN,
        "saturated": histogram[255] / frame.size > SATURATED_SHARE,
    }
    return Quality(accepted=True, warnings=tuple(name for name, found in findings.items() if found))
