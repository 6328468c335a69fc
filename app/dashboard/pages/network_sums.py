"""The weighted sums of an explanation as tables, and the way from the logit to the verdict."""

from dataclasses import dataclass
from functools import partial
from math import floor, log10
from typing import Any

from nicegui.element import Element

from app.dashboard.client import Json
from app.dashboard.pages.signs import MINUS, NONE, TIMES
from app.dashboard.shell import facts, table, text, verdict
from app.dashboard.words import counted, probability


def number(value: float, digits: int = 4) -> str:
    """A figure with a proper minus sign, and never "-0".

    >>> number(-0.13, 2) == MINUS + "0.13", number(-0.0001, 2), number(1234.5, 1)
    (True, '0.00', '1,234.5')
    """
    written = f"{value:,.{digits}f}"
    if not float(written.replace(",", "")):
        written = written.lstrip("-")
    return written.replace("-", MINUS)


@dataclass(frozen=True)
class Weighing:
    """How a sum is told. count: how many numbers are weighed. each: what one is called. placed: they have places.

    up, down: what a product above and below 0 does.
    """

    count: int
    each: str = "number"
    placed: bool = True
    up: str = "for a defect"
    down: str = "against"


def origin(term: Json, weighing: Weighing) -> str:
    """Where a number of a vector comes from.

    >>> origin({"position": 7, "map": 2, "y": 1, "x": 3}, Weighing(12))
    'number 7: map 2, row 1, column 3'
    >>> origin({"position": 2, "map": 2, "y": 0, "x": 0}, Weighing(12, placed=False))
    'number 2: map 2'
    >>> origin({"position": 7, "map": None, "y": None, "x": None}, Weighing(12, each="unit"))
    'unit 7'
    """
    name = f"{weighing.each} {term['position']:,}"
    if term.get("map") is None:
        return name
    return f"{name}: map {term['map']}" + (f", row {term['y']}, column {term['x']}" if weighing.placed else "")


def sum_table(weighed: Json, weighing: Weighing) -> None:
    """The largest products, all others, the bias and what they come to."""
    shown = weighed["largest"]
    largest = max((abs(term["product"]) for term in shown), default=1.0)
    rows: list[tuple[Any, ...]] = [
        (origin(term, weighing), number(term["value"]), number(term["weight"]), number(term["product"]),
         partial(_bar, term["product"] / largest, weighing))
        for term in shown
    ]  # fmt: skip
    others = weighing.count - len(shown)
    rows.append((f"the other {counted(others, weighing.each)} together", "", "", number(weighed["others"]), ""))
    rows.append(("the bias", "", "", number(weighed["bias"]), ""))
    rows.append((partial(text, weighed["of"], "strong"), "", "", partial(text, number(weighed["total"]), "strong"), ""))
    if weighed["after"] is not None:
        rows.append(("the same after ReLU", "", "", number(weighed["after"]), ""))
    columns = ("Comes from", "Value", f"{TIMES} weight", "= product", "Which way")
    table(columns, rows, numbers=columns[1:4]).classes("sum")


def to_verdict(told: Json) -> None:
    """From the logit to the verdict, step by step, and where the thresholds lie."""
    thresholds, calibrator = told["thresholds"], told["calibrator"]
    steps = [("Logit", number(told["logit"])), ("Probability of the network", probability(told["network"]))]
    if calibrator.get("kind") != "identity":
        steps.append(("Logit after calibration", number(told["calibrated_logit"])))
    steps.append(("Defect probability", probability(told["calibrated"])))
    facts(steps)
    _gauge(told["calibrated"], thresholds["review"], thresholds["defect"])
    with Element("p").classes("row-of"):
        text(
            f"Below {probability(thresholds['review'])} is ok, from there on review, from "
            f"{probability(thresholds['defect'])} on defect:"
        )
        verdict(told["verdict"])
    if len(told["classes"]) > 2:
        rows = [
            (each["name"], NONE if each["logit"] is None else number(each["logit"]), probability(each["calibrated"]))
            for each in sorted(told["classes"], key=lambda each: -each["calibrated"])
        ]
        table(("Class", "Logit", "Probability"), rows, numbers=("Logit", "Probability"))


def _bar(share: float, weighing: Weighing) -> None:
    """How much of the largest, and which way: the word says what the colour says."""
    with Element("span").classes("push up" if share > 0 else "push down"):
        bar = Element("span").classes("push-bar")
        bar.style(f"width: {max(2.0, 110 * abs(share)):.0f}px")
        text(weighing.up if share > 0 else weighing.down)


def _gauge(value: float, review: float, defect: float) -> None:
    """The probability between 0 and 1, and the three ranges."""
    with Element("div").classes("gauge").props("aria-hidden=true"):
        for name, low, high in (("ok", 0.0, review), ("review", review, defect), ("defect", defect, 1.0)):
            part = text(name if high - low > 0.07 else "", f"range verdict-{name}", "div")
            part.style(f"left: {100 * low:.2f}%; width: {100 * (high - low):.2f}%")
        text("▼", "needle", "div").style(f"left: {100 * value:.2f}%")


def places(low: float, high: float) -> int:
    """Decimals, two at least, with which the larger end of a scale has two figures.

    >>> places(0, 1), places(-0.5, 0.02), places(0, 0.00037), places(0, 0)
    (2, 2, 5, 2)
    """
    largest = max(abs(low), abs(high))
    return max(2, 1 - floor(log10(largest))) if largest else 2


def legend(colours: list[str], low: float, high: float) -> None:
    """Which value has which colour."""
    digits = places(low, high)
    with Element("div").classes("legend"):
        text(number(low, digits))
        ramp = Element("span").classes("ramp").props("aria-hidden=true")
        ramp.style(f"background: linear-gradient(to right, {', '.join(colours)})")
        text(number(high, digits))


def picture(source: str, alternative: str, classes: str) -> None:
    """A picture that came whole in an answer."""
    image = Element("img").classes(classes)
    image.props["src"] = source
    image.props["alt"] = alternative


class PixelGrid(Element, component="../static/pixels.js"):
    """Grey values as numbers on their own grey: one element, for a hundred would say no more."""

    def __init__(self, values: list[list[int]]) -> None:
        super().__init__()
        self.props["rows"] = [[int(value) for value in row] for row in values]
