"""One image -> what is remembered of it: a few figures, a hash of its pixels, and the structure it is compared by."""

import io
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from model.errors import SteelsightError
from model.image import FORMATS, Frame, decode
from training.checks.likeness import Packed, pack, structure
from training.dataset import MASK_LEVEL
from training.identity import pixel_digest
from training.scan import Record

Histogram = npt.NDArray[np.intp]
Inside = npt.NDArray[np.bool_]

# Pixels counted as defect at the least before the surface outside a mask is measured alone, and left over at the
# least: a mask that covers all but a rim says nothing about the surface.
MIN_OUTSIDE = 0.2
# Of the rows and columns that a mask reaches over: where it changes at so few of them it is made of boxes, which have
# four edges each. Of fewer than BOX_SIDE nobody can tell.
EDGES, BOX_SIDE = 1 / 8, 16


@dataclass(frozen=True, slots=True)
class Signature:
    """What one readable image looks like, in about half a kilobyte.

    pixels: `pixel_digest`. pixel_type: container and Pillow's mode, as stored ("PNG I;16").
    brightest: largest of the decoded grey values.
    brightness, contrast: mean and standard deviation of the grey values, 0 to 255; sharpness: mean absolute
    difference of neighbours across the rolling direction over contrast; dark, bright: share of pixels at 0 and
    at 255. Of a masked defect these are taken outside the mask, so that they tell of the light, not of the defect.
    mask_fault: a kind of `finding.KINDS`, or None. masked: share of the pixels under a sound mask, None without one.
    mask_boxes: whether it is made of boxes, None where nobody can tell.
    """

    pixels: str
    height: int
    width: int
    pixel_type: str
    brightest: int
    constant: bool
    brightness: float
    contrast: float
    sharpness: float
    dark: float
    bright: float
    mask_fault: str | None
    masked: float | None
    mask_boxes: bool | None


def sign(record: Record, cut_by_mask: bool) -> tuple[Signature, Packed] | None:
    """Signature and packed structure int8 (SIDE, SIDE) of a record; None if its image cannot be read.

    cut_by_mask: other defects of this folder have masks, so that one without is a fault.
    """
    try:
        data = record.path.read_bytes()
        frame = decode(data)
    except (SteelsightError, OSError):
        return None
    mask, fault = _mask(record, frame, cut_by_mask)
    masked, boxes = (None, None) if mask is None else (float(mask.mean()), made_of_boxes(mask))
    outside = None if mask is None else ~mask
    if outside is not None and outside.mean() < MIN_OUTSIDE:
        outside = None
    histogram = np.bincount(frame.ravel() if outside is None else frame[outside], minlength=256)
    brightness, contrast = _moments(histogram)
    count = histogram.sum()
    brightest = int(frame.max())
    signature = Signature(
        pixels=pixel_digest(frame),
        height=frame.shape[0],
        width=frame.shape[1],
        pixel_type=_pixel_type(data),
        brightest=brightest,
        constant=int(frame.min()) == brightest,
        brightness=brightness,
        contrast=contrast,
        sharpness=_sharpness(frame, outside, contrast),
        dark=float(histogram[0] / count),
        bright=float(histogram[255] / count),
        mask_fault=fault,
        masked=masked,
        mask_boxes=boxes,
    )
    return signature, pack(structure(frame))


def _mask(record: Record, frame: Frame, cut_by_mask: bool) -> tuple[Inside | None, str | None]:
    """Defect pixels bool (height, width), None where they are not known; and what is wrong with the mask."""
    if record.mask is None:
        return None, "mask_missing" if cut_by_mask and record.label == "defect" else None
    try:
        drawn = decode(record.mask.read_bytes())
    except (SteelsightError, OSError):
        return None, "mask_unreadable"
    mask = drawn >= MASK_LEVEL
    if record.label == "ok":
        return None, "mask_on_ok" if mask.any() else None
    if mask.shape != frame.shape:
        return None, "mask_size"
    if mask.any():
        return mask, None
    # A mask of 0 and 1, or of a palette's dark colours, looks black and is not.
    return mask, "mask_dark" if drawn.any() else "mask_empty"


def made_of_boxes(mask: Inside) -> bool | None:
    """Whether a mask, bool (height, width), is made of boxes that lie along its sides; None where nobody can tell.

    Nobody can of one that is small, or has no edge.

    >>> box = np.zeros((40, 40), bool)
    >>> box[5:25, 10:30] = True
    >>> made_of_boxes(box), made_of_boxes(np.tri(40, dtype=bool)), made_of_boxes(box[5:25, 10:30])
    (True, False, None)
    """
    edges = []
    for along in (mask, mask.T):
        reached = np.count_nonzero(along.any(axis=1))
        if reached < BOX_SIDE or mask.all():
            return None
        changes = np.count_nonzero((along[1:] != along[:-1]).any(axis=1))
        edges.append(changes <= EDGES * reached)
    return all(edges)


def _moments(histogram: Histogram) -> tuple[float, float]:
    """Mean and standard deviation of the grey values."""
    levels = np.arange(256)
    mean = float(histogram @ levels / histogram.sum())
    variance = float(histogram @ (levels - mean) ** 2 / histogram.sum())
    return mean, variance**0.5


def _sharpness(frame: Frame, outside: Inside | None, contrast: float) -> float:
    """0 for an image without contrast."""
    # Differences of uint8 as uint8: the larger minus the smaller never wraps, and nothing is copied to a wider type.
    left, right = frame[:, :-1], frame[:, 1:]
    steps = np.maximum(left, right) - np.minimum(left, right)
    mean = steps.mean() if outside is None else steps[outside[:, 1:]].mean()
    return float(mean) / contrast if contrast > 0 else 0.0


def _pixel_type(data: bytes) -> str:
    """Of bytes that were decoded already, so that the header is known to be sound."""
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        return f"{image.format} {image.mode}"


def signs(records: list[Record], cut_by_mask: bool) -> list[tuple[Signature, Packed] | None]:
    """`sign` of several records: what one worker is handed at a time."""
    return [sign(record, cut_by_mask) for record in records]
