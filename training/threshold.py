"""Thresholds from the validation part: the overkill a plant tolerates on good surface decides.

These are a start for trying the system out: they say nothing yet about escapes.
"""

import numpy as np
import numpy.typing as npt

from model.tiling import Probabilities
from model.verdict import Thresholds

REVIEW_OVERKILL = 0.05
DEFECT_OVERKILL = 0.01


def from_overkill(probabilities: Probabilities, defect: npt.NDArray[np.bool_]) -> Thresholds:
    """The lowest thresholds that call at most 5 % of the ok tiles for review or worse, and 1 % a defect.

    probabilities, defect: of shape (n,), with at least one ok tile.

    >>> ok = np.linspace(0, 0.99, 100)
    >>> from_overkill(ok, np.zeros(100, bool)).review > 0.94
    True
    """
    ok = np.sort(probabilities[~defect])[::-1]
    return Thresholds(review=_above(ok, REVIEW_OVERKILL), defect=_above(ok, DEFECT_OVERKILL))


def _above(descending: Probabilities, overkill: float) -> float:
    """The smallest number that at most a share of `overkill` of the values reach."""
    allowed = int(overkill * len(descending))
    return float(min(1.0, np.nextafter(descending[allowed], 2.0)))
