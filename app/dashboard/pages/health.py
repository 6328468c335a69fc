"""*Health*: is everything well, and for everything that is not, one sentence on what to do."""

import asyncio
import time
from collections import deque
from collections.abc import Iterator

from nicegui import ui
from nicegui.element import Element

from app.dashboard.assets import style
from app.dashboard.client import ApiError, Json
from app.dashboard.client_models import or_refusal
from app.dashboard.pages import health_lights as lights
from app.dashboard.pages.health_lights import Finding, Light
from app.dashboard.pages.health_readings import Buckets, Readings, percentile, read
from app.dashboard.pages.parts import Part
from app.dashboard.pages.signs import NONE
from app.dashboard.shell import api, heading, page, panel, table, text
from app.dashboard.words import counted, spelled

LOOK_EVERY_S = 3.0
# Long enough that a camera which sends every few seconds shows, short enough that a fault which is over goes green.
LATELY_S = 60.0
SYMBOLS = {Light.GREEN: "✓", Light.AMBER: "▲", Light.RED: "✕"}
SHARES = (0.5, 0.95, 0.99)
# In the order in which a frame passes them.
STAGES = {
    "queue": "waiting for a thread and for company",
    "decode": "file to pixels",
    "inference": "pixels to probabilities, with the frames judged together",
    "store": "the record, until it is safe on the disk",
    "total": "from the request's headers to the reply",
}


@page("/health", "Health")
async def health() -> None:
    """The page."""
    style("health.css")
    heading("Health")
    ward = Ward()
    await ward.look()
    ui.timer(LOOK_EVERY_S, ward.look, immediate=False)


class Ward:
    """The page's parts, and the readings of the last minute."""

    def __init__(self) -> None:
        self._overall, self._findings, self._cameras = Part(), Part(), Part()
        with Element("div").classes("columns wide-columns"):
            self._times, self._refusals = Part(), Part()
        self._kept: deque[Readings] = deque()

    async def look(self) -> None:
        """Ask for everything and show it. Whatever cannot be had is a finding, not a failure of the page."""
        ready, metrics, told, record, cameras = await asyncio.gather(
            or_refusal(api().ready()),
            or_refusal(api().metrics()),
            or_refusal(api().models()),
            or_refusal(api().record()),
            or_refusal(api().cameras()),
        )
        now = self._read(metrics)
        found = list(_findings(ready, told, record, now, self._lately(now)))
        seen = list(_seen(cameras))
        self._overall.show([*found, *seen], lambda: _build_overall([*found, *seen]))
        self._findings.show(found, lambda: _build_findings("The server", found))
        self._cameras.show((seen, cameras == []), lambda: _build_cameras(seen, nobody=cameras == []))
        self._show_counts(now)

    def _show_counts(self, now: Readings | None) -> None:
        if now is None:
            for part in (self._times, self._refusals):
                part.show(None, lambda: None)
            return
        lately = self._lately(now)
        times = {
            stage: (
                now.buckets("steelsight_stage_seconds", stage=stage),
                lately.buckets("steelsight_stage_seconds", stage=stage),
            )
            for stage in STAGES
        }
        codes = (now.by("steelsight_refusals_total", "code"), lately.by("steelsight_refusals_total", "code"))
        drops = (now.by("steelsight_dropped_total", "reason"), lately.by("steelsight_dropped_total", "reason"))
        frames = (int(now.total("steelsight_frames_total")), int(lately.total("steelsight_frames_total")))
        span = last(now.at - self._kept[0].at)
        self._times.show((times, frames, span), lambda: _build_times(times, frames, span))
        self._refusals.show((codes, drops, span), lambda: _build_refusals(codes, drops, span))

    def _read(self, metrics: str | ApiError) -> Readings | None:
        if isinstance(metrics, ApiError):
            return None
        now = read(metrics, time.monotonic())
        while self._kept and now.at - self._kept[0].at > LATELY_S:
            self._kept.popleft()
        self._kept.append(now)
        return now

    def _lately(self, now: Readings | None) -> Readings:
        """What was counted since the oldest reading of the last minute: nothing yet at the first."""
        return now.since(self._kept[0]) if now is not None else Readings(0.0)


def last(seconds: float) -> str:
    """What the readings at hand tell of, in words: a page that was opened just now knows of no minute yet.

    >>> last(0.0), last(12.2), last(58.0)
    ('since this page began to count', 'in the last 12 s', 'in the last minute')
    """
    if seconds < 1:
        return "since this page began to count"
    return f"in the last {seconds:.0f} s" if seconds < LATELY_S - 2 * LOOK_EVERY_S else "in the last minute"


def _findings(
    ready: tuple[bool, Json] | ApiError,
    told: Json | ApiError,
    record: Json | ApiError,
    now: Readings | None,
    lately: Readings,
) -> Iterator[Finding]:
    if isinstance(ready, ApiError):
        yield lights.unreachable(ready.detail)
        return
    serves, reply = ready
    yield from lights.ready(reply) if serves else lights.unready(reply["code"], reply["detail"])
    if now is not None:
        yield from lights.workers(now.serving())
    if not isinstance(told, ApiError):
        yield lights.shadow(told)
    if now is not None:
        yield lights.queue(now, lately)
        yield lights.refusals(lately)
    yield from (
        [lights.unrecorded(record.code, record.detail)]
        if isinstance(record, ApiError)
        else lights.record(record, lately)
    )


def _seen(cameras: list[Json] | ApiError) -> Iterator[Finding]:
    if not isinstance(cameras, ApiError):
        yield from map(lights.camera, cameras)
    elif not cameras.unreachable:
        yield lights.unlisted(cameras.detail)


def _build_overall(found: list[Finding]) -> None:
    worst = lights.worst(found)
    wrong = [each for each in found if each.light is not Light.GREEN]
    said = "Everything is well" if not wrong else f"{counted(len(wrong), 'thing')} to see to"
    with Element("p").classes(f"overall light-{worst.name.lower()}").props("role=status"):
        text(SYMBOLS[worst], "symbol").props("aria-hidden=true")
        text(said)


def _build_findings(title: str, found: list[Finding]) -> None:
    with panel(title), Element("ul").classes("findings"):
        for each in found:
            _build_finding(each)


def _build_finding(found: Finding) -> None:
    with Element("li").classes("finding"):
        with Element("span").classes(f"light light-{found.light.name.lower()}"):
            text(SYMBOLS[found.light], "symbol").props("aria-hidden=true")
            text(found.light.word)
        text(found.subject, "subject")
        with Element("div").classes("told"):
            text(found.state, tag="p")
            if found.advice:
                text(found.advice, "advice", "p")


def _build_cameras(seen: list[Finding], nobody: bool) -> None:
    if seen:
        _build_findings("Cameras", seen)
    elif nobody:
        with panel("Cameras"):
            text("No camera has sent a frame yet. One appears here with its first frame that names it.", "muted", "p")


def _build_times(times: dict[str, tuple[Buckets, Buckets]], frames: tuple[int, int], span: str) -> None:
    with panel("Time of a frame, in ms"):
        since_start, lately = frames
        if not since_start:
            text("No frame was inspected since the server's start, so there is nothing to time.", "muted", "p")
            return
        text(f"{counted(lately, 'frame')} {span}, {since_start:,} since the start. "
             "Half, 95 % and 99 % of the frames were faster than this.", "muted", "p")  # fmt: skip
        columns = ("Stage", "50 %", "95 %", "99 %")
        for number, title in enumerate(("Since the start", span.capitalize())):
            timed = {stage: both[number] for stage, both in times.items() if percentile(both[number], 0.5) is not None}
            if timed:
                text(title, "subtitle", "h3")
                rows = [
                    (spelled(stage), *(_ms(percentile(of, share)) for share in SHARES)) for stage, of in timed.items()
                ]
                table(columns, rows, numbers=columns[1:])
        with Element("dl").classes("facts small"):
            for stage, says in STAGES.items():
                if percentile(times[stage][0], 0.5) is not None:
                    text(stage, tag="dt")
                    text(says, tag="dd")


def _build_refusals(
    codes: tuple[dict[str, float], dict[str, float]], drops: tuple[dict[str, float], dict[str, float]], span: str
) -> None:
    columns = ("Code", span.capitalize(), "Since the start", "What to do")
    with panel("Refused, by code"):
        rows = [
            (code, lights.count(codes[1].get(code, 0)), lights.count(total), lights.advice_for(code))
            for code, total in sorted(codes[0].items(), key=lambda item: -item[1])
        ]
        if rows:
            table(columns, rows, numbers=columns[1:3])
        else:
            text("Nothing was refused since the server's start.", "muted", "p")
    with panel("Frames dropped before they were inspected"):
        dropped = [
            (spelled(reason), lights.count(drops[1].get(reason, 0)), lights.count(total))
            for reason, total in sorted(drops[0].items(), key=lambda item: -item[1])
        ]
        if dropped:
            table(("Reason", *columns[1:3]), dropped, numbers=columns[1:3])
        else:
            text("None since the server's start.", "muted", "p")


def _ms(seconds: float | None) -> str:
    return NONE if seconds is None else f"{1000 * seconds:,.1f}"
