"""What was seen of a coil and what was not: sequence numbers and strip positions -> gaps, with their reasons.

Frames come as stretches: frames of one camera that followed each other in sequence and on the strip, in the order of
their arrival. A whole undisturbed coil is one stretch a camera, whatever its length. Refused frames come one by one:
what lies before, after or apart from all stretches is known of by them alone. What cannot be told to be inspected does
not count as inspected.
"""

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from itertools import chain, pairwise
from typing import NamedTuple

from app.coil.counting import Counted, Stretch, View, count, runs

# Cameras do not send in step. While a coil is open, one that was heard so recently is not behind.
SETTLING = timedelta(seconds=5)
# A refused frame and its neighbours are told apart by time where sequence numbers come twice.
NEAR = timedelta(seconds=10)
# A camera that loses every other frame has as many gaps as frames: the longest are listed, all are counted.
MAX_GAPS = 200


class Refused(NamedTuple):
    """A frame that got no verdict. inspected: it did get one later, which its request id tells of one that says neither
    number nor place.
    """

    camera_id: str | None
    code: str
    at: datetime
    sequence: int | None
    position_mm: float | None
    side: str | None = None
    inspected: bool = False

    @property
    def view(self) -> View:
        """Where it belongs."""
        return View(self.camera_id, self.side)


class Reason(NamedTuple):
    """Why frames are missing: the code they were refused with, and how many."""

    code: str
    frames: int


@dataclass(frozen=True)
class Gap:
    """Frames or strip that nobody saw. Sequence numbers are inclusive. Times are of the last frame before and the first
    one after; where there is none, of the refused ones.

    frames: how many are missing in the camera's own count, or were refused there if those are more; 0: it took none.
    Without mm no strip is known to be missing. overlapped: nor is any; other frames show it, or the gap beside them has
    it.
    """

    first_sequence: int | None
    last_sequence: int | None
    frames: int
    from_mm: float | None
    to_mm: float | None
    started_at: datetime | None
    ended_at: datetime | None
    reasons: tuple[Reason, ...] = ()
    overlapped: bool = False

    @property
    def length_mm(self) -> float:
        """Of the strip that is missing; 0 where that is not known."""
        return 0.0 if self.from_mm is None or self.to_mm is None else self.to_mm - self.from_mm


@dataclass(frozen=True)
class CameraCoverage:
    """One view over a whole coil. The gaps are in the order of the strip; `gap_count` counts those not listed too.

    lost_unplaced: of the lost frames those of which nobody knows how much strip they are.
    """

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
    lost_unplaced: int
    duplicates: int
    out_of_order: int
    unnumbered: int
    unplaced: int
    gap_count: int
    gaps: tuple[Gap, ...]


@dataclass(frozen=True)
class CoilCoverage:
    """All cameras. A place on the strip is uninspected if any camera of a side missed it, or if it lies between what
    was seen of one side and of another.

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
        """0 to 1, of the length, or of the frames of the camera that lost most without a place, whichever is larger.

        None where no frame that was inspected says where it lies or which one it is.
        """
        shares = [camera.lost_unplaced / max(camera.lost_unplaced + camera.frames, 1) for camera in self.cameras]
        if self.inspected_mm is not None and self.uninspected_mm is not None:
            missing = self.uninspected_mm + (self.unseen_mm or 0.0)
            return max(missing / max(self.inspected_mm + missing, 1e-9), *shares)
        return max(shares) if any(camera.first_sequence is not None for camera in self.cameras) else None

    def silent(self, cameras: Iterable[str]) -> tuple[str, ...]:
        """Which of the cameras sent no frame, not even one that was refused. cameras: their ids."""
        heard = {camera.camera_id for camera in self.cameras}
        return tuple(camera for camera in cameras if camera not in heard)


def _places(stretch: Stretch) -> tuple[float, float]:
    assert stretch.first_mm is not None
    assert stretch.last_mm is not None
    return stretch.first_mm, stretch.last_mm


def _begins(stretch: Stretch) -> float:
    return _places(stretch)[0]


def _holes(placed: Sequence[Stretch], tolerance_mm: float) -> list[tuple[Stretch, Stretch]]:
    """The pairs of stretches between which strip was not seen. placed: in the order of the strip, as the pairs are."""
    holes: list[tuple[Stretch, Stretch]] = []
    top = placed[0] if placed else None
    for stretch in placed[1:]:
        assert top is not None
        if _places(stretch)[0] > _places(top)[1] + tolerance_mm:
            holes.append((top, stretch))
        if _places(stretch)[1] > _places(top)[1]:
            top = stretch
    return holes


class _Span(NamedTuple):
    """Of one side, over all its cameras: where its first frame begins and its last one ends, inspected or not."""

    first_mm: float
    last_mm: float


class _Frame(NamedTuple):
    """What holds for all cameras of a coil. open_until: when the latest frame came, while it is open."""

    open_until: datetime | None
    tolerance_mm: float


def cover(
    stretches: Mapping[View, Sequence[Stretch]],
    refused: Iterable[Refused],
    *,
    tolerance_mm: float,
    last_frame_at: datetime | None,
    closed: bool,
    length_mm: float | None = None,
) -> CoilCoverage:
    """The coverage of a coil.

    stretches: by view, in order of arrival. refused: of all views. length_mm: as announced.

    Frames 0 to 9 and 12 to 19, of 100 mm each:

    >>> at = datetime(2026, 1, 1)
    >>> seen = [Stretch(10, 0, 9, 0.0, 1000.0, at, at), Stretch(8, 12, 19, 1200.0, 2000.0, at, at)]
    >>> told = cover({View("c1", "top"): seen}, [], tolerance_mm=1.0, last_frame_at=at, closed=True)
    >>> told.inspected_mm, told.uninspected_mm, told.cameras[0].gaps[0].frames
    (1800.0, 200.0, 2)
    """
    missed = [each for each in refused if not each.inspected]
    of_view: dict[View, list[Refused]] = {view: [] for view in stretches}
    for each in missed:
        of_view.setdefault(each.view, []).append(each)
    heard = chain(() if last_frame_at is None else (last_frame_at,), (each.at for each in missed))
    frame = _Frame(None if closed else max(heard, default=None), tolerance_mm)
    frame_mm = _frame_mm(chain.from_iterable(stretches.values()))
    taken = [
        _Taken(view, stretches.get(view, ()), of_view[view], tolerance_mm)
        for view in sorted(of_view, key=lambda view: (view.side or "", view.camera_id or ""))
    ]
    _count_on(taken)
    spans = _spans(taken, frame_mm)
    cameras = tuple(_camera(one, spans.get(one.view.side), frame) for one in taken)
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
    between = last - first - measure([(span.first_mm, span.last_mm) for span in spans.values()])
    uninspected = measure(missing) + between
    unseen = None
    if length_mm is not None and closed:
        unseen = max(0.0, length_mm - (min(last, length_mm) - max(first, 0.0)))
    return CoilCoverage(listed, first, last, last - first - uninspected, uninspected, unseen)


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


class _Taken:
    """One camera's frames: those seen, in runs of its count and along the strip, and those refused.

    among: refused frames within what was seen, which are in its gaps, or were sent again. early, late: before and after
    all that was seen; of a camera of which nothing was seen all are late. apart: nobody knows where. follows: the last
    number that the camera gave on another side, after which this one goes on.
    """

    def __init__(
        self,
        view: View,
        stretches: Sequence[Stretch],
        refused: Iterable[Refused],
        tolerance_mm: float,
    ) -> None:
        self.view = view
        self.stretches = stretches
        self.counted = [count(run) for run in runs(stretches)]
        # Of those that begin at one place the first to come goes first.
        self.placed = sorted((stretch for stretch in stretches if stretch.first_mm is not None), key=_begins)
        self.reached = max(self.placed, key=lambda stretch: _places(stretch)[1], default=None)
        self._tolerance_mm = tolerance_mm
        self.among: list[Refused] = []
        self.early: list[Refused] = []
        self.late: list[Refused] = []
        self.apart: list[Refused] = []
        self.follows: int | None = None
        lists = {-1: self.early, 0: self.among, 1: self.late, None: self.apart}
        for each in refused:
            lists[self._where(each) if stretches else 1].append(each)

    def _where(self, refused: Refused) -> int | None:
        """-1 before all that was seen, 0 among it, 1 behind it; None if that cannot be told.

        A place outside of what was seen tells more than a number: a count may have begun anew.
        """
        place, number = self._where_placed(refused), self._where_numbered(refused)
        return place if place or number is None else number

    def _where_placed(self, refused: Refused) -> int | None:
        if refused.position_mm is None or self.reached is None:
            return None
        # By where it begins: a last frame that was sent again may be shorter than others.
        begins = refused.position_mm + self._tolerance_mm
        return (begins >= _places(self.reached)[1]) - (begins < _begins(self.placed[0]))

    def _where_numbered(self, refused: Refused) -> int | None:
        if refused.sequence is None or not self.counted:
            return None
        # Of several runs that one is meant which is nearest in time.
        behind = bisect_right(self.counted, refused.at, key=lambda run: run.first_at)
        run = min(self.counted[max(behind - 1, 0) : behind + 1], key=lambda run: _apart(run, refused.at))
        where = (refused.sequence > run.last) - (refused.sequence < run.first)
        outermost = {-1: self.counted[0], 0: run, 1: self.counted[-1]}
        return where if outermost[where] is run else None

    def ends(self, frame_mm: float | None) -> Iterator[float]:
        """Where on the strip its frames begin and end. frame_mm: how long a frame is of which nobody knows."""
        for stretch in self.placed:
            yield from _places(stretch)
        length_mm = _frame_mm(self.placed) or frame_mm
        for each in (*self.early, *self.late):
            if each.position_mm is not None and length_mm is not None:
                yield from (each.position_mm, each.position_mm + length_mm)


def _count_on(taken: Iterable[_Taken]) -> None:
    """Where a camera names another side than before and its count goes on, what is missing between is missing of the
    later view: unless both say their places, which tell it better.
    """
    of_camera: dict[str | None, list[_Taken]] = {}
    for view in sorted((each for each in taken if each.counted), key=lambda each: each.counted[0].first_at):
        of_camera.setdefault(view.view.camera_id, []).append(view)
    for earlier, later in chain.from_iterable(map(pairwise, of_camera.values())):
        before, own = earlier.counted[-1], later.counted[0]
        if before.last_at < own.first_at and before.last < own.first and not (earlier.placed and later.placed):
            later.follows = before.last


def _apart(run: Counted, at: datetime) -> timedelta:
    return max(run.first_at - at, at - run.last_at, timedelta())


def _frame_mm(stretches: Iterable[Stretch]) -> float | None:
    """How much strip a frame shows, on average."""
    placed = [stretch for stretch in stretches if stretch.first_mm is not None]
    frames = sum(stretch.frames for stretch in placed)
    return sum(last - first for first, last in map(_places, placed)) / frames if frames else None


def _spans(taken: Iterable[_Taken], frame_mm: float | None) -> dict[str | None, _Span]:
    spans: dict[str | None, _Span] = {}
    for camera in taken:
        ends = [*camera.ends(frame_mm), *spans.get(camera.view.side, ())]
        if ends:
            spans[camera.view.side] = _Span(min(ends), max(ends))
    return spans


def _camera(taken: _Taken, side: _Span | None, frame: _Frame) -> CameraCoverage:
    stretches, counted, placed = taken.stretches, taken.counted, taken.placed
    # Where a camera's frames say nothing of their places, nobody knows what it saw of the side.
    span = side if placed or not stretches else None
    refusals = _Refusals(taken.among, many=len(counted) > 1)
    gaps = [_explained(gap, refusals.within(gap)) for gap in _gaps(counted, placed, frame)]
    gaps += [*_before(taken, span, frame), *_behind(taken, span, frame), *_unseen(None, None, taken.apart)]
    gaps.sort(key=_along)
    uninspected = sum(gap.length_mm for gap in gaps)
    return CameraCoverage(
        camera_id=taken.view.camera_id,
        side=taken.view.side,
        frames=sum(stretch.frames for stretch in stretches),
        first_sequence=counted[0].first if counted else None,
        last_sequence=counted[-1].last if counted else None,
        first_mm=_begins(placed[0]) if placed else None,
        last_mm=None if taken.reached is None else _places(taken.reached)[1],
        inspected_mm=None if span is None else span.last_mm - span.first_mm - uninspected,
        uninspected_mm=None if span is None else uninspected,
        lost=sum(gap.frames for gap in gaps),
        lost_unplaced=sum(gap.frames for gap in gaps if gap.from_mm is None and not gap.overlapped),
        duplicates=sum(run.duplicates for run in counted),
        out_of_order=sum(run.out_of_order for run in counted),
        unnumbered=sum(stretch.frames for stretch in stretches if stretch.first_sequence is None),
        unplaced=sum(stretch.frames for stretch in stretches if stretch.first_mm is None),
        gap_count=len(gaps),
        gaps=tuple(gaps),
    )


def _gaps(counted: Sequence[Counted], placed: Sequence[Stretch], frame: _Frame) -> list[Gap]:
    """Missing numbers and missing strip; both in one gap where they are between the same frames, of which on a strip
    that runs back the later ones lie before.
    """
    holes = {frozenset(map(id, hole)): hole for hole in _holes(placed, frame.tolerance_mm)}
    gaps: list[Gap] = []
    for edge in (edge for run in counted for edge in run.edges):
        hole = holes.pop(frozenset((id(edge.before), id(edge.after))), None)
        from_mm, to_mm = (_places(hole[0])[1], _places(hole[1])[0]) if hole else (None, None)
        missing = edge.last - edge.first + 1
        at = edge.before.last_at, edge.after.first_at
        overlapped = hole is None and edge.before.last_mm is not None and edge.after.first_mm is not None
        gap = Gap(edge.first, edge.last, missing, from_mm, to_mm, min(at), max(at), overlapped=overlapped)
        gaps.append(gap)
    for before, after in holes.values():
        earlier, later = sorted((before, after), key=lambda stretch: stretch.first_at)
        at = earlier.last_at, later.first_at
        gaps.append(Gap(None, None, 0, _places(before)[1], _places(after)[0], min(at), max(at)))
    return gaps


def _before(taken: _Taken, span: _Span | None, frame: _Frame) -> list[Gap]:
    """What the camera refused, and what others of its side took, before the first frame that was seen of it."""
    if not taken.stretches:
        return []
    numbers, strip = None, None
    if taken.counted:
        first = taken.counted[0].first
        expected = first if taken.follows is None else taken.follows + 1
        numbers = min([expected, *_sequences(taken.early)]), first - 1
    if span is not None and _begins(taken.placed[0]) > span.first_mm + frame.tolerance_mm:
        strip = span.first_mm, _begins(taken.placed[0])
    return _unseen(numbers, strip, taken.early, ended_at=min(stretch.first_at for stretch in taken.stretches))


def _behind(taken: _Taken, span: _Span | None, frame: _Frame) -> list[Gap]:
    """What the camera refused, and what others of its side took, after the last frame that was seen of it."""
    sequences = _sequences(taken.late)
    if not taken.stretches:
        numbers = (min(sequences), max(sequences)) if sequences else None
        return _unseen(numbers, span, taken.late)
    numbers, strip = None, None
    if taken.counted:
        last = taken.counted[-1].last
        numbers = last + 1, max(sequences, default=last)
    if span is not None and taken.reached is not None:
        settled = frame.open_until is None or frame.open_until - taken.reached.last_at > SETTLING
        reached_mm = _places(taken.reached)[1]
        if settled and reached_mm < span.last_mm - frame.tolerance_mm:
            strip = reached_mm, span.last_mm
    return _unseen(numbers, strip, taken.late, started_at=max(stretch.last_at for stretch in taken.stretches))


def _unseen(
    numbers: tuple[int, int] | None,
    strip: tuple[float, float] | None,
    refused: Sequence[Refused],
    started_at: datetime | None = None,
    ended_at: datetime | None = None,
) -> list[Gap]:
    """A gap that is no hole between two frames, if there is one. numbers: none if the first is above the last."""
    first, last = numbers if numbers is not None and numbers[0] <= numbers[1] else (None, None)
    if first is None and strip is None and not refused:
        return []
    from_mm, to_mm = strip if strip is not None else (None, None)
    frames = 0 if first is None or last is None else last - first + 1
    moments = [each.at for each in refused]
    begun = min(moments if started_at is None else [started_at, *moments], default=None)
    ended = max(moments if ended_at is None else [ended_at, *moments], default=None)
    return [_explained(Gap(first, last, frames, from_mm, to_mm, begun, ended), refused)]


def _explained(gap: Gap, refused: Iterable[Refused]) -> Gap:
    """The gap with the reasons of the frames that would have filled it, the most frequent first."""
    # A frame that was sent again and refused again is one frame; its last word counts.
    codes = {_identity(each): each.code for each in sorted(refused, key=_moment)}
    reasons = tuple(Reason(code, frames) for code, frames in Counter(codes.values()).most_common())
    return replace(gap, frames=max(gap.frames, len(codes)), reasons=reasons) if reasons else gap


def _identity(refused: Refused) -> object:
    """Equal of two only if they are the same frame; one that says nothing of itself is like no other."""
    told = refused.sequence, refused.position_mm
    return id(refused) if told == (None, None) else told


class _Refusals:
    """A camera's refused frames in the order of their sequence numbers, and in that of the strip.

    many: the camera's sequence numbers come more than once, so that time must tell which frame is meant.
    """

    def __init__(self, refused: Sequence[Refused], *, many: bool) -> None:
        self._numbered = sorted((each for each in refused if each.sequence is not None), key=_sequence)
        self._placed = sorted((each for each in refused if each.position_mm is not None), key=_position)
        self._many = many

    def within(self, gap: Gap) -> Iterator[Refused]:
        """Those that would have filled the gap, by number or by place; some twice."""
        if gap.first_sequence is not None and gap.last_sequence is not None:
            first = bisect_left(self._numbered, gap.first_sequence, key=_sequence)
            last = bisect_right(self._numbered, gap.last_sequence, key=_sequence)
            yield from filter(partial(self._at_the_time, gap), self._numbered[first:last])
        if gap.from_mm is not None and gap.to_mm is not None:
            first = bisect_left(self._placed, gap.from_mm, key=_position)
            last = bisect_left(self._placed, gap.to_mm, key=_position)
            yield from self._placed[first:last]

    def _at_the_time(self, gap: Gap, refused: Refused) -> bool:
        early = gap.started_at is not None and refused.at < gap.started_at - NEAR
        late = gap.ended_at is not None and refused.at > gap.ended_at + NEAR
        return not (self._many and (early or late))


def _sequences(refused: Iterable[Refused]) -> list[int]:
    return [each.sequence for each in refused if each.sequence is not None]


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
