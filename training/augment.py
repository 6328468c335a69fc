"""Changes a line camera could produce by itself, drawn anew for every tile of every epoch.

Their order is that of the light's way: the surface as it lies (flips, turns), the lamp and the camera's curve (gamma,
gain, fall-off), the strip that moves on while the shutter is open (blur), and last the sensor (black level, noise).
Another distance (`scale`) needs pixels from around the tile: there `training.crops` draws a larger or smaller window.
"""

from functools import cache
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
from scipy.ndimage import correlate1d
from scipy.special import ndtri

from model.image import Frame
from training.config import Augmentation
from training.dataset import Mask

Pixel = TypeVar("Pixel", np.uint8, np.bool_)
Images = npt.NDArray[np.float32]
# What can be in a tile, 0 to 1.
GREYS = np.arange(256) / 255

# The standard normal distribution in 65,536 equally likely values: drawing one of them takes a quarter of the time
# of drawing from the curve, which was 40 % of all augmentation. It ends at 4.3 standard deviations.
NORMAL = ndtri((np.arange(2**16) + 0.5) / 2**16).astype(np.float32)


def augment(tiles: Frame, settings: Augmentation, rng: np.random.Generator, masks: Mask | None = None) -> Images:
    """uint8 tiles of shape (n, size, size), y along the rolling direction -> float32 of the same shape, 0 to 255.

    masks: of the tiles, bool of the same shape; they come to lie as their tiles do, in place.
    Without `turns` the rolling direction stays vertical. A change whose setting is 0 leaves every value as it is.
    """
    changed = np.empty(tiles.shape, np.float32)
    # Tile by tile all steps stay within the processor's cache: a batch at a time takes 1.6 times as long.
    for number, into in enumerate(changed):
        position = _position(settings, rng)
        _light(position.of(tiles[number]), settings, rng, into)
        if masks is not None:
            masks[number] = position.of(masks[number])
        _move(into, settings, rng)
        _sense(into, settings, rng)
    return changed


def grey_curve(power: float, gain: float) -> Images:
    """What becomes of each of the 256 grey values under a gamma and a gain.

    >>> grey_curve(power=2.0, gain=0.5)[[0, 51, 255]]
    array([  0. ,   5.1, 127.5], dtype=float32)
    """
    return (255 * gain * GREYS**power).astype(np.float32)


def smear(length: float) -> npt.NDArray[np.float64]:
    """What each pixel along the rolling direction adds while `length` px, at least 1, pass by; odd, symmetric, sum 1.

    >>> smear(1.0).tolist(), smear(2.0).tolist(), smear(3.0).round(3).tolist()
    ([1.0], [0.25, 0.5, 0.25], [0.333, 0.333, 0.333])
    """
    reach = int(np.ceil((length - 1) / 2))
    # Each pixel is one long: its weight is how much of it lies within half the length of the middle.
    away = np.abs(np.arange(-reach, reach + 1))
    return np.asarray(np.clip(length / 2 + 0.5 - away, 0, 1) / length, np.float64)


class _Position(NamedTuple):
    """How a surface lies under the camera."""

    along: int
    across: int
    turned: bool

    def of(self, square: npt.NDArray[Pixel]) -> npt.NDArray[Pixel]:
        """The same surface in this position."""
        flipped = square[:: self.along, :: self.across]
        return flipped.T if self.turned else flipped


def _position(settings: Augmentation, rng: np.random.Generator) -> _Position:
    along, across = np.where(rng.random(2) < 0.5, -1, 1).tolist() if settings.flips else (1, 1)
    return _Position(along, across, settings.turns and rng.random() < 0.5)


def _light(tile: Frame, settings: Augmentation, rng: np.random.Generator, into: Images) -> None:
    power, gain = _around(1, settings.gamma, rng), _around(1, settings.gain, rng)
    # A table look-up takes two thirds of the time of a power. "clip" saves a copy: a byte cannot be out of bounds.
    np.take(grey_curve(power, gain), tile, out=into, mode="clip")
    if settings.gradient:
        along, across = (np.float32(_around(0, settings.gradient, rng)) for _ in range(2))
        # 1 in the middle: a fall-off changes where the light is, not how much.
        ramp = _ramp(len(tile))
        into *= np.add.outer(1 + along * ramp, across * ramp)


def _move(tile: Images, settings: Augmentation, rng: np.random.Generator) -> None:
    if settings.blur > 1:
        weights = smear(rng.uniform(1, settings.blur))
        # What lies beyond the edge is mirrored: no dark border, and the mean stays.
        correlate1d(tile, weights, axis=0, output=tile, mode="reflect")


def _sense(tile: Images, settings: Augmentation, rng: np.random.Generator) -> None:
    tile += np.float32(_around(0, settings.offset, rng))
    if settings.noise:
        # Four numbers of 16 bits in each that the generator makes: asked for one by one they take three times as long.
        numbers = rng.bit_generator.random_raw(-(-tile.size // 4)).view(np.uint16)
        noise = NORMAL.take(numbers[: tile.size]).reshape(tile.shape)
        noise *= np.float32(settings.noise * rng.random())
        tile += noise
    np.clip(tile, 0, 255, out=tile)


@cache
def _ramp(length: int) -> Images:
    return np.linspace(-0.5, 0.5, length, dtype=np.float32)


def _around(middle: float, reach: float, rng: np.random.Generator) -> float:
    """Any number at most `reach` from the middle. `rng.uniform` takes four times the time for one."""
    return middle + reach * (2 * rng.random() - 1)
