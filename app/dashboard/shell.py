"""The frame around every page, and the few pieces all pages are made of.

A page is a function:

    @page("/models", "Models")
    async def models() -> None:
        answer = await api().models()        # an ApiError here is shown as the page's error state
        if not answer["models"]:
            empty("No version yet", "Train one: python -m training train DATA")
        with panel("Versions"):
            ...

Text that came from outside goes into text (`ui.label`, `text`), never into `ui.html`, and never into the string given
to `.props()`. There is no Tailwind: a page is styled with the classes of `static/desk.css`, whose colours follow light
and dark by themselves. Pictures of the API are shown through `picture_url`: the browser talks to the desk alone.
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from inspect import iscoroutinefunction
from typing import Any, ParamSpec

from nicegui import app as pages
from nicegui import ui
from nicegui.element import Element

from app.dashboard.client import Api, ApiError
from app.dashboard.door import UNAUTHORIZED, Visitor, show_out, visitor_of
from app.dashboard.feed import Feed
from app.dashboard.signing import form_token
from app.dashboard.words import VERDICT_SYMBOLS, VERDICT_WORDS

Parameters = ParamSpec("Parameters")

NAVIGATION = (
    ("Line", "/line"),
    ("Coil", "/coils"),
    ("Review", "/review"),
    ("Models", "/models"),
    ("Network", "/network"),
    ("Health", "/health"),
)
# The browser's part may take this long to be built before a page counts as failed: longer than the API's own limit.
BUILD_S = 30.0


def visitor() -> Visitor:
    """Who sits at the browser of the page that is being built or has just been used. Not in other tasks: hand it on."""
    return visitor_of(ui.context.client)


def api() -> Api:
    """The API that this desk works for, asked in the name of the visitor. As `visitor`, not in other tasks."""
    return api_for(visitor())


def api_for(one: Visitor) -> Api:
    """The API, asked in somebody's name."""
    asked = pages.state.api
    assert isinstance(asked, Api)
    return asked if one.token is None else asked.bearing(one.token)


def feed() -> Feed:
    """What happens on the line, as this process hears it."""
    heard = pages.state.feed
    assert isinstance(heard, Feed)
    return heard


def picture_url(path: str) -> str:
    """The desk's own address of a picture of the API; path: the API's, beginning with `/v1/`. See `pictures`.

    >>> picture_url("/v1/inspections/0123456789abcdef/image")
    '/picture/v1/inspections/0123456789abcdef/image'
    """
    return f"/picture{path}"


def page(
    path: str, title: str, *, wide: bool = False
) -> Callable[[Callable[Parameters, Awaitable[None] | None]], Callable[Parameters, Awaitable[None]]]:
    """A page at `path`, in the frame. title: the entry of the navigation it belongs to, and the browser's title.

    wide: the page uses the whole width of the screen.
    """

    def framed(
        build: Callable[Parameters, Awaitable[None] | None],
    ) -> Callable[Parameters, Awaitable[None]]:
        @wraps(build)
        async def built(*args: Parameters.args, **kwargs: Parameters.kwargs) -> None:
            with frame(title, wide=wide):
                try:
                    result = build(*args, **kwargs)
                    if iscoroutinefunction(build):
                        assert result is not None
                        await result
                except ApiError as error:
                    if not _ended(error):
                        problem(error)

        ui.page(path, title=f"{title} · Steelsight", response_timeout=BUILD_S)(built)
        return built

    return framed


@contextmanager
def frame(title: str, *, wide: bool = False) -> Iterator[None]:
    """Navigation above, the state of the API below it, and a main part for the page."""
    ui.on_exception(_say)
    one = visitor()
    with ui.header(fixed=False, wrap=False).classes("desk-header"):
        ui.link("Skip to content", "#main").classes("skip")
        with Element("div").classes("desk-bar"):
            text("Steelsight", "brand")
            with Element("nav").classes("desk-nav").props("aria-label=Pages"):
                for name, target in NAVIGATION:
                    if name == "Review" and not one.may("review"):
                        continue
                    entry = ui.link(name, target)
                    if name == title:
                        entry.props["aria-current"] = "page"
            text("", "fill")
            Element("button").classes("plain").props("type=button id=theme")
            if one.token is not None:
                _signed_in(one, one.token)
        Connection()
    # What NiceGUI puts around it is the page's <main>.
    with Element("div").classes("desk-main wide" if wide else "desk-main").props("id=main tabindex=-1"):
        yield


def _signed_in(one: Visitor, token: str) -> None:
    """Who it is, and the way out: a form, which no script has to send."""
    with Element("div").classes("desk-who"):
        text(one.name, tag="b").props["title"] = one.name
        text(one.role or "", tag="small")
    with Element("form").props("method=post action=/sign-out"):
        carried = Element("input").props("type=hidden name=form")
        carried.props["value"] = form_token(token)
        text("Sign out", "button", "button").props("type=submit")


class Connection(Element, component="static/connection.js"):
    """A band across the page while the API does not answer: since when, and that it is asked again."""

    def __init__(self) -> None:
        super().__init__()
        heard = feed()
        self._show(heard)
        forget = heard.watch(self._show)
        self.client.on_delete(forget)

    def _show(self, heard: Feed) -> None:
        state = {"down_since": heard.down_since, "reason": heard.reason, "refused": heard.refused}
        if self.props.get("state") != state:
            self.props["state"] = state
            self.update()


def text(content: str, classes: str = "", tag: str = "span") -> Element:
    """Plain text, whatever it contains."""
    element = Element(tag).classes(classes)
    element._text = content  # what ui.label does, for any tag
    return element


def heading(content: str) -> Element:
    """The page's first line."""
    return text(content, "heading", "h1")


@contextmanager
def panel(title: str | None = None, classes: str = "") -> Iterator[Element]:
    """A part of a page, with a title."""
    with Element("section").classes(f"panel {classes}") as section:
        if title is not None:
            text(title, "panel-title", "h2")
        yield section


def empty(title: str, advice: str) -> Element:
    """Nothing is here: that it is so, and what brings something."""
    with Element("div").classes("state") as element:
        text("○", "state-symbol").props("aria-hidden=true")
        text(title, "state-title", "h2")
        text(advice, "state-advice", "p")
    return element


def problem(error: ApiError) -> Element:
    """What the API said when it did not answer as asked, in its own words."""
    with Element("div").classes("state problem").props("role=alert") as element:
        text("⚠", "state-symbol").props("aria-hidden=true")
        text(error.title, "state-title", "h2")
        text(error.detail, "state-advice", "p")
        ui.link("Try again", "").classes("button")
    return element


def _ended(error: ApiError) -> bool:
    """Whether the visitor's session has ended; then the page leads to the sign-in, and from there back."""
    one = visitor()
    if error.status != UNAUTHORIZED or one.token is None:
        return False
    pages.state.door.forget(one.token)
    show_out(ui.context.client)
    return True


def _say(error: Exception) -> None:
    """Of what a person asked for on a page: why it was not done. Anything but the API's own words is in the log."""
    if isinstance(error, ApiError) and _ended(error):
        return
    said = error.detail if isinstance(error, ApiError) else "The desk failed to do that; its log says why."
    ui.notify(said, type="negative", position="top", close_button="Close", timeout=0, multi_line=True)


def verdict(word: str) -> Element:
    """A verdict as symbol, word and colour. word: `ok`, `review`, `defect`, or any of an acceptance."""
    with Element("span").classes(f"verdict verdict-{word}") as element:
        text(VERDICT_SYMBOLS.get(word, "•")).props("aria-hidden=true")
        text(VERDICT_WORDS.get(word, word))
    return element


class Moment(Element, component="static/moment.js"):
    """A time of the API (RFC 3339), shown in the browser's own zone; style: `time`, `date` or `ago`."""

    def __init__(self, at: str | None, style: str = "date") -> None:
        super().__init__()
        self.props["at"] = at
        self.props["format"] = style


def facts(pairs: Iterable[tuple[str, str]]) -> Element:
    """Names and values, one pair a line."""
    with Element("dl").classes("facts") as element:
        for name, value in pairs:
            text(name, tag="dt")
            text(value, tag="dd")
    return element


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], numbers: Sequence[str] = ()) -> Element:
    """A table of text. A cell may also be a function that adds elements. numbers: columns that stand at the right."""
    with Element("div").classes("table-scroll") as element, Element("table").classes("table"):
        with Element("thead"), Element("tr"):
            for column in columns:
                text(column, "number" if column in numbers else "", "th").props("scope=col")
        with Element("tbody"):
            for row in rows:
                with Element("tr"):
                    for column, cell in zip(columns, row, strict=True):
                        classes = "number" if column in numbers else ""
                        if callable(cell):
                            with Element("td").classes(classes):
                                cell()
                        else:
                            text(str(cell), classes, "td")
    return element
