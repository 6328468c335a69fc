"""What pages are operated with: a button that is busy while its work is, and a line that says what came of it."""

from collections.abc import Awaitable, Callable

from nicegui import ui
from nicegui.element import Element

from app.dashboard.client import ApiError
from app.dashboard.shell import text

Work = Callable[[], Awaitable[None]]


def button(label: str, work: Work | Callable[[], None], *, primary: bool = False, name: str | None = None) -> Element:
    """A button in the desk's own dress. name: what it is called where the label alone does not say which one."""
    element = text(label, "button primary" if primary else "button", "button").props("type=button")
    if name is not None:
        element.props["aria-label"] = name
    element.on("click", work)
    return element


def enabled(element: Element, yes: bool) -> None:
    """Let a button be pressed, or not."""
    element.props["disabled"] = not yes
    element.update()


class Outcome(Element):
    """A line that says what the last act came to; screen readers hear it when it changes."""

    def __init__(self) -> None:
        super().__init__("div")
        self.classes("outcome-line").props("role=status aria-live=polite")

    def done(self, sentence: str) -> None:
        """It went as it should."""
        self._show("✓", sentence, "outcome done")

    def failed(self, error: ApiError) -> None:
        """It did not: the API's own words."""
        self._show("✕", f"{error.title}: {error.detail}", "outcome failed")

    def waiting(self, sentence: str) -> None:
        """It is being done."""
        self.clear()
        with self, Element("p").classes("outcome"):
            ui.spinner(size="20px")
            text(sentence)

    def forget(self) -> None:
        """Say nothing."""
        self.clear()

    def _show(self, symbol: str, sentence: str, classes: str) -> None:
        self.clear()
        with self, Element("p").classes(classes):
            text(symbol, "symbol").props("aria-hidden=true")
            text(sentence)
