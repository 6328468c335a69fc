"""model.image: the same pixels whichever way they arrive."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from model.errors import ErrorCode, SteelsightError
from model.image import Limits, PixelFormat, decode, from_raw

LOSSLESS = ("png", "bmp", "tiff", "tiff-lzw", "tiff-deflate", "tiff-packbits", "webp")
WITH_ORIENTATION = ("jpeg", "png", "tiff", "tiff-lzw", "webp")
ORIENTATION_TAG = 274
# How a camera stores an upright picture so that the tag turns it upright again.
STORED = {
    1: lambda upright: upright,
    2: np.fliplr,
    3: lambda upright: np.rot90(upright, 2),
    4: np.flipud,
    5: np.transpose,
    6: lambda upright: np.rot90(upright, 1),
    7: lambda upright: np.rot90(upright, 2).T,
    8: lambda upright: np.rot90(upright, -1),
}


def refusal(data, **options):
    with pytest.raises(SteelsightError) as caught:
        decode(data, **options)
    return caught.value.code


def colours(height=21, width=34):
    return np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)


@pytest.fixture
def words():
    """16-bit grey that uses the whole range: uint16 (21, 34)."""
    return np.random.default_rng(2).integers(0, 2**16, (21, 34), np.uint16)


class TestSamePixelsFromEveryContainer:
    @pytest.mark.parametrize("container", LOSSLESS)
    def test_grey_is_unchanged(self, container, make_file, steel_frame):
        grey = steel_frame(45, 67)
        decoded = decode(make_file(grey, container))
        assert decoded.dtype == np.uint8
        np.testing.assert_array_equal(decoded, grey)

    @pytest.mark.parametrize("container", LOSSLESS)
    def test_colour_becomes_the_same_luma(self, container, make_file, luma):
        rgb = colours()
        decoded = decode(make_file(rgb, container))
        np.testing.assert_array_equal(decoded, decode(make_file(rgb, "png")))
        assert np.abs(decoded - luma(rgb)).max() <= 0.51

    @pytest.mark.parametrize("container", [name for name in LOSSLESS if name != "webp"])
    def test_palette_stands_for_its_colours(self, container, make_file):
        rgb = colours() // 64 * 64
        palette = Image.fromarray(rgb).quantize(256, dither=Image.Dither.NONE)
        np.testing.assert_array_equal(
            decode(make_file(palette, container)), decode(make_file(palette.convert("RGB"), "png"))
        )

    @pytest.mark.parametrize("depth", [1, 2, 4])
    def test_shallow_grey_spans_black_to_white(self, depth, make_png):
        levels = 2**depth
        line = np.arange(16) % levels
        bits = np.unpackbits(line.astype(np.uint8)[:, None], axis=1)[:, 8 - depth :]
        png = make_png((b"\0" + np.packbits(bits.ravel()).tobytes()) * 8, 16, 8, depth=depth)
        np.testing.assert_array_equal(decode(png)[3], line * 255 // (levels - 1))

    @pytest.mark.parametrize("container", ["png", "tiff", "tiff-lzw", "webp"])
    @pytest.mark.parametrize("alpha", [0, 7, 255])
    def test_alpha_is_ignored(self, container, alpha, make_file):
        rgb = colours()
        transparent = np.dstack([rgb, np.full(rgb.shape[:2], alpha, np.uint8)])
        np.testing.assert_array_equal(decode(make_file(transparent, container)), decode(make_file(rgb, "png")))

    def test_transparent_colour_and_palette_entries_are_ignored(self, make_file):
        palette = Image.fromarray(colours()).quantize(16)
        plain = decode(make_file(palette, "png"))
        np.testing.assert_array_equal(decode(make_file(palette, "png", transparency=bytes(range(16)))), plain)
        np.testing.assert_array_equal(decode(make_file(palette, "png", transparency=3)), plain)
        grey = colours()[..., 0]
        np.testing.assert_array_equal(decode(make_file(grey, "png", transparency=int(grey[0, 0]))), grey)

    def test_jpeg_grey_is_near_what_was_seen(self, make_file, steel_frame):
        grey = steel_frame(64, 96)
        for container in ("jpeg", "jpeg-progressive", "jpeg-restart"):
            assert np.abs(decode(make_file(grey, container)).astype(int) - grey).mean() < 4

    def test_decoding_twice_gives_the_same(self, make_file, steel_frame):
        for container in ("jpeg", "webp-lossy"):
            data = make_file(steel_frame(64, 96), container)
            np.testing.assert_array_equal(decode(data), decode(data))


class TestDeepPixelsKeepTheirHighBits:
    def test_png(self, words, make_png):
        lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in words)
        np.testing.assert_array_equal(decode(make_png(lines, 34, 21, depth=16)), words >> 8)

    @pytest.mark.parametrize("order", ["<", ">"])
    def test_tiff_of_either_byte_order(self, words, order, make_tiff):
        tiff = make_tiff([words.astype(order + "u2").tobytes()], 34, 21, bits=(16,), order=order)
        np.testing.assert_array_equal(decode(tiff), words >> 8)

    @pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate"])
    def test_tiff_as_pillow_writes_it(self, words, compression):
        target = io.BytesIO()
        Image.fromarray(words).save(target, "TIFF", compression=compression)
        np.testing.assert_array_equal(decode(target.getvalue()), words >> 8)

    def test_raw_mono16(self, words):
        raw = from_raw(words.astype("<u2").tobytes(), 34, 21, PixelFormat.MONO16)
        np.testing.assert_array_equal(raw, words >> 8)

    @pytest.mark.parametrize(("pixel_format", "bits"), [("Mono10", 10), ("Mono12", 12)])
    def test_raw_mono10_and_mono12(self, words, pixel_format, bits):
        deep = words >> (16 - bits)
        raw = from_raw(deep.astype("<u2").tobytes(), 34, 21, PixelFormat(pixel_format))
        np.testing.assert_array_equal(raw, words >> 8)

    def test_tiff_of_12_packed_bits(self, words, make_tiff):
        deep = words >> 4
        pairs = deep.reshape(-1, 2).astype(np.uint32)
        packed = np.stack([pairs[:, 0] >> 4, (pairs[:, 0] & 15) << 4 | pairs[:, 1] >> 8, pairs[:, 1] & 255], axis=1)
        tiff = make_tiff([packed.astype(np.uint8).tobytes()], 34, 21, bits=(12,))
        np.testing.assert_array_equal(decode(tiff), words >> 8)

    def test_white_is_zero_is_inverted(self, words, make_tiff):
        tiff = make_tiff([words.astype("<u2").tobytes()], 34, 21, bits=(16,), photometric=0)
        np.testing.assert_array_equal(decode(tiff), (65535 - words) >> 8)

    def test_white_is_zero_in_big_endian_is_refused_rather_than_shown_as_a_negative(self, words, make_tiff):
        tiff = make_tiff([words.astype(">u2").tobytes()], 34, 21, bits=(16,), order=">", photometric=0)
        assert refusal(tiff) is ErrorCode.IMAGE_CORRUPT

    def test_white_is_zero_is_inverted_at_8_bit_too(self, words, make_tiff):
        grey = (words >> 8).astype(np.uint8)
        np.testing.assert_array_equal(decode(make_tiff([grey.tobytes()], 34, 21, photometric=0)), 255 - grey)

    def test_16_bit_colour_png(self, make_png, make_file):
        deep = np.random.default_rng(3).integers(0, 2**16, (21, 34, 3), np.uint16)
        lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in deep)
        shallow = (deep >> 8).astype(np.uint8)
        np.testing.assert_array_equal(
            decode(make_png(lines, 34, 21, depth=16, colour=2)), decode(make_file(shallow, "png"))
        )

    @pytest.mark.parametrize(("mode", "dtype"), [("I", np.int32), ("F", np.float32)])
    def test_signed_and_floating_pixels_are_refused(self, mode, dtype):
        target = io.BytesIO()
        Image.fromarray(np.ones((16, 16), dtype)).save(target, "TIFF")
        assert Image.open(target).mode == mode
        assert refusal(target.getvalue()) is ErrorCode.IMAGE_PIXEL_TYPE_UNSUPPORTED


@pytest.mark.parametrize("container", ["tiff", "tiff-lzw", "jpeg"])
def test_cmyk_is_not_inverted(container, make_file):
    ink = np.zeros((16, 64, 4), np.uint8)
    ink[..., 3] = np.repeat(np.arange(0, 256, 32, np.uint8), 8)
    decoded = decode(make_file(Image.fromarray(ink, "CMYK"), container)).astype(int)
    assert np.abs(decoded - (255 - ink[..., 3].astype(int))).max() <= 2


class TestOrientation:
    def upright(self):
        """Blocks of 16 px that no turn or mirror maps onto each other, so that JPEG keeps them."""
        return np.kron(np.array([[0, 50, 100], [150, 200, 250]], np.uint8), np.ones((16, 16), np.uint8))

    @pytest.mark.parametrize("container", WITH_ORIENTATION)
    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_is_applied_once(self, container, orientation, make_file):
        stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](self.upright())))
        if container.startswith("tiff"):
            data = make_file(stored, container, tiffinfo={ORIENTATION_TAG: orientation})
        else:
            exif = Image.Exif()
            exif[ORIENTATION_TAG] = orientation
            data = make_file(stored, container, exif=exif)
        decoded = decode(data)
        assert decoded.shape == self.upright().shape
        assert np.abs(decoded.astype(int) - self.upright()).max() <= (2 if container == "jpeg" else 0)

    @pytest.mark.parametrize("orientation", range(1, 9))
    @pytest.mark.parametrize("photometric", [0, 1])
    def test_of_a_16_bit_tiff(self, orientation, photometric, make_tiff):
        deep = self.upright().astype(np.uint16) * 257
        stored = STORED[orientation](deep if photometric else 65535 - deep)
        height, width = stored.shape
        tiff = make_tiff(
            [np.ascontiguousarray(stored).astype("<u2").tobytes()],
            width,
            height,
            bits=(16,),
            photometric=photometric,
            extra=[(ORIENTATION_TAG, 3, [orientation])],
        )
        np.testing.assert_array_equal(decode(tiff), self.upright())

    def test_an_impossible_value_changes_nothing(self, make_tiff):
        grey = self.upright()
        tiff = make_tiff([grey.tobytes()], 48, 32, extra=[(ORIENTATION_TAG, 3, [77])])
        np.testing.assert_array_equal(decode(tiff), grey)


class TestRawFrames:
    def refusal(self, *arguments, **options):
        with pytest.raises(SteelsightError) as caught:
            from_raw(*arguments, **options)
        return caught.value.code

    def test_mono8_is_unchanged(self, steel_frame):
        grey = steel_frame(33, 65)
        np.testing.assert_array_equal(from_raw(grey.tobytes(), 65, 33, PixelFormat.MONO8), grey)

    @pytest.mark.parametrize("length", [1, 255, 257, 512])
    def test_wrong_number_of_bytes(self, length):
        assert self.refusal(b"x" * length, 16, 16, PixelFormat.MONO8) is ErrorCode.RAW_FRAME_INVALID

    @pytest.mark.parametrize("pixel_format", [PixelFormat.MONO10, PixelFormat.MONO12, PixelFormat.MONO16])
    def test_deep_frames_have_two_bytes_a_pixel(self, pixel_format):
        assert from_raw(bytes(512), 16, 16, pixel_format).shape == (16, 16)
        assert self.refusal(bytes(256), 16, 16, pixel_format) is ErrorCode.RAW_FRAME_INVALID

    @pytest.mark.parametrize(("pixel_format", "bits"), [(PixelFormat.MONO10, 10), (PixelFormat.MONO12, 12)])
    def test_values_beyond_the_depth(self, pixel_format, bits):
        pixels = np.full((16, 16), 2**bits - 1, "<u2")
        assert from_raw(pixels.tobytes(), 16, 16, pixel_format).min() == 255
        pixels[7, 3] += 1
        assert self.refusal(pixels.tobytes(), 16, 16, pixel_format) is ErrorCode.RAW_FRAME_INVALID

    def test_no_bytes(self):
        assert self.refusal(b"", 16, 16, PixelFormat.MONO8) is ErrorCode.BODY_EMPTY

    @pytest.mark.parametrize(("width", "height"), [(0, 16), (16, 0), (-16, 16), (16, -16), (-16, -16), (7, 100)])
    def test_sizes_that_are_no_frame(self, width, height):
        data = bytes(max(1, abs(width * height)))
        assert self.refusal(data, width, height, PixelFormat.MONO8) is ErrorCode.IMAGE_TOO_SMALL

    def test_too_many_pixels(self):
        limits = Limits(max_pixels=1000)
        code = self.refusal(bytes(1600), 40, 40, PixelFormat.MONO8, limits=limits)
        assert code is ErrorCode.IMAGE_TOO_LARGE


class TestLimits:
    @pytest.mark.parametrize("container", LOSSLESS)
    def test_are_inclusive(self, container, make_file, steel_frame):
        data = make_file(steel_frame(8, 25), container)
        assert decode(data, Limits(max_pixels=200)).shape == (8, 25)
        assert refusal(data, limits=Limits(max_pixels=199)) is ErrorCode.IMAGE_TOO_LARGE
        assert refusal(data, limits=Limits(min_side=9)) is ErrorCode.IMAGE_TOO_SMALL

    def test_no_bytes(self):
        assert refusal(b"") is ErrorCode.BODY_EMPTY

    def test_a_frame_of_one_byte_height_is_too_small(self, make_tiff):
        assert refusal(make_tiff([struct.pack("<400B", *[1] * 400)], 400, 1)) is ErrorCode.IMAGE_TOO_SMALL
