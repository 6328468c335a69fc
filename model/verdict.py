"""Probability and thresholds -> ok, review or defect."""

from enum import StrEnum
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Verdict(StrEnum):
    """What the line is told. `review` asks a person; `ok` and `defect` need none."""

    OK = "ok"
    REVIEW = "review"
    DEFECT = "defect"


class Thresholds(BaseModel):
    """Calibrated probabilities from which a frame is for review, and from which it is a defect."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    review: float = Field(ge=0, le=1)
    defect: float = Field(ge=0, le=1)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.review > self.defect:
            raise ValueError(f"review ({self.review}) must not lie above defect ({self.defect})")
        return self


def decide(defect_probability: float, thresholds: Thresholds) -> Verdict:
    """A probability on a threshold has reached it; NaN, from a network that is broken, is never ok.

    >>> thresholds = Thresholds(review=0.2, defect=0.6)
    >>> [decide(p, thresholds).value for p in (0.1, 0.2, 0.6)]
    ['ok', 'review', 'defect']
    """
    if defect_probability < thresholds.review:
        return Verdict.OK
    if defect_probability < thresholds.defect:
        return Verdict.REVIEW
    return Verdict.DEFECT
