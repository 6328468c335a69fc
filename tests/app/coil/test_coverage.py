"""What was seen and what was not, from stretches of frames."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.coil.counting import Stretch, View, runs
from app.coil.coverage import MAX_GAPS, Reason, Refused, cover, measure

START = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
FRAME_MM = 100.0


def at(seconds):
    return START + timedelta(seconds=seconds)


def stretch(first, last, first_mm="by sequence", seconds=None):
    """Frames of 100 mm, one a second, which lie where their number says unless told otherwise."""
    frames = last - first + 1
    begins = first * FRAME_MM if first_mm == "by sequence" else first_mm
    ends = None if begins is None else begins + frames * FRAME_MM
    begun = first if seconds is None else seconds
    return Stretch(frames, first, last, begins, ends, at(begun), at(begun + frames - 1))


def covered(*stretches, refused=(), closed=True, **others):
    views = {View(camera_id, "top"): seen for camera_id, seen in {"c1": list(stretches), **others}.items()}
    last = max((each.last_at for seen in views.values() for each in seen), default=None)
    refused = [each._replace(side="top") if View(each.camera_id, "top") in views else each for each in refused]
    return cover(views, refused, tolerance_mm=1.0, last_frame_at=last, closed=closed)


def refusal(sequence, code="overloaded", seconds=None, position_mm=None, camera_id="c1", **fields):
    when = at(seconds if seconds is not None else (sequence or 0))
    return Refused(camera_id, code, when, sequence, position_mm, **fields)


def refusals(first, last, numbered=True, placed=True, **fields):
    """Of such frames as those of `stretch`."""
    return [
        refusal(number if numbered else None, None, number, number * FRAME_MM if placed else None, **fields)
        for number in range(first, last + 1)
    ]


class TestSequences:
    def test_an_undisturbed_coil_has_no_gap(self):
        (camera,) = covered(stretch(0, 99)).cameras
        assert (camera.frames, camera.gaps, camera.lost) == (100, (), 0)
        assert (camera.inspected_mm, camera.uninspected_mm) == (10_000.0, 0.0)

    def test_lost_frames_are_a_gap_in_numbers_and_on_the_strip(self):
        (gap,) = covered(stretch(0, 9), stretch(13, 20)).cameras[0].gaps
        assert (gap.first_sequence, gap.last_sequence, gap.frames) == (10, 12, 3)
        assert (gap.from_mm, gap.to_mm, gap.length_mm) == (1000.0, 1300.0, 300.0)
        assert (gap.started_at, gap.ended_at) == (at(9), at(13))

    def test_a_late_frame_fills_its_gap(self):
        (camera,) = covered(stretch(0, 9), stretch(11, 20), stretch(10, 10, seconds=22)).cameras
        assert (camera.gaps, camera.out_of_order, camera.duplicates) == ((), 1, 0)
        assert camera.uninspected_mm == 0.0

    def test_a_repeated_frame_is_a_duplicate_and_not_late(self):
        (camera,) = covered(stretch(0, 9), stretch(5, 6, seconds=12)).cameras
        assert (camera.duplicates, camera.out_of_order, camera.inspected_mm) == (2, 0, 1000.0)

    def test_frames_that_overtake_each_other_are_each_counted_once(self):
        seen = [stretch(0, 3), stretch(5, 5), stretch(4, 4), stretch(7, 7), stretch(6, 6)]
        (camera,) = covered(*seen).cameras
        assert (camera.gaps, camera.out_of_order, camera.duplicates) == ((), 2, 0)

    def test_lost_frames_without_positions_are_a_gap_of_unknown_length(self):
        told = covered(stretch(0, 9, None), stretch(13, 20, None))
        (gap,) = told.cameras[0].gaps
        assert (gap.frames, gap.from_mm, gap.length_mm) == (3, None, 0.0)
        assert (told.inspected_mm, told.uninspected_mm) == (None, None)
        assert told.uninspected_share == pytest.approx(3 / 21)

    def test_frames_without_numbers_are_counted(self):
        (camera,) = covered(Stretch(7, None, None, 0.0, 700.0, at(0), at(6))).cameras
        assert (camera.unnumbered, camera.first_sequence, camera.inspected_mm) == (7, None, 700.0)


class TestRestarts:
    def test_a_count_that_begins_anew_further_on_is_a_new_run(self):
        (camera,) = covered(stretch(0, 99), stretch(0, 49, 11_000.0, seconds=110)).cameras
        assert (camera.out_of_order, camera.duplicates, camera.lost) == (0, 0, 0)
        (gap,) = camera.gaps
        assert (gap.frames, gap.first_sequence, gap.from_mm, gap.to_mm) == (0, None, 10_000.0, 11_000.0)
        assert (gap.started_at, gap.ended_at) == (at(99), at(110))

    def test_it_is_so_for_a_small_fall_too_where_positions_tell(self):
        assert len(runs([stretch(0, 9), stretch(4, 9, 1000.0, seconds=10)])) == 2

    @pytest.mark.parametrize(
        ("before", "after", "expected"),
        [(1000, 0, 2), (1000, 1, 2), (1000, 900, 1), (1000, 743, 2), (10, 0, 1), (1, 0, 1), (65_535, 3, 2)],
    )
    def test_without_positions_the_fall_tells(self, before, after, expected):
        assert len(runs([stretch(0, before, None), stretch(after, after, None)])) == expected

    def test_gaps_of_every_run_are_found(self):
        seen = [stretch(0, 9), stretch(12, 99), stretch(0, 4, 10_000.0, 100), stretch(6, 9, 10_600.0, 106)]
        (camera,) = covered(*seen).cameras
        assert [gap.frames for gap in camera.gaps] == [2, 1]

    def test_a_refusal_is_the_reason_of_the_gap_of_its_own_time(self):
        seen = [stretch(0, 4), stretch(6, 99), stretch(0, 4, 10_000.0, 100), stretch(6, 9, 10_600.0, 106)]
        (camera,) = covered(*seen, refused=[refusal(5, seconds=105)]).cameras
        assert [gap.reasons for gap in camera.gaps] == [(), (Reason("overloaded", 1),)]


class TestStrip:
    def test_a_camera_stop_is_a_gap_without_a_missing_frame(self):
        (gap,) = covered(stretch(0, 9), stretch(10, 19, 2500.0, seconds=22)).cameras[0].gaps
        assert (gap.frames, gap.from_mm, gap.to_mm) == (0, 1000.0, 2500.0)
        assert gap.ended_at - gap.started_at == timedelta(seconds=13)

    def test_rows_that_overlap_count_once(self):
        told = covered(Stretch(10, 0, 9, 0.0, 900.0, at(0), at(9)), Stretch(5, 12, 16, 850.0, 1300.0, at(12), at(16)))
        assert (told.inspected_mm, told.uninspected_mm) == (1300.0, 0.0)
        assert told.cameras[0].gaps[0].frames == 2
        assert told.cameras[0].gaps[0].from_mm is None, "what was lost was seen by others of its frames"

    @pytest.mark.parametrize(("hole_mm", "gaps"), [(0.9, 0), (1.1, 1)])
    def test_the_rounding_of_positions_is_no_gap(self, hole_mm, gaps):
        (camera,) = covered(stretch(0, 9), stretch(10, 19, 1000.0 + hole_mm)).cameras
        assert len(camera.gaps) == gaps

    def test_what_another_camera_of_the_side_saw_is_missing_here(self):
        told = covered(stretch(0, 99), c2=[stretch(10, 79)])
        second = told.cameras[1]
        assert [(gap.from_mm, gap.to_mm) for gap in second.gaps] == [(0.0, 1000.0), (8000.0, 10_000.0)]
        assert second.gaps[0].started_at is None
        assert second.gaps[1].ended_at is None
        assert (second.inspected_mm, second.uninspected_mm) == (7000.0, 3000.0)
        assert (told.inspected_mm, told.uninspected_mm) == (7000.0, 3000.0)

    def test_sides_are_measured_by_their_own_cameras(self):
        seen = {View("c1", "top"): [stretch(0, 99)], View("c2", "bottom"): [stretch(10, 79)]}
        told = cover(seen, [], tolerance_mm=1.0, last_frame_at=at(99), closed=True)
        assert [camera.uninspected_mm for camera in told.cameras] == [0.0, 0.0]

    def test_a_frame_lost_on_a_strip_that_runs_back_is_one_gap(self):
        (camera,) = covered(
            *(stretch(number, number, 2000.0 - number * FRAME_MM) for number in (0, 1, 2, 4, 5))
        ).cameras
        (gap,) = camera.gaps
        assert (gap.first_sequence, gap.last_sequence, gap.frames) == (3, 3, 1)
        assert (gap.from_mm, gap.to_mm, gap.started_at, gap.ended_at) == (1700.0, 1800.0, at(2), at(4))

    def test_a_hole_begins_in_time_before_it_ends_whichever_way_the_strip_runs(self):
        forth, back = stretch(0, 4), stretch(5, 9, -1000.0)
        (gap,) = covered(forth, back).cameras[0].gaps
        assert (gap.from_mm, gap.to_mm, gap.started_at, gap.ended_at) == (-500.0, 0.0, at(4), at(5))

    def test_strip_between_what_was_seen_of_two_sides_was_not_inspected(self):
        seen = {View("c1", "top"): [stretch(0, 39)], View("c1", "bottom"): [stretch(50, 99)]}
        told = cover(seen, [], tolerance_mm=1.0, last_frame_at=at(99), closed=True)
        assert (told.inspected_mm, told.uninspected_mm, told.uninspected_share) == (9000.0, 1000.0, 0.1)

    @pytest.mark.parametrize(("named", "lost"), [("c1", 10), ("c2", 0)])
    def test_a_camera_that_names_another_side_counts_on(self, named, lost):
        seen = {View("c1", "top"): [stretch(0, 39, None)], View(named, "bottom"): [stretch(50, 99, None)]}
        told = cover(seen, [], tolerance_mm=1.0, last_frame_at=at(99), closed=True)
        assert (told.cameras[0].side, told.cameras[0].lost_unplaced, told.cameras[1].lost) == ("bottom", lost, 0)

    def test_strip_that_two_cameras_missed_is_missing_once(self):
        told = covered(stretch(0, 39), stretch(50, 99), c2=[stretch(0, 44), stretch(60, 99)])
        assert [camera.uninspected_mm for camera in told.cameras] == [1000.0, 1500.0]
        assert told.uninspected_mm == 2000.0

    def test_while_the_coil_is_open_cameras_need_not_be_in_step(self):
        ahead, behind = [stretch(0, 99)], [stretch(0, 97)]
        assert covered(*ahead, c2=behind, closed=False).uninspected_mm == 0.0
        assert covered(*ahead, c2=behind, closed=True).uninspected_mm == 200.0
        silent = covered(*ahead, c2=[stretch(0, 80)], closed=False)
        assert silent.uninspected_mm == 1900.0

    def test_announced_strip_that_nobody_saw_is_told_once_the_coil_is_closed(self):
        def unseen(**said):
            told = cover({View("c1", None): [stretch(10, 49)]}, [], tolerance_mm=1.0, last_frame_at=at(49), **said)
            return told.unseen_mm

        assert unseen(closed=True, length_mm=6000.0) == 2000.0
        assert unseen(closed=True, length_mm=5000.0) == 1000.0
        assert unseen(closed=False, length_mm=6000.0) is None
        assert unseen(closed=True) is None

    def test_nothing_is_known_of_a_coil_without_frames(self):
        told = cover({}, [], tolerance_mm=1.0, last_frame_at=None, closed=True)
        assert (told.cameras, told.inspected_mm, told.uninspected_share) == ((), None, None)


class TestReasons:
    def test_a_gap_has_the_reasons_of_its_frames(self):
        refused = [refusal(10), refusal(11), refusal(12, "deadline_exceeded"), refusal(15)]
        (gap,) = covered(stretch(0, 9), stretch(14, 20), refused=refused).cameras[0].gaps
        assert gap.frames == 4
        assert gap.reasons == (Reason("overloaded", 2), Reason("deadline_exceeded", 1))

    def test_a_frame_that_was_refused_and_came_again_is_no_gap(self):
        assert covered(stretch(0, 20), refused=[refusal(10)]).cameras[0].gaps == ()

    def test_a_frame_that_was_refused_twice_is_one(self):
        refused = [refusal(10), refusal(10, "deadline_exceeded", seconds=11)]
        (gap,) = covered(stretch(0, 9), stretch(11, 20), refused=refused).cameras[0].gaps
        assert gap.reasons == (Reason("deadline_exceeded", 1),)

    def test_refusals_beyond_what_was_seen_are_known_gaps(self):
        refused = [refusal(3), refusal(4), refusal(21), refusal(22)]
        gaps = covered(stretch(5, 20), refused=refused).cameras[0].gaps
        assert [(gap.first_sequence, gap.last_sequence, gap.frames) for gap in gaps] == [(3, 4, 2), (21, 22, 2)]
        assert all(gap.reasons for gap in gaps)

    def test_a_camera_of_which_every_frame_was_refused_is_there(self):
        told = cover({}, [refusal(1), refusal(2)], tolerance_mm=1.0, last_frame_at=None, closed=True)
        assert told.cameras[0].frames == 0
        assert told.cameras[0].gaps[0].reasons == (Reason("overloaded", 2),)

    def test_without_numbers_the_place_tells(self):
        before = Stretch(9, None, None, 0.0, 900.0, at(0), at(8))
        after = Stretch(9, None, None, 1100.0, 2000.0, at(11), at(19))
        refused = [refusal(None, position_mm=900.0, seconds=9), refusal(None, position_mm=1900.0, seconds=18)]
        (gap,) = covered(before, after, refused=refused).cameras[0].gaps
        assert gap.reasons == (Reason("overloaded", 1),)


WAYS_TO_TELL = [
    pytest.param(True, True, id="number and place"),
    pytest.param(True, False, id="number"),
    pytest.param(False, True, id="place"),
]


class TestRefusedBesideAllThatWasSeen:
    """Of frames before the first and after the last one that was inspected only their refusals are known."""

    @pytest.mark.parametrize(("numbered", "placed"), WAYS_TO_TELL)
    @pytest.mark.parametrize(("first", "last"), [(0, 29), (33, 62)])
    def test_they_count_alike_whichever_way_the_client_tells_them_apart(self, numbered, placed, first, last):
        seen = Stretch(3, 30 if numbered else None, 32 if numbered else None, 3000.0 if placed else None,
                       3300.0 if placed else None, at(30), at(32))  # fmt: skip
        told = covered(seen, refused=refusals(first, last, numbered, placed))
        (gap,) = told.cameras[0].gaps
        assert told.uninspected_share == pytest.approx(30 / 33)
        assert gap.frames == told.cameras[0].lost == gap.reasons[0].frames == 30
        if numbered:
            assert (gap.first_sequence, gap.last_sequence) == (first, last)
        if placed:
            assert (gap.from_mm, gap.to_mm) == (first * FRAME_MM, (last + 1) * FRAME_MM)
            assert told.uninspected_mm == told.cameras[0].uninspected_mm == 3000.0

    @pytest.mark.parametrize(("numbered", "placed"), WAYS_TO_TELL)
    def test_a_side_of_which_nothing_was_inspected_is_not_inspected(self, numbered, placed):
        refused = refusals(0, 19, numbered, placed, camera_id="c2", side="bottom")
        seen = {View("c1", "top"): [stretch(0, 19)]}
        told = cover(seen, refused, tolerance_mm=1.0, last_frame_at=at(19), closed=True)
        below = told.cameras[0]
        assert (below.camera_id, below.frames, below.lost, told.uninspected_share) == ("c2", 0, 20, 1.0)
        if placed:
            assert (below.inspected_mm, below.uninspected_mm, told.inspected_mm) == (0.0, 2000.0, 0.0)

    def test_nor_is_what_a_camera_without_an_inspected_frame_was_to_see_of_its_side(self):
        told = covered(stretch(0, 19), refused=refusals(5, 5, camera_id="c2"), c2=[])
        assert [(gap.from_mm, gap.to_mm) for gap in told.cameras[1].gaps] == [(0.0, 2000.0)]

    def test_frames_that_came_again_are_no_gap_also_a_shorter_last_one(self):
        seen = [stretch(0, 9), Stretch(1, 10, 10, 1000.0, 1020.0, at(11), at(11))]
        for numbered, placed in ((True, True), (True, False), (False, True)):
            told = covered(*seen, refused=refusals(0, 10, numbered, placed))
            assert (told.cameras[0].gaps, told.uninspected_mm) == ((), 0.0)

    def test_a_frame_that_says_nothing_of_itself_is_lost_unless_its_request_id_came_again(self):
        told = covered(stretch(0, 8), refused=[refusal(None)])
        (gap,) = told.cameras[0].gaps
        assert (gap.frames, gap.from_mm, gap.reasons) == (1, None, (Reason("overloaded", 1),))
        assert told.uninspected_share == pytest.approx(1 / 10)
        assert covered(stretch(0, 8), refused=[refusal(None, inspected=True)]).cameras[0].gaps == ()

    def test_frames_of_unknown_places_count_beside_strip_that_is_known(self):
        refused = refusals(20, 29, placed=False)
        assert covered(stretch(0, 19), refused=refused).uninspected_share == pytest.approx(10 / 30)

    def test_a_count_that_began_anew_is_told_by_the_places(self):
        refused = [refusal(number, seconds=30 + number, position_mm=2000.0 + number * FRAME_MM) for number in range(5)]
        (gap,) = covered(stretch(0, 19), refused=refused).cameras[0].gaps
        assert (gap.frames, gap.first_sequence, gap.from_mm, gap.to_mm) == (5, None, 2000.0, 2500.0)

    def test_between_two_runs_without_places_they_are_lost_too(self):
        seen = [stretch(0, 99, None), stretch(0, 9, None, seconds=120)]
        told = covered(*seen, refused=[refusal(100), refusal(101), refusal(5, seconds=124)])
        assert (told.cameras[0].lost, told.uninspected_share) == (2, pytest.approx(2 / 112))

    def test_a_frame_that_was_dropped_when_later_ones_were_inspected_is_lost(self):
        (gap,) = covered(stretch(1, 9), refused=[refusal(0, "deadline_exceeded", seconds=4)]).cameras[0].gaps
        assert (gap.frames, gap.started_at, gap.ended_at) == (1, at(4), at(4))

    def test_while_the_coil_is_open_they_count_once_nothing_else_came_for_a_while(self):
        told = [covered(stretch(0, 9), refused=refusals(10, last), closed=False) for last in (12, 20)]
        assert [each.uninspected_mm for each in told] == [0.0, 1100.0]
        assert [each.cameras[0].lost for each in told] == [3, 11]


@given(st.lists(st.sampled_from(["seen", "refused", "again", "lost"]), max_size=30), st.sampled_from([0, 1, 2]))
def test_what_was_not_inspected_agrees_with_looking_frame_by_frame(fates, way):
    """Each frame is inspected, refused, refused and then inspected, or never heard of."""
    numbered, placed = way != 1, way != 2
    inspected = [number for number, fate in enumerate(fates) if fate in ("seen", "again")]
    refused = [number for number, fate in enumerate(fates) if fate in ("refused", "again")]
    seen = [
        Stretch(1, number if numbered else None, number if numbered else None, number * FRAME_MM if placed else None,
                (number + 1) * FRAME_MM if placed else None, at(number), at(number))
        for number in inspected
    ]  # fmt: skip
    told = covered(*seen, refused=[each for number in refused for each in refusals(number, number, numbered, placed)])
    if not inspected:
        return
    heard = [*inspected, *refused]
    missing = max(heard) + 1 - min(heard) - len(inspected)
    assert told.uninspected_share == pytest.approx(missing / (missing + len(inspected)))
    assert told.uninspected_mm == (missing * FRAME_MM if placed else None)
    if numbered:
        assert told.cameras[0].lost == missing


def test_of_very_many_gaps_the_longest_are_listed_and_all_are_counted():
    seen = [stretch(3 * number, 3 * number) for number in range(1000)] + [stretch(4000, 4001)]
    (camera,) = covered(*seen).cameras
    assert (camera.gap_count, len(camera.gaps), camera.lost) == (1000, MAX_GAPS, 999 * 2 + 4000 - 2998)
    assert max(gap.frames for gap in camera.gaps) == 4000 - 2998
    assert [gap.from_mm for gap in camera.gaps] == sorted(gap.from_mm for gap in camera.gaps)


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 9)), min_size=1, max_size=12))
def test_figures_agree_with_counting_one_by_one(parts):
    """Whatever comes in whatever order, as long as the count does not begin anew: lost, duplicate and late frames."""
    numbers = [number for first, count in parts for number in range(first, first + count)]
    (camera,) = covered(*(stretch(first, first + count - 1) for first, count in parts)).cameras
    late, seen, highest = 0, set(), -1
    for number in numbers:
        late += number not in seen and number < highest
        seen.add(number)
        highest = max(highest, number)
    assert camera.frames == len(numbers)
    assert camera.duplicates == len(numbers) - len(seen)
    assert camera.out_of_order == late
    assert camera.lost == max(seen) - min(seen) + 1 - len(seen)
    assert camera.inspected_mm == len(seen) * FRAME_MM
    assert camera.uninspected_mm == camera.lost * FRAME_MM


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 9)), max_size=8))
def test_the_measure_of_a_union_is_its_number_of_millimetres(intervals):
    ends = [(float(first), float(first + length)) for first, length in intervals]
    assert measure(ends) == len({mm for first, length in intervals for mm in range(first, first + length)})
