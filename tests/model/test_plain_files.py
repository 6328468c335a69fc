"""model.png, model.bmp: the pixels Pillow's readers give, and nothing unusual decoded the short way."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from model.bmp import plain_bmp
from model.errors import ErrorCode, SteelsightError
from model.image import decode
from model.png import MAX_CHUNKS, plain_png

HEADER_END = 33
BMP_PIXELS_AT = 10


def encoded(pixels, container, **options):
    target = io.BytesIO()
    Image.fromarray(pixels).save(target, container, **options)
    return target.getvalue()


def by_pillow(data):
    """As documented at the top of `model.image`, through Pillow's reader."""
    pixels = np.asarray(Image.open(io.BytesIO(data)))
    return (
        (pixels >> 8).astype(np.uint8)
        if pixels.dtype == np.uint16
        else np.asarray(Image.fromarray(pixels).convert("L"))
    )


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def with_chunk(png, kind, content):
    return png[:HEADER_END] + chunk(kind, content) + png[HEADER_END:]


def code_of(data):
    with pytest.raises(SteelsightError) as caught:
        decode(data)
    return caught.value.code


PIXEL_TYPES = {"grey": ((), np.uint8), "deep": ((), np.uint16), "colour": ((3,), np.uint8)}


class TestTheSamePixelsAsPillow:
    @given(
        height=st.integers(8, 60),
        width=st.integers(8, 60),
        kind=st.sampled_from([*PIXEL_TYPES]),
        level=st.integers(0, 9),
        smooth=st.booleans(),
        seed=st.integers(0, 2**32 - 1),
    )
    @settings(max_examples=120)
    def test_png(self, height, width, kind, level, smooth, seed):
        """Smooth pixels make the encoder choose other filters than noise does."""
        channels, dtype = PIXEL_TYPES[kind]
        pixels = np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, (height, width, *channels), dtype, True)
        data = encoded(np.sort(pixels, axis=1) if smooth else pixels, "PNG", compress_level=level)
        assert plain_png(data) is not None
        np.testing.assert_array_equal(decode(data), by_pillow(data))

    @given(
        height=st.integers(8, 40),
        width=st.integers(8, 40),
        kind=st.sampled_from(["grey", "colour"]),
        upside_down=st.booleans(),
        seed=st.integers(0, 2**32 - 1),
    )
    @settings(max_examples=60)
    def test_bmp(self, height, width, kind, upside_down, seed):
        channels, dtype = PIXEL_TYPES[kind]
        pixels = np.random.default_rng(seed).integers(0, 256, (height, width, *channels), dtype)
        data = encoded(pixels, "BMP")
        if upside_down:
            data = data[:22] + struct.pack("<i", -height) + data[26:]
        assert plain_bmp(data) is not None
        np.testing.assert_array_equal(decode(data), by_pillow(data))

    @pytest.mark.parametrize("level", [0, 1, 255])
    def test_of_a_frame_of_one_brightness(self, level):
        """The last row may look as if it were not there."""
        for channels in ((), (3,)):
            frame = np.full((20, 30, *channels), level, np.uint8)
            np.testing.assert_array_equal(decode(encoded(frame, "PNG")), np.full((20, 30), level))


class TestWhatPillowHasToRead:
    @pytest.fixture
    def png(self, steel_frame):
        return encoded(steel_frame(24, 40), "PNG")

    @pytest.mark.parametrize(
        ("kind", "content"),
        [(b"tRNS", b"\0\x80"), (b"zzZz", b"private"), (b"iCCP", b"x\0\0x")],
    )
    def test_png_with_a_chunk_that_might_matter(self, png, kind, content):
        odd = with_chunk(png, kind, content)
        assert plain_png(odd) is None
        np.testing.assert_array_equal(decode(odd), decode(png))

    def test_png_with_an_orientation(self, steel_frame):
        exif = Image.Exif()
        exif[274] = 6
        turned = encoded(steel_frame(24, 40), "PNG", exif=exif)
        assert plain_png(turned) is None
        np.testing.assert_array_equal(decode(turned), np.rot90(steel_frame(24, 40), -1))

    def test_png_with_an_orientation_in_a_text(self, steel_frame):
        exif = Image.Exif()
        exif[274] = 3
        block = exif.tobytes()
        text = b"Raw profile type exif\0\nexif\n%8d\n%s\n" % (len(block), block.hex().encode())
        turned = with_chunk(encoded(steel_frame(24, 40), "PNG"), b"tEXt", text)
        assert plain_png(turned) is None
        np.testing.assert_array_equal(decode(turned), steel_frame(24, 40)[::-1, ::-1])

    def test_png_with_a_harmless_chunk_is_not_among_them(self, png):
        plain = with_chunk(with_chunk(png, b"pHYs", struct.pack(">IIB", 1, 1, 0)), b"tEXt", b"Comment\0line 3")
        assert plain_png(plain) is not None
        np.testing.assert_array_equal(decode(plain), decode(png))

    @pytest.mark.parametrize("position", [20, HEADER_END + 20, -5])
    def test_png_with_a_wrong_checksum(self, png, position):
        broken = bytearray(png)
        broken[position] ^= 1
        assert plain_png(bytes(broken)) is None

    def test_bmp_with_a_palette_of_colours(self, steel_frame):
        picture = Image.fromarray(steel_frame(24, 40)).convert("P")
        picture.putpalette([value for level in range(256) for value in (level, 0, 255 - level)])
        target = io.BytesIO()
        picture.save(target, "BMP")
        assert plain_bmp(target.getvalue()) is None
        expected = np.asarray(picture.convert("RGB").convert("L"))
        np.testing.assert_array_equal(decode(target.getvalue()), expected)

    @pytest.mark.parametrize("bits", ["1", "RGBA"])
    def test_bmp_of_other_depths(self, bits, steel_frame):
        target = io.BytesIO()
        Image.fromarray(steel_frame(24, 40)).convert(bits).save(target, "BMP")
        assert plain_bmp(target.getvalue()) is None
        assert decode(target.getvalue()).shape == (24, 40)

    @pytest.mark.parametrize("start", [0, 20, 2**32 - 1])
    def test_bmp_whose_pixels_start_elsewhere(self, start, steel_frame):
        data = encoded(steel_frame(24, 40), "BMP")
        assert plain_bmp(data[:BMP_PIXELS_AT] + struct.pack("<I", start) + data[BMP_PIXELS_AT + 4 :]) is None


def test_a_png_of_countless_chunks_is_refused(steel_frame):
    png = encoded(steel_frame(24, 40), "PNG")
    countless = png[:HEADER_END] + chunk(b"IDAT", b"") * (MAX_CHUNKS + 1) + png[HEADER_END:]
    assert code_of(countless) is ErrorCode.IMAGE_CORRUPT


def test_a_png_that_inflates_to_more_than_its_size_is_read_to_its_size(steel_frame):
    lines = b"".join(b"\0" + line.tobytes() for line in steel_frame(24, 40))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 40, 24, 8, 0, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(lines + bytes(20_000_000)))
    np.testing.assert_array_equal(
        decode(b"\x89PNG\r\n\x1a\n" + header + pixels + chunk(b"IEND", b"")), steel_frame(24, 40)
    )
