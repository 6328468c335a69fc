"""Changes a line camera could produce by itself, drawn anew for every tile of every epoch."""

import numpy as np
import numpy.typing as npt

from model.image import Frame
from training.config import Augmentation


def augment(tiles: Frame, settings: Augmentation, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """uint8 tiles of shape (n, size, size) -> float32 of the same shape, 0 to 255.

    Without `turns` the rolling direction stays vertical. Light (gamma, gain, fall-off, black level) changes before the
    sensor's noise is added.
    """
    count, size = tiles.shape[:2]
    if settings.flips:
        tiles = _mirror(_mirror(tiles, 1, rng), 2, rng)
    if settings.turns:
        tiles = np.where(_coin(count, rng), tiles.swapaxes(1, 2), tiles)
    power = _between(1 - settings.gamma, 1 + settings.gamma, count, rng)
    gain = _between(1 - settings.gain, 1 + settings.gain, count, rng)
    offset = _between(-settings.offset, settings.offset, count, rng)
    changed = rng.standard_normal(tiles.shape, np.float32)
    changed *= _between(0, settings.noise, count, rng)
    changed += (tiles / np.float32(255)) ** power * (
        255 * gain * _fall_off(settings.gradient, count, size, rng)
    ) + offset
    return np.clip(changed, 0, 255, out=changed)


def _fall_off(strength: float, count: int, size: int, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Light over the tile, 1 in the middle: a ramp across and a ramp along, float32 (count, size, size)."""
    ramp = np.linspace(-0.5, 0.5, size, dtype=np.float32)
    across, along = (_between(-strength, strength, count, rng) for _ in range(2))
    return 1 + across * ramp[np.newaxis, np.newaxis] + along * ramp[np.newaxis, :, np.newaxis]


def _mirror(tiles: Frame, axis: int, rng: np.random.Generator) -> Frame:
    return np.where(_coin(len(tiles), rng), np.flip(tiles, axis), tiles)


def _coin(count: int, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    return rng.random((count, 1, 1)) < 0.5


def _between(low: float, high: float, count: int, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    return rng.uniform(low, high, (count, 1, 1)).astype(np.float32)
