"""The last picture of each camera, small and with its heat map, as a file that any worker can hand out.

Inspecting threads leave the latest frame of each camera here, which costs them nothing; one thread draws what is there,
twice a second for a camera at most and never for more than a share of a core, and always the last one of all.
"""

import hashlib
import os
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import structlog
from PIL import Image

from app.parameters import InspectQuery
from app.store.numbers import TAG_BITS, number_of
from model import heatmap
from model.image import Frame
from model.inspector import Inspection, Inspector
from model.tiling import Event, TileGrid

# As wide as a tile of the wall at the line; higher only for a camera that sends long blocks.
MAX_WIDTH, MAX_HEIGHT = 640, 1280
# Between two pictures of a camera. A person sees a frame that stands half a second; each costs milliseconds of a core.
INTERVAL_S = 0.5
# Each has its latest frame in memory until that is drawn, and a file. Of more, those that were silent for longest and
# for so many seconds make room: a client that makes names up gains nothing.
MAX_CAMERAS = 64
SILENT_S = 60.0
# Of a core. Small pictures of a few cameras take less; large ones of many are drawn more seldom.
SHARE = 0.2
# Lower than those that inspect: what the line needs goes first.
NICENESS = 10

log = structlog.get_logger("steelsight.previews")


class _Offered(NamedTuple):
    frame: Frame
    inspection: Inspection
    inspection_id: str


class Previews:
    """The pictures of one worker's cameras, in a folder that all workers share."""

    def __init__(self, folder: Path, interval_s: float = INTERVAL_S) -> None:
        self._folder = folder
        self._interval_s = interval_s
        self._latest: dict[str, _Offered] = {}
        # When the camera's last picture was drawn: `time.monotonic()`.
        self._drawn: dict[str, float] = {}
        self._offered = threading.Event()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._draw_all, name="previews", daemon=True)

    def open(self) -> None:
        """Begin. Pictures of before stay, as many as there are cameras."""
        self._folder.mkdir(parents=True, exist_ok=True)
        pictures = sorted(self._folder.glob("*.png"), key=lambda path: path.stat().st_mtime, reverse=True)
        for old in pictures[MAX_CAMERAS:]:
            old.unlink(missing_ok=True)
        self._thread.start()

    def offer(
        self, inspector: Inspector, frame: Frame, query: InspectQuery, inspection_id: str, inspection: Inspection
    ) -> None:
        """A frame that was judged. From any thread; returns at once. The frame must not be written to later."""
        if query.camera_id is not None:
            # One step of the interpreter each: no lock is needed, and none is waited for.
            self._latest[query.camera_id] = _Offered(frame, inspection, inspection_id)
            if not self._offered.is_set():
                self._offered.set()

    def path_of(self, camera_id: str) -> Path:
        """The camera's last picture, a PNG; there is no such file before there is one."""
        return self._folder / f"{hashlib.sha256(camera_id.encode()).hexdigest()[:32]}.png"

    def close(self) -> None:
        """Draw what is left, and nothing more."""
        self._closed.set()
        self._offered.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _draw_all(self) -> None:
        with suppress(AttributeError, OSError):  # threads have a priority of their own on Linux alone
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
        while not self._closed.is_set():
            self._offered.wait(self._until_due())
            self._offered.clear()
            for camera in self._due():
                begun = time.thread_time()
                self._draw_latest(camera)
                self._closed.wait((time.thread_time() - begun) * (1 / SHARE - 1))
        for camera in list(self._latest):
            self._draw_latest(camera)

    def _until_due(self) -> float | None:
        """Seconds until a picture may be drawn again; None if no frame waits for that."""
        waiting = [self._drawn.get(camera, -self._interval_s) for camera in list(self._latest)]
        return max(0.0, min(waiting) + self._interval_s - time.monotonic()) if waiting else None

    def _due(self) -> list[str]:
        """Cameras with a new frame and a picture that is old enough, the oldest first."""
        latest = time.monotonic() - self._interval_s
        due = [camera for camera in list(self._latest) if self._drawn.get(camera, latest) <= latest]
        return sorted(due, key=lambda camera: self._drawn.get(camera, 0.0))

    def _draw_latest(self, camera: str) -> None:
        now, offered = time.monotonic(), self._latest.pop(camera)
        if camera in self._drawn or len(self._drawn) < MAX_CAMERAS or self._room(now):
            self._drawn.pop(camera, None)
            self._drawn[camera] = now
            self._draw(camera, offered)

    def _room(self, now: float) -> bool:
        """Whether the camera that was silent for longest could be forgotten: the first, for each comes anew last."""
        camera, drawn = next(iter(self._drawn.items()))
        if now - drawn < SILENT_S:
            return False
        del self._drawn[camera]
        self.path_of(camera).unlink(missing_ok=True)
        return True

    def _draw(self, camera: str, offered: _Offered) -> None:
        # The moment of the inspection, as the file's own time: a worker that draws later has not the later frame.
        taken = (number_of(offered.inspection_id) >> TAG_BITS) * 1000
        path = self.path_of(camera)
        beside = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            if path.exists() and path.stat().st_mtime_ns > taken:
                return
            beside.write_bytes(small_picture(offered.inspection, offered.frame))
            os.utime(beside, ns=(taken, taken))
            beside.rename(path)
        # A full disk, or whatever a frame does that nobody foresaw: no picture is worth the thread.
        except Exception as error:
            log.error("preview_failed", camera_id=camera, exc_info=error)
            beside.unlink(missing_ok=True)


def small_picture(inspection: Inspection, frame: Frame) -> bytes:
    """A PNG of at most `MAX_WIDTH` x `MAX_HEIGHT` px as of `model.heatmap.picture`: every pixel of it shows as many
    pixels of the frame, their mean, under the largest probability of the tiles that reach into them.
    """
    height, width = frame.shape
    factor = max(-(-width // MAX_WIDTH), -(-height // MAX_HEIGHT))
    if factor == 1:
        return heatmap.picture(inspection, frame)
    small = Image.fromarray(frame).reduce(factor)
    grid = inspection.grid
    reduced = replace(
        inspection,
        width=small.width,
        height=small.height,
        # A tile that begins within a pixel and ends within another covers both.
        grid=TileGrid(_reduced(grid.rows, factor), _reduced(grid.columns, factor), -(-grid.tile // factor) + 1),
        events=tuple(_reduced_event(event, factor) for event in inspection.events),
    )
    return heatmap.picture(reduced, np.asarray(small))


def _reduced(starts: tuple[int, ...], factor: int) -> tuple[int, ...]:
    return tuple(start // factor for start in starts)


def _reduced_event(event: Event, factor: int) -> Event:
    """The box around every pixel that shows some of the event.

    >>> _reduced_event(Event(x=5, y=0, width=6, height=2, defect_probability=0.5), factor=4)
    Event(x=1, y=0, width=2, height=1, defect_probability=0.5, defect_class=None, continued=False)
    """
    left, top = event.x // factor, event.y // factor
    right, bottom = -(-(event.x + event.width) // factor), -(-(event.y + event.height) // factor)
    return replace(event, x=left, y=top, width=right - left, height=bottom - top)
