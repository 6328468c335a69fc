"""Bytes or raw camera pixels -> uint8 luminance of shape (height, width).

Every pixel that is trained on or inspected passes through here. Limits are checked on the header,
before a pixel is decoded. The rules are the same for every container:

- colour becomes ITU-R BT.601 luma, (299 R + 587 G + 114 B) / 1000; palettes are expanded first;
- deeper than 8 bit keeps the 8 most significant bits (a shift: linear, never clipped);
- alpha is ignored: the stored colour of a pixel counts, for a camera has no transparency;
- an EXIF or TIFF orientation is applied.

Pillow decodes; what line cameras send takes shorter ways to the same pixels (`model/png.py`, `model/bmp.py`) or a
stricter one (`model/jpeg.py`).
"""

import io
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

from model.bmp import plain_bmp
from model.errors import ErrorCode, SteelsightError
from model.jpeg import COLOURSPACES, START_OF_IMAGE, check_structure, samples
from model.png import plain_png
from model.wholeness import check_strips, check_whole

Frame = npt.NDArray[np.uint8]

# Pillow's own bomb check counts pixels too, but warns at a fixed number and raises at twice that;
# `Limits.max_pixels` below is checked at the same moment and is ours to set.
Image.MAX_IMAGE_PIXELS = None

FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP")
# MPO is what Pillow calls a JPEG that announces a second one behind it.
JPEG_FORMATS = frozenset({"JPEG", "MPO"})
ONE_FRAME_FORMATS = frozenset({"JPEG", "BMP"})
# Pillow counts their frames when it opens them.
COUNTED_FORMATS = frozenset({"PNG", "WEBP"})
# Where Pillow keeps what may hold the orientation of a JPEG.
ORIENTATION_KEYS = frozenset({"exif", "xmp"})

# What a container's first bytes must be. Checked before Pillow is asked, so that no other parser is reached.
SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+", b"RIFF")

EIGHT_BIT_MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"})
SIXTEEN_BIT_MODES = frozenset({"I;16", "I;16L", "I;16B", "I;16N"})

# EXIF orientation -> what makes it upright; 1 is upright.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

TIFF_BITS_PER_SAMPLE = 258
TIFF_PHOTOMETRIC = 262
TIFF_WHITE_IS_ZERO = 0


@dataclass(frozen=True)
class Limits:
    """What is accepted before any pixel is decoded.

    max_pixels: 64 Mpx holds a 4096 px wide block of 16,000 lines; past it a request would hold
        a worker for seconds and hundreds of megabytes. Of what is sent, and of what is scored.
    min_side: px; below it a frame carries no texture that could be judged.
    """

    max_pixels: int = 64_000_000
    min_side: int = 8

    def check(self, width: int, height: int) -> None:
        """Raise `SteelsightError` (image_too_large, image_too_small) for a frame outside the limits."""
        if width * height > self.max_pixels:
            raise SteelsightError(
                ErrorCode.IMAGE_TOO_LARGE,
                f"the image is {width} x {height} px ({width * height / 1e6:.1f} Mpx); at most "
                f"{self.max_pixels / 1e6:g} Mpx is accepted: send the strip in shorter frames",
            )
        if min(width, height) < self.min_side:
            raise SteelsightError(
                ErrorCode.IMAGE_TOO_SMALL,
                f"the image is {width} x {height} px; each side must have at least {self.min_side} px",
            )

    def check_extended(self, width: int, height: int, tile: int) -> None:
        """Raise `SteelsightError` (image_too_large) for a frame within the limits that is not once it is extended.

        tile: px; a shorter side is extended to it (`model.tiling.extend`), so that a file of 8 x 8,000,000 px is scored
        as a gigapixel. A single tile is never too large: no network is given less.
        """
        across, along = max(width, tile), max(height, tile)
        if across * along > max(self.max_pixels, tile * tile):
            raise SteelsightError(
                ErrorCode.IMAGE_TOO_LARGE,
                f"the image is {width} x {height} px and would be extended to {across} x {along} px "
                f"({across * along / 1e6:.1f} Mpx), for the model sees tiles of {tile} x {tile} px; at most "
                f"{self.max_pixels / 1e6:g} Mpx is accepted: send the strip in shorter frames",
            )


DEFAULT_LIMITS = Limits()


class PixelFormat(StrEnum):
    """GenICam names of the raw formats accepted: unpacked, 16-bit words little-endian."""

    MONO8 = "Mono8"
    MONO10 = "Mono10"
    MONO12 = "Mono12"
    MONO16 = "Mono16"

    @property
    def bits(self) -> int:
        """Significant bits of one pixel: 8, 10, 12 or 16."""
        return int(self.value.removeprefix("Mono"))


def decode(data: bytes, limits: Limits = DEFAULT_LIMITS) -> Frame:
    """Decode a JPEG, PNG, BMP, TIFF or WebP file to uint8 luminance of shape (height, width).

    Raises `SteelsightError`: body_empty, image_format_unsupported, image_too_large, image_too_small,
    image_multi_frame, image_pixel_type_unsupported, image_corrupt.
    """
    if not data:
        raise SteelsightError(ErrorCode.BODY_EMPTY, "no image bytes were received")
    try:
        if plain := plain_png(data) or plain_bmp(data):
            limits.check(plain.width, plain.height)
            return np.asarray(plain.picture().convert("L"))
        if data.startswith(START_OF_IMAGE):
            check_structure(data)
        return _by_pillow(data, limits)
    # A lack of memory says as much of the machine as of the file.
    except (SteelsightError, MemoryError):
        raise
    # Parsers raise whatever Python raises on a malformed header (struct.error, IndexError, OverflowError, ...): any
    # failure here means that these bytes are no whole image.
    except Exception as error:
        raise _corrupt(error) from error


def from_raw(data: bytes, width: int, height: int, pixel_format: PixelFormat, limits: Limits = DEFAULT_LIMITS) -> Frame:
    """Raw camera pixels, row by row without padding, to uint8 luminance of shape (height, width).

    Deeper formats keep their 8 most significant bits:

    >>> from_raw(bytes([0xFF, 0x0F, 0x00, 0x08]), 2, 1, PixelFormat.MONO12, Limits(min_side=1)).tolist()
    [[255, 128]]

    Raises `SteelsightError`: image_too_large, image_too_small, body_empty, raw_frame_invalid (byte count
    does not fit, or a value uses more bits than the format has: the format named is not the one sent).
    """
    limits.check(width, height)
    if not data:
        raise SteelsightError(ErrorCode.BODY_EMPTY, "no pixels were received")
    bytes_per_pixel = 1 if pixel_format.bits == 8 else 2
    expected = width * height * bytes_per_pixel
    if len(data) != expected:
        raise SteelsightError(
            ErrorCode.RAW_FRAME_INVALID,
            f"received {len(data)} bytes; {width} x {height} {pixel_format} is {expected} bytes",
        )
    if bytes_per_pixel == 1:
        return np.frombuffer(data, np.uint8).reshape(height, width)
    words = np.frombuffer(data, "<u2").reshape(height, width)
    if int(words.max()) >> pixel_format.bits:
        raise SteelsightError(
            ErrorCode.RAW_FRAME_INVALID,
            f"a pixel has the value {int(words.max())}; {pixel_format} ends at {2**pixel_format.bits - 1}: "
            "check pixel_format and the byte order (little-endian, unpacked)",
        )
    return _to_8_bit(words, pixel_format.bits)


def _by_pillow(data: bytes, limits: Limits) -> Frame:
    image = _open(data)
    limits.check(*image.size)
    if _has_second_frame(image, data):
        raise SteelsightError(
            ErrorCode.IMAGE_MULTI_FRAME,
            f"the {image.format} file holds more than one frame; send one frame per request",
        )
    # CMYK comes from a printer's desk, not from a camera: its pixels are Pillow's, who refuses a file cut short.
    if image.format in JPEG_FORMATS and image.mode in COLOURSPACES:
        return _luminance_of_jpeg(image, data)
    check_strips(image)
    image.load()
    check_whole(image, data)
    return _luminance(image)


def _open(data: bytes) -> ImageFile.ImageFile:
    """Read the header only."""
    if not data.startswith(SIGNATURES):
        raise _unsupported(f"bytes starting {data[:8]!r}")
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError as error:
        if data.startswith(b"RIFF") and data[8:12] != b"WEBP":
            raise _unsupported("a RIFF file that is not WebP") from error
        raise _corrupt(ValueError("its header is broken, or names a kind of pixel that is not accepted")) from error


def _has_second_frame(image: ImageFile.ImageFile, data: bytes) -> bool:
    """Look for a second frame in a reader of its own, for a failed seek leaves the reader unusable.

    `n_frames` would walk a TIFF's whole chain of directories, which a hostile file makes millions long.
    """
    if image.format in ONE_FRAME_FORMATS or (
        image.format in COUNTED_FORMATS and not getattr(image, "is_animated", True)
    ):
        return False
    reader = _open(data)
    try:
        reader.seek(1)
    except EOFError:
        return False
    return True


def _luminance_of_jpeg(image: ImageFile.ImageFile, data: bytes) -> Frame:
    """The header is Pillow's, the pixels are decoded strictly."""
    stored = samples(data, image.mode)
    if image.mode == "L" and not ORIENTATION_KEYS & image.info.keys():
        return stored
    return np.asarray(_upright(Image.fromarray(stored).convert("L"), image.getexif()))


def _luminance(image: Image.Image) -> Frame:
    picture = _upright(image, image.getexif())
    if picture.mode in SIXTEEN_BIT_MODES:
        tags = getattr(image, "tag_v2", {})
        bits = tags.get(TIFF_BITS_PER_SAMPLE, (16,))[0]
        words = np.asarray(picture).astype(np.uint16, copy=False)
        # Pillow inverts WhiteIsZero for 8 bit but not for 16.
        inverted = tags.get(TIFF_PHOTOMETRIC) == TIFF_WHITE_IS_ZERO
        return _to_8_bit((2**bits - 1) - words if inverted else words, bits)
    if picture.mode not in EIGHT_BIT_MODES:
        raise SteelsightError(
            ErrorCode.IMAGE_PIXEL_TYPE_UNSUPPORTED,
            f"the {image.format} file holds pixels of type {picture.mode}; "
            "8 or 16 bit unsigned grey, palette, RGB or CMYK is accepted",
        )
    # Pillow would look for a place for the transparent colour in the converted image.
    picture.info.pop("transparency", None)
    if picture.mode in ("P", "PA", "CMYK", "RGBX"):
        # Straight to "L", Pillow would take a short cut for these that differs from the colour they stand for.
        picture = picture.convert("RGB")
    return np.asarray(picture.convert("L"))


def _upright(picture: Image.Image, exif: Image.Exif) -> Image.Image:
    turn = TURNS.get(exif.get(ExifTags.Base.Orientation, 1))
    return picture if turn is None else picture.transpose(turn)


def _to_8_bit(words: npt.NDArray[np.uint16], bits: int) -> Frame:
    return (words >> (bits - 8)).astype(np.uint8)


def _unsupported(received: str) -> SteelsightError:
    return SteelsightError(
        ErrorCode.IMAGE_FORMAT_UNSUPPORTED, f"received {received}; JPEG, PNG, BMP, TIFF or WebP is accepted"
    )


def _corrupt(error: Exception) -> SteelsightError:
    return SteelsightError(
        ErrorCode.IMAGE_CORRUPT,
        f"the image cannot be decoded whole ({type(error).__name__}: {error}); send the file again, complete",
    )
