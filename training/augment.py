"""Changes a line camera could produce by itself, drawn anew for every tile of every epoch."""

import numpy as np
import numpy.typing as npt

from model.image import Frame
from training.config import Augmentation


def augment(tiles: Frame, settings: Augmentation, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """uint8 tiles of shape (n, size, size) -> float32 of the same shape, 0 to 255.

    Mirrors keep the rolling direction vertical; exposure, black level and noise stay within the camera's range.
    """
    count = len(tiles)
    if settings.flips:
        tiles = _mirror(_mirror(tiles, 1, rng), 2, rng)
    gain = rng.uniform(1 - settings.gain, 1 + settings.gain, (count, 1, 1)).astype(np.float32)
    offset = rng.uniform(-settings.offset, settings.offset, (count, 1, 1)).astype(np.float32)
    deviation = rng.uniform(0, settings.noise, (count, 1, 1)).astype(np.float32)
    changed = rng.standard_normal(tiles.shape, np.float32)
    changed *= deviation
    changed += tiles * gain + offset
    return np.clip(changed, 0, 255, out=changed)


def _mirror(tiles: Frame, axis: int, rng: np.random.Generator) -> Frame:
    chosen = rng.random((len(tiles), 1, 1)) < 0.5
    return np.where(chosen, np.flip(tiles, axis), tiles)
