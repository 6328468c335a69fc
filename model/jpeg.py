"""JPEG, strictly: a file that does not hold data for every pixel is refused, where most decoders fill in with grey.

libjpeg warns when the data of a scan end early, and goes on; `simplejpeg` (libjpeg-turbo, the very decoder inside
Pillow, with the same pixels) stops at the first warning. But not every warning is about pixels, and the first hides
those after it: what only concerns stray bytes or a version number is mended beforehand, and bytes that are left over
after the last pixel are none of our business.

A file must also finish what it starts: progressive JPEG sends coefficients with few bits first and the others later, so
a file that was cut between two scans and closed properly can be told by the bits that never came.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import simplejpeg

Samples = npt.NDArray[np.uint8]

START_OF_IMAGE = b"\xff\xd8"
PROGRESSIVE_FRAME, START_OF_SCAN, END, JFIF, ADOBE = 0xC2, 0xDA, 0xD9, 0xE0, 0xEE
# Every start of frame; what lies between are tables.
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# A marker with a segment: not a stuffed zero, TEM, a restart or a second start; of a run of fill bytes only the last.
MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")
# Cameras write a handful of segments; colour profiles and previews, some tens. Pillow's reader takes a microsecond for
# each, and as long for each stray byte before a marker.
MAX_SEGMENTS = 2000
MAX_STRAY_BYTES = 1 << 16
# A scan of a few bytes can cost a pass over every block. Encoders write about ten scans; 64 Mpx with more than these
# would hold a thread for seconds.
MAX_SCANS = 64
# What libjpeg says when the last scan held more than its pixels: cameras pad there.
LEFT_OVER = re.compile(r"\d+ extraneous bytes before marker 0xd9$")
# Pillow's mode -> what simplejpeg makes of it. Four bytes a pixel are how Pillow holds colour: nothing is copied then.
COLOURSPACES = {"L": "GRAY", "RGB": "RGBA"}


@dataclass(frozen=True, slots=True)
class Segment:
    """kind: second byte of the marker; start: of the 0xff before it; content, end: after marker and length."""

    kind: int
    start: int
    content: int
    end: int


def check_structure(data: bytes) -> None:
    """Walk the markers, before any decoder does so byte by byte.

    Raises ValueError if a coefficient that was begun lacks its last bits, or for a header or a number of scans that
    only a hostile file has.
    """
    missing_bits: dict[tuple[int, int], int] = {}
    components, progressive, scans = 0, False, 0
    for segment in _segments(data):
        if segment.kind in FRAMES:
            components, progressive = data[segment.content + 5], segment.kind == PROGRESSIVE_FRAME
        elif segment.kind == START_OF_SCAN:
            if not progressive and data[segment.content] == components:
                # All there is: libjpeg refuses another scan after it.
                return
            scans += 1
            if scans > MAX_SCANS:
                raise ValueError(f"it is coded in more than {MAX_SCANS} scans")
            if progressive:
                missing_bits |= _bits_left_out(data[segment.content : segment.end])
    if not scans or any(missing_bits.values()):
        raise ValueError("the scans with the last bits of its coefficients are missing")


def samples(data: bytes, mode: str) -> Samples:
    """Decode a JPEG of Pillow's mode "L" to (height, width), or "RGB" to (height, width, 4), the last of which is 255.

    Raises ValueError (simplejpeg's words) when data for a pixel are missing or cannot be told apart;
    `check_structure` comes before.
    """
    try:
        pixels = simplejpeg.decode_jpeg(data, COLOURSPACES[mode])
    except ValueError as complaint:
        if LEFT_OVER.search(str(complaint)):
            # The first complaint comes after the last pixel: nothing before gave reason for one.
            pixels = simplejpeg.decode_jpeg(data, COLOURSPACES[mode], strict=False)
        elif (mended := _mended(data)) != data:
            return samples(mended, mode)
        else:
            # The prefix would make a marker or a table look like an address in a message that is for people.
            raise ValueError(str(complaint).replace("0x", "")) from complaint
    stored: Samples = pixels[..., 0] if mode == "L" else pixels
    return stored


def _bits_left_out(scan: bytes) -> dict[tuple[int, int], int]:
    """(component, coefficient) -> how many low bits a scan, given by its header's content, leaves to later ones.

    >>> _bits_left_out(bytes([1, 7, 0x00, 1, 2, 0x21]))
    {(7, 1): 1, (7, 2): 1}
    """
    count = scan[0]
    first, last, precision = scan[1 + 2 * count : 4 + 2 * count]
    components = scan[1 : 1 + 2 * count : 2]
    return {(component, number): precision & 15 for component in components for number in range(first, last + 1)}


def _segments(data: bytes) -> Iterator[Segment]:
    """Marker segments up to the end mark. Bytes before a marker that belong to no segment are passed over.

    Raises ValueError for more segments, or more such bytes before the first scan, than a camera would write.
    """
    position, count, stray, coded = len(START_OF_IMAGE), 0, 0, False
    while (found := MARKER.search(data, position)) and (kind := data[found.start() + 1]) != END:
        count += 1
        stray += 0 if coded else found.start() - position
        if count > MAX_SEGMENTS or stray > MAX_STRAY_BYTES:
            raise ValueError(f"it has more than {MAX_SEGMENTS} segments, or more than {MAX_STRAY_BYTES} stray bytes")
        content = found.end() + 2
        position = found.end() + max(2, int.from_bytes(data[found.end() : content]))
        coded |= kind == START_OF_SCAN
        yield Segment(kind, found.start(), content, position)


def _mended(data: bytes) -> bytes:
    """The same picture without what libjpeg would complain of before the first pixel: stray bytes between segments,
    a JFIF version or an Adobe colour transform that it does not know and takes for the usual one.
    """
    parts = [START_OF_IMAGE]
    for segment in _segments(data):
        if segment.kind == START_OF_SCAN:
            return b"".join([*parts, data[segment.start :]])
        content = bytearray(data[segment.start : segment.end])
        if segment.kind == JFIF and content[4:9] == b"JFIF\0":
            content[9:10] = b"\x01"
        elif segment.kind == ADOBE and content[4:9] == b"Adobe" and content[15:16] != b"\0":
            content[15:16] = b"\x01"
        parts.append(bytes(content))
    return data
