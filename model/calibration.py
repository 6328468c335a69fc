"""Logits -> calibrated defect probability.

A binary network has one logit; a network with several defect classes has one logit a class, of which
class 0 is `ok` and everything else is a defect.
"""

from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict
from scipy.special import expit, logsumexp

Logits = npt.NDArray[np.float32]


class IdentityCalibrator(BaseModel):
    """The network's own probability, unchanged: what an artifact has until a calibrator is fitted for it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["identity"] = "identity"

    def probabilities(self, logits: Logits) -> npt.NDArray[np.float64]:
        """Defect probability of each tile, float64 of shape (n,), from logits of shape (n, outputs).

        >>> IdentityCalibrator().probabilities(np.zeros((1, 1), np.float32)).tolist()
        [0.5]
        """
        return expit(defect_logit(logits))


def defect_logit(logits: Logits) -> npt.NDArray[np.float64]:
    """log(p / (1 - p)) of "any defect", float64 of shape (n,); with several classes class 0 is ok.

    >>> defect_logit(np.array([[1.0]], np.float32)).tolist()
    [1.0]
    >>> expit(defect_logit(np.zeros((1, 4), np.float32))).round(6).tolist()
    [0.75]
    """
    exact = logits.astype(np.float64)
    if exact.shape[1] == 1:
        return exact[:, 0]
    return np.asarray(logsumexp(exact[:, 1:], axis=1) - exact[:, 0])
