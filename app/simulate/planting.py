"""Which defects lie on the coil, and where: scattered ones, and one that a damaged roll prints at each turn."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from app.simulate.plan import Camera, Plan, PlanError
from synthetic.defects import DEFECT_CLASSES, FAINT, STRONG
from synthetic.shapes import log_uniform
from synthetic.strip import PlacedDefect

SCATTER_STREAM, PERIOD_STREAM = 1, 2
# Each is held in memory; the longest coil has half as many of ten on 100 m of two sides.
MOST_DEFECTS = 400_000
# What the damaged roll prints: an area of specks in one lane. No larger than this, nor than half of the camera's
# columns, so that steel is left beside it.
PRINTED_CLASS, PRINTED_PX = "rolled-in_scale", 56.0


@dataclass(frozen=True)
class Planted:
    """One defect and whether any frame that shows its middle is sent. Lengths in mm, to its middle."""

    camera_id: str
    side: str
    defect_class: str
    position_mm: float
    across_mm: float
    periodic: bool
    shown: bool


@dataclass(frozen=True)
class Period:
    """A defect that returns every `interval_mm`, `across_mm` from its camera's first column."""

    camera_id: str
    side: str
    across_mm: float
    interval_mm: float
    repeats: int
    shown: int


@dataclass(frozen=True)
class Planting:
    """All defects, by camera."""

    scattered: Mapping[str, list[PlacedDefect]]
    periodic: Mapping[str, list[PlacedDefect]]

    def of(self, camera: Camera) -> list[PlacedDefect]:
        """Those under one camera."""
        return self.scattered.get(camera.camera_id, []) + self.periodic.get(camera.camera_id, [])

    def told(self, plan: Plan) -> list[Planted]:
        """All of them along the strip, camera by camera."""
        return [
            planted
            for camera in plan.cameras
            for planted in sorted(self._told(plan, camera), key=lambda one: one.position_mm)
        ]

    def period(self, plan: Plan, interval_mm: float) -> Period | None:
        """The one that returns, if there is one."""
        printed = [planted for planted in self.told(plan) if planted.periodic]
        if not printed:
            return None
        first = printed[0]
        shown = sum(planted.shown for planted in printed)
        return Period(first.camera_id, first.side, first.across_mm, interval_mm, len(printed), shown)

    def _told(self, plan: Plan, camera: Camera) -> list[Planted]:
        hidden = [
            (take.first_row, take.first_row + take.rows) for take in plan.takes(camera) if take.missing is not None
        ]
        return [
            Planted(
                camera_id=camera.camera_id,
                side=camera.side,
                defect_class=defect.defect_class,
                position_mm=defect.y * plan.mm_per_pixel,
                across_mm=defect.x * plan.mm_per_pixel,
                periodic=periodic,
                shown=not any(first <= defect.y < end for first, end in hidden),
            )
            for periodic, defects in ((False, self.scattered), (True, self.periodic))
            for defect in defects.get(camera.camera_id, [])
        ]


def scatter(plan: Plan, per_100m: float, width: int, seed: int) -> dict[str, list[PlacedDefect]]:
    """Defects of all classes, sizes and strengths, anywhere: so many on 100 m of each side, by camera.

    >>> plan = Plan((Camera(0, "top-1", "top", [1000] * 50),), 1.0, 1000.0)
    >>> {name: len(defects) for name, defects in scatter(plan, 20.0, 256, 0).items()}
    {'top-1': 10}

    Raises `PlanError`.
    """
    rng = np.random.default_rng((seed, SCATTER_STREAM))
    sides = {camera.side for camera in plan.cameras}
    count = round(per_100m * plan.length_mm / 100_000 * len(sides))
    _require_few("--defects-per-100m", per_100m, count)
    names = list(DEFECT_CLASSES)
    placed: dict[str, list[PlacedDefect]] = {}
    for _ in range(count):
        camera = plan.cameras[int(rng.integers(len(plan.cameras)))]
        name = names[int(rng.integers(len(names)))]
        drawn = DEFECT_CLASSES[name]
        placed.setdefault(camera.camera_id, []).append(
            PlacedDefect(
                defect_class=name,
                y=rng.uniform(0, sum(camera.heights)),
                x=rng.uniform(0.1, 0.9) * width,
                size=min(log_uniform(rng, drawn.smallest_px, drawn.largest_px), 0.9 * width),
                strength=log_uniform(rng, FAINT, STRONG),
                seed=int(rng.integers(2**32)),
            )
        )
    return placed


def repeat(
    plan: Plan, interval_mm: float, camera_id: str, across_mm: float | None, width: int, seed: int
) -> dict[str, list[PlacedDefect]]:
    """The same shape at every turn of a roll, from half a turn on; across_mm: None is the middle of the camera.

    >>> plan = Plan((Camera(0, "top-1", "top", [1000] * 10),), 1.0, 1000.0)
    >>> [defect.y for defect in repeat(plan, 1885.0, "top-1", None, 256, 0)["top-1"]]
    [942.5, 2827.5, 4712.5, 6597.5, 8482.5]

    Raises `PlanError`.
    """
    camera = next((camera for camera in plan.cameras if camera.camera_id == camera_id), None)
    if camera is None:
        known = ", ".join(camera.camera_id for camera in plan.cameras)
        raise PlanError(f"--period-at: received camera {camera_id!r}; the cameras are {known}")
    width_mm = width * plan.mm_per_pixel
    across = width_mm / 2 if across_mm is None else across_mm
    if not 0 <= across < width_mm:
        raise PlanError(f"--period-at: received {across:g} mm; the camera sees {width_mm:g} mm")
    size = min(PRINTED_PX, width / 2)
    if interval_mm < 2 * size * plan.mm_per_pixel:
        raise PlanError(
            f"--period-mm: received {interval_mm:g}; the mark itself is {size * plan.mm_per_pixel:g} mm long: "
            f"expected at least twice that"
        )
    shape = int(np.random.default_rng((seed, PERIOD_STREAM)).integers(2**32))
    ends = sum(camera.heights) * plan.mm_per_pixel
    _require_few("--period-mm", interval_mm, round(ends / interval_mm))
    places = np.arange(interval_mm / 2, ends, interval_mm) / plan.mm_per_pixel
    return {
        camera_id: [
            PlacedDefect(PRINTED_CLASS, float(y), across / plan.mm_per_pixel, size, STRONG, shape) for y in places
        ]
    }


def _require_few(flag: str, received: float, count: int) -> None:
    if count > MOST_DEFECTS:
        raise PlanError(
            f"{flag}: received {received:g}; this makes {count:,} defects, and {MOST_DEFECTS:,} are the most"
        )
