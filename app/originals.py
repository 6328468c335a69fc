"""A frame's body -> the image file that the archive keeps: as it came, and raw pixels as a PNG that loses nothing."""

import hashlib
import io

import numpy as np
from PIL import Image

from app.archive import Picture, format_of
from app.bodies import Body, RawPixels
from model.image import Frame, PixelFormat

# Of zlib: a block of strip takes a fifth of the time that its default takes, for a tenth more bytes.
COMPRESSION = 1


def fingerprint(body: Body) -> bytes:
    """The sha256 of the frame as it came: of a form's image alone, for its boundary differs each time it is sent."""
    if isinstance(body, RawPixels):
        head = f"{body.width} {body.height} {body.pixel_format} ".encode()
        return hashlib.sha256(head + body.data).digest()
    return hashlib.sha256(body.file()).digest()


def original(body: Body) -> Picture:
    """The file of a body that was decoded before. A PNG of 10 or 12 bit words has them in the high bits of 16."""
    if isinstance(body, RawPixels):
        return Picture(_png(body), "png")
    data = body.file()
    return Picture(data, format_of(data))


def _png(body: RawPixels) -> bytes:
    shape = body.height, body.width
    if body.pixel_format is PixelFormat.MONO8:
        pixels = Image.fromarray(np.frombuffer(body.data, np.uint8).reshape(shape))
    else:
        bits = int(body.pixel_format.removeprefix("Mono"))
        # As `model.image` reads them: words past the format's largest value are refused there.
        pixels = Image.fromarray((np.frombuffer(body.data, "<u2") << (16 - bits)).reshape(shape))
    return _written(pixels)


def as_png(frame: Frame) -> bytes:
    """A frame as it was judged, uint8 of shape (height, width), in a file that every browser shows."""
    return _written(Image.fromarray(frame))


def _written(pixels: Image.Image) -> bytes:
    target = io.BytesIO()
    pixels.save(target, "PNG", compress_level=COMPRESSION)
    return target.getvalue()
