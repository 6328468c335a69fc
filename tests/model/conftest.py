"""Image files made by hand, for what no encoder writes: odd headers, odd types, and files that lie."""

import io
import struct
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from PIL import Image

TIFF_TYPES = {3: "H", 4: "I"}
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

# Losslessly: what `make_file` must be able to read back to the pixel.
LOSSLESS = {
    "png": ("PNG", {}),
    "bmp": ("BMP", {}),
    "tiff": ("TIFF", {}),
    "tiff-lzw": ("TIFF", {"compression": "tiff_lzw"}),
    "tiff-deflate": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    "tiff-packbits": ("TIFF", {"compression": "packbits"}),
    "webp": ("WEBP", {"lossless": True, "exact": True}),
}
LOSSY = {
    "jpeg": ("JPEG", {"quality": 90}),
    "jpeg-progressive": ("JPEG", {"quality": 90, "progressive": True}),
    "jpeg-restart": ("JPEG", {"quality": 90, "restart_marker_rows": 1}),
    "webp-lossy": ("WEBP", {"quality": 80}),
}


def file_of(image: Any, container: str, **options: Any) -> bytes:
    """Encode an array or a PIL image in one of the containers named above."""
    name, settings = (LOSSLESS | LOSSY)[container]
    target = io.BytesIO()
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    picture.save(target, name, **settings, **options)
    return target.getvalue()


def png_of(
    lines: bytes, width: int, height: int, depth: int = 8, colour: int = 0, chunks: Sequence[tuple[bytes, bytes]] = ()
) -> bytes:
    """A PNG of unfiltered scan lines (each starts with a 0 byte); `chunks` go before the pixels."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(lines)), (b"IEND", b"")]
    body = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )
    return PNG_SIGNATURE + b"".join(body)


def tiff_of(
    strips: Sequence[bytes],
    width: int,
    height: int,
    *,
    bits: Sequence[int] = (8,),
    photometric: int = 1,
    compression: int = 1,
    rows_per_strip: int | None = None,
    order: str = "<",
    extra: Sequence[tuple[int, int, Sequence[int]]] = (),
) -> bytes:
    """A TIFF of these strips; `extra` are more tags as (number, type 3 or 4, values)."""
    offsets = [8 + sum(map(len, strips[:number])) for number in range(len(strips))]
    pixels = b"".join(strips) + b"\0" * (sum(map(len, strips)) % 2)
    tags: list[tuple[int, int, Sequence[int]]] = [
        (256, 4, [width]),
        (257, 4, [height]),
        (258, 3, bits),
        (259, 3, [compression]),
        (262, 3, [photometric]),
        (273, 4, offsets),
        (277, 3, [len(bits)]),
        (278, 4, [rows_per_strip or height]),
        (279, 4, [len(strip) for strip in strips]),
        *extra,
    ]
    start = 8 + len(pixels)
    outside_at = start + 2 + 12 * len(tags) + 4
    directory, outside = struct.pack(order + "H", len(tags)), b""
    for number, kind, values in sorted(tags, key=lambda tag: tag[0]):
        packed = struct.pack(f"{order}{len(values)}{TIFF_TYPES[kind]}", *values)
        directory += struct.pack(order + "HHI", number, kind, len(values))
        if len(packed) <= 4:
            directory += packed.ljust(4, b"\0")
        else:
            directory += struct.pack(order + "I", outside_at + len(outside))
            outside += packed + b"\0" * (len(packed) % 2)
    mark = b"II*\0" if order == "<" else b"MM\0*"
    return mark + struct.pack(order + "I", start) + pixels + directory + struct.pack(order + "I", 0) + outside


@pytest.fixture(scope="session")
def containers() -> dict[str, list[str]]:
    """Names that `make_file` knows."""
    return {"lossless": list(LOSSLESS), "lossy": list(LOSSY)}


@pytest.fixture(scope="session")
def make_file() -> Callable[..., bytes]:
    """`make_file(array or image, container, **Pillow's save options)`."""
    return file_of


@pytest.fixture(scope="session")
def make_png() -> Callable[..., bytes]:
    return png_of


@pytest.fixture(scope="session")
def make_tiff() -> Callable[..., bytes]:
    return tiff_of


@pytest.fixture(scope="session")
def luma() -> Callable[[np.ndarray], np.ndarray]:
    """ITU-R BT.601 of uint8 (height, width, 3), in whole numbers, as the module promises it; exact to 1 step."""
    return lambda rgb: (rgb.astype(np.uint32) @ np.array([299, 587, 114], np.uint32)) / 1000
