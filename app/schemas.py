"""Wire formats: what every reply looks like."""

from typing import Literal

from pydantic import BaseModel, Field

from model.inspector import Method
from model.verdict import Thresholds, Verdict


class ModelName(BaseModel):
    """Which model version judged, and in which runtime."""

    version: str
    engine: str


class ImageSize(BaseModel):
    """The frame as it was decoded, how many tiles covered it, and how they were scored."""

    width: int
    height: int
    tiles: int
    method: Method = Field(description="`shared` if the tiles shared their convolutions, else `tiles`.")


class EventReply(BaseModel):
    """One connected defect indication: a box in pixels of the frame."""

    x: int
    y: int
    width: int
    height: int
    defect_probability: float
    defect_class: str | None = None
    continued: bool = Field(description="It began in the frame before, which told of it too: see `overlap_rows`.")
    position_mm: float | None = Field(None, description="Strip position of the box's first row, in mm.")


class HeatMapReply(BaseModel):
    """The probability of every tile: row by row, each `tile` pixels wide and high from its place in `y` and `x`."""

    tile: int
    y: list[int]
    x: list[int]
    defect_probability: list[list[float]]


class QualityReply(BaseModel):
    """Whether the frame was fit to be judged."""

    accepted: bool
    warnings: list[str] = Field(description="Of `constant`, `under_exposed`, `over_exposed`, `saturated`.")


class TimingReply(BaseModel):
    """Milliseconds. `queue` is the wait for a thread and for the frames inspected together with this one;
    `inference` is theirs too; `total` counts from the request's headers to this reply.
    """

    decode: float
    queue: float
    inference: float
    store: float
    total: float


class InspectionReply(BaseModel):
    """The verdict on one frame."""

    inspection_id: str
    verdict: Verdict
    defect_probability: float = Field(description="Calibrated probability of the worst tile.")
    thresholds: Thresholds
    model: ModelName
    image: ImageSize
    events: list[EventReply]
    quality: QualityReply
    timing_ms: TimingReply
    heatmap: HeatMapReply | None = Field(None, description="Only if the request asked for it.")


class FailedInspection(BaseModel):
    """In the place of a reply: why one image of a batch got no verdict."""

    error: "Problem"


class BatchReply(BaseModel):
    """The images of a batch, in order."""

    results: list[InspectionReply | FailedInspection]


class Readiness(BaseModel):
    """A server that answers inspections."""

    status: Literal["ready"] = "ready"
    model: ModelName
    failure: str | None = Field(None, description="Why a newer choice of model is not serving, if it is not.")


class Health(BaseModel):
    """A process that is up."""

    status: Literal["up"] = "up"


class Problem(BaseModel):
    """RFC 9457: every refusal has this shape, as application/problem+json."""

    type: str = Field(description="urn:steelsight:problem:<code>")
    title: str
    status: int
    detail: str = Field(description="What was received, what is expected, how to put it right.")
    code: str = Field(description="Stable; see the table of codes.")
    instance: str = Field(description="The request's id, as in X-Request-ID.")
