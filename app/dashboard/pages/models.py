"""*Models*: which versions there are and how good, which one serves, which one shadows it, and changing that."""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

from nicegui import ui
from nicegui.element import Element

from app.dashboard.assets import style
from app.dashboard.client import ApiError, Json
from app.dashboard.client_models import has_report, or_refusal, report_path
from app.dashboard.pages.controls import Outcome, button
from app.dashboard.pages.models_change import Changes
from app.dashboard.pages.models_words import (
    CHIEF,
    Meaning,
    certificate,
    figure,
    interval,
    meaning_of,
    newest_first,
)
from app.dashboard.pages.parts import Part
from app.dashboard.pages.signs import NONE
from app.dashboard.shell import Moment, api, empty, facts, heading, page, panel, problem, table, text, verdict, visitor
from app.dashboard.words import as_share, counted, percent, probability

# Counts of a shadow move with the line; a change made by somebody else is to be seen soon.
LOOK_EVERY_S = 3.0
DIFFERENCES_SHOWN = 20


@page("/models", "Models")
async def models() -> None:
    """The page."""
    style("models.css")
    heading("Models")
    answers = await _answers()
    board = Board()
    board.show(answers)
    ui.timer(LOOK_EVERY_S, board.look_again, immediate=False)


class Answers(NamedTuple):
    """What the page shows: all versions, the manifest of the active one, rates of live operation, the shadow's list."""

    told: Json
    detail: Json | ApiError | None
    rates: list[Json] | ApiError
    differences: list[Json] | ApiError


async def _answers() -> Answers:
    """Ask for everything. Raises `ApiError` if the versions cannot be listed."""
    told, rates, differences = await asyncio.gather(
        api().models(), or_refusal(api().review_rates()), or_refusal(api().shadow_differences())
    )
    current = _one(told["versions"], told["active"])
    detail = await or_refusal(api().model(current["version"])) if current and not current["fault"] else None
    return Answers(told, detail, rates, differences)


class Board:
    """The page's parts, and what they were last told."""

    def __init__(self) -> None:
        self._outcome = Outcome()
        # What counts the line's frames changes all the time: buttons stand apart from it, for a hand that is on one.
        with panel("In service"):
            self._service, self._figures = Part(), Part()
        with panel("Shadow"):
            self._shadow, self._scored = Part(), Part()
        self._list = Part()
        self._changes = Changes(self._changed)
        # What a role may not do is not offered; the API refuses it all the same.
        self._may_change = visitor().may("admin")
        self._told: Json = {}

    def show(self, answers: Answers) -> None:
        """Build what has changed."""
        told, detail, rates, differences = answers
        self._told = told
        current = _one(told["versions"], told["active"])
        running = told["shadow"] and {name: told["shadow"][name] for name in ("version", "share")}
        bare = {**told, "shadow": running}
        self._changes.follow((told["active"], told["previous"], running))
        self._service.show((bare, _shown(detail)), lambda: self._build_service(current, detail))
        self._figures.show((current, _shown(rates)), lambda: _figures_beside_live(current, rates))
        self._shadow.show((running, told["shadow_failure"], told["active"]), self._build_shadow)
        self._scored.show((told["shadow"], _shown(differences)), lambda: _scored(told["shadow"], differences))
        self._list.show(bare, self._build_list)

    async def look_again(self) -> None:
        """Ask and show; while nothing answers, what was last known stays, and the frame of the page says so."""
        answers = await or_refusal(_answers())
        if not isinstance(answers, ApiError):
            self.show(answers)

    async def _changed(self, sentence: str) -> None:
        self._outcome.done(sentence)
        await self.look_again()

    # -- what serves

    def _build_service(self, current: Json | None, detail: Json | ApiError | None) -> None:
        told = self._told
        if told["failure"]:
            text(f"▲ {told['failure']}", "note", "p").props("role=alert")
        serving, active, previous = told["serving"], told["active"], told["previous"]
        if current is None:
            if serving is None and told["versions"]:
                text("No version is active, so no frame is inspected. Choose one below and activate it.", tag="p")
            elif serving is None:
                text("No version is active, so no frame is inspected.", tag="p")
            return
        with Element("div").classes("row-of"):
            text(active, "version-name")
            if serving and serving["version"] == active:
                text(f"✓ serves, engine {serving['engine']}", "badge serves")
            elif serving:
                text(f"▲ {serving['version']} serves instead", "badge waits")
            else:
                text("▲ not loaded", "badge waits")
            text("", "fill")
            if self._may_change and previous is not None:
                button("Roll back …", partial(self._changes.roll_back, active, previous))
        if isinstance(detail, ApiError):
            text(f"{detail.title}: {detail.detail}", "note", "p")
        elif detail is not None:
            _certified(detail["manifest"])

    # -- the shadow

    def _build_shadow(self) -> None:
        told = self._told
        running, active = told["shadow"], told["active"]
        if told["shadow_failure"]:
            text(f"▲ {told['shadow_failure']}", "note", "p").props("role=alert")
        if running is None:
            text(
                "No version shadows. A shadow scores a share of the live frames beside the version that serves, "
                "without any say in the verdicts: the safest way to see what a new version would do.", "muted", "p",
            )  # fmt: skip
            return
        version = running["version"]
        with Element("div").classes("row-of"):
            text(version, "version-name")
            text(f"◑ scores {as_share(running['share'])} of the live frames", "badge shadows")
            text("", "fill")
            if self._may_change:
                button("Change the share …", partial(self._changes.shadow, version, active, running))
                button(
                    "End …", partial(self._changes.end_shadow, version, active), name=f"End the shadow of {version} …"
                )

    # -- all versions

    def _build_list(self) -> None:
        told = self._told
        versions = newest_first(told["versions"])
        if not versions:
            empty(
                "No version is published yet",
                "Train one from labelled images: python -m training train DATA --activate. It appears here by itself.",
            )
            return
        with panel(f"All versions ({len(versions)}), newest first"):
            for version in versions:
                self._build_version(version)

    def _build_version(self, version: Json) -> None:
        told = self._told
        name, active, running = version["version"], told["active"], told["shadow"]
        shadows = running is not None and running["version"] == name
        with Element("article").classes("version").props("tabindex=-1") as article:
            article.props["aria-label"] = f"Version {name}"
            with Element("div").classes("row-of"):
                text(name, "version-name")
                if name == active:
                    text("● active", "badge serves")
                if shadows:
                    text("◑ shadow", "badge shadows")
                if version["fault"]:
                    text("✕ damaged", "badge broken")
                if version["created_at"]:
                    with Element("span").classes("muted"):
                        text("published ")
                        Moment(version["created_at"])
                text("", "fill")
                if self._may_change and not version["fault"] and name != active:
                    if not shadows:
                        button(
                            "Shadow …",
                            partial(self._changes.shadow, name, active, running),
                            name=f"Let {name} shadow …",
                        )
                    button("Activate …", partial(self._changes.activate, name, active), name=f"Activate {name} …")
            if version["fault"]:
                text(version["fault"], "note", "p")
                return
            with Element("div").classes("chief"):
                for meaning in CHIEF:
                    _chief(meaning, version["metrics"].get(meaning.key))
            Details(name)


class Details(Element):
    """Everything else of one version, asked for when it is opened."""

    def __init__(self, version: str) -> None:
        super().__init__("details")
        self._version = version
        self._asked = False
        with self:
            summary = text("Everything measured of it", tag="summary")
            summary.props["aria-label"] = f"Everything measured of {version}"
            self._body = Element("div").classes("details")
        self.on("toggle", self._opened)

    async def _opened(self) -> None:
        if self._asked:
            return
        self._asked = True
        with self._body:
            ui.spinner(size="24px")
        told, report = await asyncio.gather(
            or_refusal(api().model(self._version)), or_refusal(has_report(api(), self._version))
        )
        self._body.clear()
        with self._body:
            if isinstance(told, ApiError):
                # Asked again when it is opened again.
                self._asked = False
                problem(told)
                return
            if report is True:
                ui.link("Report: curves, worst tiles, robustness", f"/report{report_path(self._version)}", new_tab=True)
            else:
                text("No report was published with it.", "muted", "p")
            _certified(told["manifest"])
            _thresholds(told)
            _all_figures(told)
            _engines(told)


def _one(versions: Sequence[Json], name: str | None) -> Json | None:
    return next((each for each in versions if each["version"] == name), None)


def _shown(answer: Any) -> Any:
    """What tells one answer from another; two refusals in the same words are one."""
    return (answer.code, answer.detail) if isinstance(answer, ApiError) else answer


def _certified(manifest: Json) -> None:
    certified, sentence = certificate(manifest)
    with Element("p").classes("certificate"):
        text("✓ Certified" if certified else "○ Not certified", "badge serves" if certified else "badge waits")
        text(sentence.removeprefix("Certified: ").removeprefix("Not certified: "))


def _chief(meaning: Meaning, told: Json | None) -> None:
    with Element("div").classes("figure"):
        text(meaning.name, "figure-name")
        if told is None:
            text(NONE, "figure-value")
            text("not measured", "muted")
        else:
            text(figure(told["value"], meaning.share), "figure-value")
            text(interval(told, meaning.share), "muted")


def _scored(running: Json | None, differences: list[Json] | ApiError) -> None:
    """How often the shadow agreed, and the latest frames on which it did not."""
    if running is not None:
        _agreement(running)
    if isinstance(differences, ApiError):
        text(f"{differences.title}: {differences.detail}", "note", "p")
    elif differences:
        _differences(differences)
    elif running is not None and running["frames"]:
        text("No frame got another verdict so far.", "muted", "p")


def _agreement(running: Json) -> None:
    lost = [
        f"{counted(running[key], 'frame')} {what}"
        for key, what in (("dropped", "left out for want of time"), ("failed", "it could not score"))
        if running[key]
    ]
    scored, differing = running["frames"], running["differing"]
    share = f" ({percent(differing / scored)})" if scored else ""
    text(
        f"{counted(scored, 'frame')} scored by the worker that answers, {differing:,} with another verdict{share}"
        + "".join(f", {each}" for each in lost) + ".", tag="p",
    )  # fmt: skip
    pairs = [pair for pair in running["verdicts"] if pair["frames"]]
    if pairs:
        table(
            ("Served", "Shadow", "Frames"),
            [
                (partial(verdict, pair["live"]), partial(verdict, pair["shadow"]), f"{pair['frames']:,}")
                for pair in sorted(pairs, key=lambda pair: -pair["frames"])
            ],
            numbers=("Frames",),
        ).classes("narrow")


def _figures_beside_live(current: Json | None, rates: list[Json] | ApiError) -> None:
    """The test figures of what serves, and beside them what random samples of live operation say."""
    if current is None:
        return
    live = None if isinstance(rates, ApiError) else _one(rates, current["version"])
    rows = []
    for meaning in CHIEF:
        told = current["metrics"].get(meaning.key)
        lived = live and live.get({"escape_rate": "escape", "overkill_rate": "overkill"}.get(meaning.key, ""))
        rows.append(
            (
                meaning.name,
                partial(_value, told, meaning.share),
                partial(_value, lived, True),
                meaning.says,
            )
        )
    table(("Figure", "In the test, of tiles", "On the line, of frames", "What it is"), rows)
    if isinstance(rates, ApiError):
        text(f"How it does on the line is not known: {rates.detail}", "note", "p")
    elif live is None:
        text("On the line: nothing is known yet, for no frame of this version was sampled and reviewed.", "muted", "p")
    else:
        text(f"On the line: {live['sentence']}", tag="p")


def _value(told: Json | None, share: bool) -> None:
    if told is None:
        text(NONE)
        return
    text(figure(told["value"], share), "strong")
    text(interval(told, share), "muted block")


def _differences(differences: list[Json]) -> None:
    shown = differences[:DIFFERENCES_SHOWN]
    more = f", the latest {len(shown)} of {len(differences):,}" if len(differences) > len(shown) else ""
    text(f"Frames that it judged differently{more}", "subtitle", "h3")
    table(
        ("When", "Served", "Shadow", "Look at it"),
        [
            (
                partial(Moment, each["at"], "ago"),
                partial(_judgement, each["live"]),
                partial(_judgement, each["shadow"]),
                partial(_look_at, each["inspection_id"]),
            )
            for each in shown
        ],
    )


def _judgement(judged: Json) -> None:
    verdict(judged["verdict"])
    text(probability(judged["defect_probability"]), "beside")


def _look_at(inspection_id: str) -> None:
    link = ui.link("What the network saw", f"/network?inspection={inspection_id}")
    link.props["aria-label"] = f"What the network saw of inspection {inspection_id}"


def _thresholds(told: Json) -> None:
    thresholds, classes = told["thresholds"], told["classes"]
    facts(
        (
            ("Review from", f"{probability(thresholds['review'])} defect probability"),
            ("Defect from", f"{probability(thresholds['defect'])} defect probability"),
            ("Tells apart", ", ".join(classes)),
        )
    )


def _all_figures(told: Json) -> None:
    if not told["metrics"]:
        text("No figure was measured when it was published.", "muted", "p")
        return
    rows = [
        (meaning.name, figure(of["value"], meaning.share), interval(of, meaning.share), meaning.says)
        for meaning, of in ((meaning_of(key), of) for key, of in told["metrics"].items())
    ]
    table(("Figure", "Value", "95 % interval", "What it is"), rows, numbers=("Value",))


def _engines(told: Json) -> None:
    if not told["parity"]:
        return
    rows = [
        (
            engine,
            "✓ offered" if engine in told["engines"] else f"✕ refused: {parity['reason'] or 'other verdicts'}",
            f"{parity['max_probability_difference']:.2g}",
            f"{parity['verdict_flips']:,} of {parity['tiles']:,}",
        )
        for engine, parity in sorted(told["parity"].items())
    ]
    columns = ("Engine", "State", "Largest difference", "Verdicts changed")
    table(columns, rows, numbers=columns[2:])
