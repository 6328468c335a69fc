"""All that follows from a coil's record and the plant file, computed once for the page, the map and the report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from heapq import merge

import numpy as np

from app.coil.acceptance import Decision, decide, severities
from app.coil.counting import Stretch, View
from app.coil.coverage import CoilCoverage, Refused, cover
from app.coil.events import Events, Flags, Floats, Integers, joined
from app.coil.periodic import Repeat, repeats
from app.coil.placing import Place, Sighting, Views, places, strip_across
from app.plant import Plant

WORST = 10
FALSE = "ok"


@dataclass(frozen=True)
class CoilRow:
    """A coil as its table has it."""

    number: int
    coil_id: str
    opened_at: datetime
    opened_by: str
    last_frame_at: datetime | None
    closed_at: datetime | None
    closed_by: str | None
    length_mm: float | None
    width_mm: float | None


@dataclass(frozen=True)
class Tally:
    """How many frames have all this in common. width_mm: of the widest of them on the strip."""

    camera_id: str | None
    side: str | None
    verdict: str
    version: str
    review: str | None
    frames: int
    width_mm: float | None

    @property
    def view(self) -> View:
        """As the frames say."""
        return View(self.camera_id, self.side)


@dataclass(frozen=True)
class Evidence:
    """What the record has on a coil.

    stretches: by what the frames say of their view, in order of arrival. events: all that the network told of; and what
    people have found on frames on which it told of nothing, with negative numbers. corrections: defect classes that
    people gave, by inspection.
    """

    coil: CoilRow
    tallies: tuple[Tally, ...]
    stretches: Mapping[View, Sequence[Stretch]]
    refused: tuple[Refused, ...]
    events: Events
    corrections: Mapping[int, str]

    @property
    def told(self) -> list[tuple[View, int]]:
        """What frames say of their view, and how many say so, refused ones among them."""
        inspected = [(tally.view, tally.frames) for tally in self.tallies]
        return inspected + [(refused.view, 1) for refused in self.refused]

    @property
    def frames(self) -> int:
        """How many frames of the coil have a verdict."""
        return sum(tally.frames for tally in self.tallies)


@dataclass(frozen=True)
class Examination:
    """events: one for each defect, without those that a person called false. grades: index of each one's severity.

    across_mm: of each event, from the strip's edge. false_calls: how many events people called false.
    """

    evidence: Evidence
    plant: Plant
    places: Mapping[View, Place]
    coverage: CoilCoverage
    events: Events
    grades: Integers
    across_mm: Floats
    false_calls: int
    decision: Decision
    repeats: tuple[Repeat, ...]

    @property
    def worst_first(self) -> Integers:
        """Indices of all events: the gravest first, then the most probable, then along the strip."""
        position = np.nan_to_num(self.events.position_mm, nan=np.inf)
        return np.lexsort((position, -self.events.defect_probability, -self.grades))

    def severity(self, index: int) -> str:
        """The name of an event's severity."""
        return self.plant.severities[int(self.grades[index])].name


def examine(evidence: Evidence, plant: Plant) -> Examination:
    """All figures of a coil."""
    coil = evidence.coil
    views = Views(plant, evidence.told)
    placed = places(plant, _sightings(evidence, views))
    coverage = cover(
        _by_view(evidence.stretches, views),
        [each._replace(side=views(each.view).side) for each in evidence.refused],
        tolerance_mm=plant.coverage.tolerance_mm,
        last_frame_at=coil.last_frame_at,
        closed=coil.closed_at is not None,
        length_mm=coil.length_mm,
    )
    told = joined(_corrected(_sided(evidence.events, views), evidence.corrections))
    false: Flags = told.review == FALSE
    events = told.among(~false)
    across_mm = strip_across(events, placed)
    grades = severities(events.size_mm, plant.severities)
    return Examination(
        evidence=evidence,
        plant=plant,
        places=placed,
        coverage=coverage,
        events=events,
        grades=grades,
        across_mm=across_mm,
        false_calls=int(false.sum()),
        decision=decide(events, grades, coverage, plant),
        repeats=tuple(repeats(events, across_mm, plant.periodic, plant.rolls)),
    )


def _by_view(stretches: Mapping[View, Sequence[Stretch]], views: Views) -> dict[View, list[Stretch]]:
    """In order of arrival, also where frames of one view say their side and others do not."""
    found: dict[View, list[Sequence[Stretch]]] = {}
    for told, seen in stretches.items():
        found.setdefault(views(told), []).append(seen)
    return {view: list(merge(*parts, key=lambda stretch: stretch.first_at)) for view, parts in found.items()}


def _sightings(evidence: Evidence, views: Views) -> list[Sighting]:
    """Of each view, also of one whose frames were all refused."""
    widths: dict[View, float] = dict.fromkeys((views(told) for told, _ in evidence.told), 0.0)
    for tally in evidence.tallies:
        widths[views(tally.view)] = max(widths[views(tally.view)], tally.width_mm or 0.0)
    return [Sighting(view, width or None) for view, width in widths.items()]


def _sided(events: Events, views: Views) -> Events:
    """Each with the side that it is of."""
    told = zip(events.camera_id.tolist(), events.side.tolist(), strict=True)
    # Most say it: a coil may have a hundred thousand.
    side = [side if side is not None else views(View(camera_id, None)).side for camera_id, side in told]
    return replace(events, side=np.array(side, np.object_))


def _corrected(events: Events, corrections: Mapping[int, str]) -> Events:
    """What a person says of a frame with one event is said of that event; with several, nobody knows of which."""
    if not corrections:
        return events
    inspection, where, count = np.unique(events.inspection, return_inverse=True, return_counts=True)
    said = np.array([corrections.get(number) for number in inspection.tolist()], np.object_)[where]
    known = (count[where] == 1) & np.array([each is not None for each in said], np.bool_)
    return replace(events, defect_class=np.where(known, said, events.defect_class))
