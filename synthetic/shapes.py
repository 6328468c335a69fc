"""The marks everything on the strip is drawn from: correlated noise, ragged patches, lines with a profile.

Axis 0 is y, the rolling direction; axis 1 is x, the cross direction. All lengths are pixels. Angles are
radians away from the rolling direction.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import fft

Field = npt.NDArray[np.float32]


class Point(NamedTuple):
    """A position in pixels; may lie between pixels and outside the image."""

    y: float
    x: float

    def moved(self, along: float, across: float, angle: float) -> "Point":
        """The point `along` px further on a line at `angle`, and `across` px to its side.

        >>> Point(5.0, 5.0).moved(2.0, 1.0, 0.0)
        Point(y=7.0, x=6.0)
        """
        cos, sin = float(np.cos(angle)), float(np.sin(angle))
        return Point(self.y + along * cos - across * sin, self.x + along * sin + across * cos)


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """One number in [low, high), every octave equally likely: sizes and contrasts of real defects spread so.

    >>> 2.0 <= log_uniform(np.random.default_rng(0), 2.0, 80.0) < 80.0
    True
    """
    return float(low * (high / low) ** rng.random())


def either_sign(rng: np.random.Generator) -> float:
    """1 or -1: which side, or whether brighter or darker.

    >>> either_sign(np.random.default_rng(0)) in (1.0, -1.0)
    True
    """
    return 1.0 if rng.random() < 0.5 else -1.0


def correlated_noise(rng: np.random.Generator, shape: tuple[int, int], sigmas: tuple[float, float]) -> Field:
    """Gaussian noise blurred by sigmas (y, x) px, float32 of `shape`, mean 0, standard deviation 1.

    Drawn directly in the frequency domain, where a long correlation costs nothing; the field wraps round.

    >>> noise = correlated_noise(np.random.default_rng(0), (64, 64), (20.0, 0.5))
    >>> noise.shape, bool(abs(noise.std() - 1) < 1e-3)
    ((64, 64), True)
    >>> bool(np.abs(np.diff(noise, axis=0)).mean() < np.abs(np.diff(noise, axis=1)).mean())
    True
    """
    height, width = shape
    response_y = np.exp(-2 * (np.pi * sigmas[0] * fft.fftfreq(height)) ** 2).astype(np.float32)
    response_x = np.exp(-2 * (np.pi * sigmas[1] * fft.rfftfreq(width)) ** 2).astype(np.float32)
    white = rng.standard_normal((height, 2 * response_x.size), dtype=np.float32).view(np.complex64)
    spectrum = white * response_y[:, None] * response_x
    spectrum[0, 0] = 0
    noise: Field = fft.irfft2(spectrum, s=shape)
    noise /= noise.std()
    return noise


def offsets(shape: tuple[int, int], origin: Point, radii: tuple[float, float]) -> tuple[Field, Field]:
    """Distance of each row and column from `origin`, as a multiple of the radii (y, x).

    Returns float32 (height, 1) and (width,), which broadcast to an image.

    >>> y, x = offsets((3, 2), Point(1, 0), (1.0, 2.0))
    >>> y.ravel().tolist(), x.tolist()
    ([-1.0, 0.0, 1.0], [0.0, 0.5])
    """
    y = (np.arange(shape[0], dtype=np.float32) - origin.y) / radii[0]
    x = (np.arange(shape[1], dtype=np.float32) - origin.x) / radii[1]
    return y[:, None], x


def ragged_patch(
    rng: np.random.Generator,
    shape: tuple[int, int],
    centre: Point,
    radii: tuple[float, float],
    raggedness: float,
) -> Field:
    """How deep each pixel lies in an irregular patch, float32: 1 in the middle, 0 on the edge, less outside.

    `raggedness` is the standard deviation of the edge as a share of the radii (y, x): 0 is an ellipse.

    >>> depth = ragged_patch(np.random.default_rng(0), (9, 9), Point(4, 4), (3.0, 3.0), 0.0)
    >>> float(depth[4, 4]), float(depth[4, 7]), bool(depth[0, 0] < 0)
    (1.0, 0.0, True)
    """
    y, x = offsets(shape, centre, radii)
    depth: Field = 1 - np.sqrt(y * y + x * x)
    if raggedness > 0:
        coarse = correlated_noise(rng, shape, (0.35 * radii[0], 0.35 * radii[1]))
        fine = correlated_noise(rng, shape, (max(0.8, 0.08 * radii[0]), max(0.8, 0.08 * radii[1])))
        edge: Field = coarse + 0.35 * fine
        depth = depth + raggedness * edge
    return depth


def bell(distance: Field) -> Field:
    """exp(-distance^2), float32: 1 at 0, the cross section of a groove.

    >>> bell(np.array([0.0, 9.0], np.float32)).round(6).tolist()
    [1.0, 0.0]
    """
    height: Field = np.exp(-distance * distance)
    return height


def smooth_step(field: Field, softness: float) -> Field:
    """0 below, 1 above, 0.5 at zero, rising over about `softness` on either side; float32.

    >>> smooth_step(np.array([-9.0, 0.0, 9.0], np.float32), 1.0).tolist()
    [0.0, 0.5, 1.0]
    """
    ramp: Field = np.clip(field / (2 * softness) + 0.5, 0, 1)
    return ramp * ramp * (3 - 2 * ramp)


@dataclass(frozen=True)
class Line:
    """A line of `length` px through `centre`, seen from itself, with a centre line that may wander.

    along: float32 (height, width), px from the centre along the line. across: float32 (height, width), px
    from the wandering centre line.
    """

    length: float
    along: Field
    across: Field

    @classmethod
    def drawn(
        cls,
        shape: tuple[int, int],
        centre: Point,
        angle: float,
        length: float,
        wander: npt.NDArray[np.float64] | None = None,
    ) -> "Line":
        """`wander`: sideways offset in px at evenly spaced places from the line's start to its end.

        >>> line = Line.drawn((5, 3), Point(2, 1), 0.0, 4.0)
        >>> line.along[:, 0].tolist(), line.across[0].tolist()
        ([-2.0, -1.0, 0.0, 1.0, 2.0], [-1.0, 0.0, 1.0])
        """
        y, x = offsets(shape, centre, (1.0, 1.0))
        cos, sin = float(np.cos(angle)), float(np.sin(angle))
        along, across = y * cos + x * sin, x * cos - y * sin
        line = cls(length, along, across)
        return line if wander is None else cls(length, along, across - line.profile_along(wander))

    def profile_along(self, values: npt.NDArray[np.float64]) -> Field:
        """Values given at evenly spaced places from start to end, at every pixel, float32 (height, width).

        Pixels before the start or past the end take the end's value.

        >>> Line.drawn((5, 1), Point(2, 0), 0.0, 4.0).profile_along(np.array([0.0, 1.0]))[:, 0].tolist()
        [0.0, 0.25, 0.5, 0.75, 1.0]
        """
        places = np.linspace(-self.length / 2, self.length / 2, len(values))
        return np.interp(self.along, places, values).astype(np.float32)

    def envelope(self, taper: float) -> Field:
        """1 on the line, 0 past its ends, fading over `taper` px inside each end; float32 (height, width).

        >>> Line.drawn((7, 1), Point(3, 0), 0.0, 4.0).envelope(1.0)[:, 0].tolist()
        [0.0, 0.0, 1.0, 1.0, 1.0, 0.0, 0.0]
        """
        return np.clip((self.length / 2 - np.abs(self.along)) / taper, 0, 1)


def random_walk(rng: np.random.Generator, steps: int, roughness: float) -> npt.NDArray[np.float64]:
    """A jagged path that starts and ends at 0, float64 of shape (steps,); `roughness` is the mean step in px.

    Laplace steps: now and then a large one, which is the kink a crack has.

    >>> walk = random_walk(np.random.default_rng(0), 5, 1.0)
    >>> walk.shape, float(walk[0]), bool(abs(walk[-1]) < 1e-9)
    ((5,), 0.0, True)
    """
    walk = np.concatenate([[0.0], np.cumsum(rng.laplace(0.0, roughness, steps - 1))])
    return np.asarray(walk - np.linspace(0.0, walk[-1], steps))


def smooth_walk(rng: np.random.Generator, knots: int) -> npt.NDArray[np.float64]:
    """A smooth curve through `knots` random heights, float64 of shape (8 * knots,), about -1..1.

    >>> smooth_walk(np.random.default_rng(0), 4).shape
    (32,)
    """
    heights = rng.uniform(-1.0, 1.0, knots + 2)
    places = np.linspace(0.0, knots + 1, 8 * knots)
    left = np.minimum(places.astype(int), knots)
    blend = (1 - np.cos(np.pi * (places - left))) / 2
    return np.asarray(heights[left] * (1 - blend) + heights[left + 1] * blend)
