"""model.jpeg: Pillow's pixels, from whole files only."""

import io
import itertools
import re
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from model.errors import ErrorCode, SteelsightError
from model.image import decode

END = b"\xff\xd9"
SCAN = b"\xff\xda"
OPTIONS = (
    {},
    {"progressive": True},
    {"optimize": True},
    {"restart_marker_rows": 1},
    {"restart_marker_blocks": 3},
    {"progressive": True, "restart_marker_blocks": 5},
)


def encoded(pixels, **options):
    target = io.BytesIO()
    Image.fromarray(pixels).save(target, "JPEG", **options)
    return target.getvalue()


def by_pillow(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("L"))


def is_refused(data):
    try:
        decode(data)
    except SteelsightError as error:
        assert error.code is ErrorCode.IMAGE_CORRUPT
        return True
    return False


def end_of_coded_data(data):
    assert data.endswith(END)
    return len(data) - len(END)


@pytest.fixture(scope="module")
def colour(steel_frame):
    return np.dstack([steel_frame(88, 120, seed=seed) for seed in range(3)])


@pytest.fixture(scope="module")
def files(steel_frame, colour):
    """Grey and colour, by every option."""
    return [encoded(pixels, quality=90, **options) for pixels in (steel_frame(88, 120), colour) for options in OPTIONS]


class TestTheSamePixelsAsPillow:
    @given(
        height=st.integers(8, 70),
        width=st.integers(8, 70),
        quality=st.integers(1, 100),
        options=st.sampled_from(OPTIONS),
        subsampling=st.sampled_from([None, "4:4:4", "4:2:2", "4:2:0"]),
        seed=st.integers(0, 2**32 - 1),
    )
    @settings(max_examples=150)
    def test_whatever_the_encoder_does(self, height, width, quality, options, subsampling, seed):
        """None: a grey image."""
        shape = (height, width) if subsampling is None else (height, width, 3)
        pixels = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
        chroma = {} if subsampling is None else {"subsampling": subsampling}
        data = encoded(pixels, quality=quality, **options, **chroma)
        np.testing.assert_array_equal(decode(data), by_pillow(data))

    def test_of_a_file_that_stores_rgb(self, colour):
        data = encoded(colour, quality=90, keep_rgb=True)
        np.testing.assert_array_equal(decode(data), by_pillow(data))


class TestDataThatAreMissing:
    def test_a_cut_is_refused_with_and_without_an_end_mark(self, files):
        for data in files:
            first = data.index(SCAN) + 14
            for cut in np.linspace(first, end_of_coded_data(data) - 2, 40).astype(int):
                part = data[:cut].rstrip(b"\xff")
                assert is_refused(part)
                assert is_refused(part + END)

    def test_a_cut_between_two_scans_is_refused(self, files):
        progressive = [data for data in files if data.count(SCAN) > 2]
        assert progressive
        for data in progressive:
            for scan in [found.start() for found in re.finditer(SCAN, data)][1:]:
                assert is_refused(data[:scan] + END)

    @pytest.mark.parametrize("lost", [600, 1500])
    def test_a_gap_is_refused(self, steel_frame, lost):
        """As long as a lost packet. Baseline: progressive scans may end by chance where the file does."""
        data = encoded(steel_frame(256, 256), quality=95)
        starts = np.linspace(data.index(SCAN) + 14, end_of_coded_data(data) - lost - 2, 40).astype(int)
        assert sum(is_refused(data[:start] + data[start + lost :]) for start in starts) >= 39

    def test_restart_intervals_are_missed_each(self, steel_frame):
        data = encoded(steel_frame(88, 120), quality=90, restart_marker_rows=1)
        marks = [found.start() for found in re.finditer(rb"\xff[\xd0-\xd7]", data)]
        assert len(marks) > 5
        for start, end in itertools.pairwise(marks):
            assert is_refused(data[:start] + data[end:])


class TestWholeFilesThatLookOdd:
    def test_stray_bytes_between_segments(self, files):
        for data in files:
            whole = decode(data)
            for marker in (b"\xff\xdb", b"\xff\xc4", SCAN):
                position = data.index(marker)
                for stray in (b"\0", b"\0\0\0\0\0", b"\xff\xff", b"junk"):
                    np.testing.assert_array_equal(decode(data[:position] + stray + data[position:]), whole)

    @pytest.mark.parametrize("padding", [b"\0", bytes(500), b"\xff" * 9, b"\x55" * 30])
    def test_padding_before_the_end_mark(self, files, padding):
        for data in files:
            end = end_of_coded_data(data)
            np.testing.assert_array_equal(decode(data[:end] + padding + END), decode(data))

    def test_both_at_once(self, files):
        for data in files:
            position, end = data.index(b"\xff\xc4"), end_of_coded_data(data)
            odd = data[:position] + b"stray" + data[position:end] + bytes(40) + END
            np.testing.assert_array_equal(decode(odd), decode(data))

    def test_bytes_after_the_end_mark(self, files):
        for data in files:
            np.testing.assert_array_equal(decode(data + b"appended by the camera"), decode(data))

    def test_a_version_of_jfif_that_is_not_known(self, files):
        for data in files:
            version = data.index(b"JFIF\0") + 5
            odd = data[:version] + b"\x07" + data[version + 1 :]
            np.testing.assert_array_equal(decode(odd), decode(data))
            assert is_refused(odd[: len(odd) // 2] + END)

    def test_an_adobe_transform_that_is_not_known(self, colour):
        data = encoded(colour, quality=90)
        adobe = b"\xff\xee" + struct.pack(">H5sHHHB", 14, b"Adobe", 100, 0, 0, 76)
        odd = data[:2] + adobe + data[2:]
        np.testing.assert_array_equal(decode(odd), by_pillow(odd))
        assert is_refused(odd[: len(odd) // 2] + END)


class TestHostileHeaders:
    """Each would keep a byte-by-byte reader busy, or a decoder passing over the same blocks."""

    @pytest.mark.parametrize(
        "filling", [b"\xff" * 3_000_000, b"\xff\0" * 1_000_000, b"\0" * 3_000_000, b"\xff\xfe\0\2" * 500_000]
    )
    def test_are_refused(self, steel_frame, filling):
        data = encoded(steel_frame(16, 16))
        position = data.index(b"\xff\xdb")
        assert is_refused(data[:position] + filling + data[position:])

    def test_hundreds_of_scans_are_refused(self, steel_frame):
        data = encoded(steel_frame(16, 16), progressive=True)
        last = data[data.rindex(SCAN) : -len(END)]
        assert is_refused(data[: -len(END)] + last * 300 + END)
