"""Reviewed frames as a data folder that training takes: which go in, under which names, and where their defects are.

The contract of such a folder is in data/README.md. Nothing of a name that a client chose becomes part of a path as it
is.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import Image

from app.store.numbers import inspection_id
from app.store.reviews import Reviewed
from model.artifact import Fitting
from model.tiling import Fit

DEFECT = "defect"
# What training calls a defect of which nobody said more, and what stands for none.
UNNAMED, NO_DEFECT = "defect", "none"
SUFFIXES = {"jpeg": ".jpg", "png": ".png", "bmp": ".bmp", "tiff": ".tiff", "webp": ".webp"}
LABELS = "file", "label", "defect_type", "group"
# Bytes of a folder's name; file systems take 255.
MAX_FOLDER = 120

Box = tuple[int, int, int, int]
Mask = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Entry:
    """One frame of the folder. file: its path below it; boxes: what is white in its mask, none where it has none."""

    frame: Reviewed
    file: str
    label: str
    defect_type: str
    group: str
    boxes: Sequence[Box] = ()

    @property
    def mask(self) -> str | None:
        """Named after the image."""
        return f"masks/{inspection_id(self.frame.number)}.png" if self.boxes else None

    @property
    def row(self) -> tuple[str, str, str, str]:
        """Of labels.csv."""
        return self.file, self.label, self.defect_type, self.group


@dataclass(frozen=True)
class Placing:
    """Whether frames are taught tile by tile, which needs to know where a defect is, or whole. tile: in pixels."""

    fit: Fit
    tile: int

    @classmethod
    def of(cls, fitting: Fitting) -> "Placing":
        """As a version was taught."""
        return cls(fitting.fit, fitting.tile)

    def boxes(self, frame: Reviewed) -> Sequence[Box] | None:
        """What of a defective frame is masked: nothing where frames are taught whole, None where nobody can tell.

        A frame that is no larger than a tile is one tile, and that is a defect wherever on it the defect is.
        """
        if self.fit is Fit.RESIZE:
            return ()
        if frame.boxes:
            return frame.boxes
        if frame.width <= self.tile and frame.height <= self.tile:
            return ((0, 0, frame.width, frame.height),)
        return None


def entry(frame: Reviewed, placing: Placing) -> Entry | None:
    """Where a frame goes; None for a defect of which nobody said where on the frame it is, and training must know."""
    assert frame.file_format is not None
    name = inspection_id(frame.number) + SUFFIXES[frame.file_format]
    if frame.label != DEFECT:
        return Entry(frame, f"ok/{name}", frame.label, NO_DEFECT, group(frame))
    boxes = placing.boxes(frame)
    if boxes is None:
        return None
    defect_type = frame.defect_class or UNNAMED
    return Entry(frame, f"defect/{folder_name(defect_type)}/{name}", DEFECT, defect_type, group(frame), boxes)


def group(frame: Reviewed) -> str:
    """Frames that may show the same surface: the coil, or without one what a camera saw in a day (UTC).

    A day of a camera is far more than one surface. Too wide a group costs a little evidence, too narrow a one lets a
    network be tested on steel that it was taught.
    """
    if frame.coil_id and frame.coil_id.strip():
        return frame.coil_id.strip()
    camera = (frame.camera_id or "").strip() or "no camera"
    return f"{camera} {frame.received_at:%Y-%m-%d}"


def folder_name(defect_class: str) -> str:
    """The name of a folder for a defect class: letters, digits, "-" and "_" as they are, all else escaped.

    labels.csv has the class as it is, and wins over folders.

    >>> folder_name("rolled-in scale"), folder_name("../x")
    ('rolled-in%20scale', '%2E%2E%2Fx')
    """
    escaped = "".join(
        each if each.isalnum() or each in "-_" else "".join(f"%{byte:02X}" for byte in each.encode())
        for each in defect_class
    )
    if len(escaped.encode()) <= MAX_FOLDER:
        return escaped
    digest = hashlib.sha256(defect_class.encode()).hexdigest()[:12]
    return escaped.encode()[: MAX_FOLDER - 13].decode(errors="ignore").rstrip("%") + f"-{digest}"


def mask(width: int, height: int, boxes: Iterable[Box]) -> Mask:
    """White where a box is, uint8 (height, width); boxes: x, y, width, height.

    >>> mask(4, 2, [(1, 0, 2, 9)]).tolist()
    [[0, 255, 255, 0], [0, 255, 255, 0]]
    """
    drawn = np.zeros((height, width), np.uint8)
    for x, y, across, along in boxes:
        drawn[y : y + along, x : x + across] = 255
    return drawn


def png(drawn: Mask) -> bytes:
    """As a file."""
    target = BytesIO()
    Image.fromarray(drawn).save(target, "PNG")
    return target.getvalue()


def once(frames: Iterable[Reviewed]) -> tuple[list[Reviewed], int]:
    """One frame for every image file, the one reviewed last, and how many others there were.

    The same bytes may have been sent twice, and reviewed differently: what was said last counts, as for one frame.
    """
    latest: dict[str, Reviewed] = {}
    others = 0
    for frame in frames:
        assert frame.digest is not None
        known = latest.get(frame.digest)
        others += known is not None
        if known is None or known.review < frame.review:
            latest[frame.digest] = frame
    return sorted(latest.values(), key=lambda frame: frame.number), others
