"""Marks that every strip carries and that are no defect: stains, water marks, faint prints of the roll.

Each drawing function returns a relative change of reflectance, float32 (height, width). Soft edges and a
lack of texture are what sets these marks apart from defects; brightness does not.
"""

from collections.abc import Callable

import numpy as np

from synthetic.shapes import (
    Field,
    Line,
    Point,
    bell,
    either_sign,
    log_uniform,
    offsets,
    ragged_patch,
    smooth_step,
    smooth_walk,
)


def oil_stain(rng: np.random.Generator, shape: tuple[int, int]) -> Field:
    """A soft dark cloud without texture of its own."""
    radius = log_uniform(rng, 10.0, 45.0)
    depth = ragged_patch(rng, shape, _anywhere(rng, shape), (radius * rng.uniform(1.0, 2.0), radius), 0.15)
    return -log_uniform(rng, 0.04, 0.2) * smooth_step(depth, 0.7)


def water_mark(rng: np.random.Generator, shape: tuple[int, int]) -> Field:
    """The drying edge of a drop: a faint soft dark ring, a little brighter inside."""
    radius = log_uniform(rng, 8.0, 35.0)
    depth = ragged_patch(rng, shape, _anywhere(rng, shape), (radius * rng.uniform(1.0, 1.5), radius), 0.06)
    edge = bell(depth * (radius / 3))
    return log_uniform(rng, 0.03, 0.08) * (0.6 * smooth_step(depth, 0.3) - edge)


def staining_band(rng: np.random.Generator, shape: tuple[int, int]) -> Field:
    """A broad band along the strip that dried lighter or darker, with soft sides."""
    half_width = log_uniform(rng, 6.0, 30.0)
    sway = rng.uniform(1.0, 6.0) * smooth_walk(rng, 4)
    band = Line.drawn(shape, _anywhere(rng, shape), rng.normal(0.0, 0.04), 2.0 * shape[0], sway)
    depth: Field = 1 - np.abs(band.across / half_width)
    return either_sign(rng) * log_uniform(rng, 0.03, 0.15) * smooth_step(depth, 0.5)


def roll_mark(rng: np.random.Generator, shape: tuple[int, int]) -> Field:
    """A faint soft print of the roll, repeated along the strip at its pitch."""
    pitch = log_uniform(rng, 30.0, 90.0)
    y, x = offsets(shape, _anywhere(rng, shape), (1.0, log_uniform(rng, 4.0, 25.0)))
    y = (y % pitch - pitch / 2) / log_uniform(rng, 4.0, 10.0)
    return either_sign(rng) * log_uniform(rng, 0.02, 0.06) * bell(y) * bell(x)


def _anywhere(rng: np.random.Generator, shape: tuple[int, int]) -> Point:
    return Point(rng.uniform(0, shape[0]), rng.uniform(0, shape[1]))


HARMLESS_MARKS: tuple[Callable[[np.random.Generator, tuple[int, int]], Field], ...] = (
    oil_stain,
    water_mark,
    staining_band,
    roll_mark,
)
