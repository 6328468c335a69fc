"""What is sent, and what is not: the cameras of a line, each frame's place and time, stops and lost frames.

All of it follows from the arguments: a run can be compared with its plan, frame by frame.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

import numpy as np

# Of the generator's streams; see `app.simulate.planting` for the other.
LOSS_STREAM = 0
# The plan of a coil is held in memory; a camera that takes one a second is busy with so many for eleven days.
MOST_FRAMES = 1_000_000
# Positions are sums and quotients of decimal fractions: a frame that ends as a stop begins must not count as stopped.
SAME_S = 1e-6


class PlanError(Exception):
    """Why this cannot be played, in one line."""


@dataclass(frozen=True)
class Camera:
    """One camera of the line. number: from 0. heights: rows of each of its frames of the coil, in order."""

    number: int
    camera_id: str
    side: str
    heights: Sequence[int]


@dataclass(frozen=True)
class Take:
    """One frame's stretch of strip, in rows and in mm. missing: why nobody gets to see it.

    captured_s: when its last row has passed, in seconds from the coil's start.
    """

    camera: Camera
    sequence: int
    first_row: int
    rows: int
    position_mm: float
    end_mm: float
    captured_s: float
    missing: Literal["stopped", "lost"] | None


@dataclass(frozen=True)
class Stop:
    """A camera takes no frame for `for_s` seconds, from `at_s` seconds after the coil's start."""

    camera_id: str
    at_s: float
    for_s: float

    @classmethod
    def read(cls, text: str) -> "Stop":
        """From the command line.

        >>> Stop.read("top-1:30:12")
        Stop(camera_id='top-1', at_s=30.0, for_s=12.0)

        Raises `PlanError`.
        """
        camera_id, *times = text.split(":")
        try:
            at_s, for_s = map(float, times)
        except ValueError:
            at_s = for_s = -1.0
        if not (camera_id and 0 <= at_s < float("inf") and 0 < for_s < float("inf")):
            raise PlanError(f"--stop: received {text!r}; expected CAMERA:AT_S:FOR_S, such as top-1:30:12")
        return cls(camera_id, at_s, for_s)

    def hides(self, begun_s: float, ended_s: float) -> bool:
        """Whether a frame taken in this time would need the camera while it stands still.

        >>> stop = Stop("top-1", 30, 12)
        >>> [stop.hides(*frame) for frame in [(29.5, 30), (29.8, 30.3), (41.5, 42), (42, 42.5)]]
        [False, True, True, False]
        """
        return begun_s < self.at_s + self.for_s - SAME_S and ended_s > self.at_s + SAME_S


@dataclass(frozen=True)
class Loss:
    """Frames that are taken, counted and never sent, one after the other."""

    camera_id: str
    first_sequence: int
    frames: int


@dataclass(frozen=True)
class Gap:
    """Frames of one camera, one after the other, that nobody gets to see; lengths along the strip in mm."""

    camera_id: str
    side: str
    why: Literal["stopped", "lost"]
    first_sequence: int
    last_sequence: int
    frames: int
    from_mm: float
    to_mm: float


@dataclass(frozen=True)
class Plan:
    """One coil under the cameras of a line.

    Frames are counted from 0, those not taken too: the strip's movement calls for each, camera or no camera.
    """

    cameras: tuple[Camera, ...]
    mm_per_pixel: float
    speed_mm_s: float
    stops: tuple[Stop, ...] = ()
    loss: Loss | None = None

    @property
    def length_mm(self) -> float:
        """Strip under the camera that sees most of it."""
        return max(sum(camera.heights) for camera in self.cameras) * self.mm_per_pixel

    @property
    def duration_s(self) -> float:
        """How long the strip takes to pass."""
        return self.length_mm / self.speed_mm_s

    @property
    def frames(self) -> int:
        """Of all cameras, the missing ones too."""
        return sum(len(camera.heights) for camera in self.cameras)

    def takes(self, camera: Camera) -> Iterator[Take]:
        """All frames of a camera in order, those that are missing too.

        >>> plan = Plan((Camera(0, "top-1", "top", [100] * 4),), 0.5, 100.0, (Stop("top-1", 0.6, 0.2),))
        >>> [(take.position_mm, take.captured_s, take.missing) for take in plan.takes(plan.cameras[0])]
        [(0.0, 0.5, None), (50.0, 1.0, 'stopped'), (100.0, 1.5, None), (150.0, 2.0, None)]
        """
        row = 0
        for sequence, rows in enumerate(camera.heights):
            position_mm, end_mm = row * self.mm_per_pixel, (row + rows) * self.mm_per_pixel
            begun_s, ended_s = position_mm / self.speed_mm_s, end_mm / self.speed_mm_s
            missing = self._missing(camera, sequence, begun_s, ended_s)
            yield Take(camera, sequence, row, rows, position_mm, end_mm, ended_s, missing)
            row += rows

    def gaps(self) -> list[Gap]:
        """What is missing, by camera and along the strip.

        >>> plan = Plan((Camera(0, "top-1", "top", [100] * 9),), 1.0, 100.0, loss=Loss("top-1", 4, 3))
        >>> [(gap.why, gap.first_sequence, gap.last_sequence, gap.from_mm, gap.to_mm) for gap in plan.gaps()]
        [('lost', 4, 6, 400.0, 700.0)]
        """
        return [
            self._gap(why, list(takes))
            for camera in self.cameras
            for why, takes in groupby(self.takes(camera), lambda take: take.missing)
            if why
        ]

    def _missing(
        self, camera: Camera, sequence: int, begun_s: float, ended_s: float
    ) -> Literal["stopped", "lost"] | None:
        if any(stop.camera_id == camera.camera_id and stop.hides(begun_s, ended_s) for stop in self.stops):
            return "stopped"
        loss = self.loss
        if loss and loss.camera_id == camera.camera_id and 0 <= sequence - loss.first_sequence < loss.frames:
            return "lost"
        return None

    def _gap(self, why: Literal["stopped", "lost"], takes: Sequence[Take]) -> Gap:
        first, last = takes[0], takes[-1]
        return Gap(
            camera_id=first.camera.camera_id,
            side=first.camera.side,
            why=why,
            first_sequence=first.sequence,
            last_sequence=last.sequence,
            frames=len(takes),
            from_mm=first.position_mm,
            to_mm=last.end_mm,
        )


def name_cameras(count: int, sides: Sequence[str], heights: Sequence[Sequence[int]]) -> tuple[Camera, ...]:
    """So many cameras, dealt out over the sides; heights: of each camera's frames.

    >>> [camera.camera_id for camera in name_cameras(3, ["top", "bottom"], [[512]] * 3)]
    ['top-1', 'bottom-1', 'top-2']

    Raises `PlanError`.
    """
    if not sides or not all(sides) or len(set(sides)) < len(sides):
        raise PlanError(f"--sides: received {','.join(sides)!r}; expected names with commas between, each once")
    if count < len(sides):
        raise PlanError(f"--cameras: received {count}; expected at least {len(sides)}, one for each side")
    names = [(sides[number % len(sides)], number // len(sides)) for number in range(count)]
    return tuple(
        Camera(number, f"{side}-{lane + 1}", side, heights[number]) for number, (side, lane) in enumerate(names)
    )


def choose_loss(plan: Plan, frames: int, seed: int) -> Loss:
    """So many frames, one after the other, of one camera: where is drawn.

    The frames before and after them are there, so that the gap stands alone and can be seen. Raises `PlanError`.
    """
    rng = np.random.default_rng((seed, LOSS_STREAM))
    for camera in rng.permutation(np.array(plan.cameras, object)):
        there = np.array([take.missing is None for take in plan.takes(camera)])
        # Of each frame: how many are there up to it; over a stretch that is whole, it grows by one a frame.
        count = np.concatenate([[0], np.cumsum(there)])
        stretch = frames + 2
        if len(there) < stretch:
            continue
        firsts = np.flatnonzero(count[stretch:] - count[:-stretch] == stretch)
        if len(firsts):
            return Loss(camera.camera_id, int(rng.choice(firsts)) + 1, frames)
    raise PlanError(f"--lose: received {frames}; no camera has so many frames in a row beside its stops")
