"""How alike two images are, whatever the lamp and the exposure: their fine structure, correlated.

What is compared is a small copy freed of lighting and of local contrast. Copies of one surface correlate; different
surfaces do not. `Surfaces` holds those of a whole folder, on disk where there are many.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.fft import dctn

from model.image import Frame
from model.tiling import resize

Structures = npt.NDArray[np.float32]
Packed = npt.NDArray[np.int8]
Indices = npt.NDArray[np.intp]
Versions = Callable[[Indices], list[Structures]]

SIDE = 64
# px of the small copy. Structure finer than FINE is sensor noise; coarser than COARSE is lighting and shape.
FINE, COARSE = 1.0, 4.0
# px of the small copy, both ways along the rolling direction: 3 % of the image's height, for a strip moves between
# exposures.
MAX_SHIFT = 2
# Steps of a packed structure per standard deviation of its values: int8 then holds four deviations, and rounding
# costs less than 0.0002 of a correlation.
STEPS = 32
# Cosine coefficients of the sketch: few along the rolling direction, for those that a shift of MAX_SHIFT turns over
# say nothing. Measured: of the pairs that correlate by 0.6 or more, on generated and on photographed exposure series,
# all have sketches that correlate by 0.55 or more (99.9 %), of the others 1 % at most.
SKETCH_ROWS, SKETCH_COLUMNS = 8, 28
# Coefficients a side of the sketch that flips and turns leave as it is.
UNTURNED_SIDE = 12
# Images from which what all of them share is taken off: of fewer, their mean is mostly themselves.
MIN_COMMON = 32
# Structures unpacked at a time: 512 are 8 MB.
BLOCK = 512


def _blur(deviation: float) -> Structures:
    """Gaussian blur along one axis as a matrix (SIDE, SIDE): two small products beat two filters five times."""
    return np.asarray(ndimage.gaussian_filter1d(np.eye(SIDE), deviation, axis=0), np.float32)


BLUR_FINE, BLUR_COARSE = _blur(FINE), _blur(COARSE)


def structure(frame: Frame) -> Structures:
    """What is compared of a uint8 frame (height, width): float32 (SIDE, SIDE), zero mean and unit length.

    All zeros where there is no structure, so that two blank images do not count as the same surface.
    """
    # The logarithm turns another exposure, which multiplies, into an offset that the coarse scale takes away.
    small = np.log1p(resize(frame, SIDE).astype(np.float32))
    band = BLUR_FINE @ small @ BLUR_FINE.T - BLUR_COARSE @ small @ BLUR_COARSE.T
    contrast = np.sqrt(BLUR_COARSE @ band**2 @ BLUR_COARSE.T)
    # Contrast below a thousandth is rounding, not structure.
    even = np.divide(band, contrast, out=np.zeros_like(band), where=contrast > 1e-3)
    return _unit(even - even.mean())


def pack(structures: Structures) -> Packed:
    """Structures of unit length as int8, a quarter of the space; `Surfaces.load` gives them back to 0.2 %."""
    return np.asarray(np.clip(np.rint(structures * (SIDE * STEPS)), -127, 127), np.int8)


@dataclass(frozen=True)
class Surfaces:
    """The structures of a folder: packed, int8 (n, SIDE, SIDE), possibly on disk."""

    packed: Packed

    def __len__(self) -> int:
        return len(self.packed)

    @cached_property
    def common(self) -> Structures:
        """What all images share, float32 (SIDE, SIDE): the fixture, the part's outline, the edge of the frame.

        It would make every pair of a part's images alike; a rolled surface has next to none of it.
        """
        if len(self) < MIN_COMMON:
            return np.zeros((SIDE, SIDE), np.float32)
        blocks = range(0, len(self), BLOCK)
        total = np.sum([self._unpack(slice(start, start + BLOCK)).sum(axis=0) for start in blocks], axis=0)
        return np.asarray(total / len(self), np.float32)

    def load(self, indices: Indices | slice) -> Structures:
        """The chosen structures without what all share: float32 (k, SIDE, SIDE), unit length; blank ones stay zero."""
        return self._without_common(self._unpack(indices))

    def _without_common(self, structures: Structures) -> Structures:
        blank = ~structures.any(axis=(1, 2), keepdims=True)
        return _unit(np.where(blank, np.float32(0), structures - self.common))

    def _unpack(self, indices: Indices | slice) -> Structures:
        return _unit(self.packed[indices].astype(np.float32))

    @cached_property
    def sketches(self) -> tuple[Structures, Structures]:
        """Perceptual hashes of every image, each float32 (n, coefficients) and of unit length.

        The first are the low cosine coefficients; the second what flips and quarter turns leave of them, for a flip
        changes signs of the coefficients only and a turn swaps rows and columns.
        """
        upright, unturned = [], []
        for start in range(0, len(self), BLOCK):
            whole = self._unpack(slice(start, start + BLOCK))
            waves = dctn(self._without_common(whole), axes=(1, 2), norm="ortho")
            upright.append(_unit(waves[:, :SKETCH_ROWS, :SKETCH_COLUMNS]))
            # What all images share turns with a copy: it can be taken off after turning back only.
            waves = dctn(whole, axes=(1, 2), norm="ortho")
            # The root keeps the few strong coefficients from being all that counts.
            magnitude = np.sqrt(np.abs(waves[:, :UNTURNED_SIDE, :UNTURNED_SIDE]))
            unturned.append(magnitude + magnitude.transpose(0, 2, 1))
        turned_any = np.concatenate(unturned)
        blank = ~turned_any.any(axis=(1, 2), keepdims=True)
        # Magnitudes are all positive: only how they differ from the usual tells images apart.
        usual = turned_any.mean(axis=0) if len(self) >= MIN_COMMON else turned_any.mean()
        differing = _unit(np.where(blank, np.float32(0), turned_any - usual))
        return np.concatenate(upright).reshape(len(self), -1), differing.reshape(len(self), -1)

    def upright_likeness(self, first: Indices, second: Indices) -> npt.NDArray[np.float32]:
        """Correlation of each pair as it lies, the best over shifts along the rolling direction: float32 (pairs,)."""
        shifts = range(-MAX_SHIFT, MAX_SHIFT + 1)
        return self._best(first, second, lambda left: [np.roll(self.load(left), shift, axis=1) for shift in shifts])

    def turned_likeness(self, first: Indices, second: Indices) -> npt.NDArray[np.float32]:
        """The best correlation of each pair over flips and quarter turns: float32 (pairs,)."""

        def laid(copies: Indices) -> list[Structures]:
            return [self._without_common(version) for version in _turned(self._unpack(copies))]

        # Either may be the copy, which turned back shows what all images share where the others have it.
        return np.maximum(self._best(first, second, laid), self._best(second, first, laid))

    def _best(self, first: Indices, second: Indices, versions: Versions) -> npt.NDArray[np.float32]:
        best = np.full(len(first), -1, np.float32)
        for start in range(0, len(first), BLOCK):
            chosen = slice(start, start + BLOCK)
            right = self.load(second[chosen])
            found = [np.einsum("nyx,nyx->n", left, right) for left in versions(first[chosen])]
            best[chosen] = np.max(found, axis=0)
        return best


def _turned(structures: Structures) -> list[Structures]:
    """All eight ways to lay a square (n, SIDE, SIDE)."""
    mirrored = structures[:, :, ::-1]
    return [np.rot90(laid, quarter, axes=(1, 2)) for laid in (structures, mirrored) for quarter in range(4)]


def _unit(values: Structures) -> Structures:
    """(..., rows, columns) scaled to unit length over the last two axes; zeros stay zeros."""
    length = np.linalg.norm(values, axis=(-2, -1), keepdims=True)
    return np.asarray(np.divide(values, length, out=np.zeros_like(values), where=length > 0), np.float32)
