"""Coil: which there are, and of each what was found, what was not seen, and whether it may go."""

from collections.abc import Callable
from urllib.parse import urlencode

from nicegui import ui
from nicegui.element import Element
from nicegui.events import GenericEventArguments

from app.dashboard.client import ApiError, Json, path
from app.dashboard.client_models import or_refusal
from app.dashboard.pages import coil_parts
from app.dashboard.shell import (
    Moment,
    api,
    empty,
    heading,
    page,
    panel,
    table,
    text,
    verdict,
    visitor,
)
from app.dashboard.words import counted, metres

COILS = 50
# Of a coil with more, the gallery has the worst of all, then the worst of these.
MOST_EVENTS = 2000
EVENTS_AT_ONCE = 500
GALLERY_EVENTS = 120


def coil_url(coil_id: str) -> str:
    """The desk's page of a coil; ids may have any character, so that they stand in the query.

    >>> coil_url("A/7")
    '/coil?coil_id=A%2F7'
    """
    return f"/coil?{urlencode({'coil_id': coil_id})}"


@page("/coils", "Coil")
async def coils(state: str = "open", cursor: str | None = None) -> None:
    """Open coils first, then the closed ones, newest first. cursor: where to go on among those of that state alone."""
    heading("Coils")
    if cursor is not None:
        _listed(state, await api().coils(state, COILS, cursor), "No older coil.")
        return
    still_open, closed = [await api().coils(each, COILS) for each in ("open", "closed")]
    if not still_open["coils"] and not closed["coils"]:
        empty(
            "No coil yet",
            "A coil is opened by the first frame that names one with coil_id, or by POST /v1/coils. "
            "Its map, findings and coverage then stand here.",
        )
        return
    _listed("open", still_open, "No coil is open: the next one opens with its first frame.")
    if closed["coils"]:
        _listed("closed", closed, "")


def _listed(state: str, answer: Json, otherwise: str) -> None:
    """A page of the coils that are open, or of those that are closed, and the way to those opened before.

    otherwise: what is said where there is none.
    """
    with panel("Open now" if state == "open" else "Closed"):
        if answer["coils"]:
            columns = ("Coil", "Opened", "Last frame", "Length", "Frames", "Events")
            table(columns, [_row(each) for each in answer["coils"]], numbers=("Length", "Frames", "Events"))
        else:
            text(otherwise, "muted", "p")
        if answer["next"]:
            older = urlencode({"state": state, "cursor": answer["next"]})
            ui.link(f"Older {state} coils", f"/coils?{older}").classes("button")


def _row(coil: Json) -> tuple[object, ...]:
    return (
        lambda: ui.link(coil["coil_id"], coil_url(coil["coil_id"])).classes("coil-link"),
        lambda: Moment(coil["opened_at"]),
        lambda: Moment(coil["last_frame_at"]),
        metres(coil["length_mm"]),
        f"{coil['frames']:,}",
        f"{coil['events']:,}",
    )


@page("/coil", "Coil")
async def coil(coil_id: str | None = None, inspection_id: str | None = None) -> None:
    """One coil. inspection_id: the frame whose worst event is shown at once."""
    if coil_id is None:
        ui.navigate.to("/coils")
        return
    known = await api().coil(coil_id)
    strip_map = await api().coil_map(coil_id)
    events, more = await _events(coil_id)
    ui.page_title(f"Coil {coil_id} · Steelsight")
    _head(known)
    with Element("div").classes("columns"):
        coil_parts.acceptance(known)
        coil_parts.coverage_summary(known)
    with panel("Map of the strip"):
        strip = Strip(strip_map)
    with panel("Events, worst first"):
        shown = worst_first(known["worst_events"], events)[:GALLERY_EVENTS]
        gallery = Gallery(shown, await _wanted(inspection_id, coil_id, [*shown, *events]))
        if more:
            text(f"The worst of all, then those of the first {counted(len(events), 'event')} along the coil.", "muted")
        elif len(events) > len(shown):
            text(f"The worst {len(shown)} of {counted(len(events), 'event')}; the others are on the map.", "muted")

    async def picked(event: GenericEventArguments) -> None:
        mark = event.args
        found = next((each for each in events if each["event"] == mark["event"]), None)
        gallery.run_method("open", mark["event"], found or await _boxed(mark))

    strip.on("pick", picked)
    coil_parts.periodic(known)
    coil_parts.coverage(known)


async def _wanted(inspection_id: str | None, coil_id: str, known: list[Json]) -> Json | None:
    """The worst event of a frame of the coil, which may be none of those that were fetched."""
    if inspection_id is None:
        return None
    if of_frame := [each for each in known if each["inspection_id"] == inspection_id]:
        return max(of_frame, key=lambda each: each["defect_probability"])
    frame = await or_refusal(api().inspection(inspection_id))
    if isinstance(frame, ApiError) or frame["coil_id"] != coil_id or not frame["events"]:
        return None
    return _beside(frame, frame["events"][0])


async def _boxed(mark: Json) -> Json | None:
    """An event of the map as the gallery shows one: its box stands with its frame."""
    frame = await api().inspection(mark["inspection_id"])
    box = next((each for each in frame["events"] if each["event"] == mark["event"]), None)
    return None if box is None else _beside(frame, {**box, "severity": mark["severity"]})


def _beside(frame: Json, event: Json) -> Json:
    return {**event, **{name: frame[name] for name in ("inspection_id", "camera_id", "side", "review")}}


def _head(known: Json) -> None:
    coil_id = known["coil_id"]
    with Element("div").classes("row-of"):
        heading(f"Coil {coil_id}")
        text("closed" if known["closed_at"] else "open", "verdict")
        text("", "fill")

        async def close() -> None:
            await api().close_coil(coil_id)
            ui.navigate.reload()

        if not known["closed_at"]:
            ui.link("Refresh", coil_url(coil_id)).classes("button")
        if not known["closed_at"] and visitor().may("review"):
            with ui.dialog() as asked, ui.card().classes("panel"):
                text(f"Close coil {coil_id}?", "panel-title", "h2")
                text("A frame that names it later is a part of it all the same.", tag="p")
                with Element("div").classes("row-of"):
                    _button("Close the coil", close, "button primary")
                    _button("Leave it open", asked.close)
            _button("Close this coil", asked.open)
        report = ui.link("Print", f"/report{path('v1', 'coils', coil_id, 'report')}", new_tab=True)
        report.classes("button").props("rel=noopener")
    with Element("div").classes("row-of muted"):
        with Element("span"):
            text("Opened ")
            Moment(known["opened_at"])
        if known["closed_at"]:
            with Element("span"):
                text("Closed ")
                Moment(known["closed_at"])
                text({"idle": " after a while without frames", "api": " on request"}.get(known["closed_by"], ""))
        with Element("span"):
            text("Last frame ")
            Moment(known["last_frame_at"], "date" if known["closed_at"] else "ago")
        text(counted(known["frames"], "frame"))
        for word, count in known["verdicts"].items():
            with Element("span"):
                verdict(word)
                text(f" {count:,}")
        if known["refused"]:
            text(f"⚠ {counted(known['refused'], 'frame')} refused")


def _button(words: str, do: Callable[[], object], classes: str = "button") -> None:
    with Element("button").classes(classes).props("type=button").on("click", do):
        text(words)


async def _events(coil_id: str) -> tuple[list[Json], bool]:
    """The first events along the coil, and whether there are more."""
    events: list[Json] = []
    cursor = None
    while len(events) < MOST_EVENTS:
        answer = await api().coil_events(coil_id, EVENTS_AT_ONCE, cursor)
        events += answer["events"]
        cursor = answer["next"]
        if cursor is None:
            return events, False
    return events, True


def worst_first(worst: list[Json], events: list[Json]) -> list[Json]:
    """Each event once: those the API calls the worst in its order, then the others by falling probability.

    What a person called good comes last.

    >>> a, b, c = ({"event": n, "defect_probability": p, "review": None} for n, p in ((1, 0.7), (2, 0.8), (3, 0.9)))
    >>> [each["event"] for each in worst_first([a], [b, c, a])]
    [1, 3, 2]
    """
    named = {each["event"] for each in worst}
    others = [each for each in events if each["event"] not in named]
    return worst + sorted(others, key=lambda each: (each["review"] == "ok", -each["defect_probability"]))


class Strip(Element, component="../static/strip.js"):
    """The strip from above, along the rolling direction; emits `pick` with an event of the map."""

    def __init__(self, strip_map: Json) -> None:
        super().__init__()
        self.props["map"] = strip_map


class Gallery(Element, component="../static/gallery.js"):
    """Crops of events; one is opened by a click or with `run_method("open", number)`.

    wanted: one that is open at first.
    """

    def __init__(self, events: list[Json], wanted: Json | None) -> None:
        super().__init__()
        self.props["events"] = events
        self.props["wanted"] = wanted
