"""Pictures of what the network saw, as PNG bytes: pixels, filters, maps, heat and parts.

They lie on a page that is light or dark: transparent ground, and grey text that can be read on both.
"""

import io
from collections.abc import Sequence
from typing import Any, Literal

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from model.attribution import Parts
from model.feature_maps import Activations
from model.image import Frame

Array = npt.NDArray[Any]
# y, x, height, width in px.
Box = tuple[int, int, int, int]

# In the middle of the grey scale: contrast 4.3 on white and 4.4 on near-black.
INK = "#7a7a7a"
MARK = "#ff9f1c"
FOR, AGAINST = "#d1495b", "#3d7ea6"
STRENGTH, SIGNED, HEAT = "viridis", "RdBu_r", "inferno"
# Inches; with the resolution, the width of the page's column in px.
WIDTH, TALLEST = 10.4, 12.0
DOTS_PER_INCH = 100
COLUMNS = 8
# Between maps, and for the number above each: shares of a map's side.
GAP, NUMBER_LINE = 0.07, 0.18
# More bars than this have no room for their numbers.
LABELLED_MAPS = 64
# A vector of 28,800 numbers on a thousand dots: averaged, the few that matter would fade away.
DOTS_ACROSS = 1000


def patch(tile: Frame, box: Box) -> bytes:
    """The tile with the patch marked, and beside it the patch, every pixel with its grey value."""
    y, x, height, width = box
    figure = Figure(figsize=(WIDTH, 5.4))
    whole, zoom = (figure.add_axes((left, 0, 0.49, 0.935)) for left in (0, 0.51))
    _grey(whole, tile)
    whole.add_patch(Rectangle((x - 0.5, y - 0.5), width, height, fill=False, edgecolor=MARK, linewidth=2))
    pixels = tile[y : y + height, x : x + width]
    _grey(zoom, pixels)
    for row, column in np.ndindex(pixels.shape):
        value = int(pixels[row, column])
        ink = "black" if value > 127 else "white"
        zoom.text(column, row, str(value), ha="center", va="center", fontsize=8, color=ink)
    whole.set_title("the tile", color=INK, fontsize=11)
    zoom.set_title("the marked patch, pixel by pixel", color=INK, fontsize=11)
    return _png(figure)


def maps(values: Array, numbers: Sequence[int], *, signed: bool, annotate: bool = False) -> bytes:
    """All maps of (height, width, n) side by side on one colour scale, each with its number.

    signed: around 0, blue below and red above; else dark is 0 and bright is strong. annotate: values in the cells.
    """
    rows = -(-values.shape[2] // COLUMNS)
    # A map's width on paper, from what the bar beside them leaves, gives the height that keeps maps square.
    height = rows * (1 + NUMBER_LINE) * 0.93 * WIDTH / (COLUMNS * (1 + GAP) - GAP)
    figure = Figure(figsize=(WIDTH, height))
    axes = figure.add_axes((0, 0, 0.93, 1))
    axes.set_axis_off()
    norm = _scale(values, signed)
    # All on one pair of axes, a unit square and a line for its number each: many axes take seconds to lay out.
    for place, (number, one) in enumerate(zip(numbers, np.moveaxis(values, 2, 0), strict=True)):
        top, left = (place // COLUMNS) * (1 + NUMBER_LINE) + NUMBER_LINE, (place % COLUMNS) * (1 + GAP)
        extent = (left, left + 1, top + 1, top)
        shown = axes.imshow(one, cmap=SIGNED if signed else STRENGTH, norm=norm, interpolation="nearest", extent=extent)
        axes.text(left + 0.5, top - 0.03, str(number), ha="center", va="bottom", color=INK, fontsize=9)
        if annotate:
            _annotate(axes, one, norm, extent)
    axes.set_xlim(0, COLUMNS * (1 + GAP) - GAP)
    axes.set_ylim(rows * (1 + NUMBER_LINE), 0)
    _colour_bar(figure, shown, figure.add_axes((0.94, 0.06, 0.012, 0.8)), "", "vertical")
    return _png(figure)


def heat(frame: Frame, values: Activations, label: str, *, signed: bool, box: Box | None = None) -> bytes:
    """The frame in grey with heat over it, the stronger the less it lets through, and a colour bar."""
    figure, axes = _frame_figure(frame, below=0.62)
    norm = _scale(values, signed)
    strength = np.abs(values) / max(abs(norm.vmin or 0), abs(norm.vmax or 0))
    shown = axes.imshow(
        values, cmap=SIGNED if signed else HEAT, norm=norm, alpha=0.85 * strength**0.7, interpolation="bilinear"
    )
    if box is not None:
        _mark(axes, box)
    # A bar of the plain colours: with the map's transparency it would show none.
    bar = figure.add_axes((0.06, 0.46 / figure.get_figheight(), 0.88, 0.14 / figure.get_figheight()))
    _colour_bar(figure, matplotlib.cm.ScalarMappable(norm, shown.cmap), bar, label, "horizontal")
    return _png(figure)


def plain(frame: Frame, box: Box | None = None) -> bytes:
    """The frame as it is, with a box where asked."""
    figure, axes = _frame_figure(frame, below=0)
    if box is not None:
        _mark(axes, box)
    return _png(figure)


def strip(vector: Array, parts: Parts) -> bytes:
    """The vector that the dense layer gets, sorted by map, the part of each of its numbers, and of each map.

    vector: (height * width * maps,) as flattened, or (maps,) after global pooling.
    """
    count = parts.values.shape[2]
    each = parts.values if vector.size == parts.values.size else parts.of_maps
    dots, sorted_values = _sorted_by_map(vector, count)
    _, sorted_parts = _sorted_by_map(each, count)
    of_several = f"; each dot the strongest of {dots}" if dots > 1 else ""
    figure = Figure(figsize=(WIDTH, 4.6), layout="constrained")
    top, middle, bottom = figure.subplots(3, 1, sharex=True, height_ratios=(1, 1, 4))
    extent = (-0.5, count - 0.5, 0, 1)
    top.imshow(sorted_values[np.newaxis], aspect="auto", cmap=STRENGTH, extent=extent)
    middle.imshow(sorted_parts[np.newaxis], aspect="auto", cmap=SIGNED, norm=_scale(sorted_parts, True), extent=extent)
    for axes, title in (
        (top, f"the vector, sorted by map{of_several}"),
        (middle, f"what each number adds to the logit{of_several}"),
    ):
        axes.set_yticks([])
        axes.set_title(title, color=INK, fontsize=10, loc="left", pad=3)
        for edge in np.arange(0.5, count - 1):
            axes.axvline(edge, color="white", linewidth=0.4)
        _quiet(axes)
    _bars(bottom, parts.of_maps)
    bottom.set_title("what each map adds to the logit", color=INK, fontsize=10, loc="left", pad=3)
    bottom.set_xlabel("map", color=INK)
    if count <= LABELLED_MAPS:
        bottom.set_xticks(range(count))
    return _png(figure)


def units(values: Array) -> bytes:
    """What each unit of the dense layer adds to the logit, the largest first."""
    order = np.argsort(-values, kind="stable")
    figure = Figure(figsize=(WIDTH, 2.8), layout="constrained")
    axes = figure.subplots()
    _bars(axes, values[order])
    if len(order) <= LABELLED_MAPS:
        axes.set_xticks(range(len(order)), [str(number) for number in order], fontsize=7, rotation=90)
    axes.set_xlabel("unit of the dense layer", color=INK)
    return _png(figure)


def _sorted_by_map(vector: Array, count: int) -> tuple[int, Array]:
    """The vector with all numbers of one map together, few enough to draw, and how many share one dot."""
    # Flattening goes place by place, so that the maps of one place lie together.
    by_map = vector.reshape(-1, count).T
    shared = -(-vector.size // DOTS_ACROSS)
    padded = np.pad(by_map, ((0, 0), (0, -by_map.shape[1] % shared))).reshape(count, -1, shared)
    strongest = np.abs(padded).argmax(axis=2)[..., np.newaxis]
    return shared, np.take_along_axis(padded, strongest, axis=2).ravel()


def _grey(axes: Axes, frame: Frame) -> None:
    axes.imshow(frame, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axes.set_axis_off()


def _mark(axes: Axes, box: Box) -> None:
    y, x, height, width = box
    axes.add_patch(Rectangle((x - 0.5, y - 0.5), width, height, fill=False, edgecolor=MARK, linewidth=2))


def _annotate(axes: Axes, values: Array, norm: Normalize, extent: tuple[float, float, float, float]) -> None:
    left, right, bottom, top = extent
    rows, columns = values.shape
    for row, column in np.ndindex(rows, columns):
        x, y = left + (column + 0.5) / columns * (right - left), top + (row + 0.5) / rows * (bottom - top)
        ink = "white" if abs(float(norm(values[row, column])) - 0.5) > 0.3 else "black"
        text = f"{round(float(values[row, column]), 2) + 0.0:.2f}"  # + 0.0: never "-0.00"
        axes.text(x, y, text, ha="center", va="center", fontsize=7, color=ink)


def _bars(axes: Axes, values: Array) -> None:
    axes.bar(range(len(values)), values, color=[FOR if value > 0 else AGAINST for value in values], width=0.8)
    axes.axhline(0, color=INK, linewidth=0.8)
    axes.margins(x=0.005)
    axes.set_ylabel("part of the logit", color=INK)
    _quiet(axes)


def _quiet(axes: Axes) -> None:
    axes.patch.set_alpha(0)
    axes.tick_params(colors=INK, labelsize=8)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(INK)


def _scale(values: Array, signed: bool) -> Normalize:
    """From 0, or evenly around it, to the largest value; all zeros get a scale too."""
    largest = float(np.abs(values).max()) or 1.0
    return Normalize(-largest if signed else 0, largest)


def _frame_figure(frame: Frame, below: float) -> tuple[Figure, Axes]:
    """A figure that the frame fills, with `below` inches under it; wide frames get the whole width of the page."""
    rows, columns = frame.shape
    width = WIDTH if columns > 1.5 * rows else WIDTH / 2
    height = min(TALLEST, width * rows / columns)
    figure = Figure(figsize=(width, height + below))
    axes = figure.add_axes((0, below / (height + below), 1, height / (height + below)))
    _grey(axes, frame)
    return figure, axes


def _colour_bar(
    figure: Figure, shown: Any, axes: Axes, label: str, orientation: Literal["horizontal", "vertical"]
) -> None:
    bar = figure.colorbar(shown, cax=axes, orientation=orientation, ticks=MaxNLocator(6))
    bar.outline.set_visible(False)
    axes.tick_params(colors=INK, labelsize=8)
    bar.set_label(label, color=INK, fontsize=9)


def _png(figure: Figure) -> bytes:
    target = io.BytesIO()
    figure.savefig(target, format="png", dpi=DOTS_PER_INCH, transparent=True, metadata={"Software": None})
    return target.getvalue()
