"""The map's layout -> what is drawn, in pixels: the painters of SVG and PNG know of nothing else."""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, floor, log10

from app.coil.marks import Look
from app.coil.placing import Place
from app.coil.strip_map import MappedEvent, MappedGap, Side, StripMap

WIDTH = 1280.0
LEFT, RIGHT, TOP = 118.0, 26.0, 40.0
# Of the whole strip's width on one side; a map of one camera is no lower than its words need.
SIDE_HEIGHT, CAMERA_LEAST = 190.0, 26.0
BETWEEN = 44.0
LINE = 20.0
MARK = 5.0
# A gap of one frame is a hundredth of a pixel of a long coil, and still to be seen.
GAP_LEAST = 3.0
AXIS_STEPS = 10

INK, QUIET, EDGE, STRIP, LANE, GAP, REPEAT = (
    "#1c2126", "#5c6670", "#8a949d", "#eef1f3", "#cfd6db", "#8f1d1d", "#7a2e8e",
)  # fmt: skip


@dataclass(frozen=True)
class Box:
    """A filled rectangle."""

    x: float
    y: float
    width: float
    height: float
    fill: str
    edge: str | None = None


@dataclass(frozen=True)
class Hatched:
    """A rectangle filled with slanted lines."""

    x: float
    y: float
    width: float
    height: float
    colour: str
    title: str


@dataclass(frozen=True)
class Line:
    """From one point to another."""

    x1: float
    y1: float
    x2: float
    y2: float
    colour: str
    dashed: bool = False


@dataclass(frozen=True)
class Words:
    """Text on a base line. anchor: which end of it x is."""

    x: float
    y: float
    text: str
    size: float = 12.0
    colour: str = INK
    anchor: str = "start"
    bold: bool = False


@dataclass(frozen=True)
class Mark:
    """A shape around a point. event: the number of the event that it stands for, if any."""

    x: float
    y: float
    look: Look
    size: float = MARK
    title: str = ""
    event: int | None = None


Piece = Box | Hatched | Line | Words | Mark


@dataclass(frozen=True)
class Scene:
    """What is drawn, in order, on a white ground. title: the map in one sentence, for who cannot see it."""

    width: float
    height: float
    title: str
    pieces: tuple[Piece, ...]


def steps(first: float, last: float, most: int = AXIS_STEPS) -> list[float]:
    """Round numbers between two, at most so many and at least three if they differ.

    >>> steps(0.0, 900.0)
    [0.0, 100.0, 200.0, 300.0, 400.0, 500.0, 600.0, 700.0, 800.0, 900.0]
    >>> steps(0.0, 0.0)
    [0.0]
    """
    if last <= first:
        return [first]
    rough = (last - first) / (most - 1)
    power = 10.0 ** floor(log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    return [place * step for place in range(ceil(first / step - 1e-9), floor(last / step + 1e-9) + 1)]


class _Along:
    """Millimetres of strip -> pixels."""

    def __init__(self, layout: StripMap) -> None:
        self.first = layout.first_mm
        self.length = max(layout.last_mm - layout.first_mm, 1.0)

    def __call__(self, along_mm: float) -> float:
        return round(LEFT + (along_mm - self.first) / self.length * (WIDTH - LEFT - RIGHT), 1)


def scene(layout: StripMap) -> Scene:
    """The whole picture of a map."""
    along = _Along(layout)
    pieces: list[Piece] = [Words(LEFT, 22, f"Coil {short(layout.coil_id, 70)}", 15, bold=True)]
    pieces.append(Words(WIDTH - RIGHT, 22, _extent_words(layout), 12, QUIET, "end"))
    looks = {look.defect_class: look for look in layout.looks}
    y = TOP
    for side in layout.sides:
        drawn, y = _drawn_side(side, along, looks, y)
        pieces += drawn
    if not layout.sides:
        pieces.append(Words(LEFT, y + LINE, "No frame of this coil has come yet.", 13, QUIET))
        y += 2 * LINE
    pieces += _axis(layout, along, y)
    legend, y = _legend(layout, y + 56)
    pieces += legend
    return Scene(WIDTH, y + 8, _title(layout), tuple(pieces))


def short(text: str, most: int) -> str:
    """At most so many characters, the middle left out.

    >>> short("a-very-long-name-of-a-coil", 12)
    'a-very…-coil'
    """
    return text if len(text) <= most else f"{text[: (most + 1) // 2]}…{text[-(most // 2 - 1) :]}"


def _extent_words(layout: StripMap) -> str:
    length = (layout.last_mm - layout.first_mm) / 1000
    return f"{length:,.1f} m of strip; across, at a scale of its own" if length > 0 else "no positions known"


def _title(layout: StripMap) -> str:
    events, gaps = sum(len(side.events) for side in layout.sides), sum(len(side.gaps) for side in layout.sides)
    return f"Map of coil {layout.coil_id}: {events} events and {gaps} gaps drawn"


def _drawn_side(side: Side, along: _Along, looks: dict[str | None, Look], top: float) -> tuple[list[Piece], float]:
    """The pieces of one side, and where the next one begins."""
    height = max(SIDE_HEIGHT, CAMERA_LEAST * len(side.cameras))
    y = top + LINE

    def across(across_mm: float) -> float:
        return round(y + min(max(across_mm / side.width_mm, 0.0), 1.0) * height, 1)

    pieces: list[Piece] = [
        Words(LEFT, y - 6, f"Side {side.side}" if side.side else "Side not told", 13, bold=True),
        Words(WIDTH - RIGHT, y - 6, f"{side.width_mm:,.0f} mm wide", 11, QUIET, "end"),
        Box(LEFT, y, WIDTH - LEFT - RIGHT, height, STRIP, EDGE),
    ]
    for place in side.cameras:
        pieces += _camera(place, across)
    bands = {
        place.camera_id: (across(place.across_mm), across(place.across_mm + place.width_mm)) for place in side.cameras
    }
    pieces += [_gap(gap, along, bands[gap.camera_id]) for gap in side.gaps]
    for repeat in side.repeats:
        level = across(repeat.across_mm)
        pieces.append(Line(along(repeat.first_mm), level, along(repeat.last_mm), level, REPEAT, dashed=True))
    # The worst are drawn last, over the others.
    for event in sorted(side.events, key=lambda event: event.defect_probability):
        pieces.append(_event(event, along, across(event.across_mm), looks[event.defect_class]))
    for repeat in side.repeats:
        rolls = " or ".join(short(roll.name, 24) for roll in repeat.rolls[:2])
        words = f"every {repeat.interval_mm:,.0f} mm, {repeat.repeats} times" + (f": {rolls}" if rolls else "")
        width = 6.3 * len(words) + 8
        x = max(LEFT, min(along(repeat.first_mm) + 4, WIDTH - RIGHT - width))
        level = across(repeat.across_mm) - 12
        pieces += [Box(x, level - 11, width, 15, "#ffffff", REPEAT), Words(x + 5, level, words, 11, REPEAT, bold=True)]
    return pieces, y + height + BETWEEN / 2


def _camera(place: Place, across: Callable[[float], float]) -> list[Piece]:
    first, last = across(place.across_mm), across(place.across_mm + place.width_mm)
    name = short(place.camera_id or "no camera id", 13) + ("*" if place.assumed else "")
    return [
        Line(LEFT, first, WIDTH - RIGHT, first, LANE),
        Line(LEFT, last, WIDTH - RIGHT, last, LANE),
        Words(LEFT - 8, round((first + last) / 2 + 4, 1), name, 11, QUIET, "end"),
    ]


def _gap(gap: MappedGap, along: _Along, band: tuple[float, float]) -> Hatched:
    x, end = along(gap.from_mm), along(gap.to_mm)
    width = max(end - x, GAP_LEAST)
    frames = f"{gap.frames} frames missing, " if gap.frames else ""
    title = f"not inspected: {gap.from_mm / 1000:.3f} to {gap.to_mm / 1000:.3f} m, {frames}{gap.why}"
    return Hatched(min(x, WIDTH - RIGHT - width), band[0], round(width, 1), round(band[1] - band[0], 1), GAP, title)


def _event(event: MappedEvent, along: _Along, y: float, look: Look) -> Mark:
    title = (
        f"{event.defect_class or 'unclassified'}, {event.severity}, {event.along_mm / 1000:.2f} m, "
        f"p {event.defect_probability:.2f}"
    )
    return Mark(along(event.along_mm), y, look, MARK, title, event.number)


def _axis(layout: StripMap, along: _Along, y: float) -> list[Piece]:
    if layout.last_mm <= layout.first_mm:
        return []
    pieces: list[Piece] = [Line(LEFT, y, WIDTH - RIGHT, y, INK)]
    for metres in steps(layout.first_mm / 1000, layout.last_mm / 1000):
        x = along(metres * 1000)
        pieces += [Line(x, y, x, y + 6, INK), Words(x, y + 19, f"{metres:,.10g}", 11, anchor="middle")]
    pieces.append(Words((LEFT + WIDTH - RIGHT) / 2, y + 36, "m along the strip", 11, QUIET, "middle"))
    return pieces


def _legend(layout: StripMap, y: float) -> tuple[list[Piece], float]:
    """Classes in a row, as many rows as needed; then gaps, repeats and the notes."""
    pieces: list[Piece] = []
    x = LEFT
    gaps, marks = any(side.gaps for side in layout.sides), any(side.repeats for side in layout.sides)
    for look in layout.looks:
        words = short(look.defect_class or "unclassified", 28)
        width = 30 + 6.6 * len(words)
        if x + width > WIDTH - RIGHT:
            x, y = LEFT, y + LINE
        pieces += [Mark(x + 6, y - 4, look, 6), Words(x + 18, y, words)]
        x += width
    for shown, words in ((gaps, "not inspected"), (marks, "repeats at a fixed interval")):
        if not shown:
            continue
        if x + 60 + 6.6 * len(words) > WIDTH - RIGHT:
            x, y = LEFT, y + LINE
        hatched = Hatched(x, y - 11, 22, 13, GAP, words)
        dashed = Line(x, y - 4, x + 22, y - 4, REPEAT, dashed=True)
        pieces += [hatched if words == "not inspected" else dashed, Words(x + 28, y, words)]
        x += 40 + 6.6 * len(words)
    if pieces:
        y += LINE
    if not pieces:
        pieces.append(Words(LEFT, y, "no event and no gap", 12, QUIET))
        y += LINE
    for note in layout.notes:
        pieces.append(Words(LEFT, y, ("* " if "plant file" in note else "") + short(note, 165), 11, QUIET))
        y += LINE - 3
    return pieces, y
