"""A request's body -> the frame in it. Three forms are accepted; which one is decided before a byte is read."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from python_multipart.multipart import parse_options_header
from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive

from app.complaints import echo
from app.multipart import invalid, parts
from app.parameters import InspectQuery
from app.refusals import Refusal, ServiceCode
from app.settings import Settings
from model.errors import ErrorCode, SteelsightError
from model.image import Frame, Limits, PixelFormat, from_raw

ONE_FORM = "multipart/form-data with a part `image` for each image"
ACCEPTED = (
    "image/* (JPEG, PNG, BMP, TIFF, WebP), multipart/form-data with one part `image`, or application/octet-stream"
)
RAW_PARAMETERS = ("width", "height", "pixel_format")


@dataclass(frozen=True)
class ImageFile:
    """An image file. Its own signature says what it is: cameras and proxies mislabel."""

    data: bytes

    def file(self) -> bytes:
        """The image file in it."""
        return self.data


@dataclass(frozen=True)
class ImageForm:
    """A form with one part, `image`, that holds an image file."""

    data: bytes
    boundary: bytes

    def file(self) -> bytes:
        """The image file in it; work for a thread. Raises `Refusal` (multipart_invalid)."""
        found = parts(self.data, self.boundary, most=1)
        if [part.name for part in found] != ["image"]:
            received = echo(found[0].name) if found else "none"
            raise invalid(f"received the part {received}; exactly one part, `image`, is accepted")
        return found[0].data


@dataclass(frozen=True)
class RawPixels:
    """Pixels as the camera has them, row by row."""

    data: bytes
    width: int
    height: int
    pixel_format: PixelFormat

    def frame(self, limits: Limits) -> Frame:
        """uint8 luminance of shape (height, width). Raises `SteelsightError`."""
        return from_raw(self.data, self.width, self.height, self.pixel_format, limits)


# A whole body. What is in it is looked for in a thread, not in the event loop.
Body = ImageFile | ImageForm | RawPixels


async def read_frame(request: Request, query: InspectQuery, settings: Settings, deadline: float) -> Body:
    """The request's body in the form its headers and query announce.

    deadline: `time.perf_counter()` by which it must be there, whatever `settings.body_seconds` would still allow.
    Raises `Refusal` (content_type_unsupported, multipart_invalid, parameters_invalid, body_too_large, body_timeout),
    `SteelsightError` (body_empty), and ClientDisconnect.
    """
    form = announced(request.headers.get("content-type"), query)
    return form(await _read(request, settings, deadline, ACCEPTED))


async def read_batch(request: Request, settings: Settings, deadline: float) -> ImageForm:
    """The body of a form of several images, not taken apart yet. As `read_frame`."""
    content_type = request.headers.get("content-type")
    media_type, options = parse_options_header(content_type)
    if media_type != b"multipart/form-data":
        raise _unsupported(content_type, ONE_FORM)
    boundary = _boundary(options)
    return ImageForm(await _read(request, settings, deadline, ONE_FORM), boundary)


def images(form: ImageForm, settings: Settings) -> list[ImageFile]:
    """The image files of a batch, 1 to `settings.max_batch_images`; work for a thread. Raises `Refusal`."""
    # More than there are places could never be inspected.
    found = parts(form.data, form.boundary, min(settings.max_batch_images, settings.max_in_flight))
    strangers = [part.name for part in found if part.name != "image"]
    if strangers or not found:
        received = f"a part {echo(strangers[0])}" if strangers else "no part"
        raise invalid(f"received {received}; only parts `image` are accepted, and at least one")
    return [ImageFile(part.data) for part in found]


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
        return partial(ImageForm, boundary=_boundary(options))
    raise _unsupported(content_type, ACCEPTED)


def _unsupported(content_type: str | None, accepted: str) -> Refusal:
    return Refusal(
        ServiceCode.CONTENT_TYPE_UNSUPPORTED, f"received the content type {echo(content_type)}; accepted: {accepted}"
    )


def _boundary(options: dict[bytes, bytes]) -> bytes:
    if not options.get(b"boundary"):
        raise invalid("the Content-Type multipart/form-data names no boundary")
    return options[b"boundary"]


async def _read(request: Request, settings: Settings, deadline: float, accepted: str) -> bytes:
    seconds = max(0.0, min(settings.body_seconds, deadline - time.perf_counter()))
    return await read_bytes(request, settings.max_body_bytes, seconds, accepted)


async def read_bytes(request: Request, most: int, seconds: float, accepted: str) -> bytes:
    """The whole body, not empty. Its length is counted as it comes: Content-Length may be absent, or lie.

    most: bytes. seconds: in which it must be there. accepted: what to send, for whoever sent nothing.
    Raises `Refusal` (body_too_large, body_timeout), `SteelsightError` (body_empty), and ClientDisconnect.
    """
    if int(request.headers.get("content-length", 0)) > most:
        raise _too_large(most)
    chunks: list[bytes] = []
    try:
        async with asyncio.timeout(seconds):
            await _collect(request.receive, chunks, most)
    except TimeoutError as error:
        received = sum(map(len, chunks))
        message = f"{received} bytes came within {seconds:g} s; the whole body must arrive in that time"
        raise Refusal(ServiceCode.BODY_TIMEOUT, message) from error
    body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
    if not body:
        raise SteelsightError(ErrorCode.BODY_EMPTY, f"the body is empty; send {accepted}")
    return body


async def _collect(receive: Receive, chunks: list[bytes], most: int) -> None:
    """Into `chunks`, so that what came in time is known if it is not all."""
    received = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk = message.get("body", b"")
        received += len(chunk)
        if received > most:
            raise _too_large(most)
        chunks.append(chunk)
        if not message.get("more_body", False):
            return


def _too_large(most: int) -> Refusal:
    return Refusal(ServiceCode.BODY_TOO_LARGE, f"at most {most} bytes are accepted; send shorter frames")
