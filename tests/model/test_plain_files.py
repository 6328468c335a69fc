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
from model.png import MAX_CHUNKS, SIGNATURE, plain_png
from model.wholeness import PASSES

HEADER_END = 33
# The end chunk has no content.
END_AT = -12
BMP_PIXELS_AT = 10


def saved(picture, container, **options):
    target = io.BytesIO()
    picture.save(target, container, **options)
    return target.getvalue()


def encoded(pixels, container, **options):
    return saved(Image.fromarray(pixels), container, **options)


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


PNG_KINDS = ["grey", "deep", "colour", "alpha", "palette", "bilevel", "interlaced", "transparent", "animated", "turned"]
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

    def test_bmp_with_a_palette_of_colours(self, steel_frame):
        picture = Image.fromarray(steel_frame(24, 40)).convert("P")
        picture.putpalette([value for level in range(256) for value in (level, 0, 255 - level)])
        data = saved(picture, "BMP")
        assert plain_bmp(data) is None
        np.testing.assert_array_equal(decode(data), np.asarray(picture.convert("RGB").convert("L")))

    @pytest.mark.parametrize("bits", ["1", "RGBA"])
    def test_bmp_of_other_depths(self, bits, steel_frame):
        data = saved(Image.fromarray(steel_frame(24, 40)).convert(bits), "BMP")
        assert plain_bmp(data) is None
        assert decode(data).shape == (24, 40)

    @pytest.mark.parametrize("start", [0, 20, 2**32 - 1])
    def test_bmp_whose_pixels_start_elsewhere(self, start, steel_frame):
        data = encoded(steel_frame(24, 40), "BMP")
        assert plain_bmp(data[:BMP_PIXELS_AT] + struct.pack("<I", start) + data[BMP_PIXELS_AT + 4 :]) is None


def interlaced(pixels):
    lines = [line for x, y, across, down in PASSES for line in pixels[y::down, x::across] if line.size]
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", *pixels.shape[::-1], 8, 0, 0, 0, 1))
    stream = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + line.tobytes() for line in lines)))
    return SIGNATURE + header + stream + chunk(b"IEND", b"")


@pytest.fixture(scope="module")
def files(steel_frame):
    """One of each kind: the first three are decoded the short way, the others by Pillow."""
    grey = steel_frame(40, 56)
    picture = Image.fromarray(grey)
    plain = saved(picture, "PNG")
    one_frame = struct.pack(">5I2H2B", 0, 56, 40, 0, 0, 1, 1, 0, 0)
    upside_down = Image.Exif()
    upside_down[274] = 3
    return {
        "grey": plain,
        "deep": encoded(grey.astype(np.uint16) << 8, "PNG"),
        "colour": saved(picture.convert("RGB"), "PNG"),
        "alpha": saved(picture.convert("RGBA"), "PNG"),
        "palette": saved(picture.convert("P"), "PNG"),
        "bilevel": saved(picture.convert("1"), "PNG"),
        "interlaced": interlaced(grey),
        "transparent": with_chunk(plain, b"tRNS", b"\0\x80"),
        "animated": with_chunk(with_chunk(plain, b"fcTL", one_frame), b"acTL", struct.pack(">II", 1, 0)),
        # Behind the pixels, where Pillow looks at no checksum.
        "turned": plain[:END_AT] + chunk(b"eXIf", upside_down.tobytes()) + plain[END_AT:],
    }


class TestADamagedPng:
    """Every byte of it lies under a checksum. What an interrupted write leaves ends in zeros."""

    @pytest.mark.parametrize("kind", PNG_KINDS)
    @given(data=st.data())
    @settings(max_examples=60)
    def test_is_refused_wherever_its_bytes_are_others(self, kind, files, data):
        whole = files[kind]
        at = data.draw(st.integers(len(SIGNATURE), len(whole) - 1))
        other = data.draw(st.binary(min_size=1, max_size=16))[: len(whole) - at]
        changed = whole[:at] + other + whole[at + len(other) :]
        if changed != whole:
            assert code_of(changed) is ErrorCode.IMAGE_CORRUPT

    @pytest.mark.parametrize("kind", PNG_KINDS)
    def test_is_refused_if_its_tail_is_zeros(self, kind, files):
        """With its end chunk put behind them, and without."""
        whole = files[kind]
        for tail in range(8, 60):
            assert code_of(whole[: END_AT - tail] + bytes(tail) + whole[END_AT:]) is ErrorCode.IMAGE_CORRUPT
            assert code_of(whole[:-tail] + bytes(tail)) is ErrorCode.IMAGE_CORRUPT

    @pytest.mark.parametrize("kind", PNG_KINDS)
    def test_is_refused_without_its_last_bytes(self, kind, files):
        assert decode(files[kind]).shape == (40, 56)
        assert {code_of(files[kind][:-missing]) for missing in range(1, 60)} == {ErrorCode.IMAGE_CORRUPT}

    def test_is_whole_whatever_follows_its_end(self, files):
        np.testing.assert_array_equal(decode(files["grey"] + bytes(100)), decode(files["grey"]))


def test_a_png_of_countless_chunks_is_refused(steel_frame):
    png = encoded(steel_frame(24, 40), "PNG")
    countless = png[:HEADER_END] + chunk(b"IDAT", b"") * (MAX_CHUNKS + 1) + png[HEADER_END:]
    assert code_of(countless) is ErrorCode.IMAGE_CORRUPT


def test_a_png_that_inflates_to_more_than_its_size_is_read_to_its_size(steel_frame):
    lines = b"".join(b"\0" + line.tobytes() for line in steel_frame(24, 40))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 40, 24, 8, 0, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(lines + bytes(20_000_000)))
    np.testing.assert_array_equal(decode(SIGNATURE + header + pixels + chunk(b"IEND", b"")), steel_frame(24, 40))
