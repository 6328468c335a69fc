"""Defects that come back at a fixed interval: the mark of a roll, found in the distances between events.

The autocorrelation of a lane's event positions counts the pairs of events at each distance. Where a distance has more
pairs than its surroundings, by more than chance would do anywhere on the coil, events repeat at it: decision 16 has the
formula, where it comes from, and how often it is wrong.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import pi
from typing import NamedTuple, Self

import numpy as np

from app.coil.events import Events, Flags, Floats, Integers
from app.coil.lanes import Lane, lanes
from app.plant import Periodic, Roll

# Half widths of what counts as one distance: a mark 5 mm off its place, at random, makes distances 7 mm off. Wider ones
# are for larger pixels, whose tiles say less exactly where a defect lies.
HALF_WIDTHS_MM = (12.0, 24.0, 48.0, 96.0)
# The surroundings: on both sides, from one half width beyond the distance's own edge on, at most so many wide.
SURROUNDING = 8
# Resolution of the counted distances.
BIN_MM = 2.0
# Fewer strokes than this are no repeat, however exactly they lie.
LEAST_STROKES = 5
# So much above the surroundings, by share: what less there is can come from the lie of frames and tiles.
LEAST_EXCESS = 0.25
# No excess of fewer standard deviations is as unlikely as a finding has to be: its chance need not be computed.
LEAST_DEVIATIONS = 3.0
# A shorter interval is the true one, of which the strongest is a multiple, if it has this share of its pairs.
FUNDAMENTAL = 0.5
# Marks before and after each event that are looked for to tell which events belong to the repeat, and their share.
NEIGHBOURS = 8
LEAST_NEIGHBOURS = 3
MEMBER = 0.5
# Marks in one lane, and on a coil: there are only so many rolls.
MOST_IN_LANE = 4
MOST_ON_COIL = 12
# Findings of neighbouring lanes are one if their intervals agree so far, by share.
SAME_INTERVAL = 0.01
# Distances that are counted in one step: bounds the memory.
AT_ONCE = 2_000_000


@dataclass(frozen=True)
class Suspect:
    """A roll whose circumference is the interval. difference_mm: interval less circumference."""

    name: str
    diameter_mm: float
    difference_mm: float


@dataclass(frozen=True)
class Repeat:
    """Events of one lane that repeat. repeats: strokes of the roll on which a mark was found; events: their numbers.

    across_mm: the middle of the marks, from the strip's edge. confidence: 1 less the chance that a coil with as many
    events, in the same places across but anywhere along, shows as strong a repeat in any lane, at any interval.
    """

    side: str | None
    camera_id: str | None
    across_mm: float
    interval_mm: float
    confidence: float
    repeats: int
    first_mm: float
    last_mm: float
    rolls: tuple[Suspect, ...]
    events: tuple[int, ...]


class _Peak(NamedTuple):
    interval_mm: float
    half_width_mm: float
    excess: float
    chance: float


class _Found(NamedTuple):
    lane: Lane
    peak: _Peak
    members: Integers
    strokes: int


def circumference(diameter_mm: float) -> float:
    """How far the strip goes while a roll turns once.

    >>> round(circumference(600.0))
    1885
    """
    return pi * diameter_mm


def suspects(interval_mm: float, rolls: Iterable[Roll], tolerance: float) -> tuple[Suspect, ...]:
    """The rolls whose circumference is within this share of the interval, the nearest first.

    >>> mill = [Roll(name="work roll 4", diameter_mm=600.0), Roll(name="bridle", diameter_mm=800.0)]
    >>> [(roll.name, round(roll.difference_mm, 1)) for roll in suspects(1890.0, mill, tolerance=0.01)]
    [('work roll 4', 5.0)]
    """
    found = [Suspect(roll.name, roll.diameter_mm, interval_mm - circumference(roll.diameter_mm)) for roll in rolls]
    near = [each for each in found if abs(each.difference_mm) <= tolerance * interval_mm]
    return tuple(sorted(near, key=lambda each: abs(each.difference_mm)))


def repeats(events: Events, across_mm: Floats, settings: Periodic, rolls: Iterable[Roll] = ()) -> list[Repeat]:
    """The repeats on a coil, the most certain first. across_mm: as of `placing.strip_across`.

    Work is bounded by the number of events: `lanes` leaves at most one in 50 mm of each lane.
    """
    looked_at = list(lanes(events, across_mm, settings.lane_mm, LEAST_STROKES))
    all_tried = _all_tried(settings)
    # Whatever is tried anywhere on the coil may be the one that chance made.
    trials = sum(len(tried.interval_mm) for tried in all_tried) * len(looked_at)
    found = [each for lane in looked_at for each in _in_lane(lane, all_tried, trials, settings)]
    mill = tuple(rolls)
    return [_told(each, events, across_mm, mill, settings, trials) for each in _distinct(found)]


class _Tried(NamedTuple):
    """Intervals that are tried with one half width. edges: bins in which each one's surroundings and itself begin and
    end, shape (6, intervals); share: of the width of both, the interval's own.
    """

    half_width_mm: float
    interval_mm: Floats
    edges: Integers
    share: Floats

    @classmethod
    def of(cls, interval_mm: Floats, half_width_mm: float) -> Self:
        inner, outer = interval_mm - half_width_mm, interval_mm + half_width_mm
        # No farther than to where twice the interval, or half of it, may have pairs of its own.
        reach = np.minimum(SURROUNDING * half_width_mm, interval_mm / 2 - 2 * half_width_mm)
        before, after = inner - half_width_mm, outer + half_width_mm
        places = np.stack([before - reach, before, inner, outer, after, after + reach])
        edges = np.round(places / BIN_MM).astype(np.int64)
        own = edges[3] - edges[2]
        return cls(half_width_mm, interval_mm, edges, own / (own + edges[1] - edges[0] + edges[5] - edges[4]))


def _all_tried(settings: Periodic) -> list[_Tried]:
    """So close that no interval falls between two, and so long that the surroundings have room."""
    tried = []
    for half_width in HALF_WIDTHS_MM:
        least = max(settings.least_mm, SURROUNDING * half_width)
        if least < settings.most_mm:
            tried.append(_Tried.of(np.arange(least, settings.most_mm, half_width / 4), half_width))
    return tried


def _in_lane(lane: Lane, all_tried: list[_Tried], trials: int, settings: Periodic) -> Iterator[_Found]:
    """One repeat after the other: what belongs to one is taken out before the next is looked for."""
    for _ in range(MOST_IN_LANE):
        if len(lane.index) < LEAST_STROKES:
            return
        counts = _Counts(lane.position_mm, settings.most_mm)
        peak = counts.highest(all_tried)
        if peak is None or peak.chance * trials > settings.false_alarms:
            return
        peak = counts.fundamental(peak, settings.least_mm)
        peak = peak._replace(interval_mm=_refined(lane.position_mm, peak))
        members = _members(lane.position_mm, peak)
        strokes = _strokes(lane.position_mm[members], peak.interval_mm)
        if strokes < LEAST_STROKES:
            # Two heaps of events, and no row of marks: nothing else in this lane is stronger.
            return
        yield _Found(lane, peak, lane.index[members], strokes)
        lane = lane.without(lane.index[members])


class _Counts:
    """How many pairs of events are at which distance: the autocorrelation of their positions."""

    def __init__(self, position_mm: Floats, most_mm: float) -> None:
        # To the end of the longest interval's surroundings.
        reach = most_mm + (SURROUNDING + 2) * max(HALF_WIDTHS_MM)
        counts = np.zeros(int(reach / BIN_MM) + 2, np.int64)
        for distance in _distances(position_mm, reach):
            counts += np.bincount((distance / BIN_MM).astype(np.int64), minlength=len(counts))[: len(counts)]
        # below[i]: pairs nearer than i bins.
        self._below = np.concatenate([[0], counts.cumsum()])

    def highest(self, all_tried: list[_Tried]) -> _Peak | None:
        """The distance whose pairs are least likely to be there by chance; None if none has any."""
        best: _Peak | None = None
        for tried in all_tried:
            pairs, around, expected = self._at(tried)
            excess = pairs - expected
            likely = (pairs >= LEAST_STROKES - 1) & (excess >= LEAST_EXCESS * expected)
            likely &= excess >= LEAST_DEVIATIONS * np.sqrt(expected + 1)
            if not likely.any():
                continue
            chance = _chance(pairs[likely], around[likely], tried.share[likely])
            # Chances too small for a float are alike: then the larger excess is the better.
            at = int(np.lexsort((-excess[likely], chance))[0])
            interval, found = tried.interval_mm[likely][at], excess[likely][at]
            peak = _Peak(float(interval), tried.half_width_mm, float(found), float(chance[at]))
            if best is None or (peak.chance, -peak.excess) < (best.chance, -best.excess):
                best = peak
        return best

    def fundamental(self, peak: _Peak, least_mm: float) -> _Peak:
        """The shortest part of the interval that repeats as well: after two turns of a roll its mark is there too."""
        for divisor in range(int(peak.interval_mm / least_mm), 1, -1):
            part = peak.interval_mm / divisor
            half_width = min(peak.half_width_mm, part / SURROUNDING)
            tried = _Tried.of(np.arange(part - half_width / 2, part + half_width / 2, BIN_MM), half_width)
            pairs, _, expected = self._at(tried)
            at = int((pairs - expected).argmax())
            if pairs[at] - expected[at] >= FUNDAMENTAL * peak.excess:
                return peak._replace(interval_mm=float(tried.interval_mm[at]), half_width_mm=half_width)
        return peak

    def _at(self, tried: _Tried) -> tuple[Integers, Integers, Floats]:
        """Pairs at each interval, pairs in its surroundings, and what the surroundings let expect at it."""
        below = self._below[tried.edges]
        around = below[1] - below[0] + below[5] - below[4]
        return below[3] - below[2], around, around * tried.share / (1 - tried.share)


def _chance(pairs: Integers, around: Integers, share: Floats) -> Floats:
    """Of so many pairs or more at a distance, were they as dense there as around it: then each of all these pairs is at
    the distance with a probability that is its share of the width, and the number of those that are is binomial.
    """
    # SciPy takes longer to import than the rest of a route, and a start has no need of it.
    from scipy.special import betainc  # noqa: PLC0415

    # The binomial's upper tail, as an incomplete beta function.
    return np.asarray(betainc(pairs, around + 1, share))


def _distances(position_mm: Floats, reach: float) -> Iterator[Floats]:
    """Of all pairs of ascending positions nearer than this, in parts of bounded size."""
    last = np.searchsorted(position_mm, position_mm + reach, side="left")
    pairs = last - np.arange(len(position_mm)) - 1
    parts = (pairs.cumsum() // AT_ONCE).astype(np.int64)
    for part in np.unique(parts).tolist():
        first = np.flatnonzero(parts == part)
        count = pairs[first]
        start = np.repeat(first, count)
        step = np.arange(int(count.sum())) - np.repeat(count.cumsum() - count, count)
        yield position_mm[start + 1 + step] - position_mm[start]


def _refined(position_mm: Floats, peak: _Peak) -> float:
    """The interval to a fraction of a mm, from pairs that are up to four strokes apart.

    Pairs by chance lie evenly on both sides and pull it nowhere.
    """
    interval = peak.interval_mm
    for most in (1, 2, 4):
        strokes, distances = [], []
        for distance in _distances(position_mm, most * interval + 2 * peak.half_width_mm):
            stroke = np.round(distance / interval)
            near = (stroke >= 1) & (abs(distance - stroke * interval) <= peak.half_width_mm)
            strokes.append(stroke[near])
            distances.append(distance[near])
        stroke, distance = np.concatenate(strokes), np.concatenate(distances)
        if len(stroke):
            interval = float((stroke * distance).sum() / (stroke**2).sum())
    return interval


def _members(position_mm: Floats, peak: _Peak) -> Integers:
    """Events where of the marks that should lie before them, or behind, at least half are there.

    By chance an event has few such neighbours, even in a full lane.
    """
    share = np.zeros(len(position_mm))
    for direction in (-1, 1):
        present = np.zeros(len(position_mm))
        possible = np.zeros(len(position_mm))
        for stroke in range(1, NEIGHBOURS + 1):
            expected = position_mm + direction * stroke * peak.interval_mm
            present += _any_within(position_mm, expected, peak.half_width_mm)
            possible += (expected >= position_mm[0] - peak.half_width_mm) & (
                expected <= position_mm[-1] + peak.half_width_mm
            )
        told = possible >= LEAST_NEIGHBOURS
        share[told] = np.maximum(share[told], present[told] / possible[told])
    return np.flatnonzero(share >= MEMBER)


def _any_within(position_mm: Floats, expected: Floats, half_width: float) -> Flags:
    first, last = np.searchsorted(position_mm, [expected - half_width, expected + half_width])
    return np.asarray(last > first)


def _strokes(position_mm: Floats, interval_mm: float) -> int:
    """Events nearer than half a turn to the one before are of one stroke."""
    return 1 + int((np.diff(position_mm) > interval_mm / 2).sum()) if len(position_mm) else 0


def _distinct(found: list[_Found]) -> list[_Found]:
    """The most certain first, without what neighbouring lanes saw of the same marks: interval or events agree."""
    ordered = sorted(found, key=lambda each: (each.peak.chance, -each.strokes, each.lane.number))
    distinct: list[_Found] = []
    for each in ordered:
        if not any(_same(each, other) for other in distinct):
            distinct.append(each)
    return distinct[:MOST_ON_COIL]


def _same(one: _Found, other: _Found) -> bool:
    if one.lane.side != other.lane.side or abs(one.lane.number - other.lane.number) > 1:
        return False
    near = abs(one.peak.interval_mm - other.peak.interval_mm) <= SAME_INTERVAL * other.peak.interval_mm
    return near or len(np.intersect1d(one.members, other.members)) * 2 >= min(len(one.members), len(other.members))


def _told(
    found: _Found, events: Events, across_mm: Floats, rolls: tuple[Roll, ...], settings: Periodic, trials: int
) -> Repeat:
    index = found.members
    cameras, counts = np.unique([camera_id or "" for camera_id in events.camera_id[index]], return_counts=True)
    interval = found.peak.interval_mm
    return Repeat(
        side=found.lane.side,
        camera_id=str(cameras[counts.argmax()]) or None,
        across_mm=float(np.median(across_mm[index] + events.width_mm[index] / 2)),
        interval_mm=interval,
        confidence=1 - min(1.0, found.peak.chance * trials),
        repeats=found.strokes,
        first_mm=float(events.position_mm[index].min()),
        last_mm=float((events.position_mm + events.length_mm)[index].max()),
        rolls=suspects(interval, rolls, settings.roll_tolerance),
        events=tuple(events.number[index].tolist()),
    )
