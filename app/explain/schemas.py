"""The wire format of an explanation: a frame's verdict, its worst tile, and every stage from pixels to prediction.

Pictures are in the reply, as data addresses. The colours of `Explanation.colours` say what their values are.
"""

from typing import Any, Literal

from pydantic import BaseModel, Field

from app.schemas import ImageSize, ModelName
from model.verdict import Thresholds, Verdict

Colours = Literal["grey", "strength", "signed"]


class Picture(BaseModel):
    """A PNG. Each value has the colour at its place between `low` and `high`."""

    source: str = Field(description="data:image/png;base64,...")
    width: int = Field(description="Pixels of the picture.")
    height: int
    colours: Colours = Field(description="`grey`, `strength` (dark is low), `signed` (blue below 0, orange above).")
    low: float = Field(description="Value of the first colour, and of all below it.")
    high: float = Field(description="Value of the last colour, and of all above it.")


class Sheet(Picture):
    """Maps side by side, in order, row by row, all on one scale; between them is nothing."""

    numbers: list[int] = Field(description="Which maps are shown, from 0; of very many, the strongest.")
    maps: int = Field(description="How many there are.")
    columns: int
    rows: int
    cell_width: int = Field(description="Pixels of the picture that one map takes.")
    cell_height: int
    gap: int = Field(description="Pixels between two maps.")
    enlarged: int = Field(description="Each value is a square of so many pixels.")
    reduced: int = Field(description="Above 1, a value is the strongest of a square of so many cells a side.")


class Tile(BaseModel):
    """The tile that gave the frame its probability. Pixels of the frame, clipped to it."""

    x: int
    y: int
    width: int
    height: int
    size: int = Field(description="Pixels a side that the network looks at.")
    fit: Literal["tile", "resize"] = Field(description="Cut out of the frame, or the whole frame resized.")
    defect_probability: float = Field(description="Calibrated, by the network's own values below.")


class Patch(BaseModel):
    """The part of the tile that speaks most for a defect, small enough to read its values. Pixels of the tile."""

    x: int
    y: int
    width: int
    height: int
    values: list[list[int]] = Field(description="Grey, 0 to 255.")


class Pixels(BaseModel):
    """What goes in."""

    values: list[list[int]] | None = Field(description="Grey of every pixel, row by row; none of very large tiles.")
    patch: Patch


class Term(BaseModel):
    """One product of a weighted sum."""

    position: int = Field(description="In the vector that is weighed, from 0.")
    y: int | None = Field(None, description="Cell of the map that the number comes from.")
    x: int | None = None
    map: int | None = None
    value: float
    weight: float
    product: float


class WeightedSum(BaseModel):
    """`total` is the products of all positions and the bias: `largest` + `others` + `bias`."""

    of: str = Field(description="What the total is, in words.")
    unit: int | None = Field(None, description="Which unit of the layer, from 0; none if it is the logit.")
    largest: list[Term] = Field(description="The largest products by size, either sign.")
    others: float = Field(description="All other products together.")
    bias: float
    total: float
    after: float | None = Field(None, description="After the activation, where one follows.")


class Vector(BaseModel):
    """Numbers in a row: how they were laid out, and what each adds to the logit.

    height, width, maps: of the maps that were laid out; number `map` of cell (y, x) is at
    `(y * width + x) * maps + map`. After pooling each map whole, height and width are 1.
    """

    height: int
    width: int
    maps: int
    strip: Picture = Field(description="All numbers in order: row by row as one reads, each row one row of cells.")
    to_logit: WeightedSum = Field(
        description="The logit as a sum over this vector: each weight is the product of the weights behind it, along "
        "the units that speak."
    )


class ClassShare(BaseModel):
    """One class."""

    name: str
    logit: float | None = Field(description="None for `ok` of a network that has one logit for `defect` alone.")
    probability: float = Field(description="The network's own, before calibration.")
    calibrated: float


class Probability(BaseModel):
    """From the logit to the verdict."""

    logit: float = Field(description="Of any defect; before calibration.")
    network: float = Field(description="The probability that this is.")
    calibrator: dict[str, Any] = Field(description="As in the version's manifest.")
    calibrated_logit: float
    calibrated: float = Field(description="What is compared with the thresholds.")
    classes: list[ClassShare]
    thresholds: Thresholds
    verdict: Verdict


class Stage(BaseModel):
    """One layer, or the pixels before all of them."""

    name: str = Field(description="`pixels`, or the layer's name.")
    kind: Literal[
        "pixels",
        "levelling",
        "rescaling",
        "convolution",
        "normalisation",
        "activation",
        "pooling",
        "flatten",
        "dense",
        "dropout",
        "probability",
    ]
    sentence: str = Field(description="What it is and does, in plain words.")
    input_shape: list[int] = Field(description="Height, width and maps; or how many numbers.")
    shape: list[int] = Field(description="The same of what comes out.")
    weights: int = Field(description="Numbers learned.")
    sees_px: int | None = Field(None, description="Pixels of the tile a side that one cell looks at.")
    low: float = Field(description="Smallest value that comes out.")
    high: float = Field(description="Largest value that comes out.")
    zeros: float = Field(description="Share of values that are exactly 0.")
    picture: Sheet | None = Field(None, description="Its maps.")
    filters: Sheet | None = Field(
        None, description="The weights of each filter of a convolution, summed over the maps that come in."
    )
    map_url: str | None = Field(
        None,
        description="Of a frame on record, where one map is found large: put in `number`, and as `of` one of `maps`, "
        "`before` (the activation) and `filters` (of that number, its weights for each map that comes in).",
    )
    pixels: Pixels | None = None
    vector: Vector | None = None
    sum: WeightedSum | None = Field(None, description="Of a dense layer: the unit that counts most.")
    probability: Probability | None = None


class Heat(BaseModel):
    """Where the network looked, laid over the grey picture."""

    over: Literal["tile", "frame"]
    method: Literal["grad_cam", "parts"]
    sentence: str
    picture: Picture
    tiles: int = Field(description="How many tiles of the frame it covers: the most probable ones.")


class Recorded(BaseModel):
    """What was answered when the frame came."""

    verdict: Verdict
    defect_probability: float
    engine: str


class Explanation(BaseModel):
    """What the network saw. Verdict and stages are computed anew, by ONNX Runtime and Keras in float32."""

    inspection_id: str | None = Field(None, description="Of a frame on record.")
    recorded: Recorded | None = Field(None, description="Of a frame on record.")
    model: ModelName
    image: ImageSize
    verdict: Verdict
    defect_probability: float
    defect_class: str | None = Field(description="The likeliest, where the version tells classes apart.")
    thresholds: Thresholds
    tile: Tile
    stages: list[Stage]
    heat: list[Heat]
    colours: dict[Colours, list[str]] = Field(description="From the lowest value to the highest, evenly, as #rrggbb.")
