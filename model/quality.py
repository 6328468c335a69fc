"""Is this frame fit to be judged? Exposure and saturation, as warnings beside the verdict.

A warning never changes the verdict: the line decides what a badly lit frame is worth.
"""

from dataclasses import dataclass

import numpy as np

from model.image import Frame

# Shares and levels past which a rolled surface no longer shows its texture; a plant's camera set-up keeps
# well inside them, so that a warning means a lamp, a lens or an exposure time.
WHITE = 255
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
    # Not from a histogram, which takes ten times as long over a tile as all of these.
    brightest = int(frame.max())
    mean = int(frame.sum(dtype=np.uint64)) / frame.size
    findings = {
        "constant": brightest == int(frame.min()),
        "under_exposed": mean < DARK_MEAN,
        "over_exposed": mean > BRIGHT_MEAN,
        "saturated": brightest == WHITE and np.count_nonzero(frame == WHITE) / frame.size > SATURATED_SHARE,
    }
    return Quality(accepted=True, warnings=tuple(name for name, found in findings.items() if found))
