"""Sound steel: how a coil was rolled, and the reflectance of one piece of it."""

from dataclasses import dataclass

import numpy as np

from synthetic.harmless import HARMLESS_MARKS
from synthetic.shapes import Field, correlated_noise, log_uniform

# Share of pieces that carry harmless marks, sound or not: a network that calls a soft stain a defect
# has to lose by it.
HARMLESS_MARK_SHARE = 0.45
# The faintest change of reflectance that an inspector would still point at on a mirror-smooth surface.
FAINTEST_VISIBLE_CONTRAST = 0.05
# On a rough surface a mark must stand out from the texture by this many of its standard deviations.
VISIBLE_OVER_TEXTURE = 2.0

# Reflectance of the darkest pore; the tail of the noise would otherwise pass below black.
DARKEST_PORE = 0.15


@dataclass(frozen=True)
class Finish:
    """How one coil was rolled. Lengths in px; amplitudes are standard deviations of relative reflectance."""

    grain: float
    grain_y: float
    grain_x: float
    grain_skew: float
    streaks: float
    streaks_y: float
    streaks_x: float
    rolling_lines: float
    mottle: float
    mottle_length: float
    waviness: float

    @property
    def visible_contrast(self) -> float:
        """Relative change of reflectance from which a mark counts as visible on this finish.

        >>> mirror = Finish(0.0, 1.0, 1.0, 0.0, 0.0, 40.0, 1.0, 0.0, 0.0, 20.0, 0.0)
        >>> mirror.visible_contrast
        0.05
        """
        texture = float(np.sqrt(self.grain**2 + self.streaks**2 + self.rolling_lines**2))
        return max(FAINTEST_VISIBLE_CONTRAST, VISIBLE_OVER_TEXTURE * texture)


def draw_finish(rng: np.random.Generator) -> Finish:
    """A finish between bright cold-rolled (smooth, streaked) and hot-rolled (grainy, mottled).

    >>> draw_finish(np.random.default_rng(0)).visible_contrast >= FAINTEST_VISIBLE_CONTRAST
    True
    """
    hot = rng.beta(0.7, 0.9)  # most coils are clearly one or the other
    return Finish(
        grain=log_uniform(rng, 0.012, 0.03) * (1 + 2.2 * hot),
        grain_y=log_uniform(rng, 0.45, 1.2) * (1.6 - 0.7 * hot),
        grain_x=log_uniform(rng, 0.4, 0.75),
        grain_skew=rng.uniform(-0.03, 0.12),
        streaks=log_uniform(rng, 0.01, 0.05) * (1 - 0.75 * hot),
        streaks_y=log_uniform(rng, 12.0, 90.0),
        streaks_x=log_uniform(rng, 0.5, 2.2),
        rolling_lines=log_uniform(rng, 0.003, 0.02) * (1 - 0.6 * hot),
        mottle=log_uniform(rng, 0.008, 0.05) * (0.6 + hot),
        mottle_length=log_uniform(rng, 8.0, 32.0),
        waviness=log_uniform(rng, 0.002, 0.02),
    )


def roll(rng: np.random.Generator, finish: Finish, shape: tuple[int, int]) -> Field:
    """Relative reflectance of one sound piece, float32 (height, width), mean about 1, above 0.

    >>> rng = np.random.default_rng(3)
    >>> piece = roll(rng, draw_finish(rng), (136, 128))
    >>> piece.shape, bool(0.7 < piece.mean() < 1.2), bool(piece.min() > 0)
    ((136, 128), True, True)
    """
    piece: Field = np.maximum(1 + relief(rng, finish, shape), DARKEST_PORE)
    if rng.random() < HARMLESS_MARK_SHARE:
        for mark in rng.choice(len(HARMLESS_MARKS), size=rng.integers(1, 3), replace=False):
            piece = piece * (1 + HARMLESS_MARKS[mark](rng, shape))
    return piece


def relief(rng: np.random.Generator, finish: Finish, shape: tuple[int, int], *, endless: bool = False) -> Field:
    """What the finish alone adds to a reflectance of 1, float32 (height, width), mean about 0.

    endless: the last row goes on in the first, so that one piece under the other is strip without a seam.

    >>> rng = np.random.default_rng(3)
    >>> rows = relief(rng, draw_finish(rng), (128, 64), endless=True)
    >>> step = np.abs(np.diff(rows, axis=0, append=rows[:1])).mean(axis=1)
    >>> bool(step[-1] < 2 * step.mean())
    True
    """
    grain = correlated_noise(rng, shape, (finish.grain_y, finish.grain_x))
    # Pores are dark, so the dark tail is the longer one.
    grain = grain - finish.grain_skew * (grain * grain - 1)
    mottle = correlated_noise(rng, shape, (1.6 * finish.mottle_length, finish.mottle_length))
    added: Field = (
        finish.grain * grain * (1 + 0.2 * np.clip(mottle, -2, 2))
        + finish.streaks * correlated_noise(rng, shape, (finish.streaks_y, finish.streaks_x))
        + finish.mottle * mottle
        + _rolling_lines(rng, finish.rolling_lines, shape)
        + _waviness(rng, finish.waviness, shape, endless)
    )
    return added


def _rolling_lines(rng: np.random.Generator, amplitude: float, shape: tuple[int, int]) -> Field:
    """Fine lines along the whole piece, most of them hardly there: the roll's own grinding marks."""
    columns = rng.standard_normal(shape[1]) * rng.exponential(1.0, shape[1])
    strength = 1 + 0.4 * correlated_noise(rng, (shape[0], 1), (25.0, 0.0))
    return amplitude * strength * columns.astype(np.float32)


def _waviness(rng: np.random.Generator, amplitude: float, shape: tuple[int, int], endless: bool) -> Field:
    """Bands across the strip from roll chatter, slightly bent."""
    period = log_uniform(rng, 18.0, 120.0)
    if endless:
        period = shape[0] / max(1, round(shape[0] / period))
    y = np.arange(shape[0], dtype=np.float32)[:, None]
    bend = np.linspace(-1, 1, shape[1], dtype=np.float32) ** 2 * rng.normal(0.0, 0.8)
    wave: Field = np.sin(2 * np.pi / period * y + bend + rng.uniform(0, 2 * np.pi))
    return amplitude * wave
