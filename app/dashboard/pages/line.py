"""Line: the last frame of every camera, to be read from two metres away."""

import time

from nicegui import ui
from nicegui.element import Element

from app.dashboard.client import Json
from app.dashboard.feed import Camera, Feed
from app.dashboard.shell import feed, page, picture_url
from app.dashboard.words import clock_ahead, late

# A camera that sends a frame a second or faster has then missed five; what it showed last says nothing of now.
STALE_AFTER_S = 5.0


class Wall(Element, component="../static/wall.js"):
    """All cameras. The browser counts seconds on by itself; it is told when a frame was judged."""

    def __init__(self) -> None:
        super().__init__()
        heard = feed()
        self.props["staleAfter"] = STALE_AFTER_S
        self._show(heard)
        self.client.on_delete(heard.watch(self._show))

    def _show(self, heard: Feed) -> None:
        now_s = time.monotonic()
        shown = sorted(heard.cameras.values(), key=lambda each: (each.entry.get("side") or "", each.entry["camera_id"]))
        self.props["cameras"] = [card(each, now_s) for each in shown]
        self.props["down"] = heard.down_since is not None
        self.props["asked"] = heard.asked
        self.update()


def card(camera: Camera, now_s: float) -> Json:
    """What the wall shows of one camera; now_s: the monotonic clock of `heard_s`.

    >>> last = {"inspection_id": "0f", "verdict": "ok", "defect_probability": 0.1, "event_count": 0}
    >>> shown = card(Camera({"camera_id": "c1", "picture": "/v1/cameras/c1/frame.png"}, last, 10.0), 12.5)
    >>> shown["age_s"], shown["picture"], shown["verdict"]
    (2.5, '/picture/v1/cameras/c1/frame.png', 'ok')
    """
    entry, last = camera.entry, camera.last or {}
    finding = camera.finding
    return {
        "camera_id": entry["camera_id"],
        "side": entry.get("side"),
        "coil_id": entry.get("coil_id"),
        "megapixels_per_second": entry.get("megapixels_per_second"),
        "frames_per_second": entry.get("frames_per_second"),
        "lag_ms": entry.get("lag_ms"),
        "late": late(entry.get("lag_ms")),
        "clock_ahead": clock_ahead(entry.get("lag_ms")),
        "gaps": entry.get("gaps"),
        "picture": picture_url(entry["picture"]) if entry.get("picture") else None,
        "inspection_id": last.get("inspection_id"),
        "verdict": last.get("verdict"),
        "defect_probability": last.get("defect_probability"),
        "defect_class": last.get("defect_class"),
        "event_count": last.get("event_count"),
        "position_mm": last.get("position_mm"),
        "width": last.get("width"),
        "height": last.get("height"),
        "age_s": max(0.0, now_s - camera.heard_s),
        "finding": finding
        and {
            "inspection_id": finding["inspection_id"],
            "verdict": finding["verdict"],
            "defect_class": finding.get("defect_class"),
            "coil_id": finding.get("coil_id"),
            "position_mm": finding.get("position_mm"),
            "at": finding["received_at"],
        },
    }


@page("/line", "Line", wide=True)
def line() -> None:
    """The wall, and nothing else."""
    ui.page_title("Line · Steelsight")
    Wall()
