"""Changes to what serves, each behind a question that says what it will do and names the versions."""

from collections.abc import Awaitable, Callable

from nicegui import ui
from nicegui.element import Element

from app.dashboard.client import ApiError, Json
from app.dashboard.pages.controls import Outcome, button, enabled
from app.dashboard.pages.models_words import Plan, activation, changed, ending, rolling_back, shadowing
from app.dashboard.pages.parts import Part
from app.dashboard.shell import api, text
from app.dashboard.words import as_share

# One frame in ten shows within minutes whether two versions differ, and costs a tenth of the line's own work.
FIRST_SHARE = 10

Told = Callable[[str], Awaitable[None]]


class Changes:
    """The questions of one page, and what is done once they are answered with yes.

    told: called with a sentence after each change, to show it and to read everything anew.
    """

    def __init__(self, told: Told) -> None:
        self._told = told
        # Not within what was pressed: a part that is built anew would take them along.
        self._questions = Part()
        self._acting = False

    def follow(self, standing: object) -> None:
        """Take a question away whose words do not hold any more. standing: what serves, served before and shadows."""
        if not self._acting:
            self._questions.show(standing, lambda: None)

    def activate(self, version: str, active: str | None) -> None:
        """Ask, and let a version serve."""

        async def do() -> str:
            return changed(await api().activate(version))

        self._ask(activation(version, active), f"{version} is being loaded and checked; this can take a minute …", do)

    def roll_back(self, active: str, previous: str) -> None:
        """Ask, and let the version before serve."""

        async def do() -> str:
            return changed(await api().roll_back())

        self._ask(rolling_back(active, previous), "The version is being loaded and checked …", do)

    def shadow(self, version: str, active: str | None, running: Json | None) -> None:
        """Ask for a share, and let a version shadow. running: what shadows now, as the API tells it."""
        same = running is not None and running["version"] == version
        before = round(100 * running["share"], 6) if running is not None and same else FIRST_SHARE
        plan = shadowing(version, active, running["version"] if running else None)
        chosen = {"percent": before}

        def choose() -> None:
            with Element("label").classes("share"):
                text("Share of the live frames")
                entered = ui.number(value=chosen["percent"], step=1, suffix="%")
                entered.props("outlined dense").bind_value_to(chosen, "percent")

        async def do() -> str:
            # Nothing entered is no share: the API says so, as of any that is none.
            begun = await api().start_shadow(version, (chosen["percent"] or 0) / 100)
            return f"{begun['version']} shadows now and scores {as_share(begun['share'])} of the live frames."

        self._ask(plan, f"{version} is being loaded and checked; this can take a minute …", do, choose)

    def end_shadow(self, version: str, active: str | None) -> None:
        """Ask, and let a version shadow no longer."""

        async def do() -> str:
            await api().stop_shadow(version)
            return f"{version} shadows no more."

        self._ask(ending(version, active), "The shadow is being ended …", do)

    def _ask(
        self, plan: Plan, meanwhile: str, do: Callable[[], Awaitable[str]], more: Callable[[], None] | None = None
    ) -> None:
        async def confirmed() -> None:
            # Until it has been decided there is nothing to leave.
            dialog.props("persistent")
            enabled(go, False)
            enabled(leave, False)
            outcome.waiting(meanwhile)
            self._acting = True
            try:
                sentence = await do()
            except ApiError as error:
                outcome.failed(error)
                dialog.props(remove="persistent")
                enabled(go, True)
                enabled(leave, True)
                return
            finally:
                self._acting = False
            await self._told(sentence)
            dialog.close()

        with self._questions, ui.dialog() as dialog, Element("div").classes("panel question") as card:
            card.props("role=alertdialog aria-labelledby=question-title")
            text(plan.title, "panel-title", "h2").props("id=question-title")
            for sentence in plan.sentences:
                text(sentence, tag="p")
            if more is not None:
                more()
            outcome = Outcome()
            with Element("div").classes("row-of answers"):
                leave = button("Leave everything as it is", dialog.close)
                go = button(plan.do, confirmed, primary=True)
        # A question that was answered is no part of the page any more.
        dialog.on("hide", dialog.delete)
        dialog.open()
