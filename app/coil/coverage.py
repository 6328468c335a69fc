"""What was seen of a coil and what was not: sequence numbers and strip positions -> gaps, with their reasons.

Frames come as stretches: frames of one camera that followed each other in sequence and on the strip, in the order of
their arrival. A whole undisturbed coil is one stretch a camera, whatever its length.
"""

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import NamedTuple

# A frame that comes late was overtaken by those in flight beside it, or was sent again a moment later. A count that
# falls farther than that, or to its beginning, began anew.
LATE_FRAMES = 256
BEGINNING = 1
FALL_TO_BEGINNING = 16
# Cameras do not send in step. While a coil is open, one that was heard so recently is not behind.
SETTLING = timedelta(seconds=5)
# A refused frame and its neighbours are told apart by time where sequence numbers come twice.
NEAR = timedelta(seconds=10)
# A camera that loses every other frame has as many gaps as frames: the longest are listed, all are counted.
MAX_GAPS = 200


class Stretch(NamedTuple):
    """Frames of one camera without a break. None: the frames do not say."""

    frames: int
    first_sequence: int | None
    last_sequence: int | None
    first_mm: float | None
    last_mm: float | None
    first_at: datetime
    last_at: datetime


class Refused(NamedTuple):
    """A frame that got no verdict."""

    camera_id: str | None
    code: str
    at: datetime
    sequence: int | None
    position_mm: float | None


class Reason(NamedTuple):
    """Why frames are missing: the code they were refused with, and how many."""

    code: str
    frames: int


@dataclass(frozen=True)
class Gap:
    """Frames or strip that nobody saw. Sequence numbers are inclusive; `frames` is how many are missing.

    Without sequence numbers no frame is missing in the camera's own count: it took none there. Without mm no strip is
    known to be missing. Times are of the last frame before and the first one after.
    """

    first_sequence: int | None
    last_sequence: int | None
    frames: int
    from_mm: float | None
    to_mm: float | None
    started_at: datetime | None
    ended_at: datetime | None
    reasons: tuple[Reason, ...] = ()

    @property
    def length_mm(self) -> float:
        """Of the strip that is missing; 0 where that is not known."""
        return 0.0 if self.from_mm is None or self.to_mm is None else self.to_mm - self.from_mm


@dataclass(frozen=True)
class CameraCoverage:
    """One camera over a whole coil. The gaps are in the order of the strip; `gap_count` counts those not listed too."""

    camera_id: str | None
    side: str | None
    frames: int
    first_sequence: int | None
    last_sequence: int | None
    first_mm: float | None
    last_mm: float | None
    inspected_mm: float | None
    uninspected_mm: float | None
    lost: int
    duplicates: int
    out_of_order: int
    unnumbered: int
    unplaced: int
    gap_count: int
    gaps: tuple[Gap, ...]


@dataclass(frozen=True)
class CoilCoverage:
    """All cameras. A place on the strip is uninspected if any camera of a side missed it.

    unseen_mm: of the length that was announced, what lies before the first or after the last frame; known once the
    coil is closed.
    """

    cameras: tuple[CameraCoverage, ...]
    first_mm: float | None
    last_mm: float | None
    inspected_mm: float | None
    uninspected_mm: float | None
    unseen_mm: float | None

    @property
    def uninspected_share(self) -> float | None:
        """0 to 1, of the length; of the frames where no position is known; None where nothing is."""
        if self.inspected_mm is not None and self.uninspected_mm is not None:
            missing = self.uninspected_mm + (self.unseen_mm or 0.0)
            return missing / max(self.inspected_mm + missing, 1e-9)
        numbered = [camera for camera in self.cameras if camera.first_sequence is not None]
        lost = sum(camera.lost for camera in numbered)
        seen = sum(camera.frames for camera in numbered)
        return lost / (lost + seen) if numbered else None


def runs(stretches: Sequence[Stretch]) -> list[list[Stretch]]:
    """A camera's numbered stretches, in order of arrival, cut where its count began anew.

    A count that falls while the strip goes on began anew; one that falls while the strip goes back is a late frame.
    Where positions do not tell, a fall by more than 256, or by 16 or more to 0 or 1, is a new beginning.

    >>> at = datetime(2026, 1, 1)
    >>> late = [Stretch(8, 1, 8, None, None, at, at), Stretch(1, 10, 10, None, None, at, at)]
    >>> late.append(Stretch(1, 9, 9, None, None, at, at))
    >>> anew = Stretch(5, 1, 5, 500.0, 600.0, at, at)
    >>> [len(run) for run in runs(late)], [len(run) for run in runs([Stretch(9, 1, 9, 0.0, 100.0, at, at), anew])]
    ([3], [1, 1])
    """
    found: list[list[Stretch]] = []
    before: Stretch | None = None
    for stretch in stretches:
        if stretch.first_sequence is None:
            continue
        if before is None or _began_anew(before, stretch):
            found.append([])
        found[-1].append(stretch)
        before = stretch
    return found


def _began_anew(before: Stretch, after: Stretch) -> bool:
    assert before.last_sequence is not None
    assert after.first_sequence is not None
    fall = before.last_sequence - after.first_sequence
    if fall <= 0:
        return False
    if before.last_mm is not None and after.first_mm is not None and before.first_mm is not None:
        # A late frame lies before the end of what came last; a camera that was off for a moment lies behind it.
        return after.first_mm >= before.last_mm
    return fall > LATE_FRAMES or (after.first_sequence <= BEGINNING and fall >= FALL_TO_BEGINNING)


class _Edge(NamedTuple):
    """Missing sequence numbers, between the stretches that end and begin there."""

    before: Stretch
    after: Stretch
    first: int
    last: int


class _Counted(NamedTuple):
    """One run's sequence numbers."""

    edges: list[_Edge]
    first: int
    last: int
    duplicates: int
    out_of_order: int


def _counted(run: Sequence[Stretch]) -> _Counted:
    frames, records, highest = 0, 0, None
    for stretch in run:
        first, last = _numbers(stretch)
        frames += stretch.frames
        # A frame that is no record on its arrival was overtaken, or is there twice.
        records += stretch.frames if highest is None else max(0, last - max(highest, first - 1))
        highest = last if highest is None else max(highest, last)
    # Of those with one number the first to come goes first.
    ordered = sorted(run, key=lambda stretch: _numbers(stretch)[0])
    edges: list[_Edge] = []
    top, distinct = ordered[0], 0
    start, reached = _numbers(top)
    for stretch in ordered[1:]:
        first, last = _numbers(stretch)
        if first > reached + 1:
            edges.append(_Edge(top, stretch, reached + 1, first - 1))
            distinct += reached - start + 1
            start = first
        if last > reached:
            top, reached = stretch, last
    distinct += reached - start + 1
    return _Counted(edges, _numbers(ordered[0])[0], reached, frames - distinct, distinct - records)


def _numbers(stretch: Stretch) -> tuple[int, int]:
    assert stretch.first_sequence is not None
    assert stretch.last_sequence is not None
    return stretch.first_sequence, stretch.last_sequence


def _places(stretch: Stretch) -> tuple[float, float]:
    assert stretch.first_mm is not None
    assert stretch.last_mm is not None
    return stretch.first_mm, stretch.last_mm


def _holes(placed: Sequence[Stretch], tolerance_mm: float) -> list[tuple[Stretch, Stretch]]:
    """The pairs of stretches between which strip was not seen, in the order of the strip."""
    holes: list[tuple[Stretch, Stretch]] = []
    ordered = sorted(placed, key=lambda stretch: _places(stretch)[0])
    top = ordered[0] if ordered else None
    for stretch in ordered[1:]:
        assert top is not None
        if _places(stretch)[0] > _places(top)[1] + tolerance_mm:
            holes.append((top, stretch))
        if _places(stretch)[1] > _places(top)[1]:
            top = stretch
    return holes


class _Span(NamedTuple):
    """Of one side: its first and last position, over all its cameras."""

    first_mm: float
    last_mm: float


class _Frame(NamedTuple):
    """What holds for all cameras of a coil."""

    open_until: datetime | None
    tolerance_mm: float


def cover(
    stretches: Mapping[str | None, Sequence[Stretch]],
    refused: Iterable[Refused],
    sides: Mapping[str | None, str | None],
    *,
    tolerance_mm: float,
    last_frame_at: datetime | None,
    closed: bool,
    length_mm: float | None = None,
) -> CoilCoverage:
    """The coverage of a coil.

    stretches: by camera, in order of arrival. refused: of all cameras. sides: of each camera. length_mm: as announced.

    Frames 0 to 9 and 12 to 19, of 100 mm each:

    >>> at = datetime(2026, 1, 1)
    >>> seen = [Stretch(10, 0, 9, 0.0, 1000.0, at, at), Stretch(8, 12, 19, 1200.0, 2000.0, at, at)]
    >>> told = cover({"c1": seen}, [], {}, tolerance_mm=1.0, last_frame_at=at, closed=True)
    >>> told.inspected_mm, told.uninspected_mm, told.cameras[0].gaps[0].frames
    (1800.0, 200.0, 2)
    """
    of_camera: dict[str | None, list[Refused]] = {camera_id: [] for camera_id in stretches}
    for each in refused:
        of_camera.setdefault(each.camera_id, []).append(each)
    spans = _spans(stretches, sides)
    frame = _Frame(None if closed else last_frame_at, tolerance_mm)
    cameras = tuple(
        _camera(camera_id, sides.get(camera_id), stretches.get(camera_id, ()), of_camera[camera_id], spans, frame)
        for camera_id in sorted(of_camera, key=lambda camera_id: (sides.get(camera_id) or "", camera_id or ""))
    )
    listed = tuple(replace(camera, gaps=_longest(camera.gaps)) for camera in cameras)
    if not spans:
        return CoilCoverage(listed, None, None, None, None, None)
    first, last = min(span.first_mm for span in spans.values()), max(span.last_mm for span in spans.values())
    missing = [
        (gap.from_mm, gap.to_mm)
        for camera in cameras
        for gap in camera.gaps
        if gap.from_mm is not None and gap.to_mm is not None
    ]
    uninspected = measure(missing)
    seen = measure([(span.first_mm, span.last_mm) for span in spans.values()])
    unseen = None
    if length_mm is not None and closed:
        unseen = max(0.0, length_mm - (min(last, length_mm) - max(first, 0.0)))
    return CoilCoverage(listed, first, last, seen - uninspected, uninspected, unseen)


def measure(intervals: Iterable[tuple[float, float]]) -> float:
    """The length of a union of intervals.

    >>> measure([(0.0, 10.0), (5.0, 20.0), (30.0, 40.0)])
    30.0
    """
    total, reached = 0.0, float("-inf")
    for first, last in sorted(intervals):
        total += max(0.0, last - max(first, reached))
        reached = max(reached, last)
    return total


def _spans(
    stretches: Mapping[str | None, Sequence[Stretch]], sides: Mapping[str | None, str | None]
) -> dict[str | None, _Span]:
    spans: dict[str | None, _Span] = {}
    for camera_id, seen in stretches.items():
        placed = [_places(stretch) for stretch in seen if stretch.first_mm is not None]
        if placed:
            side = sides.get(camera_id)
            ends = [*placed, spans[side]] if side in spans else placed
            spans[side] = _Span(min(end[0] for end in ends), max(end[1] for end in ends))
    return spans


def _camera(
    camera_id: str | None,
    side: str | None,
    stretches: Sequence[Stretch],
    refused: Sequence[Refused],
    spans: Mapping[str | None, _Span],
    frame: _Frame,
) -> CameraCoverage:
    numbered = runs(stretches)
    counted = [_counted(run) for run in numbered]
    placed = [stretch for stretch in stretches if stretch.first_mm is not None]
    gaps = _gaps(counted, placed, frame)
    refusals = _Refusals(refused, many=len(numbered) > 1)
    gaps += _refused_beside(numbered, counted, refusals.numbered)
    span = spans.get(side) if placed else None
    if span is not None:
        gaps += _ends(placed, span, frame)
    uninspected = sum(gap.length_mm for gap in gaps)
    told = sorted(map(refusals.reasoned, gaps), key=_along)
    return CameraCoverage(
        camera_id=camera_id,
        side=side,
        frames=sum(stretch.frames for stretch in stretches),
        first_sequence=counted[0].first if counted else None,
        last_sequence=counted[-1].last if counted else None,
        first_mm=min((_places(stretch)[0] for stretch in placed), default=None),
        last_mm=max((_places(stretch)[1] for stretch in placed), default=None),
        inspected_mm=None if span is None else span.last_mm - span.first_mm - uninspected,
        uninspected_mm=None if span is None else uninspected,
        lost=sum(gap.frames for gap in told),
        duplicates=sum(run.duplicates for run in counted),
        out_of_order=sum(run.out_of_order for run in counted),
        unnumbered=sum(stretch.frames for stretch in stretches if stretch.first_sequence is None),
        unplaced=sum(stretch.frames for stretch in stretches if stretch.first_mm is None),
        gap_count=len(told),
        gaps=tuple(told),
    )


def _gaps(counted: Sequence[_Counted], placed: Sequence[Stretch], frame: _Frame) -> list[Gap]:
    """Missing numbers and missing strip; both in one gap where they are between the same frames."""
    holes = {(id(hole[0]), id(hole[1])): hole for hole in _holes(placed, frame.tolerance_mm)}
    gaps: list[Gap] = []
    for edge in (edge for run in counted for edge in run.edges):
        hole = holes.pop((id(edge.before), id(edge.after)), None)
        from_mm, to_mm = (_places(edge.before)[1], _places(edge.after)[0]) if hole else (None, None)
        missing = edge.last - edge.first + 1
        at = edge.before.last_at, edge.after.first_at
        gaps.append(Gap(edge.first, edge.last, missing, from_mm, to_mm, min(at), max(at)))
    for before, after in holes.values():
        gaps.append(Gap(None, None, 0, _places(before)[1], _places(after)[0], before.last_at, after.first_at))
    return gaps


def _ends(placed: Sequence[Stretch], span: _Span, frame: _Frame) -> list[Gap]:
    """Strip that other cameras of the side saw before this one began, or after it ended."""
    begins, ends = min(placed, key=_places), max(placed, key=lambda stretch: _places(stretch)[1])
    gaps: list[Gap] = []
    if _places(begins)[0] > span.first_mm + frame.tolerance_mm:
        gaps.append(Gap(None, None, 0, span.first_mm, _places(begins)[0], None, begins.first_at))
    settled = frame.open_until is None or frame.open_until - ends.last_at > SETTLING
    if settled and _places(ends)[1] < span.last_mm - frame.tolerance_mm:
        gaps.append(Gap(None, None, 0, _places(ends)[1], span.last_mm, ends.last_at, None))
    return gaps


def _refused_beside(
    numbered: Sequence[Sequence[Stretch]], counted: Sequence[_Counted], refused: Sequence[Refused]
) -> list[Gap]:
    """Frames before the first and after the last one seen that are known of because they were refused."""
    if not refused:
        return []
    if not counted:
        return [_unseen(refused, None, None)]
    first_at = min(stretch.first_at for stretch in numbered[0])
    last_at = max(stretch.last_at for stretch in numbered[-1])
    early = [each for each in refused if _sequence(each) < counted[0].first and each.at <= first_at]
    late = [each for each in refused if _sequence(each) > counted[-1].last and each.at >= last_at]
    gaps = [_unseen(early, None, counted[0].first - 1)] if early else []
    return gaps + ([_unseen(late, counted[-1].last + 1, None)] if late else [])


def _unseen(refused: Sequence[Refused], first: int | None, last: int | None) -> Gap:
    sequences = [_sequence(each) for each in refused]
    first = min(sequences) if first is None else first
    last = max(sequences) if last is None else last
    moments = [each.at for each in refused]
    return Gap(first, last, last - first + 1, None, None, min(moments), max(moments))


class _Refusals:
    """A camera's refused frames in the order of their sequence numbers, and those without one in that of the strip.

    many: the camera's sequence numbers come more than once, so that time must tell which frame is meant.
    """

    def __init__(self, refused: Iterable[Refused], *, many: bool) -> None:
        known = list(refused)
        self.numbered = sorted((each for each in known if each.sequence is not None), key=_sequence)
        placed = (each for each in known if each.sequence is None and each.position_mm is not None)
        self._placed = sorted(placed, key=_position)
        self._many = many

    def reasoned(self, gap: Gap) -> Gap:
        """The gap with the reasons of the frames that would have filled it, the most frequent first."""
        codes: list[str] = []
        if gap.first_sequence is not None and gap.last_sequence is not None:
            first = bisect_left(self.numbered, gap.first_sequence, key=_sequence)
            last = bisect_right(self.numbered, gap.last_sequence, key=_sequence)
            # A frame that was sent again and refused again is one frame; its last word counts.
            meant = sorted(filter(partial(self._at_the_time, gap), self.numbered[first:last]), key=_moment)
            codes += {each.sequence: each.code for each in meant}.values()
        if gap.from_mm is not None and gap.to_mm is not None:
            first = bisect_left(self._placed, gap.from_mm, key=_position)
            last = bisect_left(self._placed, gap.to_mm, key=_position)
            codes += (each.code for each in self._placed[first:last])
        reasons = tuple(Reason(code, frames) for code, frames in Counter(codes).most_common())
        return replace(gap, reasons=reasons) if reasons else gap

    def _at_the_time(self, gap: Gap, refused: Refused) -> bool:
        early = gap.started_at is not None and refused.at < gap.started_at - NEAR
        late = gap.ended_at is not None and refused.at > gap.ended_at + NEAR
        return not (self._many and (early or late))


def _sequence(refused: Refused) -> int:
    assert refused.sequence is not None
    return refused.sequence


def _position(refused: Refused) -> float:
    assert refused.position_mm is not None
    return refused.position_mm


def _moment(refused: Refused) -> datetime:
    return refused.at


def _along(gap: Gap) -> tuple[float, int]:
    return (gap.from_mm if gap.from_mm is not None else float("inf"), gap.first_sequence or 0)


def _longest(gaps: tuple[Gap, ...]) -> tuple[Gap, ...]:
    if len(gaps) <= MAX_GAPS:
        return gaps
    return tuple(sorted(sorted(gaps, key=lambda gap: (-gap.length_mm, -gap.frames))[:MAX_GAPS], key=_along))
