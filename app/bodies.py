"""A request's body -> the frame in it. Three forms are accepted; which one is decided before a byte is read."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from python_multipart.multipart import parse_options_header
from starlette.requests import Request

from app.arriving import Arriving
from app.complaints import echo
from app.multipart import invalid, parts
from app.parameters import InspectQuery
from app.refusals import Refusal, ServiceCode
from app.settings import Settings
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


async def read_frame(request: Request, query: InspectQuery, arriving: Arriving, deadline: float) -> Body:
    """The request's body in the form its headers and query announce.

    deadline: as for `Arriving.read`. Raises `Refusal` (content_type_unsupported, multipart_invalid,
    parameters_invalid), and as `Arriving.read`.
    """
    form = announced(request.headers.get("content-type"), query)
    return form(await arriving.read(request, deadline, ACCEPTED))


async def read_batch(request: Request, arriving: Arriving, deadline: float) -> ImageForm:
    """The body of a form of several images, not taken apart yet. As `read_frame`."""
    content_type = request.headers.get("content-type")
    media_type, options = parse_options_header(content_type)
    if media_type != b"multipart/form-data":
        raise _unsupported(content_type, ONE_FORM)
    boundary = _boundary(options)
    return ImageForm(await arriving.read(request, deadline, ONE_FORM), boundary)


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
