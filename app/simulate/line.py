"""What a camera has to send: the drawn strip, or the files of a folder, as bodies of requests."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path
from typing import Protocol

from PIL import Image, UnidentifiedImageError

from app.simulate.plan import MOST_FRAMES, Camera, PlanError, Take
from app.simulate.planting import Planting
from synthetic.strip import Steel, Strip

FORMATS = ("raw", "png", "jpeg")
# Sensor noise does not compress: a higher level costs time and saves nothing.
PNG_COMPRESSION = 1
JPEG_QUALITY = 92
MEDIA_TYPES = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".bmp": "image/bmp",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
    ".webp": "image/webp",
}
# Streams of the cameras' own seeds begin behind those of the plan.
FIRST_CAMERA_STREAM = 100


@dataclass(frozen=True)
class Body:
    """The body of one request. query: what only raw pixels need said."""

    content: bytes
    media_type: str
    pixels: int
    query: Mapping[str, str] = field(default_factory=dict)


class Line(Protocol):
    """Whatever has a body for each frame; asked from threads."""

    def body(self, take: Take) -> Body:
        """The frame as it is sent."""


class DrawnLine:
    """A coil of synthetic steel."""

    def __init__(self, steel: Steel, cameras: Sequence[Camera], planting: Planting, encoding: str, seed: int) -> None:
        self._encoding = encoding
        self._strips = [
            Strip(steel, seed + FIRST_CAMERA_STREAM + camera.number, planting.of(camera)) for camera in cameras
        ]

    def body(self, take: Take) -> Body:
        """Drawn anew each time it is asked for, and always the same."""
        grey = self._strips[take.camera.number].rows(take.first_row, take.rows)
        height, width = grey.shape
        if self._encoding == "raw":
            query = {"width": str(width), "height": str(height), "pixel_format": "Mono8"}
            return Body(grey.tobytes(), "application/octet-stream", grey.size, query)
        file = io.BytesIO()
        if self._encoding == "png":
            Image.fromarray(grey).save(file, "PNG", compress_level=PNG_COMPRESSION)
        else:
            Image.fromarray(grey).save(file, "JPEG", quality=JPEG_QUALITY)
        return Body(file.getvalue(), f"image/{self._encoding}", grey.size)


@dataclass(frozen=True)
class FrameFile:
    """An image file of a folder, and its size in pixels."""

    path: Path
    width: int
    height: int


class FolderLine:
    """The files of a folder, dealt out to the cameras in turn, as often as the coil is long. Sent as they are."""

    def __init__(self, files: Sequence[FrameFile], cameras: int) -> None:
        self._shares = [files[number::cameras] for number in range(cameras)]

    def heights(self, length_px: float | None) -> list[list[int]]:
        """Rows of each camera's frames: all its files once, or whole files in turn for `length_px` rows."""
        if length_px is None:
            return [[file.height for file in share] for share in self._shares]
        return [_filled([file.height for file in share], length_px) for share in self._shares]

    def body(self, take: Take) -> Body:
        """The file's own bytes."""
        share = self._shares[take.camera.number]
        file = share[take.sequence % len(share)]
        return Body(file.path.read_bytes(), MEDIA_TYPES[file.path.suffix.lower()], file.width * file.height)


def _filled(heights: Sequence[int], length_px: float) -> list[int]:
    filled: list[int] = []
    rows = 0
    for height in islice(cycle(heights), MOST_FRAMES + 1):
        rows += height
        if rows > length_px:
            break
        filled.append(height)
    return filled


def read_folder(folder: Path) -> list[FrameFile]:
    """The image files directly in a folder, by name; only their heads are read. Raises `PlanError`."""
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in MEDIA_TYPES)
        files = [_measured(path) for path in paths]
    except OSError as error:
        raise PlanError(f"--folder: {folder}: {error.strerror or error}") from error
    if not files:
        raise PlanError(f"--folder: {folder} has no file that ends in {', '.join(MEDIA_TYPES)}")
    return files


def _measured(path: Path) -> FrameFile:
    try:
        with Image.open(path) as image:
            return FrameFile(path, *image.size)
    except (UnidentifiedImageError, Image.DecompressionBombError, ValueError, SyntaxError) as error:
        raise PlanError(f"--folder: {path} is no image that can be measured: {error}") from error
