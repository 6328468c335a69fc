"""Exposure series: which piece of surface comes next, and the shots taken of it."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from synthetic.camera import GreyImage, LineCamera, draw_camera
from synthetic.defects import DEFECT_CLASSES, mark_defect
from synthetic.shapes import Field
from synthetic.surface import Finish, draw_finish, roll

# How far along the strip the shots of one series lie apart at most.
LARGEST_SHIFT_PX = 8
# The data contract calls a tile a defect from 20 masked pixels on.
LEAST_MASKED_PX = 20
# Shots of one piece of surface: single ones are common, long series rarer.
SHOTS, SHOTS_SHARE = (1, 2, 3, 4), (0.35, 0.3, 0.2, 0.15)
# Two or three small defects make up 20 px; past this many the drawing itself is broken.
MOST_DEFECTS_DRAWN = 100

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Series:
    """One group: the shots of one piece of surface. `defect_class` is None when the surface is sound."""

    index: int
    shots: int
    defect_class: str | None

    @property
    def group(self) -> str:
        """The group's name in labels.csv.

        >>> Series(7, 2, "crack").group
        'coil000007'
        """
        return f"coil{self.index:06d}"


def plan_series(seed: int, tiles: int, defect_share: float) -> Iterator[Series]:
    """Series until exactly `tiles` images are planned; only the last may be cut short.

    The running share of defect images follows `defect_share`, and the class seen least comes next.

    >>> sum(series.shots for series in plan_series(1, 25, 0.4))
    25
    """
    planned, index = 0, 0
    defects: Counter[str] = Counter()
    while planned < tiles:
        rng = _generator(seed, index, 0)
        shots = int(rng.choice(SHOTS, p=SHOTS_SHARE))
        defect_class = None
        # Half a series decides the rounding, so a share of 0 or 1 is met exactly.
        if defects.total() + shots / 2 <= defect_share * (planned + shots):
            fewest = min(defects[name] for name in DEFECT_CLASSES)
            defect_class = str(rng.choice([name for name in DEFECT_CLASSES if defects[name] == fewest]))
            defects[defect_class] += shots
        yield Series(index, min(shots, tiles - planned), defect_class)
        planned += shots
        index += 1


def shoot(seed: int, series: Series, size: int) -> Iterator[tuple[GreyImage, Mask]]:
    """The images of a series, uint8 (size, size), each with its mask, bool (size, size).

    >>> image, mask = next(shoot(1, Series(0, 1, "pit"), 64))
    >>> image.shape, str(image.dtype), bool(mask.sum() >= LEAST_MASKED_PX)
    ((64, 64), 'uint8', True)
    """
    rng = _generator(seed, series.index, 1)
    finish, camera = draw_finish(rng), draw_camera(rng, size)
    sound = roll(rng, finish, (size + LARGEST_SHIFT_PX, size))
    seen, mask = camera.see(sound), np.zeros(sound.shape, np.bool_)
    if series.defect_class is not None:
        seen, mask = spoil(rng, series.defect_class, sound, finish, camera)
    for shot in range(series.shots):
        shot_rng = _generator(seed, series.index, 2 + shot)
        start = int(shot_rng.integers(0, LARGEST_SHIFT_PX + 1))
        window = slice(start, start + size)
        yield camera.expose(shot_rng, seen[window]), mask[window]


def spoil(
    rng: np.random.Generator, defect_class: str, sound: Field, finish: Finish, camera: LineCamera
) -> tuple[Field, Mask]:
    """Defects of one class put on a sound piece until every shot of it shows enough of them.

    Returns the piece as the camera sees it, float32, and its mask, bool, both of the shape of `sound`. The
    mask holds the pixels that the defect changed by more than what is visible on this finish.
    """
    seen_sound = camera.see(sound)
    spoiled = sound
    in_every_shot = slice(LARGEST_SHIFT_PX, sound.shape[0] - LARGEST_SHIFT_PX)
    for _ in range(MOST_DEFECTS_DRAWN):
        spoiled = mark_defect(rng, defect_class, spoiled, finish.visible_contrast)
        seen = camera.see(spoiled)
        mask = np.abs(seen - seen_sound) > finish.visible_contrast * seen_sound
        if np.count_nonzero(mask[in_every_shot]) >= LEAST_MASKED_PX:
            return seen, mask
    raise AssertionError(f"{MOST_DEFECTS_DRAWN} defects of class {defect_class!r} changed too few pixels")


def _generator(seed: int, series: int, part: int) -> np.random.Generator:
    """A stream of its own for each part of each series: none depends on how much is drawn elsewhere."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(series, part)))
