"""A request's body -> the frame in it. Three forms are accepted; which one is decided before a byte is read."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from python_multipart.multipart import parse_options_header
from starlette.requests import Request

from app.complaints import echo
from app.errors import Refusal, ServiceCode
from app.multipart import invalid, parts
from app.parameters import InspectQuery
from app.settings import Settings
from model.errors import ErrorCode, SteelsightError
from model.image import Frame, Limits, PixelFormat, decode, from_raw

ACCEPTED = (
    "image/* (JPEG, PNG, BMP, TIFF, WebP), multipart/form-data with one part `image`, or application/octet-stream"
)
RAW_PARAMETERS = ("width", "height", "pixel_format")


class Body(Protocol):
    """A whole body. Making a frame of it is work for a thread, not for the event loop."""

    def frame(self, limits: Limits) -> Frame:
        """uint8 luminance of shape (height, width). Raises `SteelsightError` and `Refusal`."""


@dataclass(frozen=True)
class ImageFile:
    """An image file. Its own signature says what it is: cameras and proxies mislabel."""

    data: bytes

    def frame(self, limits: Limits) -> Frame:
        return decode(self.data, limits)


@dataclass(frozen=True)
class ImageForm:
    """A form with one part, `image`, that holds an image file."""

    data: bytes
    boundary: bytes

    def frame(self, limits: Limits) -> Frame:
        found = parts(self.data, self.boundary, most=1)
        if [part.name for part in found] != ["image"]:
            received = echo(found[0].name) if found else "none"
            raise invalid(f"received the part {received}; exactly one part, `image`, is accepted")
        return decode(found[0].data, limits)


@dataclass(frozen=True)
class RawPixels:
    """Pixels as the camera has them, row by row."""

    data: bytes
    width: int
    height: int
    pixel_format: PixelFormat

    def frame(self, limits: Limits) -> Frame:
        return from_raw(self.data, self.width, self.height, self.pixel_format, limits)


async def read_body(request: Request, query: InspectQuery, settings: Settings) -> Body:
    """The request's body in the form its headers and query announce.

    Raises `Refusal` (content_type_unsupported, multipart_invalid, parameters_invalid, body_too_large, body_timeout),
    `SteelsightError` (body_empty), and ClientDisconnect.
    """
    form = announced(request.headers.get("content-type"), query)
    data = await _read(request, settings.max_body_bytes, settings.body_seconds)
    if not data:
        raise SteelsightError(ErrorCode.BODY_EMPTY, f"the body is empty; send {ACCEPTED}")
    return form(data)


def announced(content_type: str | None, query: InspectQuery) -> Callable[[bytes], Body]:
    """Which form the body will have. Raises `Refusal`."""
    media_type, options = parse_options_header(content_type)
    raw = {name: value for name in RAW_PARAMETERS if (value := getattr(query, name)) is not None}
    if media_type == b"application/octet-stream":
        if missing := [name for name in RAW_PARAMETERS if name not in raw]:
            raise Refusal(
                ServiceCode.PARAMETERS_INVALID,
                f"raw pixels need the query parameters {', '.join(RAW_PARAMETERS)}; missing: {', '.join(missing)}",
            )
        return partial(RawPixels, **raw)
    if raw:
        raise Refusal(
            ServiceCode.PARAMETERS_INVALID,
            f"{', '.join(raw)}: only raw pixels (application/octet-stream) have these parameters; "
            f"the content type is {echo(content_type)}",
        )
    if media_type.startswith(b"image/"):
        return ImageFile
    if media_type == b"multipart/form-data":
        if not options.get(b"boundary"):
            raise invalid("the Content-Type multipart/form-data names no boundary")
        return partial(ImageForm, boundary=options[b"boundary"])
    raise Refusal(
        ServiceCode.CONTENT_TYPE_UNSUPPORTED,
        f"received the content type {echo(content_type)}; accepted: {ACCEPTED}",
    )


async def _read(request: Request, most: int, seconds: float) -> bytes:
    """The whole body. Its length is counted as it comes: Content-Length may be absent, or lie."""
    too_large = Refusal(ServiceCode.BODY_TOO_LARGE, f"at most {most} bytes are accepted; send shorter frames")
    if int(request.headers.get("content-length", 0)) > most:
        raise too_large
    received, chunks = 0, []
    try:
        async with asyncio.timeout(seconds):
            async for chunk in request.stream():
                received += len(chunk)
                if received > most:
                    raise too_large
                chunks.append(chunk)
    except TimeoutError as error:
        message = f"{received} bytes came within {seconds:g} s; the whole body must arrive in that time"
        raise Refusal(ServiceCode.BODY_TIMEOUT, message) from error
    return b"".join(chunks)
