"""What every engine is fed, what it makes of it, and how it refuses a file."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from model.errors import ErrorCode, SteelsightError
from model.image import Frame

# What convolutions and pools make of a frame or of tiles: float32, height and width before the depth.
Maps = npt.NDArray[np.float32]


def network_input(tiles: Frame | npt.NDArray[np.float32], channels: int) -> npt.NDArray[np.float32]:
    """uint8 or float32 (n, size, size) -> float32 (n, size, size, channels), grey repeated over the channels."""
    grey = tiles[..., np.newaxis].astype(np.float32, copy=False)
    return grey if channels == 1 else np.repeat(grey, channels, axis=3)


def unusable(file: Path, error: Exception | str) -> SteelsightError:
    """The error for a file that a runtime cannot load; each has its own exceptions for that, and they change."""
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return SteelsightError(ErrorCode.ARTIFACT_INVALID, f"{file} cannot be loaded: {reason}; train or copy it anew")
