"""What happens on the line, heard once for all browsers: the live feed, and the list of cameras beside it.

The feed says at once that a frame was judged. The list says what only the API can count (rates, lag, gaps), is asked
every few seconds while a page is open, and takes the feed's place while there is none.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

import structlog

from app.dashboard.client import Api, ApiError, Json, path

# Rates and gaps change slowly; without the live feed this is how new frames are seen, so it is asked faster.
LIST_EVERY_S = 2.0
LIST_EVERY_WITHOUT_FEED_S = 0.5
# Tells a broken connection from a quiet line. The list is asked meanwhile, so that nothing is missed by waiting.
FEED_SILENCE_S = 60.0
FEED_AGAIN_S = 1.0
# Pages are told at most this often: at line speed hundreds of frames a second are judged, and no eye follows.
TELL_EVERY_S = 0.2

log = structlog.get_logger("steelsight.desk")


@dataclass
class Camera:
    """One camera: its entry in the API's list, the last frame, and when that came (monotonic seconds).

    finding: the last frame that was not ok since the desk began to hear. At line speed its verdict is on the wall for
    a blink, and nobody looks at that moment.
    """

    entry: Json
    last: Json | None
    heard_s: float
    finding: Json | None = None


@dataclass
class Feed:
    """The state of the line. `watch` tells of changes; everything else is read."""

    api: Api
    cameras: dict[str, Camera] = field(default_factory=dict)
    # RFC 3339; None while the API answers.
    down_since: str | None = None
    reason: str | None = None
    # It answers, and knows no key of the desk's.
    refused: bool = False
    asked: bool = False
    _live: bool = False
    _watchers: list[Callable[["Feed"], None]] = field(default_factory=list)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _opened: asyncio.Event = field(default_factory=asyncio.Event)

    def watch(self, watcher: Callable[["Feed"], None]) -> Callable[[], None]:
        """Call `watcher` after changes, a few times a second at most. Returns how to end that."""
        self._watchers.append(watcher)
        self._opened.set()
        return lambda: _forget(self._watchers, watcher)

    async def run(self) -> None:
        """Hear and tell until cancelled."""
        while True:
            try:
                async with asyncio.TaskGroup() as group:
                    for work in (self._hear, self._list, self._tell):
                        group.create_task(work())
            # Whatever an answer was that nobody foresaw: the wall goes on, and the log says what it was.
            except* Exception as errors:
                log.error("feed_failed", exc_info=errors)
                await asyncio.sleep(FEED_AGAIN_S)

    async def _hear(self) -> None:
        while True:
            with suppress(ApiError):
                async for kind, body in self.api.live(FEED_SILENCE_S):
                    self._answered()
                    self._live = True
                    if kind == "inspection":
                        self._judged(body)
            self._live = False
            await asyncio.sleep(FEED_AGAIN_S)

    async def _list(self) -> None:
        while True:
            if not self._watchers:
                self._opened.clear()
                await self._opened.wait()
            try:
                self._listed(await self.api.cameras())
                self._answered()
            except ApiError as error:
                self._refused(error)
            await asyncio.sleep(LIST_EVERY_S if self._live else LIST_EVERY_WITHOUT_FEED_S)

    async def _tell(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            for watcher in list(self._watchers):
                watcher(self)
            await asyncio.sleep(TELL_EVERY_S)

    def _judged(self, row: Json) -> None:
        name = row.get("camera_id")
        if name is None:
            return
        known = self.cameras.get(name)
        picture = path("v1", "cameras", name, "frame.png")
        entry = {"camera_id": name, "side": row.get("side"), **(known.entry if known else {})}
        entry |= {"coil_id": row.get("coil_id"), "picture": picture}
        self.cameras[name] = Camera(entry, row, time.monotonic(), _finding(row, known))
        self._changed.set()

    def _listed(self, entries: list[Json]) -> None:
        now = time.monotonic()
        cameras = {}
        for entry in entries:
            name, last = entry["camera_id"], entry.get("last")
            known = self.cameras.get(name)
            # The list was made before the feed told of a newer frame: its counts are good, its last frame is not.
            if known and known.last and last and known.last["inspection_id"] >= last["inspection_id"]:
                newer = {"coil_id": known.entry.get("coil_id"), "picture": known.entry.get("picture")}
                cameras[name] = Camera({**entry, **newer}, known.last, known.heard_s, known.finding)
            else:
                heard_s = now - (entry.get("seconds_since_last") or 0.0)
                cameras[name] = Camera(entry, last, heard_s, _finding(last, known))
        self.cameras = cameras
        self.asked = True
        self._changed.set()

    def _answered(self) -> None:
        if self.down_since is not None:
            self.down_since = self.reason = None
            self.refused = False
            self._changed.set()

    def _refused(self, error: ApiError) -> None:
        if self.down_since is None:
            self.down_since = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        self.refused = error.status in (401, 403)
        reason = f"{error.detail} (STEELSIGHT_DESK_KEY)" if self.refused else error.detail
        if self.reason != reason:
            self.reason = reason
            self._changed.set()


def _finding(last: Json | None, known: Camera | None) -> Json | None:
    if last and last["verdict"] != "ok":
        return last
    return known.finding if known else None


def _forget(known: list[Callable[..., None]], one: Callable[..., None]) -> None:
    with suppress(ValueError):
        known.remove(one)
