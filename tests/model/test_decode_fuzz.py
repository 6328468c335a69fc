"""Files that were good, with bytes changed, cut out or doubled: a frame or a refusal, and the same again."""

import io

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from model.errors import SteelsightError
from model.image import Frame, Limits, decode

KINDS = {
    "PNG": {},
    "JPEG": {},
    "JPEG progressive": {"progressive": True},
    "BMP": {},
    "WEBP": {"lossless": True},
    "TIFF": {},
    "TIFF LZW": {"compression": "tiff_lzw"},
    "TIFF deflate": {"compression": "tiff_adobe_deflate"},
    "TIFF JPEG": {"compression": "jpeg"},
}
LIMITS = Limits(max_pixels=1_000_000)


def whole(kind: str) -> bytes:
    target = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (24, 32), np.uint8)
    Image.fromarray(pixels).save(target, kind.partition(" ")[0], **KINDS[kind])
    return target.getvalue()


@st.composite
def mutated(draw, kind: str) -> bytes:
    data = bytearray(whole(kind))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data) - 1))
        change = draw(st.sampled_from(["byte", "cut", "insert", "double", "zero", "ones"]))
        length = draw(st.integers(1, 16))
        if change == "byte":
            data[at] = draw(st.integers(0, 255))
        elif change == "cut":
            del data[at : at + length]
        elif change == "insert":
            data[at:at] = draw(st.binary(min_size=1, max_size=16))
        elif change == "double":
            data[at:at] = data[at : at + length]
        else:
            data[at : at + length] = (b"\0" if change == "zero" else b"\xff") * len(data[at : at + length])
        if not data:
            data = bytearray(b"\0")
    return bytes(data)


def told(data: bytes) -> Frame | tuple[str, str]:
    try:
        return decode(data, LIMITS)
    except SteelsightError as error:
        return error.code, error.message


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_changed_file_is_a_frame_or_a_refusal_and_the_same_again(kind, data):
    file = data.draw(mutated(kind))
    first, second = told(file), told(file)
    if isinstance(first, tuple):
        assert first == second
    else:
        assert first.dtype == np.uint8
        assert first.ndim == 2
        assert isinstance(second, np.ndarray)
        assert np.array_equal(first, second)
