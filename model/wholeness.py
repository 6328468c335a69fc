"""Was every pixel really in the file? Pillow leaves black what a well-formed but short PNG or TIFF does not hold.

A partial frame must never get a verdict. `model/jpeg.py` answers this for JPEG; truncated WebP and BMP files are
refused by their decoders.
"""

import struct
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageFile

STRIP_OFFSETS, STRIP_SIZES = 273, 279
TILE_OFFSETS, TILE_SIZES = 324, 325
PLANAR_CONFIGURATION, SEPARATE_PLANES = 284, 2

HEADER = struct.Struct(">IIBBBBB")
CHUNK = struct.Struct(">I4s")
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
FIRST_CHUNK = 8
# Interlaced (Adam7): first column and row, and the steps between columns and rows, of each pass.
PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
# Scan lines inflated at a time: they are only counted.
INFLATE_BYTES = 1 << 20


def check_whole(image: ImageFile.ImageFile, data: bytes) -> None:
    """Raise ValueError if the loaded image, read from `data`, has pixels that the file does not hold."""
    if image.format == "TIFF":
        _check_tiff(image, data)
    elif image.format == "PNG" and _may_be_short(image):
        check_scan_lines(data)


def check_scan_lines(data: bytes) -> None:
    """Raise ValueError if the pixel data of a PNG, inflated anew and counted, are too few for its size."""
    if missing := _missing_bytes(data):
        raise ValueError(f"its pixel data ends {missing} bytes early")


def _check_tiff(image: ImageFile.ImageFile, data: bytes) -> None:
    tags = getattr(image, "tag_v2", {})
    # libtiff fills in what a fax or JPEG strip lacks, and reports nothing: each must lie inside the file.
    for offsets, sizes in ((STRIP_OFFSETS, STRIP_SIZES), (TILE_OFFSETS, TILE_SIZES)):
        ends = [offset + size for offset, size in zip(tags.get(offsets, ()), tags.get(sizes, ()), strict=False)]
        if ends and max(ends) > len(data):
            raise ValueError(f"its pixel data ends at byte {max(ends)}, and {len(data)} bytes were received")


def check_strips(image: ImageFile.ImageFile) -> None:
    """Raise ValueError if a TIFF that is opened but not loaded yet names fewer strips than its pixels need."""
    if image.format != "TIFF":
        return
    width, height = image.size
    # libtiff is given one box for all planes and refuses missing strips itself.
    by_pillow = all(tile.codec_name == "raw" for tile in image.tile)
    separate = by_pillow and getattr(image, "tag_v2", {}).get(PLANAR_CONFIGURATION) == SEPARATE_PLANES
    boxes = [tile.extents or (0, 0, 0, 0) for tile in image.tile]
    covered = sum((right - left) * (bottom - top) for left, top, right, bottom in boxes)
    if covered < width * height * (len(image.getbands()) if separate else 1):
        raise ValueError(f"its strips hold {covered} of {width * height} pixels")


def _may_be_short(image: Image.Image) -> bool:
    """Missing scan lines are zeros at the end; of an interlaced image, in one of the last two rows."""
    last_rows = np.asarray(image.crop((0, max(0, image.height - 2), image.width, image.height)))
    return not all(row.any() for row in last_rows)


def _missing_bytes(data: bytes) -> int:
    """How many bytes of scan lines the inflated pixel data lacks; 0 for a whole PNG."""
    inflater = zlib.decompressobj()
    missing = 0
    for kind, payload in _chunks(data):
        if kind == b"IHDR":
            missing = _scan_line_bytes(*HEADER.unpack(payload))
        elif kind == b"IDAT" and not inflater.eof:
            pending: bytes | memoryview = payload
            while missing > 0 and (scan_lines := inflater.decompress(pending, INFLATE_BYTES)):
                missing -= len(scan_lines)
                pending = inflater.unconsumed_tail
    return max(0, missing)


def _chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    view, position = memoryview(data), FIRST_CHUNK
    while position + CHUNK.size <= len(data):
        length, kind = CHUNK.unpack_from(data, position)
        start = position + CHUNK.size
        yield kind, view[start : start + length]
        position = start + length + 4


def _scan_line_bytes(
    width: int, height: int, depth: int, colour: int, _compression: int, _filter: int, interlaced: int
) -> int:
    """Each scan line is a filter byte and its pixels, packed; an interlaced image has those of seven small ones."""
    total = 0
    for column, row, across, down in PASSES if interlaced else ((0, 0, 1, 1),):
        columns, rows = -(-(width - column) // across), -(-(height - row) // down)
        if columns > 0:
            total += max(0, rows) * (1 + -(-columns * depth * CHANNELS[colour] // 8))
    return total
