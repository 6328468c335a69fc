"""Frames of one strip that repeat rows of the frame before: a defect on the seam is reported once, and none is lost.

The frame's last row of tiles lies at its very end. If the next frame repeats at least a tile's height of rows, the same
tiles are found in it again, to the pixel, wherever the strip was cut (`model.tiling.row_positions`): they tell
which indications the frame before has seen reach the seam. What touches them has been reported; what does not, has not.
Of the former,

- what ends at the seam is left out: every other of its tiles begins in repeated rows, while new surface has tiles of
  its own on which nothing is found, and the frame before gave it no lower verdict;
- the rest is reported from where its new tiles begin, marked `continued`: events that are not are one for each defect.
"""

from typing import NamedTuple

import numpy as np

from model.tiling import Mask, Probabilities, TileGrid, connected
from model.verdict import Thresholds


class Seam(NamedTuple):
    """Of the tiles of a frame, shape (rows, columns) of its grid.

    before: what they show was judged and reported with the frame before. continued: they go on from what it reported.
    """

    before: Mask
    continued: Mask


def judge_seam(grid: TileGrid, scores: Probabilities, thresholds: Thresholds, overlap: int) -> Seam:
    """What the frame before has said of this one's tiles already; scores: of shape (rows, columns).

    overlap: of the frame's first rows, so many were the last ones of the frame before. With less than a tile none
    of its tiles can be recognised, and everything counts as new.

    A spot in the repeated rows, seen by the repeated tile and by the next one, which begins in them too:

    >>> grid = TileGrid.cover(384, 128, tile=128, stride=64, overlap=128)
    >>> scores = np.array([[0.9], [0.9], [0.1], [0.1], [0.1]])
    >>> judge_seam(grid, scores, Thresholds(review=0.3, defect=0.7), overlap=128).before.ravel().tolist()
    [True, True, False, False, False]
    """
    before, continued = np.zeros(scores.shape, bool), np.zeros(scores.shape, bool)
    if overlap < grid.tile:
        return Seam(before, continued)
    new_rows = np.array(grid.rows) >= overlap
    events = connected(scores >= thresholds.review)
    for number in np.unique(events[0][events[0] > 0]):
        event = events == number
        others = event.copy()
        others[0] = False
        told, worst = scores[0][event[0]].max(), scores[others].max(initial=0)
        ends_here = new_rows.any() and not event[new_rows].any()
        if ends_here and (told >= thresholds.defect or worst < thresholds.defect):
            before |= event
        else:
            continued |= others
    before[0] = True
    return Seam(before, continued)
