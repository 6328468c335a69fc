"""In which order frames are shown to a person: what teaches most and what measures best, by turns.

No number of a frame's worth is made up to compare a doubtful frame with a sampled one. Each reason has a list of its
own, in an order of its own, and the lists take turns, so that none waits for another to end.
"""

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from enum import StrEnum
from itertools import chain, zip_longest
from typing import TypeVar

import numpy as np
import numpy.typing as npt

# A probability of 0 or 1 is rounded, and has no logit: nearer to either than this makes no difference.
LEAST_PROBABILITY = 1e-9

# Steps of SplitMix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators", figure 17).
GAMMA, FIRST, SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB

Item = TypeVar("Item", bound=Hashable)


class Why(StrEnum):
    """Why a frame is in the queue."""

    NEAR_THRESHOLD = "near_threshold"
    SHADOW = "shadow"
    SAMPLE = "sample"


def threshold_distance(defect_probability: float, thresholds: Iterable[float]) -> float:
    """How far a frame is from the nearest threshold, in logits: there a little more evidence turns the verdict.

    >>> round(threshold_distance(0.5, (0.3, 0.7)), 3)
    0.847
    >>> threshold_distance(0.3, (0.3, 0.7))
    0.0
    """
    at = _logit(defect_probability)
    return min(abs(at - _logit(threshold)) for threshold in thresholds)


def _logit(probability: float) -> float:
    within = min(max(probability, LEAST_PROBABILITY), 1 - LEAST_PROBABILITY)
    return math.log(within / (1 - within))


def by_lot(numbers: Sequence[int]) -> list[int]:
    """Numbers of inspections in random order, the same whenever and by whomever they are sorted.

    The order is that of a hash of each number, which has nothing to do with what the frame shows or how it was judged:
    however far down the list somebody gets, what was reviewed is a random sample of it.

    >>> by_lot([1, 2, 3, 4, 5, 6]) == by_lot([6, 5, 4, 3, 2, 1])
    True
    """
    known = np.asarray(numbers, np.uint64)
    order: list[int] = known[np.argsort(_mixed(known), kind="stable")].tolist()
    return order


def _mixed(numbers: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """A bijection of 64 bits in which every bit depends on every other; the arithmetic is modulo 2^64."""
    mixed = numbers + np.uint64(GAMMA)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(FIRST)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(SECOND)
    return np.asarray(mixed ^ (mixed >> np.uint64(31)))


def in_turn(lists: Sequence[Sequence[Item]], most: int, turn: int = 0) -> list[Item]:
    """The first of each list, then the second of each, at most `most` in all; an item comes once.

    turn: which list begins, counted round.

    >>> in_turn([["a", "b", "c"], ["A"], ["b", "d"]], 5)
    ['a', 'A', 'b', 'd', 'c']
    >>> in_turn([["a", "b", "c"], ["A"], ["b", "d"]], 3, turn=4)
    ['A', 'b', 'a']
    """
    begin = turn % len(lists) if lists else 0
    order: dict[Item, None] = {}
    rounds = zip_longest(*([(item,) for item in items] for items in (*lists[begin:], *lists[:begin])), fillvalue=())
    for items in chain.from_iterable(rounds):
        order.update(dict.fromkeys(items))
    return list(order)[:most]


def queue(lists: Mapping[Why, Sequence[Sequence[int]]], most: int, turn: int = 0) -> list[tuple[int, Why]]:
    """Numbers of inspections with the reason each is shown for, at most `most`.

    lists: for each reason its lists, best first, which take turns within the reason's own. turn: rises by one with
    every review, so that whoever only ever asks for the next frame gets all of them in turn too.

    >>> queue({Why.SHADOW: [[7, 8]], Why.SAMPLE: [[1, 2], [9]]}, 4)
    [(7, <Why.SHADOW: 'shadow'>), (1, <Why.SAMPLE: 'sample'>), (8, <Why.SHADOW: 'shadow'>), (9, <Why.SAMPLE: 'sample'>)]
    """
    merged = {why: in_turn(own, most, turn // len(lists)) for why, own in lists.items()}
    reasons: dict[int, Why] = {}
    for why, numbers in merged.items():
        for number in numbers:
            reasons.setdefault(number, why)
    return [(number, reasons[number]) for number in in_turn(list(merged.values()), most, turn)]
