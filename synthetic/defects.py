"""The defect classes: each draws one defect as a relative change of reflectance (-0.5 is half as bright).

Every drawing function takes a generator and a site and returns float32 (height, width).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from synthetic.shapes import (
    Field,
    Line,
    Point,
    bell,
    correlated_noise,
    either_sign,
    log_uniform,
    offsets,
    ragged_patch,
    random_walk,
    smooth_step,
    smooth_walk,
)

# Contrast as a multiple of what is just visible on the finish: from faint to unmistakable.
FAINT, STRONG = 2.0, 9.0
# A spoilt pixel is never darker than this share of the sound one, nor brighter than this multiple.
DARKEST, BRIGHTEST = 0.08, 2.2


@dataclass(frozen=True)
class Site:
    """Where a defect comes, how large and how strong.

    shape: (height, width) of the piece. size: longest extent in px. contrast: largest relative change, 0..1.
    """

    shape: tuple[int, int]
    centre: Point
    size: float
    contrast: float


def crack(rng: np.random.Generator, site: Site) -> Field:
    """Thin, dark, jagged, forking; mostly along the rolling direction, now and then across it."""
    angle = rng.normal(0.0, 0.25) + (np.pi / 2 if rng.random() < 0.15 else 0.0)
    steps = max(4, round(site.size / 2.5))
    walk = random_walk(rng, steps, rng.uniform(0.6, 1.3))
    opening = _fissure(rng, Line.drawn(site.shape, site.centre, angle, site.size, walk), steps)
    for _ in range(rng.binomial(4, min(0.7, site.size / 80))):
        knot = int(rng.integers(1, steps - 1))
        root = site.centre.moved((knot / (steps - 1) - 0.5) * site.size, float(walk[knot]), angle)
        lean = angle + rng.uniform(0.35, 1.0) * either_sign(rng)
        reach = site.size * rng.uniform(0.12, 0.4)
        twig = random_walk(rng, max(3, round(reach / 2.5)), 0.7)
        branch = Line.drawn(site.shape, root.moved(reach / 2, 0.0, lean), lean, reach, twig)
        opening = np.maximum(opening, 0.85 * _fissure(rng, branch, len(twig)))
    return -site.contrast * opening


def _fissure(rng: np.random.Generator, line: Line, steps: int) -> Field:
    """A line opened, 0..1, to a width and depth that vary along it."""
    half_width = line.profile_along(rng.uniform(0.5, 1.4, steps // 2 + 2))
    depth = line.profile_along(rng.uniform(0.55, 1.0, steps // 2 + 2))
    return bell(line.across / half_width) * depth * line.envelope(3.0)


def scratch(rng: np.random.Generator, site: Site) -> Field:
    """Long, thin, straight or slightly bent, bright or dark; sometimes a few side by side."""
    angle = rng.normal(0.0, 0.12) if rng.random() < 0.65 else rng.uniform(-np.pi / 2, np.pi / 2)
    bow = rng.normal(0.0, 0.03) * site.size * (1 - np.linspace(-1.0, 1.0, 24) ** 2)
    half_width = log_uniform(rng, 0.7, 1.5)
    tone = site.contrast if rng.random() < 0.6 else -site.contrast
    groove: Field = np.zeros(site.shape, np.float32)
    place, length = site.centre, site.size
    for _ in range(rng.choice([1, 2, 3], p=[0.7, 0.2, 0.1])):
        line = Line.drawn(site.shape, place, angle, length, bow)
        # The tool chatters: contact comes and goes along the groove.
        contact = line.profile_along(np.clip(0.75 + 0.5 * smooth_walk(rng, max(3, round(length / 6))), 0, 1))
        burr = bell((line.across - 2 * half_width) / half_width)
        groove = groove + (bell(line.across / half_width) - 0.3 * burr) * contact * line.envelope(5.0)
        place = place.moved(rng.normal(0.0, 4.0), rng.uniform(3.0, 12.0) * either_sign(rng), angle)
        shorter = rng.uniform(0.4, 1.0)
        # The same curvature over a shorter line bows it by the square.
        length, bow = length * shorter, bow * shorter**2
    return tone * np.clip(groove, -1, 1)


def fold(rng: np.random.Generator, site: Site) -> Field:
    """A lap rolled flat: a wavy line with a dark and a bright edge, and a shade on the lapped side."""
    knots = max(2, round(site.size / log_uniform(rng, 8.0, 20.0)))
    wave = rng.uniform(1.5, 5.0) * smooth_walk(rng, knots)
    line = Line.drawn(site.shape, site.centre, rng.normal(0.0, 0.3), site.size, wave)
    half_width = log_uniform(rng, 0.7, 1.6)
    across = either_sign(rng) * line.across
    dark = bell(across / half_width)
    bright = bell((across - 2.1 * half_width) / (1.2 * half_width))
    shade = smooth_step(across, 0.5) * bell(across / rng.uniform(4.0, 10.0))
    depth = line.profile_along(rng.uniform(0.35, 1.0, max(3, round(site.size / 6))))
    lap: Field = -dark + rng.uniform(0.3, 0.75) * bright - rng.uniform(0.0, 0.25) * shade
    return site.contrast * np.clip(lap, -1, 1) * depth * line.envelope(4.0)


def corrosion(rng: np.random.Generator, site: Site) -> Field:
    """A ragged dark patch, mottled inside, soft at the fringe, with a few satellites."""
    radius, stretch = site.size / 2, rng.uniform(0.8, 1.6)
    depth = ragged_patch(rng, site.shape, site.centre, (radius * min(stretch, 1.2), radius / stretch), 0.3)
    for _ in range(rng.poisson(1.5)):
        spot = max(1.5, radius * rng.uniform(0.1, 0.3))
        place = site.centre.moved(rng.normal(0.0, radius), rng.normal(0.0, radius), 0.0)
        depth = np.maximum(depth, ragged_patch(rng, site.shape, place, (spot, spot), 0.25))
    coarse = correlated_noise(rng, site.shape, (2.2, 1.8))
    fine = correlated_noise(rng, site.shape, (0.8, 0.7))
    rust: Field = np.clip(0.72 + 0.16 * coarse + 0.11 * fine, 0.3, 1)
    return -site.contrast * rust * smooth_step(depth, rng.uniform(0.15, 0.4))


def pit(rng: np.random.Generator, site: Site) -> Field:
    """Small dark holes with a bright rim towards the light, alone when large, several when small."""
    light = rng.uniform(0, 2 * np.pi)
    uneven = correlated_noise(rng, site.shape, (1.2, 1.2))
    relief: Field = np.zeros(site.shape, np.float32)
    place, spread = site.centre, 8 + 2.5 * site.size
    for index in range(1 + rng.poisson(10.0 / site.size)):
        share = 1.0 if index == 0 else rng.uniform(0.5, 1.0)
        radius = max(1.5, site.size / 2 * share)
        y, x = offsets(site.shape, place, (radius * rng.uniform(0.85, 1.35), radius))
        distance = np.sqrt(y * y + x * x) + 0.12 * uneven
        lit = np.clip(0.5 + 0.6 * (y * float(np.sin(light)) + x * float(np.cos(light))), 0, 1)
        hole = smooth_step(1 - distance, 0.35)
        relief = relief + 0.65 * lit * bell((distance - 1.3) / 0.3) - share * hole
        place = place.moved(rng.normal(0.0, spread), rng.normal(0.0, 0.6 * spread), 0.0)
    return site.contrast * np.clip(relief, -1, 1)


def inclusion(rng: np.random.Generator, site: Site) -> Field:
    """Dark spindles drawn out along the rolling direction, with frayed sides, alone or in a swarm."""
    fray = correlated_noise(rng, site.shape, (5.0, 0.8))
    tone: Field = np.zeros(site.shape, np.float32)
    place, length = site.centre, site.size
    for _ in range(1 + rng.poisson(1.2)):
        half_width = min(max(length * log_uniform(rng, 0.035, 0.12), 1.2), 6.0)
        sway = rng.uniform(0.2, 0.04 * length + 0.3) * smooth_walk(rng, 4)
        line = Line.drawn(site.shape, place, rng.normal(0.0, 0.05), length, sway)
        spindle = np.sqrt(np.clip(1 - (2 * line.along / length) ** 2, 0, 1))
        depth = spindle * (1 + 0.25 * fray) - np.abs(line.across) / half_width
        core = line.profile_along(rng.uniform(0.6, 1.0, 5))
        tone = np.maximum(tone, smooth_step(depth - 0.1, 0.3) * core)
        place = place.moved(rng.normal(0.0, 0.5 * length), rng.normal(0.0, 10.0), 0.0)
        length = max(8.0, length * rng.uniform(0.3, 0.9))
    return -site.contrast * tone


def rolled_in_scale(rng: np.random.Generator, site: Site) -> Field:
    """A rough area of dark specks pressed into the surface, with a little broken bright metal between."""
    radii = (site.size / 2 * rng.uniform(0.9, 1.3), site.size / 2 * rng.uniform(0.5, 0.9))
    area = smooth_step(ragged_patch(rng, site.shape, site.centre, radii, 0.3), 0.3)
    speck = log_uniform(rng, 0.8, 2.0)
    flakes = correlated_noise(rng, site.shape, (speck * rng.uniform(0.8, 1.8), speck))
    dark = smooth_step(flakes - rng.uniform(0.2, 1.0), 0.35)
    bright = smooth_step(-1.5 - flakes, 0.35)
    # The area is a little dull all over, so the darkest speck would pass below -1.
    specks: Field = 0.4 * bright - 0.85 * dark
    return site.contrast * (specks - 0.15) * area


@dataclass(frozen=True)
class DefectClass:
    """How a class is drawn, and its range of sizes in px; within it every octave is equally likely."""

    draw: Callable[[np.random.Generator, Site], Field]
    smallest_px: float
    largest_px: float


# By folder name and `defect_type`. Below its smallest size a class can no longer be told from another.
DEFECT_CLASSES: dict[str, DefectClass] = {
    "crack": DefectClass(crack, 14.0, 80.0),
    "scratch": DefectClass(scratch, 24.0, 110.0),
    "fold": DefectClass(fold, 18.0, 80.0),
    "corrosion": DefectClass(corrosion, 6.0, 80.0),
    "pit": DefectClass(pit, 3.0, 14.0),
    "inclusion": DefectClass(inclusion, 12.0, 80.0),
    "rolled-in_scale": DefectClass(rolled_in_scale, 14.0, 80.0),
}


def mark_defect(rng: np.random.Generator, name: str, piece: Field, visible_contrast: float) -> Field:
    """The piece with one more defect of class `name` somewhere on it, float32, shape of `piece`.

    >>> piece = np.ones((136, 128), np.float32)
    >>> marked = mark_defect(np.random.default_rng(0), "inclusion", piece, 0.05)
    >>> bool(marked.min() < 0.95), bool(marked.max() <= 1.0)
    (True, True)
    """
    height, width = piece.shape
    centre = Point(rng.uniform(0.12, 0.88) * height, rng.uniform(0.1, 0.9) * width)
    defect_class = DEFECT_CLASSES[name]
    # On a small tile the largest defects would cover everything and leave no steel to compare with.
    size = min(log_uniform(rng, defect_class.smallest_px, defect_class.largest_px), 0.9 * width)
    contrast = min(visible_contrast * log_uniform(rng, FAINT, STRONG), 1 - DARKEST)
    change = defect_class.draw(rng, Site((height, width), centre, size, contrast))
    return piece * np.clip(1 + change, DARKEST, BRIGHTEST)
