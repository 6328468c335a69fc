"""What a request may say about its frame, beside the body."""

import re
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, Self
from urllib.parse import parse_qsl

from fastapi import Depends
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FiniteFloat,
    StringConstraints,
    ValidationError,
)
from starlette.requests import Request

from app.complaints import EXPECTED_UTF8, complaints, echo
from app.refusals import Refusal, ServiceCode
from model.image import PixelFormat


def _written_as(pattern: str, expected: str) -> BeforeValidator:
    """Pydantic alone would also take `1_000`, ` 1 ` and `1.0` for an integer, and a bare number for a date."""

    def check(value: Any) -> Any:
        if isinstance(value, str) and not re.fullmatch(pattern, value):
            raise ValueError(f"expected {expected}")
        return value

    return BeforeValidator(check)


def _printable(value: str) -> str:
    if not value.isprintable():
        raise ValueError("expected printable characters only")
    return value


Name = Annotated[str, StringConstraints(min_length=1, max_length=128), AfterValidator(_printable)]
ShortName = Annotated[str, StringConstraints(min_length=1, max_length=32), AfterValidator(_printable)]
INTEGER = _written_as(r"-?[0-9]{1,30}", "an integer such as 42")
DECIMAL = _written_as(
    r"-?([0-9]{1,30}\.?[0-9]{0,30}|\.[0-9]{1,30})([eE]-?[0-9]{1,4})?", "a decimal number such as 12.5"
)
SWITCH = _written_as("true|false", "true or false")
MOMENT = _written_as(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,30})?([Zz]|[+-][0-9]{2}:[0-9]{2})",
    "RFC 3339 with an offset, such as 2026-01-31T08:30:00Z (write + as %2B in a query)",
)
LEAP_SECOND = re.compile(r":60(\.[0-9]+)?(?=[Zz+-])")


def _before_leap_second(value: Any) -> Any:
    """The last microsecond before a leap second, for Python's time has none.

    RFC 3339 allows 23:59:60 UTC at the end of a month (5.7); any other 60 is left to be refused.
    """
    if not isinstance(value, str) or not LEAP_SECOND.search(value):
        return value
    before = LEAP_SECOND.sub(":59.999999", value)
    try:
        after = datetime.fromisoformat(before.upper()).astimezone(UTC) + timedelta(microseconds=1)
    except (ValueError, OverflowError):
        return value
    return before if (after.day, after.hour, after.minute) == (1, 0, 0) else value


def _in_utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError("expected a time within the years 1 to 9999 in UTC too") from None


# Stands for a byte that is no part of UTF-8.
UNREADABLE = re.compile("[\udc80-\udcff]")

# Farther than any coil is long by a thousand times, and a pixel larger than any frame shows: past these a position
# is a mistake in the unit, and at 1e308 it would be no number any more.
FARTHEST_MM = 1e9
LARGEST_PIXEL_MM = 1e3
# No camera has a line of 2^31 pixels; the frame's area is checked against `max_pixels` besides.
Pixels = Annotated[int, Field(ge=1, le=2**31), INTEGER]


def parameters(query_string: bytes) -> dict[str, str]:
    """A query's values by name.

    Raises `Refusal` (parameters_invalid) for a parameter given twice, of which one value would be dropped silently, and
    for one that is not UTF-8: with a mark in place of what nobody can read, two cameras would have one name.

    >>> parameters(b"camera_id=K%C3%BChlbett&side=")
    {'camera_id': 'Kühlbett', 'side': ''}
    """
    try:
        pairs = _pairs(query_string, errors="strict")
    except UnicodeDecodeError:
        raise _not_utf8(query_string) from None
    values = dict(pairs)
    if len(values) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        repeated = next(name for name, count in counts.items() if count > 1)
        raise Refusal(ServiceCode.PARAMETERS_INVALID, f"{echo(repeated)} is given more than once")
    return values


def _pairs(query_string: bytes, errors: Literal["strict", "surrogateescape"]) -> list[tuple[str, str]]:
    return parse_qsl(query_string.decode("latin-1"), keep_blank_values=True, errors=errors)


def _not_utf8(query_string: bytes) -> Refusal:
    pairs = _pairs(query_string, errors="surrogateescape")
    name, value = next(pair for pair in pairs if UNREADABLE.search("".join(pair)))
    return Refusal(ServiceCode.PARAMETERS_INVALID, f"{echo(name)}: received {echo(value)}; {EXPECTED_UTF8}")


async def _sound(request: Request) -> None:
    parameters(request.scope["query_string"])


# For routes whose query FastAPI reads, which drops one of two values and replaces what is not UTF-8. Raises as
# `parameters`.
SOUND_QUERY = Depends(_sound)


class StrictQuery(BaseModel):
    """What the query of a request says, and nothing else: an unknown parameter is a mistake."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def parsed(cls, query_string: bytes) -> Self:
        """Read off an ASGI scope's query string.

        Raises `Refusal` (parameters_invalid).

        >>> InspectQuery.parsed(b"camera_id=c1&sequence=7").sequence
        7
        """
        try:
            return cls.model_validate(parameters(query_string))
        except ValidationError as error:
            raise Refusal(ServiceCode.PARAMETERS_INVALID, complaints(_in_query(error))) from None


def _in_query(error: ValidationError) -> list[Mapping[str, Any]]:
    return [{**each, "loc": ("query", *each["loc"])} for each in error.errors(include_url=False)]


class BatchQuery(StrictQuery):
    """What a request may say of all its frames."""

    camera_id: Name | None = Field(None, description="The camera that took the frame.")
    coil_id: Name | None = Field(None, description="The coil the frame shows.")
    side: ShortName | None = Field(None, description="Which side of the strip, such as `top` or `bottom`.")
    heatmap: Annotated[bool, SWITCH] = Field(
        False, description="`true` adds a map of the probabilities over the frame to the reply."
    )

    @classmethod
    def legible(cls, query_string: bytes) -> Self:
        """What is sound of a query that is not: whose frame is refused, as far as that can be read.

        >>> InspectQuery.legible(b"coil_id=K1&camera_id=%FC&position_mm=nan&gain=2").model_dump(exclude_unset=True)
        {'coil_id': 'K1'}
        """
        pairs = _pairs(query_string, errors="surrogateescape")
        counts = Counter(name for name, _ in pairs)
        once = {name: value for name, value in pairs if name in cls.model_fields and counts[name] == 1}
        try:
            return cls.model_validate(once)
        except ValidationError as error:
            wrong = {each["loc"][0] for each in error.errors()}
            return cls.model_validate({name: value for name, value in once.items() if name not in wrong})


class InspectQuery(BatchQuery):
    """Everything a request may say about its one frame."""

    sequence: Annotated[int, Field(ge=0, le=2**63 - 1), INTEGER] | None = Field(
        None, description="The camera's own count of its frames."
    )
    position_mm: Annotated[FiniteFloat, Field(ge=-FARTHEST_MM, le=FARTHEST_MM), DECIMAL] | None = Field(
        None, description="Strip position of the frame's first row, in mm."
    )
    mm_per_pixel: Annotated[FiniteFloat, Field(gt=0, le=LARGEST_PIXEL_MM), DECIMAL] | None = Field(
        None, description="Size of a pixel on the strip."
    )
    captured_at: (
        Annotated[AwareDatetime, AfterValidator(_in_utc), BeforeValidator(_before_leap_second), MOMENT] | None
    ) = Field(
        None,
        description="When the frame was taken: RFC 3339 with an offset. "
        "A leap second, 23:59:60, counts as the last microsecond before it.",
    )
    request_id: Name | None = Field(
        None,
        description="The client's own id of this frame. A repeat with the same body is answered as the first was, and "
        "is no second record; with another body it is refused.",
    )
    overlap_rows: Annotated[int, Field(ge=0, le=2**31), INTEGER] = Field(
        0,
        description="The frame's first rows that the frame before has shown too, for a defect on the seam: at least "
        "one row must be new.",
    )
    width: Pixels | None = Field(None, description="Raw pixels only: pixels in a row.")
    height: Pixels | None = Field(None, description="Raw pixels only: rows.")
    pixel_format: PixelFormat | None = Field(
        None, description="Raw pixels only: GenICam name; unpacked, 16-bit words little-endian."
    )

    def strip_position_mm(self, y: int) -> float | None:
        """Where row `y` of the frame lies on the strip, if the request says where the frame does.

        >>> InspectQuery(position_mm="1000", mm_per_pixel="0.5").strip_position_mm(y=10)
        1005.0
        """
        if self.position_mm is None or self.mm_per_pixel is None:
            return None
        return self.position_mm + y * self.mm_per_pixel
