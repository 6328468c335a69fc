"""BMP as cameras write it: not compressed, 8 bit grey or 24 bit colour. Any other is left to Pillow's reader."""

import struct
from dataclasses import dataclass

from PIL import Image

# File header: "BM", file size, two reserved words, where the pixels start; and the information header up to the
# number of palette colours: its size, width, height, planes, bits, compression, image size, resolution x, y, colours.
HEADER = struct.Struct("<2sIHHIIiiHHIIiiI")
FILE_HEADER_BYTES = 14
# Sizes of the information headers that start as above: Windows 3 and the two that only append to it. Of others,
# Pillow knows the peculiarities.
INFORMATION_HEADER_BYTES = frozenset({40, 108, 124})
GREY_RAMP = b"".join(bytes([level, level, level, 0]) for level in range(256))


@dataclass(frozen=True, slots=True)
class PlainBmp:
    """A BMP that is long enough for its pixels.

    mode: Pillow's; unpacking: how it is made of the stored bytes; start: of the pixels, in bytes; stride: bytes of a
    row, a multiple of four; direction: -1 if the bottom row is stored first, else 1.
    """

    width: int
    height: int
    mode: str
    unpacking: str
    start: int
    stride: int
    direction: int
    data: bytes

    def picture(self) -> Image.Image:
        """The pixels, mode L or RGB."""
        pixels = memoryview(self.data)[self.start : self.start + self.stride * self.height]
        size = self.width, self.height
        return Image.frombytes(self.mode, size, pixels, "raw", self.unpacking, self.stride, self.direction)


def plain_bmp(data: bytes) -> PlainBmp | None:
    """Read the headers of a file; None if it is no BMP, or not a plain and whole one."""
    if not data.startswith(b"BM") or len(data) < HEADER.size:
        return None
    (_, _, _, _, start, header_bytes, width, height, planes, bits, compression, _, _, _, colours) = HEADER.unpack_from(
        data
    )
    if header_bytes not in INFORMATION_HEADER_BYTES or width <= 0 or height == 0 or planes != 1 or compression:
        return None
    palette = FILE_HEADER_BYTES + header_bytes
    if bits == 8 and colours in (0, 256) and data.startswith(GREY_RAMP, palette):
        mode, unpacking = "L", "L"
        palette += len(GREY_RAMP)
    elif bits == 24 and colours == 0:
        mode, unpacking = "RGB", "BGR"
    else:
        return None
    stride = (width * bits + 31) // 32 * 4
    if start < palette or len(data) < start + stride * abs(height):
        return None
    return PlainBmp(width, abs(height), mode, unpacking, start, stride, 1 if height < 0 else -1, data)
