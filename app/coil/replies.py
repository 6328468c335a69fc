"""What the API says of coils."""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from math import isnan
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from app.coil.acceptance import Decision, Finding, Release
from app.coil.counting import View
from app.coil.coverage import CameraCoverage, Gap
from app.coil.events import EventRow, Events
from app.coil.examination import WORST, CoilRow, Examination
from app.coil.periodic import Repeat
from app.coil.strip_map import MappedEvent, MappedGap, Side, StripMap
from app.store.numbers import inspection_id


class Reply(BaseModel):
    """Built here from what was computed, and never from what a client sent."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="null")


class SummaryReply(Reply):
    """One coil in a list."""

    coil_id: str
    opened_at: datetime
    opened_by: str = Field(description="`frame` or `api`.")
    closed_at: datetime | None
    closed_by: str | None = Field(description="`api` or `idle`.")
    last_frame_at: datetime | None
    length_mm: float | None = Field(description="As announced.")
    width_mm: float | None = Field(description="As announced.")
    frames: int
    events: int


class CoilsReply(Reply):
    """Coils, those that were opened last first."""

    coils: list[SummaryReply]
    next: str | None = Field(description="The `cursor` of the next page; null on the last one.")


class CoilEventReply(Reply):
    """One event. The box is in pixels of its frame; the lengths are of the strip, null where the frame did not say."""

    event: int = Field(description="Its number; negative if a person found it where the network told of nothing.")
    inspection_id: str
    camera_id: str | None
    side: str | None
    x: int
    y: int
    width: int
    height: int
    defect_probability: float
    defect_class: str | None
    severity: str = Field(description="By the longer side of its box; the gravest if that is not known.")
    continued: bool = Field(description="It goes on from the frame before, which told of it too.")
    review: str | None = Field(description="What a person called its frame.")
    position_mm: float | None
    length_mm: float | None
    across_mm: float | None = Field(description="From the camera's first column.")
    width_mm: float | None


class EventsReply(Reply):
    """Events along the strip; those without a position come last."""

    events: list[CoilEventReply]
    next: str | None


class ReasonReply(Reply):
    """Why frames are missing."""

    code: str = Field(description="Of the refusal.")
    frames: int


class GapReply(Reply):
    """What one camera did not see. `frames`: missing in its count, or refused; 0: the camera took no frame there."""

    first_sequence: int | None
    last_sequence: int | None
    frames: int
    from_mm: float | None = Field(description="Null where no strip is known to be missing.")
    to_mm: float | None
    started_at: datetime | None = Field(description="When the last frame before it came.")
    ended_at: datetime | None = Field(description="When the first frame after it came.")
    reasons: list[ReasonReply] = Field(description="As far as frames were refused; empty: not known.")


class CameraReply(Reply):
    """What one camera saw of the coil."""

    camera_id: str | None
    side: str | None
    frames: int
    first_sequence: int | None
    last_sequence: int | None
    first_mm: float | None
    last_mm: float | None
    inspected_mm: float | None
    uninspected_mm: float | None = Field(
        description="Between the first and the last position of its side, of frames inspected or refused."
    )
    lost: int = Field(description="Frames missing in its count, and refused ones without a number.")
    duplicates: int
    out_of_order: int
    unnumbered: int = Field(description="Frames without `sequence`.")
    unplaced: int = Field(description="Frames without `position_mm` or `mm_per_pixel`.")
    gap_count: int
    gaps: list[GapReply] = Field(description="Along the strip; of more than 200 the longest.")
    place_assumed: bool = Field(description="The plant file does not say where it looks: see the map's notes.")


class RuleReply(Reply):
    """One rule of the acceptance matrix against the coil."""

    rule: str = Field(description="In words.")
    allowed: float = Field(description="The limit that was passed, else the lowest; in the unit of `found`.")
    found: float | None = Field(
        description="Events in the worst 100 m, share of the strip, or cameras; null: not known."
    )
    verdict: Release | None = Field(description="What follows from this rule; null: nothing.")
    from_mm: float | None = Field(description="Where the worst 100 m begin.")
    to_mm: float | None


class AcceptanceReply(Reply):
    """May the coil go on?"""

    verdict: Release
    decided_by: RuleReply | None = Field(description="The first of the gravest; null: no rule was broken.")
    rules: list[RuleReply]
    defaults: list[str] = Field(description="Parts of the plant file that are not written: the house's rules decided.")


class RollReply(Reply):
    """A roll whose circumference is the interval."""

    name: str
    diameter_mm: float
    difference_mm: float = Field(description="Interval less circumference.")


class PeriodicReply(Reply):
    """Events that repeat at a fixed interval along one lane."""

    side: str | None
    camera_id: str | None
    across_mm: float = Field(description="Of the marks' middle, from the strip's edge.")
    interval_mm: float
    confidence: float = Field(description="1 less the chance of so strong a repeat anywhere on a coil without one.")
    repeats: int
    first_mm: float
    last_mm: float
    rolls: list[RollReply]
    events: list[int]


class CoilReply(SummaryReply):
    """All figures of one coil."""

    inspected_mm: float | None = Field(description="Seen by all cameras that look there; null: no positions known.")
    uninspected_mm: float | None = Field(description="Missed by at least one camera, between first and last position.")
    unseen_mm: float | None = Field(description="Of a closed coil's announced length, before and after all frames.")
    cameras: list[CameraReply]
    verdicts: dict[str, int]
    refused: int
    defects: int = Field(description="Events less what goes on from another and what people called false.")
    false_calls: int = Field(description="Events that people called false.")
    reviewed: int = Field(description="Frames that a person has judged.")
    versions: dict[str, int] = Field(description="Frames by model version.")
    events_by_class: dict[str, int] = Field(description="Of `defects`; `unclassified` where the model tells none.")
    events_by_side: dict[str, int]
    events_by_severity: dict[str, int]
    worst_events: list[CoilEventReply]
    acceptance: AcceptanceReply
    periodic: list[PeriodicReply]


class MappedCameraReply(Reply):
    """Where a camera looks."""

    camera_id: str | None
    across_mm: float
    width_mm: float
    assumed: bool = Field(description="Not in the plant file: laid beside the others of its side.")


class MappedGapReply(Reply):
    """Strip that a camera did not see."""

    camera_id: str | None
    from_mm: float
    to_mm: float
    frames: int
    why: str


class MappedEventReply(Reply):
    """An event's place. `along_mm` and `across_mm` are of its middle; across counts from the strip's edge."""

    event: int
    inspection_id: str
    camera_id: str | None
    defect_class: str | None
    severity: str
    defect_probability: float
    along_mm: float
    across_mm: float
    length_mm: float | None
    width_mm: float | None


class SideReply(Reply):
    """One side of the strip."""

    side: str | None
    width_mm: float
    cameras: list[MappedCameraReply]
    gaps: list[MappedGapReply]
    events: list[MappedEventReply]
    periodic: list[PeriodicReply]


class LookReply(Reply):
    """How a defect class is drawn."""

    defect_class: str | None
    colour: str
    shape: str


class MapReply(Reply):
    """The layout of a coil's map: what its SVG and its PNG show."""

    coil_id: str
    first_mm: float
    last_mm: float
    sides: list[SideReply]
    defect_classes: list[LookReply]
    not_drawn: int = Field(description="The lightest events, where there are too many for one picture.")
    notes: list[str]


class AnnounceRequest(BaseModel):
    """A coil before its first frame."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    coil_id: str = Field(min_length=1, max_length=128)
    length_mm: float | None = Field(None, gt=0, le=1e9, allow_inf_nan=False)
    width_mm: float | None = Field(None, gt=0, le=1e5, allow_inf_nan=False)


State = Literal["open", "closed"]


def summary(coil: CoilRow, frames: int, events: int) -> SummaryReply:
    """A coil in a list."""
    return SummaryReply(**_of_coil(coil), frames=frames, events=events)


def _of_coil(coil: CoilRow) -> dict[str, object]:
    names = ("coil_id", "opened_at", "opened_by", "closed_at", "closed_by", "last_frame_at", "length_mm", "width_mm")
    return {name: getattr(coil, name) for name in names}


def detail(examination: Examination) -> CoilReply:
    """All figures of a coil."""
    evidence, coverage, events = examination.evidence, examination.coverage, examination.events
    verdicts, versions = Counter({"ok": 0, "review": 0, "defect": 0}), Counter[str]()
    for tally in evidence.tallies:
        verdicts[tally.verdict] += tally.frames
        versions[tally.version] += tally.frames
    return CoilReply(
        **_of_coil(evidence.coil),
        frames=evidence.frames,
        events=int((evidence.events.number > 0).sum()),
        inspected_mm=coverage.inspected_mm,
        uninspected_mm=coverage.uninspected_mm,
        unseen_mm=coverage.unseen_mm,
        cameras=[_camera(camera, examination) for camera in coverage.cameras],
        verdicts=dict(verdicts),
        refused=len(evidence.refused),
        defects=len(events),
        false_calls=examination.false_calls,
        reviewed=sum(tally.frames for tally in evidence.tallies if tally.review is not None),
        versions=dict(versions.most_common()),
        events_by_class=_counted(events.defect_class, "unclassified"),
        events_by_side=_counted(events.side, "not told"),
        events_by_severity={
            step.name: int((examination.grades == grade).sum())
            for grade, step in enumerate(examination.plant.severities)
        },
        worst_events=worst_events(examination),
        acceptance=acceptance(examination.decision),
        periodic=[periodic(repeat) for repeat in examination.repeats],
    )


def worst_events(examination: Examination, most: int = WORST) -> list[CoilEventReply]:
    """The gravest and most probable first."""
    events = examination.events
    return [_event(events, index, examination.severity(index)) for index in examination.worst_first[:most].tolist()]


def _event(events: Events, index: int, severity: str) -> CoilEventReply:
    return event(EventRow(*(getattr(events, name)[index] for name in EventRow._fields)), severity)


def event(row: EventRow, severity: str) -> CoilEventReply:
    """One event. What is NaN in a column of `Events` is null."""
    lengths = {name: _known(getattr(row, name)) for name in ("position_mm", "length_mm", "across_mm", "width_mm")}
    return CoilEventReply(
        event=int(row.number),
        inspection_id=inspection_id(int(row.inspection)),
        camera_id=row.camera_id,
        side=row.side,
        x=int(row.x),
        y=int(row.y),
        width=int(row.width),
        height=int(row.height),
        defect_probability=float(row.defect_probability),
        defect_class=row.defect_class,
        severity=severity,
        continued=bool(row.continued),
        review=row.review,
        **lengths,
    )


def _known(value: float | None) -> float | None:
    return None if value is None or isnan(value) else float(value)


def _counted(words: Iterable[str | None], unknown: str) -> dict[str, int]:
    return dict(Counter(word if word is not None else unknown for word in words).most_common())


def _camera(camera: CameraCoverage, examination: Examination) -> CameraReply:
    names = [name for name in CameraReply.model_fields if name not in ("gaps", "place_assumed")]
    place = examination.places.get(View(camera.camera_id, camera.side))
    return CameraReply(
        **{name: getattr(camera, name) for name in names},
        gaps=[_gap(gap) for gap in camera.gaps],
        place_assumed=place is None or place.assumed,
    )


def _gap(gap: Gap) -> GapReply:
    names = [name for name in GapReply.model_fields if name != "reasons"]
    reasons = [ReasonReply(code=reason.code, frames=reason.frames) for reason in gap.reasons]
    return GapReply(**{name: getattr(gap, name) for name in names}, reasons=reasons)


def acceptance(decision: Decision) -> AcceptanceReply:
    """The verdict on a coil."""
    return AcceptanceReply(
        verdict=decision.verdict,
        decided_by=None if decision.decided_by is None else _rule(decision.decided_by),
        rules=[_rule(finding) for finding in decision.rules],
        defaults=list(decision.defaults),
    )


def _rule(finding: Finding) -> RuleReply:
    return RuleReply(**{name: getattr(finding, name) for name in RuleReply.model_fields})


def periodic(repeat: Repeat) -> PeriodicReply:
    """One repeat."""
    names = [name for name in PeriodicReply.model_fields if name not in ("rolls", "events")]
    rolls = [
        RollReply(name=roll.name, diameter_mm=roll.diameter_mm, difference_mm=roll.difference_mm)
        for roll in repeat.rolls
    ]
    return PeriodicReply(**{name: getattr(repeat, name) for name in names}, rolls=rolls, events=list(repeat.events))


def mapped(layout: StripMap) -> MapReply:
    """A map's layout."""
    return MapReply(
        coil_id=layout.coil_id,
        first_mm=layout.first_mm,
        last_mm=layout.last_mm,
        sides=[_side(side) for side in layout.sides],
        defect_classes=[LookReply(**look._asdict()) for look in layout.looks],
        not_drawn=layout.not_drawn,
        notes=list(layout.notes),
    )


def _side(side: Side) -> SideReply:
    return SideReply(
        side=side.side,
        width_mm=side.width_mm,
        cameras=[
            MappedCameraReply(**{name: getattr(place, name) for name in MappedCameraReply.model_fields})
            for place in side.cameras
        ],
        gaps=[_mapped_gap(gap) for gap in side.gaps],
        events=[_mapped_event(each) for each in side.events],
        periodic=[periodic(repeat) for repeat in side.repeats],
    )


def _mapped_gap(gap: MappedGap) -> MappedGapReply:
    return MappedGapReply(**{name: getattr(gap, name) for name in MappedGapReply.model_fields})


def _mapped_event(each: MappedEvent) -> MappedEventReply:
    names = [name for name in MappedEventReply.model_fields if name not in ("event", "inspection_id")]
    told = {name: getattr(each, name) for name in names}
    return MappedEventReply(event=each.number, inspection_id=inspection_id(each.inspection), **told)
