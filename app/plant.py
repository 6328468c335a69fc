"""The plant file, `plant.toml` -> `Plant`: where cameras look, which rolls there are, what a coil may have on it.

What the file does not say has a default, and whoever reads the outcome is told which parts were defaults:
`docs/plant-file.md`.
"""

import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from app.complaints import echo

FILE = "plant.toml"
# Of a file that is not written by hand in any plant: past it somebody has named the wrong file.
MAX_BYTES = 1024 * 1024

Word = Annotated[str, StringConstraints(min_length=1, max_length=128)]
# Like the other upper bounds here: past it a number is a slip of the pen.
Limit = Annotated[int, Field(ge=0, le=1_000_000_000)]


class PlantError(Exception):
    """Why the plant file cannot be used: one line that says where, what was received and what is expected."""


class Part(BaseModel):
    """A table of the file: immutable, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_by_name=True)


class Camera(Part):
    """Where a camera looks."""

    id: Word = Field(description="As the frames say it: `camera_id`.")
    side: Annotated[str, StringConstraints(min_length=1, max_length=32)] = Field(
        description="Of the strip, such as `top`; counts where a frame does not say."
    )
    across_mm: float = Field(ge=-100_000, le=100_000, description="From the strip's edge to the camera's first column.")


class Roll(Part):
    """A roll that the strip has met."""

    name: Word
    diameter_mm: float = Field(gt=0, le=10_000)


class Severity(Part):
    """How grave an event of some size is. The size is the longer side of its box."""

    name: Word
    least_mm: float = Field(
        ge=0, le=1_000_000, description="An event at least so long is of this severity, or of a graver one."
    )


class Acceptance(Part):
    """How many events there may be in any 100 m of a coil."""

    defect_class: Word | None = Field(None, description="Unset: all classes together.")
    severity: Word | None = Field(None, description="This one and graver ones; unset: all.")
    side: Word | None = Field(None, description="Unset: all sides together.")
    hold_above: Limit | None = Field(None, description="More than so many: somebody has to look at the coil.")
    reject_above: Limit | None = Field(None, description="More than so many: the coil is not released.")

    @model_validator(mode="after")
    def _decides_something(self) -> Self:
        if self.hold_above is None and self.reject_above is None:
            raise ValueError("a rule has hold_above, reject_above or both")
        if None not in (self.hold_above, self.reject_above) and self.reject_above < self.hold_above:  # type: ignore[operator]
            raise ValueError("reject_above is at least hold_above")
        return self


class Coverage(Part):
    """How much of a coil may have gone unseen, as a share of its length."""

    hold_above: float | None = Field(0.01, ge=0, le=1)
    reject_above: float | None = Field(None, ge=0, le=1)
    unknown: Literal["accept", "hold"] = Field(
        "hold", description="Of a coil whose frames say neither where they lie nor their sequence."
    )
    silent_camera: Literal["accept", "hold"] = Field(
        "accept", description="Of a coil of which a camera of this file sent no frame at all."
    )
    tolerance_mm: float = Field(
        1.0, ge=0, le=1000, description="A hole up to so long is the rounding of positions, not unseen strip."
    )


class Periodic(Part):
    """Where and how events that repeat are looked for."""

    lane_mm: float = Field(100.0, gt=0, le=10_000, description="Width of the lanes in which a mark counts as the same.")
    least_mm: float = Field(300.0, ge=100, le=100_000, description="Shortest interval.")
    most_mm: float = Field(8_000.0, ge=100, le=100_000, description="Longest interval.")
    false_alarms: float = Field(
        0.01, gt=0, le=0.5, description="Share of coils without a repeat on which one may be found."
    )
    roll_tolerance: float = Field(
        0.01, gt=0, le=0.2, description="A roll is suspected if its circumference is within this share of the interval."
    )

    @model_validator(mode="after")
    def _spans_something(self) -> Self:
        if self.most_mm <= self.least_mm:
            raise ValueError("most_mm is greater than least_mm")
        return self


# The box of an event is made of tiles, and one of 128 px is 64 mm at half a millimetre a pixel: what fits into one, or
# is seen by two that overlap by half, is minor until the plant says otherwise.
SEVERITIES = (
    Severity(name="minor", least_mm=0),
    Severity(name="major", least_mm=100),
    Severity(name="critical", least_mm=300),
)
ACCEPTANCE = (
    Acceptance(severity="critical", hold_above=0, reject_above=3),
    Acceptance(severity="major", hold_above=5, reject_above=20),
    Acceptance(hold_above=20),
)


class Plant(Part):
    """The whole file. Every part may be left out."""

    cameras: tuple[Camera, ...] = Field((), alias="camera")
    rolls: tuple[Roll, ...] = Field((), alias="roll")
    severities: tuple[Severity, ...] = Field(SEVERITIES, alias="severity", min_length=1)
    acceptance: tuple[Acceptance, ...] = ACCEPTANCE
    coverage: Coverage = Coverage()
    periodic: Periodic = Periodic()

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        _once("camera id", (camera.id for camera in self.cameras))
        _once("roll name", (roll.name for roll in self.rolls))
        names = [severity.name for severity in self.severities]
        _once("severity name", names)
        steps = [severity.least_mm for severity in self.severities]
        if steps[0] != 0 or any(lower >= upper for lower, upper in pairwise(steps)):
            raise ValueError(f"severities go from the lightest, least_mm = 0, to the gravest; received {steps}")
        if "severities" in self.model_fields_set and "acceptance" not in self.model_fields_set:
            raise ValueError("severities of your own need [[acceptance]] rules of your own, which name them")
        for rule in self.acceptance:
            if rule.severity is not None and rule.severity not in names:
                raise ValueError(
                    f"an acceptance rule has the severity {echo(rule.severity)}; there are {', '.join(names)}"
                )
        return self

    @property
    def defaults(self) -> tuple[str, ...]:
        """Which of the parts that decide on a coil the file does not say."""
        told = self.model_fields_set
        parts = {"severities": "severity", "acceptance": "acceptance", "coverage": "coverage"}
        return tuple(name for field, name in parts.items() if field not in told)


def _once(what: str, values: Iterable[str]) -> None:
    twice = [value for value, count in Counter(values).items() if count > 1]
    if twice:
        raise ValueError(f"the {what} {echo(twice[0])} stands there more than once")


def parse_plant(text: str) -> Plant:
    r"""The text of a plant file. Raises `PlantError`.

    >>> parse_plant('[[roll]]\nname = "work roll 4"\ndiameter_mm = 600.0').rolls[0].diameter_mm
    600.0
    >>> parse_plant('[[roll]]\nname = "work roll 4"\ndiameter = 600.0')
    Traceback (most recent call last):
    app.plant.PlantError: roll 1, diameter_mm: is missing; roll 1, diameter: is no key of the plant file
    """
    try:
        said = tomllib.loads(text)
    # Not only its own error: a number may have too many digits for Python, and lists lie in one another too deep.
    except (ValueError, RecursionError) as error:
        raise PlantError(f"is not TOML: {error}") from None
    try:
        return Plant.model_validate(said, by_alias=True, by_name=False)
    except ValidationError as error:
        raise PlantError("; ".join(_complaint(dict(each)) for each in error.errors())) from None


def load_plant(path: Path) -> Plant:
    """The plant file; all defaults if there is none. Raises `PlantError`."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise PlantError(f"{path}: is longer than {MAX_BYTES} bytes; expected the plant file")
        return parse_plant(content.decode("utf-8"))
    except FileNotFoundError:
        return Plant()
    except OSError as error:
        raise PlantError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise PlantError(f"{path}: is not UTF-8 text") from None
    except PlantError as error:
        raise error if str(error).startswith(str(path)) else PlantError(f"{path}: {error}") from None


def _complaint(error: Mapping[str, Any]) -> str:
    """`('camera', 1, 'side')` is what a person calls camera 2, side."""
    words: list[str] = []
    for part in error["loc"]:
        if isinstance(part, int) and words:
            words[-1] += f" {part + 1}"
        else:
            words.append(str(part))
    where = f"{', '.join(words)}: " if words else ""
    if error["type"] == "extra_forbidden":
        return f"{where}is no key of the plant file"
    if error["type"] == "missing":
        return f"{where}is missing"
    message = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "value_error":
        return where + message
    return f"{where}received {echo(error['input'])}; {message[:1].lower()}{message[1:]}"
