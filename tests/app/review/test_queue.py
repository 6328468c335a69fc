"""The order of the queue: nothing starves, and samples come by lot."""

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.review.queue import Why, by_lot, in_turn, queue, threshold_distance

LISTS = st.lists(st.lists(st.integers(0, 60), unique=True), max_size=5)


class TestThresholdDistance:
    def test_is_nothing_at_a_threshold_and_grows_away_from_both(self):
        above = [threshold_distance(p, (0.3, 0.7)) for p in (0.7, 0.8, 0.9, 0.99, 1.0)]
        below = [threshold_distance(p, (0.3, 0.7)) for p in (0.3, 0.2, 0.1, 0.01, 0.0)]
        assert above[0] == below[0] == 0
        for distances in (above, below):
            assert distances == sorted(distances)
            assert len(set(distances)) == len(distances)

    def test_counts_evidence_and_not_percentage_points(self):
        """From 0.1 % to 1 % is as much evidence as from 50 % to 91 %."""
        assert threshold_distance(0.001, (0.01,)) == pytest.approx(threshold_distance(0.5, (0.9099,)), abs=0.01)

    @given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
    def test_is_finite_for_every_probability(self, probability, review, defect):
        assert math.isfinite(threshold_distance(probability, (review, defect)))


class TestByLot:
    @given(st.lists(st.integers(0, 2**63 - 1), unique=True))
    def test_is_one_order_whatever_the_order_they_came_in(self, numbers):
        shuffled = random.Random(1).sample(numbers, len(numbers))
        assert by_lot(numbers) == by_lot(shuffled)
        assert sorted(by_lot(numbers)) == sorted(numbers)

    def test_takes_numbers_in_and_out_without_disturbing_the_rest(self):
        """Reviewing the first ones, or a new frame, changes nothing in the order of the others."""
        numbers = [n << 11 | 5 for n in range(1000)]
        rest = by_lot(numbers)[10:]
        assert by_lot(rest) == rest
        assert [n for n in by_lot([*numbers, 999_999_999]) if n != 999_999_999] == by_lot(numbers)

    def test_has_nothing_to_do_with_time_or_process(self):
        """Numbers are times with a tag in their low bits: rank correlation with either is as of chance."""
        rng = np.random.default_rng(2)
        times = np.sort(rng.integers(0, 86_400_000_000, 20_000)) + 1_770_000_000_000_000
        tags = rng.integers(0, 2048, len(times))
        order = {number: rank for rank, number in enumerate(by_lot((times << 11 | tags).tolist()))}
        ranks = np.array([order[number] for number in (times << 11 | tags).tolist()])
        for other in (np.arange(len(times)), tags, times % 1000, np.arange(len(times)) % 2):
            # Standard error 1 / sqrt(20,000) = 0.007.
            assert abs(np.corrcoef(ranks, other)[0, 1]) < 4 * 0.0071

    def test_first_of_it_are_a_random_sample(self):
        """Every tenth of a day has its share of the first thousand: chi-squared, 9 degrees of freedom, p = 0.0001."""
        numbers = [1_770_000_000_000_000 + second * 1_000_000 << 11 for second in range(10_000)]
        first = np.searchsorted(numbers, by_lot(numbers)[:1000])
        counts = np.bincount(first // 1000, minlength=10)
        assert ((counts - 100) ** 2 / 100).sum() < 33.7


class TestInTurn:
    @given(LISTS, st.integers(0, 200))
    def test_everything_comes_once_as_far_as_there_is_room(self, lists, most):
        found = in_turn(lists, most)
        everything = {item for items in lists for item in items}
        assert len(found) == len(set(found)) == min(most, len(everything))
        assert set(found) <= everything

    @given(LISTS)
    def test_no_list_starves(self, lists):
        """Whoever asks for n items gets the first n // lists of each list at least."""
        wanted = 12
        found = in_turn(lists, wanted)
        for items in lists:
            assert set(items[: wanted // len(lists)]) <= set(found)

    @given(LISTS)
    def test_fewer_are_the_beginning_of_more(self, lists):
        assert in_turn(lists, 5) == in_turn(lists, 100)[:5]


class TestQueue:
    def test_who_asks_for_one_frame_at_a_time_gets_every_reason_in_turn(self):
        lists = {Why.NEAR_THRESHOLD: [list(range(100))], Why.SAMPLE: [list(range(100, 200)), list(range(200, 300))]}
        taken = []
        for turn in range(40):
            left = {why: [[n for n in own if n not in taken] for own in each] for why, each in lists.items()}
            taken.append(queue(left, 1, turn)[0][0])
        assert [sum(low <= n < low + 100 for n in taken) for low in (0, 100, 200)] == [20, 10, 10]

    def test_says_why(self):
        asked = {Why.NEAR_THRESHOLD: [[1, 2, 3]], Why.SAMPLE: [[4, 5], [6]], Why.SHADOW: [[3, 7]]}
        assert queue(asked, 10) == [
            (1, Why.NEAR_THRESHOLD), (4, Why.SAMPLE), (3, Why.NEAR_THRESHOLD), (2, Why.NEAR_THRESHOLD), (6, Why.SAMPLE),
            (7, Why.SHADOW), (5, Why.SAMPLE),
        ]  # fmt: skip

    @pytest.mark.parametrize("lists", [{}, {Why.SAMPLE: []}, {Why.SAMPLE: [[], []], Why.SHADOW: [[]]}])
    def test_may_be_empty(self, lists):
        assert queue(lists, 10) == []

    def test_random_samples_are_left_in_their_own_order(self):
        numbers = by_lot(list(range(0, 4096 * 50, 4096)))
        found = queue({Why.NEAR_THRESHOLD: [list(range(1, 100))], Why.SAMPLE: [numbers]}, 200)
        assert [number for number, why in found if why is Why.SAMPLE] == numbers
