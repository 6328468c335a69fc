"""All that follows from a coil's record and the plant file, computed once for the page, the map and the report."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np

from app.coil.acceptance import Decision, decide, severities
from app.coil.counting import Stretch
from app.coil.coverage import CoilCoverage, Refused, cover
from app.coil.events import Events, Flags, Floats, Integers, joined
from app.coil.periodic import Repeat, repeats
from app.coil.placing import Place, Sighting, places, side_of, strip_across
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


@dataclass(frozen=True)
class Evidence:
    """What the record has on a coil.

    stretches: by camera, in order of arrival. events: all that the network told of; and what people have found on
    frames on which it told of nothing, with negative numbers. corrections: defect classes that people gave, by
    inspection.
    """

    coil: CoilRow
    tallies: tuple[Tally, ...]
    stretches: Mapping[str | None, Sequence[Stretch]]
    refused: tuple[Refused, ...]
    events: Events
    corrections: Mapping[int, str]

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
    places: Mapping[str | None, Place]
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
    sightings = _sightings(evidence, plant)
    sides = {each.camera_id: each.side for each in sightings}
    placed = places(plant, sightings)
    coverage = cover(
        evidence.stretches,
        evidence.refused,
        sides,
        tolerance_mm=plant.coverage.tolerance_mm,
        last_frame_at=coil.last_frame_at,
        closed=coil.closed_at is not None,
        length_mm=coil.length_mm,
    )
    told = joined(_corrected(evidence.events, evidence.corrections))
    false: Flags = told.review == FALSE
    events = told.among(~false)
    events = replace(events, side=np.array([sides.get(camera_id) for camera_id in events.camera_id], np.object_))
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


def _sightings(evidence: Evidence, plant: Plant) -> list[Sighting]:
    """Of each camera, also of one whose frames were all refused."""
    sides: dict[str | None, Counter[str]] = {}
    widths: dict[str | None, float] = {}
    said = [(tally.camera_id, tally.side, tally.frames) for tally in evidence.tallies]
    for camera_id, side, frames in [*said, *((each.camera_id, each.side, 1) for each in evidence.refused)]:
        told = sides.setdefault(camera_id, Counter())
        if side is not None:
            told[side] += frames
    for tally in evidence.tallies:
        if tally.width_mm is not None:
            widths[tally.camera_id] = max(widths.get(tally.camera_id, 0.0), tally.width_mm)
    return [
        Sighting(camera_id, side_of(plant, camera_id, _most(told)), widths.get(camera_id))
        for camera_id, told in sides.items()
    ]


def _most(told: Counter[str]) -> str | None:
    return told.most_common(1)[0][0] if told else None


def _corrected(events: Events, corrections: Mapping[int, str]) -> Events:
    """What a person says of a frame with one event is said of that event; with several, nobody knows of which."""
    if not corrections:
        return events
    inspection, where, count = np.unique(events.inspection, return_inverse=True, return_counts=True)
    said = np.array([corrections.get(number) for number in inspection.tolist()], np.object_)[where]
    known = (count[where] == 1) & np.array([each is not None for each in said], np.bool_)
    return replace(events, defect_class=np.where(known, said, events.defect_class))
