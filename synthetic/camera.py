"""The line camera over the strip: optics, lighting, exposure, sensor noise, 8-bit grey."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from synthetic.shapes import Field, log_uniform

GreyImage = npt.NDArray[np.uint8]

# Mean grey level of a shot. Past the upper end highlights clip so far that a bright scratch vanishes;
# below the lower one a faint defect falls under the read noise.
DARKEST_LEVEL, BRIGHTEST_LEVEL = 48.0, 180.0

# Lamps in a row never leave a part of the field darker than this share of the mean.
DIMMEST_LIGHTING = 0.4


@dataclass(frozen=True)
class LineCamera:
    """One camera. It keeps its optics and its column gains over an exposure series.

    blur_px: standard deviation of the optical blur. column_gain: float32 (width,), about 1.
    level: mean grey the exposure is set for. full_well_electrons: electrons at grey 255.
    read_noise: standard deviation in grey levels.
    """

    blur_px: float
    column_gain: Field
    level: float
    full_well_electrons: float
    read_noise: float

    def see(self, piece: Field) -> Field:
        """Reflectance as it arrives at the sensor, float32, same shape: the optics blur it."""
        seen: Field = ndimage.gaussian_filter(piece, self.blur_px, mode="nearest")
        return seen

    def expose(self, rng: np.random.Generator, seen: Field) -> GreyImage:
        """One shot with its own exposure, lighting, contrast and noise: uint8, shape of `seen`.

        >>> camera = draw_camera(np.random.default_rng(0), 64)
        >>> shot = camera.expose(np.random.default_rng(1), np.ones((64, 64), np.float32))
        >>> shot.shape, str(shot.dtype), bool(shot.std() > 0)
        ((64, 64), 'uint8', True)
        """
        level = float(np.clip(self.level * log_uniform(rng, 0.72, 1.4), DARKEST_LEVEL, BRIGHTEST_LEVEL))
        gamma = rng.uniform(0.85, 1.2)
        signal = level * seen * _lighting(rng, seen.shape) * self.column_gain
        shot_noise = signal * (255 / self.full_well_electrons)
        noise = np.sqrt(shot_noise + self.read_noise**2)
        signal = signal + noise * rng.standard_normal(seen.shape, dtype=np.float32)
        # Gamma turns about the exposure level, so that it changes contrast and leaves brightness to `level`.
        grey: Field = level * (np.maximum(signal, 0) / level) ** gamma
        return np.clip(np.rint(grey), 0, 255).astype(np.uint8)


def draw_camera(rng: np.random.Generator, width: int) -> LineCamera:
    """A camera of the plant: some sharp, some a little soft, each with its own column pattern.

    >>> draw_camera(np.random.default_rng(0), 128).column_gain.shape
    (128,)
    """
    columns = rng.standard_normal(width) * log_uniform(rng, 0.001, 0.008)
    drift = ndimage.gaussian_filter1d(rng.standard_normal(width), 6.0) * 0.015
    return LineCamera(
        blur_px=rng.uniform(0.35, 0.8),
        column_gain=(1 + columns + drift).astype(np.float32),
        level=log_uniform(rng, 70.0, 170.0),
        full_well_electrons=log_uniform(rng, 4000.0, 20000.0),
        read_noise=log_uniform(rng, 0.3, 1.5),
    )


def _lighting(rng: np.random.Generator, shape: tuple[int, ...]) -> Field:
    """Uneven lighting, float32 of the shape, about 1: a slope each way and a fall-off towards the sides."""
    y = np.linspace(-1, 1, shape[0], dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, shape[1], dtype=np.float32)
    slope_y, slope_x = rng.normal(0.0, 0.03), rng.normal(0.0, 0.1)
    fall_off = log_uniform(rng, 0.01, 0.15)
    # The fall-off has mean 0, so that lighting leaves the mean grey to the exposure.
    lighting: Field = 1 + slope_y * y + slope_x * x - fall_off * (x * x - 1 / 3)
    return np.maximum(lighting, DIMMEST_LIGHTING)
