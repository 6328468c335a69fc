"""The map of a coil: where on the strip which events and gaps lie. One layout, of which there are three forms.

Along the strip, lengths are true to scale; across, they have a scale of their own, for a strip is a thousand times as
long as it is wide.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from app.coil.counting import View
from app.coil.coverage import Gap
from app.coil.examination import Examination
from app.coil.marks import Look, looks
from app.coil.periodic import Repeat
from app.coil.placing import Place
from app.plant import Plant

# Some 150 bytes each in SVG, which then stays well below 500 kB; more would cover each other besides.
MOST_EVENTS = 1500
MOST_GAPS = 400
# Cameras in one note.
MOST_NAMED = 8


@dataclass(frozen=True)
class MappedEvent:
    """One event. along_mm: its middle; across_mm: of its middle, from the strip's edge; lengths None if not known."""

    number: int
    inspection: int
    camera_id: str | None
    side: str | None
    defect_class: str | None
    severity: str
    defect_probability: float
    along_mm: float
    across_mm: float
    length_mm: float | None
    width_mm: float | None


@dataclass(frozen=True)
class MappedGap:
    """Strip that a camera did not see."""

    camera_id: str | None
    side: str | None
    from_mm: float
    to_mm: float
    frames: int
    why: str


@dataclass(frozen=True)
class Side:
    """One side of the strip, its cameras across it, and what is on it."""

    side: str | None
    width_mm: float
    cameras: tuple[Place, ...]
    gaps: tuple[MappedGap, ...]
    events: tuple[MappedEvent, ...]
    repeats: tuple[Repeat, ...]


@dataclass(frozen=True)
class StripMap:
    """not_drawn: events left out, the lightest, for there are too many; notes: what a reader has to know of the map."""

    coil_id: str
    first_mm: float
    last_mm: float
    sides: tuple[Side, ...]
    looks: tuple[Look, ...]
    not_drawn: int
    notes: tuple[str, ...]


def why(gap: Gap) -> str:
    """A gap's reasons in words.

    >>> why(Gap(5, 6, 2, None, None, None, None))
    'reason unknown'
    """
    told = [f"{reason.frames} refused: {reason.code.replace('_', ' ')}" for reason in gap.reasons]
    known = sum(reason.frames for reason in gap.reasons)
    if not told:
        return "reason unknown" if gap.frames else "the camera sent nothing"
    return ", ".join(told) + (f"; {gap.frames - known} unknown" if gap.frames > known else "")


def strip_map(examination: Examination) -> StripMap:
    """The layout of a coil's map."""
    events, worst = examination.events, examination.worst_first
    placed = np.isfinite(events.position_mm)
    drawn = worst[placed[worst]][:MOST_EVENTS]
    along = drawn[np.argsort(events.position_mm[drawn], kind="stable")]
    mapped = [_event(examination, index) for index in along.tolist()]
    gaps = _gaps(examination)
    longest = sorted(gaps, key=lambda gap: gap.from_mm - gap.to_mm)[:MOST_GAPS]
    names = {place.side for place in examination.places.values()} | {event.side for event in mapped}
    sides = tuple(_side(examination, side, longest, mapped) for side in _in_order(names, examination.plant))
    first, last = _extent(examination, mapped)
    not_drawn = int(placed.sum()) - len(drawn)
    notes = _notes(examination, int((~placed).sum()), len(gaps) - len(longest), not_drawn)
    classes = looks(event.defect_class for event in mapped)
    return StripMap(examination.evidence.coil.coil_id, first, last, sides, tuple(classes.values()), not_drawn, notes)


def _in_order(sides: set[str | None], plant: Plant) -> list[str | None]:
    """As the plant file names them first, then by name."""
    named = list(dict.fromkeys(camera.side for camera in plant.cameras))
    return sorted(sides, key=lambda side: (named.index(side) if side in named else len(named), side or ""))


def _event(examination: Examination, index: int) -> MappedEvent:
    events = examination.events
    length, width = _known(events.length_mm[index]), _known(events.width_mm[index])
    place = examination.places.get(View(events.camera_id[index], events.side[index]))
    across = _known(examination.across_mm[index])
    if across is None:
        # Somewhere in what the camera sees: its middle is the least wrong.
        across = 0.0 if place is None else place.across_mm + place.width_mm / 2
    return MappedEvent(
        number=int(events.number[index]),
        inspection=int(events.inspection[index]),
        camera_id=events.camera_id[index],
        side=events.side[index],
        defect_class=events.defect_class[index],
        severity=examination.severity(index),
        defect_probability=float(events.defect_probability[index]),
        along_mm=float(events.position_mm[index]) + (length or 0.0) / 2,
        across_mm=across + (width or 0.0) / 2,
        length_mm=length,
        width_mm=width,
    )


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _gaps(examination: Examination) -> list[MappedGap]:
    return [
        MappedGap(camera.camera_id, camera.side, gap.from_mm, gap.to_mm, gap.frames, why(gap))
        for camera in examination.coverage.cameras
        for gap in camera.gaps
        if gap.from_mm is not None and gap.to_mm is not None
    ] + _unseen(examination)


def _unseen(examination: Examination) -> list[MappedGap]:
    """Of the announced length what lies before the first frame and after the last: no camera saw it."""
    coverage, coil = examination.coverage, examination.evidence.coil
    if coverage.first_mm is None or coverage.last_mm is None or coil.length_mm is None or coil.closed_at is None:
        return []
    ends = (0.0, min(coverage.first_mm, coil.length_mm)), (max(coverage.last_mm, 0.0), coil.length_mm)
    return [
        MappedGap(*view, first, last, 0, "announced, and no frame came of it")
        for first, last in ends
        if last - first > examination.plant.coverage.tolerance_mm
        for view in examination.places
    ]


def _side(examination: Examination, side: str | None, gaps: list[MappedGap], events: list[MappedEvent]) -> Side:
    cameras = sorted(
        (place for place in examination.places.values() if place.side == side), key=lambda place: place.across_mm
    )
    here = tuple(event for event in events if event.side == side)
    seen = max((place.across_mm + place.width_mm for place in cameras), default=0.0)
    width = max(examination.evidence.coil.width_mm or 0.0, seen, *(event.across_mm for event in here), 1.0)
    return Side(
        side=side,
        width_mm=width,
        cameras=tuple(cameras),
        gaps=tuple(sorted((gap for gap in gaps if gap.side == side), key=lambda gap: gap.from_mm)),
        events=here,
        repeats=tuple(repeat for repeat in examination.repeats if repeat.side == side),
    )


def _extent(examination: Examination, mapped: list[MappedEvent]) -> tuple[float, float]:
    """From the first position to the last; of a closed coil all that was announced: what nobody saw is on it too."""
    ends = [event.along_mm for event in mapped]
    coverage = examination.coverage
    if coverage.first_mm is not None and coverage.last_mm is not None:
        ends += [coverage.first_mm, coverage.last_mm]
    for gap in _unseen(examination):
        ends += [gap.from_mm, gap.to_mm]
    return (min(ends), max(ends)) if ends else (0.0, 0.0)


def _notes(examination: Examination, unplaced: int, gaps_left_out: int, not_drawn: int) -> tuple[str, ...]:
    notes = []
    if not_drawn:
        notes.append(f"{not_drawn} lighter events are not drawn; the {MOST_EVENTS} worst are")
    if gaps_left_out:
        notes.append(f"{gaps_left_out} shorter gaps are not drawn; the {MOST_GAPS} longest are")
    if unplaced:
        notes.append(f"{unplaced} events have no place: their frames came without position_mm or mm_per_pixel")
    if examination.false_calls:
        notes.append(f"{examination.false_calls} events that a person called false are not drawn")
    silent = examination.coverage.silent(camera.id for camera in examination.plant.cameras)
    # Of a coil without frames its page says so.
    if silent and examination.places:
        notes.append(f"{_cameras(silent)}: in the plant file, and no frame of this coil came from there")
    assumed = [place.camera_id or "without an id" for place in examination.places.values() if place.assumed]
    if assumed:
        notes.append(f"{_cameras(assumed)}: not in the plant file, laid side by side in the order of the ids")
    return tuple(notes)


def _cameras(names: Sequence[str]) -> str:
    """The first of many.

    >>> _cameras(["a", "b"])
    'cameras a, b'
    """
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return f"{'cameras' if len(names) > 1 else 'camera'} {', '.join(names[:MOST_NAMED])}{more}"
