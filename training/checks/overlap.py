"""Tiles that were cut from one frame with overlap and then took different sides.

Their structures are alike only where they overlap, at a shift that nobody told. The strongest marks of every structure
say where it could be: the patches round two views of one mark are alike, and their places give the shift, which is
then tried on the whole overlap.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.fft import dctn

from training.checks.candidates import Pairs, bucket_pairs
from training.checks.finding import Finding
from training.checks.likeness import BLOCK, SIDE, Structures, Surfaces
from training.checks.survey import Survey
from training.checks.twins import Twins, pair_finding
from training.scan import Record

Shift = npt.NDArray[np.intp]

# Marks of one structure, and px of the small copy that the patch round one reaches to each side.
MARKS, REACH = 12, 8
# Cosine coefficients a side that describe a patch: half the resolution, for a shift is rarely whole pixels of the copy.
COEFFICIENTS = 8
# Least correlation of two patches to try their shift, and of the whole overlap to believe it.
PATCH_ALIKE, OVERLAP_ALIKE = 0.9, 0.85
# How much less alike the overlap must be this far (px of the copy) along either axis.
DISTINCT = 0.15
BESIDE = np.array([(5, 0), (-5, 0), (0, 5), (0, -5)])
# Shifts tried for each image, the most alike patches first: bounds the time where every patch is like every other.
TRIED = 4
# Share of the area that must overlap: less has too few independent pixels for its correlation to mean anything.
MIN_OVERLAP = 0.2
# px of the copy at the border where evening out the contrast knew only one side.
RIM = 4
# Shifts up to this one were looked at by `twins`.
UNSHIFTED = 3


def overlap_findings(records: Sequence[Record], seen: Survey, twins: Twins) -> Iterable[Finding]:
    """Overlapping images in different groups. records: with groups."""
    pairs = overlaps(seen.surfaces)
    known = {tuple(pair) for pair in np.concatenate([twins.same_surface, twins.turned, twins.same_pixels]).tolist()}
    apart = [pair for pair in pairs.tolist() if tuple(pair) not in known and _groups_differ(records, *pair)]
    if apart:
        yield pair_finding("overlap_across_groups", records, np.array(apart, np.intp))


def _groups_differ(records: Sequence[Record], first: int, second: int) -> bool:
    return records[first].group != records[second].group


def overlaps(surfaces: Surfaces) -> Pairs:
    """Pairs (i, j) that show one surface shifted: intp (pairs, 2), each once."""
    image, place, patch = _marks(surfaces)
    pairs = bucket_pairs(patch, PATCH_ALIKE)
    first, second = pairs.T
    shift = place[second] - place[first]
    shifted = np.abs(shift).max(axis=1, initial=0) > UNSHIFTED
    large = np.prod(SIDE - np.abs(shift), axis=1) >= MIN_OVERLAP * SIDE**2
    chosen = np.flatnonzero((image[first] != image[second]) & shifted & large)
    alike = np.einsum("nc,nc->n", patch[first[chosen]], patch[second[chosen]])
    chosen = chosen[np.argsort(-alike, kind="stable")][: TRIED * len(surfaces)]
    found = [
        (image[first[one]], image[second[one]])
        for one in chosen
        if _fits(surfaces, image[first[one]], image[second[one]], shift[one])
    ]
    return np.unique(np.array(found, np.intp).reshape(-1, 2), axis=0)


def _marks(surfaces: Surfaces) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], Structures]:
    """Image (n,), place (n, 2) as (y, x), and described patch (n, coefficients) of unit length, of every mark."""
    images, places, patches = [], [], []
    for start in range(0, len(surfaces), BLOCK):
        structures = surfaces.load(slice(start, start + BLOCK))
        image, y, x = _strongest(np.abs(structures))
        windows = np.lib.stride_tricks.sliding_window_view(structures, (2 * REACH + 1, 2 * REACH + 1), (1, 2))
        waves = dctn(windows[image, y - REACH, x - REACH], axes=(1, 2), norm="ortho")
        described = waves[:, :COEFFICIENTS, :COEFFICIENTS].reshape(-1, COEFFICIENTS**2)
        images.append(image + start)
        places.append(np.stack([y, x], axis=1))
        patches.append(described / np.maximum(np.linalg.norm(described, axis=1, keepdims=True), 1e-9))
    return np.concatenate(images), np.concatenate(places), np.concatenate(patches).astype(np.float32)


def _strongest(strength: Structures) -> tuple[npt.NDArray[np.intp], ...]:
    """Image, y and x of the strongest local extremes of (n, SIDE, SIDE), at most MARKS an image, in order of images."""
    # Only where a whole patch fits round; the filter looks 2 px farther.
    inner = strength[:, REACH - 2 : 2 - REACH, REACH - 2 : 2 - REACH]
    highest = ndimage.maximum_filter(inner, (1, 5, 5))[:, 2:-2, 2:-2]
    within = inner[:, 2:-2, 2:-2]
    image, y, x = np.nonzero((within == highest) & (within > 0))
    order = np.lexsort((-within[image, y, x], image))
    image, y, x = image[order], y[order], x[order]
    rank = np.arange(len(image)) - np.searchsorted(image, image)
    best = rank < MARKS
    return image[best], y[best] + REACH, x[best] + REACH


def _fits(surfaces: Surfaces, first: int, second: int, shift: Shift) -> bool:
    """Whether the overlap that a shift leaves is one surface: alike there, and clearly less so a few pixels beside.

    Without the second, two images with one straight scratch each would fit at any shift along it.
    """
    left, right = surfaces.load(np.array([first, second]))
    at_shift = _correlation(left, right, shift)
    if at_shift < OVERLAP_ALIKE:
        return False
    return at_shift - max(_correlation(left, right, shift + beside) for beside in BESIDE) >= DISTINCT


def _correlation(left: Structures, right: Structures, shift: Shift) -> float:
    """Correlation of what two structures share if what lies at p in `left` lies at p + shift in `right`."""
    (top, top_right), (side, side_right) = (_spans(int(by)) for by in shift)
    one, other = left[top, side], right[top_right, side_right]
    one, other = one - one.mean(), other - other.mean()
    length = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float((one * other).sum()) / length if length > 0 else 0.0


def _spans(by: int) -> tuple[slice, slice]:
    """Where the overlap lies along one axis, in the left and in the right structure, without their rims.

    >>> _spans(20)
    (slice(4, 40, None), slice(24, 60, None))
    """
    length = SIDE - 2 * RIM - abs(by)
    return slice(RIM + max(0, -by), RIM + max(0, -by) + length), slice(RIM + max(0, by), RIM + max(0, by) + length)
