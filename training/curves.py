"""Scores -> curves as SVG that takes its ink from the page around it, and so is readable light and dark.

Curves count every tile once; the figures beside them carry the intervals.
"""

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from training.ranking import FALSE_CALLS, Scores
from training.reliability import Reliability
from training.resampling import Values

# Drawn in this colour by matplotlib, replaced by the page's own text colour; nothing else is drawn in it.
INK = "#010203"
OK_COLOUR, DEFECT_COLOUR, MARK_COLOUR = "#2f86d1", "#d9662b", "#8a63d2"
# Typed loosely, for matplotlib types every one of its names.
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: smaller, searchable, in the page's font
    "svg.hashsalt": "steelsight",  # the same scores give the same bytes, which the manifest hashes
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.15,
    "legend.frameon": False,
    **dict.fromkeys(
        ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color", "grid.color"), INK
    ),
}
HISTOGRAM_BINS = 40
# A curve of more points looks the same and makes the page heavy.
CURVE_POINTS = 400


def roc(scores: Scores) -> tuple[Values, Values]:
    """Share of ok tiles called and share of defects found, from the highest threshold to the lowest.

    >>> from model.verdict import Thresholds
    >>> defect, thresholds = np.array([True, False]), Thresholds(review=0.5, defect=0.5)
    >>> made_up = Scores(defect, np.array([0.9, 0.1]), np.array(["a", "b"]), thresholds)
    >>> [axis.tolist() for axis in roc(made_up)]
    [[0.0, 0.0, 1.0], [0.0, 1.0, 1.0]]
    """
    order = np.argsort(-scores.probabilities, kind="stable")
    ranked, defect = scores.probabilities[order], scores.defect[order]
    last_of_tie = np.append(ranked[1:] != ranked[:-1], True)
    false_calls = np.cumsum(~defect)[last_of_tie] / (~defect).sum()
    found = np.cumsum(defect)[last_of_tie] / defect.sum()
    return np.append(0.0, false_calls), np.append(0.0, found)


def precision_recall(scores: Scores) -> tuple[Values, Values]:
    """Recall and precision, from the highest threshold to the lowest.

    Where nothing is called there is no precision, and no point.
    """
    false_calls, found = roc(scores)
    hits, misses = found[1:] * scores.defect.sum(), false_calls[1:] * (~scores.defect).sum()
    return found[1:], hits / (hits + misses)


def roc_picture(scores: Scores) -> Markup:
    """ROC curve, the two thresholds, unless each tile has its own, and the 5 % line."""
    with mpl.rc_context(STYLE):
        figure, axes = _square("share of ok tiles called (overkill)", "share of defects found (recall)")
        axes.plot(*thinned(*roc(scores)), color=OK_COLOUR)
        axes.plot([0, 1], [0, 1], color=INK, linewidth=0.6, linestyle=":")
        axes.axvline(FALSE_CALLS, color=INK, linewidth=0.6, linestyle="--")
        for name, marker, threshold in _thresholds(scores):
            called = scores.probabilities >= threshold
            point = called[~scores.defect].mean(), called[scores.defect].mean()
            axes.plot(*point, marker, color=MARK_COLOUR, label=f"{name} threshold")
        _legend(axes, "lower right")
        return svg(figure, "ROC curve")


def precision_recall_picture(scores: Scores) -> Markup:
    """Precision over recall, and what calling every tile would give."""
    with mpl.rc_context(STYLE):
        figure, axes = _square("share of defects found (recall)", "share of calls that are defects (precision)")
        axes.plot(*thinned(*precision_recall(scores)), color=OK_COLOUR)
        axes.axhline(scores.defect.mean(), color=INK, linewidth=0.6, linestyle=":")
        for name, marker, threshold in _thresholds(scores):
            called = scores.probabilities >= threshold
            if called.any():
                point = called[scores.defect].mean(), scores.defect[called].mean()
                axes.plot(*point, marker, color=MARK_COLOUR, label=f"{name} threshold")
        _legend(axes, "lower left")
        return svg(figure, "Precision and recall")


def histogram_picture(scores: Scores) -> Markup:
    """Where the probabilities of ok tiles and of defects lie; counts on a logarithmic axis, for few tiles decide."""
    with mpl.rc_context(STYLE):
        figure, axes = _square("defect probability", "tiles")
        edges = np.linspace(0, 1, HISTOGRAM_BINS + 1).tolist()
        for label, chosen, colour in (("ok", ~scores.defect, OK_COLOUR), ("defect", scores.defect, DEFECT_COLOUR)):
            axes.hist(scores.probabilities[chosen], edges, color=colour, alpha=0.55, label=label)
        for name, _, threshold in _thresholds(scores):
            axes.axvline(threshold, color=MARK_COLOUR, linewidth=1, linestyle="--" if name == "review" else "-")
        axes.set_yscale("log")
        axes.autoscale(axis="y")
        axes.set_ylim(bottom=0.7)
        axes.yaxis.set_major_formatter("{x:.0f}")
        axes.yaxis.set_minor_formatter("")
        axes.legend(loc="upper center")
        return svg(figure, "Histogram of probabilities")


def reliability_picture(diagram: Reliability) -> Markup:
    """Share of defects over the probability that was told, in bins of equally many tiles."""
    with mpl.rc_context(STYLE):
        figure, axes = _square("mean probability told", "share that were defects")
        told, share = ([getattr(each, name) for each in diagram.bins] for name in ("predicted", "observed"))
        values = np.array([interval.value for interval in share])
        ends = np.array([[interval.low, interval.high] for interval in share], np.float64).T
        axes.plot([0, 1], [0, 1], color=INK, linewidth=0.6, linestyle=":")
        reach = np.clip(np.abs(ends - values), 0, 1)
        axes.errorbar(told, values, reach, fmt="o-", color=OK_COLOUR, markersize=4, linewidth=1, capsize=2)
        return svg(figure, "Reliability diagram")


def learning_picture(history: Sequence[Mapping[str, Any]], best_epoch: int | None) -> Markup | None:
    """One panel for each figure that every epoch of the history has; None without a history."""
    names = [
        name
        for name in (history[0] if history else {})
        if name != "number" and all(isinstance(epoch.get(name), int | float) for epoch in history)
    ]
    if not names:
        return None
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.3 * min(3, len(names)), 2.4 * -(-len(names) // 3)), layout="constrained")
        panels = figure.subplots(-(-len(names) // 3), min(3, len(names)), squeeze=False).ravel()
        epochs = [epoch.get("number", place) for place, epoch in enumerate(history, start=1)]
        for name, axes in zip(names, panels, strict=False):
            axes.plot(epochs, [epoch[name] for epoch in history], ".-", color=OK_COLOUR, linewidth=1)
            axes.set(title=name.replace("_", " "), xlabel="epoch")
            if best_epoch is not None:
                axes.axvline(best_epoch, color=MARK_COLOUR, linewidth=0.8, linestyle="--")
        for axes in panels[len(names) :]:
            axes.remove()
        return svg(figure, "Learning curves")


def thinned(x: Values, y: Values) -> tuple[Values, Values]:
    """At most `CURVE_POINTS` points of a curve, both ends among them.

    >>> [len(axis) for axis in thinned(np.linspace(0, 1, 9000), np.zeros(9000))]
    [400, 400]
    """
    kept = np.unique(np.linspace(0, len(x) - 1, CURVE_POINTS).astype(int))
    return x[kept], y[kept]


def svg(figure: Figure, title: str) -> Markup:
    """The figure as an <svg> element to stand in a page: no header, no outside name, ink from the page."""
    written = io.StringIO()
    figure.savefig(written, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    drawing = written.getvalue()
    drawing = drawing[drawing.index("<svg") :]
    drawing = re.sub(r"<metadata>.*?</metadata>", "", drawing, flags=re.DOTALL)
    drawing = re.sub(r'\s(xmlns(:xlink)?|width|height)="[^"]*"', "", drawing, count=4)
    named = f'<svg role="img" aria-label="{escape(title)}"'
    # matplotlib escapes every text it writes, so that a class name cannot become an element.
    return Markup(drawing.replace(INK, "currentColor").replace("<svg", named, 1))  # noqa: S704


def _square(x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(4.2, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.set(xlabel=x, ylabel=y, xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    return figure, axes


def _legend(axes: Axes, place: Literal["lower left", "lower right"]) -> None:
    """Where no threshold has a point there is nothing to name, and matplotlib would warn."""
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc=place)


def _thresholds(scores: Scores) -> tuple[tuple[str, str, float], ...]:
    """Name, marker and value of those that judge all tiles: none where each tile has its own."""
    if scores.own_thresholds is not None:
        return ()
    return ("review", "s", scores.thresholds.review), ("defect", "D", scores.thresholds.defect)
