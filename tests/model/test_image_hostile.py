"""model.image: what is not one whole image of an accepted kind is refused, soon and for little memory."""

import io
import json
import re
import struct
import subprocess
import sys
import time
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from model.errors import ErrorCode, SteelsightError
from model.image import Limits, decode
from model.wholeness import STRIP_SIZES

LOSSLESS = ("png", "bmp", "tiff", "tiff-lzw", "tiff-deflate", "tiff-packbits", "webp")
LOSSY = ("jpeg", "jpeg-progressive", "jpeg-restart", "webp-lossy")
JPEG_END = b"\xff\xd9"


def refusal(data, **options):
    with pytest.raises(SteelsightError) as caught:
        decode(data, **options)
    return caught.value.code


def outcome(data):
    """The decoded array, or None when it is refused; anything else than a `SteelsightError` fails the test."""
    try:
        return decode(data)
    except SteelsightError as error:
        assert error.code in ErrorCode
        assert " at 0x" not in error.message
        return None


@pytest.fixture(scope="module")
def files(make_file, steel_frame):
    """One small file of each kind, with what it decodes to."""
    grey = steel_frame(40, 56)
    kinds = {name: make_file(grey, name) for name in LOSSLESS + LOSSY}
    kinds["png-colour"] = make_file(np.dstack([grey, grey[::-1], grey[:, ::-1]]), "png")
    kinds["bmp-colour"] = make_file(np.dstack([grey, grey[::-1], grey[:, ::-1]]), "bmp")
    return {name: (data, decode(data)) for name, data in kinds.items()}


KINDS = (*LOSSLESS, *LOSSY, "png-colour", "bmp-colour")


class TestPartOfAFile:
    @given(kind=st.sampled_from(KINDS), share=st.floats(0, 1, exclude_max=True))
    @settings(max_examples=400)
    def test_is_refused_or_holds_every_pixel(self, files, kind, share):
        data, whole = files[kind]
        decoded = outcome(data[: int(share * len(data))])
        if decoded is not None:
            np.testing.assert_array_equal(decoded, whole)

    @pytest.mark.parametrize("kind", KINDS)
    def test_is_refused_as_corrupt_at_every_tenth(self, kind, files):
        data, _ = files[kind]
        assert {refusal(data[: len(data) * tenth // 10]) for tenth in range(1, 10)} == {ErrorCode.IMAGE_CORRUPT}

    @pytest.mark.parametrize("kind", KINDS)
    def test_only_the_tail_may_be_missing(self, kind, files):
        """Checksums and end marks: a cut there leaves all pixels, a cut of more than that does not."""
        data, _ = files[kind]
        assert all(outcome(data[:-missing]) is None for missing in range(32, 64))

    @given(kind=st.sampled_from(KINDS), seed=st.integers(0, 2**32 - 1), flips=st.integers(1, 8))
    @settings(max_examples=400)
    def test_flipped_bits_raise_nothing_but_our_error(self, files, kind, seed, flips):
        data = bytearray(files[kind][0])
        rng = np.random.default_rng(seed)
        # Headers are short: half of the flips go there.
        ends = rng.choice([min(64, len(data)), len(data)], flips)
        for position in (rng.random(flips) * ends).astype(int):
            data[position] ^= 1 << rng.integers(8)
        decoded = outcome(bytes(data))
        assert decoded is None or (decoded.dtype == np.uint8 and decoded.ndim == 2)

    @given(data=st.binary(max_size=64), start=st.sampled_from(["II*\0", "MM\0*", "BM", "\xff\xd8\xff", "RIFF", ""]))
    @settings(max_examples=200)
    def test_a_signature_and_nonsense(self, data, start):
        assert outcome(start.encode("latin-1") + data) is None


class TestAFileThatClosesProperlyButLacksPixels:
    """Cut where its container still looks whole: Pillow would fill in the rest."""

    @pytest.mark.parametrize("rows", [0, 1, 20, 39])
    def test_png_with_fewer_scan_lines(self, rows, make_png, steel_frame):
        lines = [b"\0" + line.tobytes() for line in steel_frame(40, 56)]
        assert refusal(make_png(b"".join(lines[:rows]), 56, 40)) is ErrorCode.IMAGE_CORRUPT

    def test_png_with_more_scan_lines_shows_its_own(self, make_png, steel_frame):
        grey = steel_frame(40, 56)
        lines = b"".join(b"\0" + line.tobytes() for line in np.vstack([grey, grey]))
        np.testing.assert_array_equal(decode(make_png(lines, 56, 40)), grey)

    @pytest.mark.parametrize(("height", "width"), [(40, 56), (9, 9), (8, 11), (17, 8)])
    def test_interlaced_png_is_counted_pass_by_pass(self, height, width, steel_frame):
        grey = steel_frame(height, width)
        lines = b""
        for x, y, across, down in [*ADAM7]:
            for line in grey[y::down, x::across]:
                lines += b"\0" + line.tobytes() if line.size else b""
        header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 1)
        np.testing.assert_array_equal(decode(png_from(header, zlib.compress(lines))), grey)
        last_line = 1 + width
        assert refusal(png_from(header, zlib.compress(lines[:-last_line]))) is ErrorCode.IMAGE_CORRUPT

    def test_png_in_many_chunks_is_whole(self, steel_frame):
        grey = steel_frame(40, 56)
        packed = zlib.compress(b"".join(b"\0" + line.tobytes() for line in grey))
        header = struct.pack(">IIBBBBB", 56, 40, 8, 0, 0, 0, 0)
        pieces = [packed[start : start + 7] for start in range(0, len(packed), 7)]
        np.testing.assert_array_equal(decode(png_from(header, *pieces)), grey)

    @pytest.mark.parametrize("kept", [1, 2, 3])
    @pytest.mark.parametrize("compression", [1, 8])
    def test_tiff_with_fewer_strips(self, kept, compression, make_tiff, steel_frame):
        strips = [rows.tobytes() for rows in np.split(steel_frame(40, 56), 4)]
        if compression == 8:
            strips = [zlib.compress(strip) for strip in strips]
        whole = make_tiff(strips, 56, 40, rows_per_strip=10, compression=compression)
        np.testing.assert_array_equal(decode(whole), steel_frame(40, 56))
        part = make_tiff(strips[:kept], 56, 40, rows_per_strip=10, compression=compression)
        assert refusal(part) is ErrorCode.IMAGE_CORRUPT

    def test_tiff_with_fewer_planes(self, make_tiff, make_file, steel_frame):
        planes = [steel_frame(40, 56, seed=seed) for seed in range(3)]
        options = {"bits": (8, 8, 8), "photometric": 2, "extra": [(284, 3, [2])]}
        whole = decode(make_tiff([plane.tobytes() for plane in planes], 56, 40, **options))
        np.testing.assert_array_equal(whole, decode(make_file(np.dstack(planes), "png")))
        for kept in (1, 2):
            part = make_tiff([plane.tobytes() for plane in planes[:kept]], 56, 40, **options)
            assert refusal(part) is ErrorCode.IMAGE_CORRUPT

    @pytest.mark.parametrize("compression", ["jpeg", "group3", "group4"])
    def test_tiff_whose_last_strip_lies_outside_the_file(self, compression, steel_frame):
        """libtiff fills in what such a strip lacks and reports nothing."""
        picture = Image.fromarray(steel_frame(40, 56))
        target = io.BytesIO()
        (picture if compression == "jpeg" else picture.convert("1")).save(target, "TIFF", compression=compression)
        whole = target.getvalue()
        assert decode(whole).shape == (40, 56)
        (size,) = Image.open(target).tag_v2[STRIP_SIZES]
        # The directory's entry: tag, type LONG, one value, the value.
        entry = struct.pack("<HHI", STRIP_SIZES, 4, 1)
        position = whole.index(entry + struct.pack("<I", size)) + len(entry)
        mended = whole[:position] + struct.pack("<I", len(whole)) + whole[position + 4 :]
        assert refusal(mended) is ErrorCode.IMAGE_CORRUPT

    @pytest.mark.parametrize("container", ["webp", "webp-lossy"])
    @pytest.mark.parametrize("share", [0.3, 0.7, 0.95])
    def test_webp_whose_sizes_were_mended(self, container, share, make_file, steel_frame):
        data = make_file(steel_frame(40, 56), container)
        body = data[20 : 20 + int((len(data) - 20) * share)]
        body += b"\0" * (len(body) % 2)
        mended = (
            b"RIFF" + struct.pack("<I", len(body) + 12) + b"WEBP" + data[12:16] + struct.pack("<I", len(body)) + body
        )
        assert refusal(mended) is ErrorCode.IMAGE_CORRUPT

    @pytest.mark.parametrize("container", ["jpeg", "jpeg-progressive", "jpeg-restart"])
    @pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
    def test_jpeg_with_an_end_mark_put_after_the_cut(self, container, share, make_file, steel_frame):
        data = make_file(steel_frame(128, 192), container)
        cut = data[: int(len(data) * share)].rstrip(b"\xff")
        assert outcome(cut + JPEG_END) is None

    def test_jpeg_with_a_gap(self, make_file, steel_frame):
        data = make_file(steel_frame(128, 192), "jpeg")
        middle = len(data) // 2
        assert outcome(data[:middle] + data[middle + 500 :]) is None

    def test_progressive_jpeg_without_its_last_scans(self, make_file, steel_frame):
        data = make_file(steel_frame(128, 192), "jpeg-progressive")
        scans = [match.start() for match in re.finditer(rb"\xff\xda", data)]
        assert len(scans) > 2
        for start in scans[1:]:
            assert outcome(data[:start] + JPEG_END) is None


ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def png_from(header, *pixel_chunks):
    parts = [(b"IHDR", header), *((b"IDAT", piece) for piece in pixel_chunks), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )


class TestMoreThanOneFrame:
    @pytest.mark.parametrize(
        ("container", "options"),
        [("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"}), ("WEBP", {"lossless": True}), ("PNG", {}), ("MPO", {})],
    )
    def test_is_refused(self, container, options, steel_frame):
        first, second = (Image.fromarray(steel_frame(40, 56, seed=seed)).convert("RGB") for seed in (1, 2))
        target = io.BytesIO()
        first.save(target, container, save_all=True, append_images=[second], **options)
        assert refusal(target.getvalue()) is ErrorCode.IMAGE_MULTI_FRAME

    @pytest.mark.parametrize("container", ["TIFF", "WEBP", "PNG"])
    def test_one_frame_saved_as_many_is_accepted(self, container, steel_frame):
        target = io.BytesIO()
        Image.fromarray(steel_frame(40, 56)).save(target, container, save_all=True)
        assert decode(target.getvalue()).shape == (40, 56)


class TestOtherFormats:
    @pytest.mark.parametrize("container", ["GIF", "ICO", "PPM", "TGA", "PCX", "SGI", "JPEG2000", "PDF", "DIB", "ICNS"])
    def test_are_not_accepted(self, container, steel_frame):
        target = io.BytesIO()
        picture = Image.fromarray(steel_frame(64, 64)).convert("RGB")
        picture.save(target, container)
        assert refusal(target.getvalue()) is ErrorCode.IMAGE_FORMAT_UNSUPPORTED

    @pytest.mark.parametrize(
        "data",
        [
            b"hello",
            b"\0" * 100,
            b"%PDF-1.7",
            b"PK\x03\x04" + bytes(40),
            b"<svg xmlns='x'/>",
            b"RIFF\x24\0\0\0WAVEfmt " + bytes(20),
        ],
        ids=["text", "zeros", "pdf", "zip", "svg", "wav"],
    )
    def test_nor_is_anything_else(self, data):
        assert refusal(data) is ErrorCode.IMAGE_FORMAT_UNSUPPORTED


CLAIMS = {
    "png": png_from(struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0), zlib.compress(bytes(1000))),
    "png-bomb": png_from(struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0), zlib.compress(bytes(60_000_000), 9)),
    "bmp": b"BM"
    + struct.pack("<IHHI", 1054, 0, 0, 54)
    + struct.pack("<IiiHHIIiiII", 40, 60_000, 60_000, 1, 24, 0, 0, 0, 0, 0, 0)
    + bytes(1000),
    "jpeg": b"\xff\xd8\xff\xc0"
    + struct.pack(">HBHHBBBB", 11, 8, 65_000, 65_000, 1, 1, 0x11, 0)
    + b"\xff\xda"
    + struct.pack(">HBBBBBB", 8, 1, 1, 0, 0, 63, 0)
    + bytes(100)
    + JPEG_END,
    "webp-lossless": b"RIFF"
    + struct.pack("<I", 112)
    + b"WEBPVP8L"
    + struct.pack("<I", 100)
    + b"\x2f"
    + struct.pack("<I", 16_382 | 16_382 << 14)
    + bytes(95),
    "webp-extended": b"RIFF"
    + struct.pack("<I", 130)
    + b"WEBPVP8X"
    + struct.pack("<I", 10)
    + bytes(4)
    + (16_382).to_bytes(3, "little") * 2
    + b"VP8L"
    + struct.pack("<I", 100)
    + b"\x2f"
    + struct.pack("<I", 16_382 | 16_382 << 14)
    + bytes(95),
}
MEASURE = """
import json, resource, sys, time
from model.errors import SteelsightError
from model.image import decode
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
results = {}
files = {name: bytes.fromhex(text) for name, text in json.load(sys.stdin).items()}
for name, data in files.items():
    before, started = peak(), time.process_time()
    try:
        code = decode(data).shape
    except SteelsightError as error:
        code = error.code
    results[name] = [code, peak() - before, time.process_time() - started]
print(json.dumps(results))
"""


@pytest.fixture(scope="module")
def measured(make_tiff):
    """Code, growth of memory in MB and seconds of each claim, from a process of its own: the peak belongs to one."""
    claims = CLAIMS | {
        "tiff": make_tiff([bytes(1000)], 100_000, 100_000),
        "tiff-lzw": make_tiff([bytes(1000)], 100_000, 100_000, compression=5),
        "bigger-than-32-bit": make_tiff([bytes(10)], 2**32 - 1, 2**32 - 1),
    }
    done = subprocess.run(
        [sys.executable, "-c", MEASURE],
        input=json.dumps({name: data.hex() for name, data in claims.items()}),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return json.loads(done.stdout)


class TestHugeClaims:
    @pytest.mark.parametrize("claim", [*CLAIMS, "tiff", "tiff-lzw", "bigger-than-32-bit"])
    def test_are_refused_from_the_header(self, claim, measured):
        code, megabytes, seconds = measured[claim]
        assert code == ErrorCode.IMAGE_TOO_LARGE
        assert megabytes < 64
        assert seconds < 1


class TestChainsOfDirectories:
    """TIFF directories that point on and on: one look is enough to refuse the file."""

    def chain(self, length, last):
        entry = struct.pack("<HHII", 256, 4, 1, 16) + struct.pack("<HHII", 257, 4, 1, 16)
        size = 2 + len(entry) + 4
        directories = (
            struct.pack("<H", 2) + entry + struct.pack("<I", 8 + size * (number + 1) if number + 1 < length else last)
            for number in range(length)
        )
        return b"II*\0" + struct.pack("<I", 8) + b"".join(directories)

    @pytest.mark.parametrize(("length", "last"), [(200_000, 0), (2, 8), (3, 38), (1, 8)])
    def test_answer_within_a_second(self, length, last):
        data = self.chain(length, last)
        started = time.process_time()
        assert outcome(data) is None
        assert time.process_time() - started < 1

    def test_of_whole_images_answer_within_a_second(self, make_tiff, steel_frame):
        one = bytearray(make_tiff([steel_frame(40, 56).tobytes()], 56, 40))
        directory = struct.unpack_from("<I", one, 4)[0]
        link = directory + 2 + 12 * struct.unpack_from("<H", one, directory)[0]
        data = bytearray(one)
        struct.pack_into("<I", data, link, len(data))
        body = bytes(one[directory : link + 4])
        for number in range(50_000):
            data += body[:-4] + struct.pack("<I", len(data) + len(body) if number < 49_999 else 0)
        started = time.process_time()
        assert refusal(bytes(data)) is ErrorCode.IMAGE_MULTI_FRAME
        assert time.process_time() - started < 1

    def test_a_directory_that_points_at_itself_is_one_frame(self, make_tiff, steel_frame):
        data = bytearray(make_tiff([steel_frame(40, 56).tobytes()], 56, 40))
        directory = struct.unpack_from("<I", data, 4)[0]
        link = directory + 2 + 12 * struct.unpack_from("<H", data, directory)[0]
        struct.pack_into("<I", data, link, directory)
        np.testing.assert_array_equal(decode(bytes(data)), steel_frame(40, 56))


def test_every_real_broken_file_is_decoded_or_refused(shared_data):
    files = sorted(path for path in (shared_data / "badinputs").iterdir() if path.is_file())
    assert files
    for path in files:
        try:
            decoded = decode(path.read_bytes(), Limits(max_pixels=16_000_000))
        except SteelsightError as error:
            assert error.message
        else:
            assert decoded.dtype == np.uint8
            assert decoded.ndim == 2
