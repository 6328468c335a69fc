"""Logits -> calibrated defect probability.

A binary network has one logit; a network with several defect classes has one logit a class, of which
class 0 is `ok` and everything else is a defect. A calibrator maps the logit of "any defect" to the
calibrated one, and the sigmoid of that is the probability. None of them ever reorders tiles: it would be a
different network then, and curves and ranks measured without it would not hold.
"""

from abc import ABC, abstractmethod
from itertools import pairwise
from typing import Annotated, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator

Logits = npt.NDArray[np.float32]
Logit = npt.NDArray[np.float64]

# Further out a parameter is a fault of its fit; inside, no float32 logit can overflow a float64.
Slope = Annotated[float, Field(ge=1e-6, le=1e6)]
Intercept = Annotated[float, Field(ge=-1e6, le=1e6)]


class _LogitCalibrator(BaseModel, ABC):
    """What all calibrators are: immutable, finite, and a non-decreasing map of the logit."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def probabilities(self, logits: Logits) -> npt.NDArray[np.float64]:
        """Defect probability of each tile, float64 of shape (n,), from logits of shape (n, outputs).

        >>> IdentityCalibrator().probabilities(np.zeros((1, 1), np.float32)).tolist()
        [0.5]
        """
        return expit(self.calibrated(defect_logit(logits)))

    def class_probabilities(self, logits: Logits) -> npt.NDArray[np.float64]:
        """Probability of ok and of each defect class, float64 of shape (n, classes), from logits of (n, outputs).

        "Any defect" has the calibrated probability, and the defect classes share it as the network divides it among
        them. Rows add up to 1. A network with one output has one defect class.

        >>> halved = PlattCalibrator(slope=1e-6, intercept=0)
        >>> halved.class_probabilities(np.log([[8.0, 1.0, 3.0]]).astype(np.float32)).round(3).tolist()
        [[0.5, 0.125, 0.375]]
        """
        calibrated = self.calibrated(defect_logit(logits))[:, np.newaxis]
        # Of one output the softmax is 1: all of the probability is that class's.
        exact = defect_class_logits(logits).astype(np.float64)
        shares = np.exp(exact - np.logaddexp.reduce(exact, axis=1, keepdims=True))
        return np.concatenate([expit(-calibrated), expit(calibrated) * shares], axis=1)

    @abstractmethod
    def calibrated(self, logit: Logit) -> Logit:
        """Calibrated logit of "any defect" from the network's, both float64 of shape (n,)."""


class IdentityCalibrator(_LogitCalibrator):
    """The network's own probability, unchanged: what an artifact has where no calibrator could be fitted for it."""

    kind: Literal["identity"] = "identity"

    def calibrated(self, logit: Logit) -> Logit:
        """The logit itself."""
        return logit


class TemperatureCalibrator(_LogitCalibrator):
    """sigmoid(logit / temperature) (Guo et al. 2017): above 1 it takes confidence away, 0.5 stays 0.5."""

    kind: Literal["temperature"] = "temperature"
    temperature: Slope

    def calibrated(self, logit: Logit) -> Logit:
        """The logit over the temperature.

        >>> TemperatureCalibrator(temperature=2).calibrated(np.array([3.0])).tolist()
        [1.5]
        """
        return logit / self.temperature


class PlattCalibrator(_LogitCalibrator):
    """sigmoid(slope * logit + intercept) (Platt 1999): the intercept undoes class weights and balanced batches."""

    kind: Literal["platt"] = "platt"
    slope: Slope
    intercept: Intercept

    def calibrated(self, logit: Logit) -> Logit:
        """A rising line of the logit.

        >>> PlattCalibrator(slope=2, intercept=-1).calibrated(np.array([3.0])).tolist()
        [5.0]
        """
        return self.slope * logit + self.intercept


class IsotonicCalibrator(_LogitCalibrator):
    """Straight pieces between knots that rise strictly, and lines of slope `tail_slope` beyond the ends.

    knot_logits, knot_calibrated: the knots, at least two, as the network's logit and the calibrated one. Strictly
    rising pieces, in place of the steps of isotonic regression, keep apart what the network keeps apart: on
    a step, all tiles would share one probability and no threshold could divide them.
    """

    kind: Literal["isotonic"] = "isotonic"
    knot_logits: tuple[float, ...] = Field(min_length=2)
    knot_calibrated: tuple[float, ...] = Field(min_length=2)
    tail_slope: Slope

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if len(self.knot_logits) != len(self.knot_calibrated):
            raise ValueError(
                f"every knot needs both values; received {len(self.knot_logits)} logits and "
                f"{len(self.knot_calibrated)} calibrated ones"
            )
        for values in (self.knot_logits, self.knot_calibrated):
            for before, after in pairwise(values):
                if before >= after:
                    raise ValueError(f"knots must rise strictly; received {before} before {after}")
        return self

    def calibrated(self, logit: Logit) -> Logit:
        """Interpolated between the knots, a line beyond them.

        >>> bend = IsotonicCalibrator(knot_logits=(0, 1, 3), knot_calibrated=(-1, 1, 2), tail_slope=0.5)
        >>> bend.calibrated(np.array([-2.0, 0.5, 2.0, 4.0])).tolist()
        [-2.0, 0.0, 1.5, 2.5]
        """
        x, y = np.array(self.knot_logits), np.array(self.knot_calibrated)
        # Rounding may lift the end of a piece above the next knot, by one digit; never above is never out of order.
        next_knot = y[np.minimum(np.searchsorted(x, logit, side="right"), len(x) - 1)]
        between = np.minimum(np.interp(logit, x, y), next_knot)
        beyond = np.minimum(logit - x[0], 0) + np.maximum(logit - x[-1], 0)
        return np.asarray(between + self.tail_slope * beyond)


Calibrator = Annotated[
    IdentityCalibrator | TemperatureCalibrator | PlattCalibrator | IsotonicCalibrator, Field(discriminator="kind")
]


def expit(logit: Logit) -> Logit:
    """1 / (1 + exp(-logit)) as float64, whatever its size.

    SciPy has it too; its import was a tenth of a server's start, and as much again of the trial's.

    >>> expit(np.array([-1e300, -2.0, 0.0, 1e300])).round(6).tolist()
    [0.0, 0.119203, 0.5, 1.0]
    """
    # A network that gives no number keeps giving none, without a word on standard error.
    with np.errstate(invalid="ignore"):
        return np.asarray(np.exp(-np.logaddexp(0, -logit)))


def defect_logit(logits: Logits) -> Logit:
    """log(p / (1 - p)) of "any defect", float64 of shape (n,); with several classes class 0 is ok.

    >>> defect_logit(np.array([[1.0]], np.float32)).tolist()
    [1.0]
    >>> expit(defect_logit(np.zeros((1, 4), np.float32))).round(6).tolist()
    [0.75]
    """
    exact = logits.astype(np.float64)
    if exact.shape[1] == 1:
        return exact[:, 0]
    return np.asarray(np.logaddexp.reduce(exact[:, 1:], axis=1) - exact[:, 0])


def defect_class_logits(logits: Logits) -> Logits:
    """The logits of the defect classes alone, (n, classes - 1): all but ok's.

    >>> defect_class_logits(np.array([[5, 1, 2]], np.float32)).tolist()
    [[1.0, 2.0]]
    """
    return logits if logits.shape[1] == 1 else logits[:, 1:]
