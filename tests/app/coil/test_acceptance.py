"""May a coil go on: severities, the worst 100 m, what people said, and what was not seen."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.coil.acceptance import Release, severities, worst_window
from app.coil.counting import Stretch, View
from app.coil.coverage import Refused
from app.coil.events import Events
from app.coil.examination import Tally, examine
from app.plant import SEVERITIES, Acceptance, Camera, Coverage, Plant
from tests.app.coil.coils import END, START, evidence, seen
from tests.app.coil.strip import events_at

ONE_SCRATCH = Plant(acceptance=(Acceptance(defect_class="scratch", hold_above=1, reject_above=3),))


def scratches(*metres, **fields):
    return events_at([1000.0 * place for place in metres], [500.0] * len(metres), defect_class="scratch", **fields)


def verdict(events=None, plant=ONE_SCRATCH, **how):
    return examine(evidence(events, **how), plant).decision


class TestDensity:
    @pytest.mark.parametrize(
        ("metres", "expected"),
        [
            ((), "accept"),
            ((10,), "accept"),
            ((10, 50), "hold"),
            ((10, 150), "accept"),
            ((10, 50, 60, 70), "reject"),
            ((10, 50, 60, 115), "hold"),
        ],
    )
    def test_the_worst_hundred_metres_count(self, metres, expected):
        assert verdict(scratches(*metres)).verdict == expected

    def test_the_rule_that_decided_is_told_with_its_place(self):
        told = verdict(scratches(10, 150, 160, 170, 180))
        assert told.verdict is Release.REJECT
        assert told.decided_by.rule == "scratch: more than 1 in 100 m hold, more than 3 in 100 m reject"
        assert (told.decided_by.allowed, told.decided_by.found) == (3, 4)
        assert told.decided_by.from_mm == pytest.approx(150_000, abs=10)

    def test_other_classes_and_sides_do_not_count(self):
        assert verdict(events_at([1e3] * 9, [0] * 9, defect_class="dent")).verdict is Release.ACCEPT
        bottom = Plant(acceptance=(Acceptance(side="bottom", hold_above=0),))
        assert verdict(scratches(1), bottom).verdict is Release.ACCEPT

    @pytest.mark.parametrize("unknown", [{"defect_class": None}, {"side": None}])
    def test_events_of_unknown_class_or_side_count_in_the_rules_of_each(self, unknown):
        rules = (Acceptance(defect_class="scratch", side="top", hold_above=0),)
        events = events_at([1e3], [0], **({"defect_class": "scratch"} | unknown))
        assert verdict(events, Plant(acceptance=rules), stretches={View("c1", None): seen(200_000.0)}).verdict == "hold"

    def test_a_graver_event_counts_where_a_lighter_one_would(self):
        rule = Plant(acceptance=(Acceptance(severity="major", hold_above=0),))
        assert verdict(scratches(1, length_mm=8.0), rule).verdict is Release.ACCEPT
        assert verdict(scratches(1, length_mm=120.0), rule).verdict is Release.HOLD
        assert verdict(scratches(1, length_mm=900.0), rule).verdict is Release.HOLD

    def test_the_gravest_outcome_decides_whatever_the_order_of_rules(self):
        rules = Acceptance(hold_above=0), Acceptance(defect_class="scratch", reject_above=0)
        for order in (rules, rules[::-1]):
            told = verdict(scratches(1), Plant(acceptance=order))
            assert told.verdict is Release.REJECT
            assert told.decided_by.rule.startswith("scratch")

    def test_events_without_a_position_count_everywhere(self):
        events = events_at([10_000.0, np.nan, np.nan, np.nan], [0] * 4, defect_class="scratch")
        assert verdict(events).verdict is Release.REJECT

    def test_events_of_unknown_size_are_the_gravest(self):
        rule = Plant(acceptance=(Acceptance(severity="critical", hold_above=0),))
        events = scratches(1, width_mm=[np.nan])
        assert verdict(events, rule).verdict is Release.HOLD

    @given(st.lists(st.integers(0, 900), max_size=30))
    def test_the_worst_window_is_the_worst_of_all(self, metres):
        positions = np.array(metres, float) * 1000
        every = [((positions >= first) & (positions < first + 100_000)).sum() for first in positions]
        assert worst_window(positions)[0] == max(every, default=0)


class TestPeople:
    def test_what_a_person_called_false_does_not_count(self):
        told = examine(evidence(scratches(1, 2, 3, 4, review=["ok"] * 4)), ONE_SCRATCH)
        assert told.decision.verdict is Release.ACCEPT
        assert told.false_calls == 4
        assert len(told.events) == 0

    def test_a_class_that_a_person_gave_counts(self):
        events = events_at([1e3, 2e3], [0, 0], defect_class="dent")
        assert verdict(events, corrections={1: "scratch", 2: "scratch"}).verdict is Release.HOLD

    def test_of_a_frame_with_several_events_nobody_knows_which_is_meant(self):
        events = events_at([1e3, 2e3], [0, 0], defect_class="dent", inspection=[7, 7])
        assert verdict(events, corrections={7: "scratch"}).verdict is Release.ACCEPT


class TestContinued:
    def test_a_defect_over_three_frames_is_one_of_its_whole_length(self):
        events = scratches(1.0, 1.05, 1.1, length_mm=50.0, continued=[False, True, True])
        told = examine(evidence(events), ONE_SCRATCH)
        assert len(told.events) == 1
        assert told.events.length_mm.tolist() == [150.0]
        assert told.decision.verdict is Release.ACCEPT

    def test_the_worst_part_gives_class_and_probability(self):
        events = events_at(
            [1000.0, 1050.0], [500.0] * 2, length_mm=50.0, continued=[False, True],
            defect_probability=[0.4, 0.9], defect_class=["dent", "scratch"],
        )  # fmt: skip
        told = examine(evidence(events), ONE_SCRATCH).events
        assert (told.defect_class.tolist(), told.defect_probability.tolist()) == (["scratch"], [0.9])

    def test_a_part_goes_on_from_what_lies_before_it_and_beside_nothing_else(self):
        events = events_at(
            [1000.0, 1000.0, 1050.0], [200.0, 700.0, 700.0], length_mm=50.0, continued=[False, False, True]
        )
        told = examine(evidence(events), ONE_SCRATCH).events
        assert sorted(told.length_mm.tolist()) == [50.0, 100.0]

    def test_a_part_whose_beginning_is_not_there_stands_for_itself(self):
        events = scratches(1.0, 9.0, length_mm=50.0, continued=[False, True])
        assert len(examine(evidence(events), ONE_SCRATCH).events) == 2

    def test_without_a_position_it_was_told_of_before(self):
        events = events_at([np.nan, np.nan], [0, 0], continued=[False, True])
        assert len(examine(evidence(events), ONE_SCRATCH).events) == 1

    def test_cameras_do_not_share_defects(self):
        events = scratches(1.0, 1.05, length_mm=50.0, continued=[False, True], camera_id=["c1", "c2"])
        assert len(examine(evidence(events), ONE_SCRATCH).events) == 2

    def test_nor_do_the_sides_that_one_camera_sees(self):
        events = scratches(1.0, 1.05, length_mm=50.0, continued=[False, True], side=["top", "bottom"])
        assert len(examine(evidence(events), ONE_SCRATCH).events) == 2


HALF = {"c1": [*seen(50_000.0, 50), Stretch(50, 100, 149, 100_000.0, 150_000.0, END, END)]}


class TestCoverage:
    def test_too_much_unseen_strip_holds_a_coil(self):
        told = verdict(stretches=HALF)
        assert told.verdict is Release.HOLD
        assert told.decided_by.found == pytest.approx(1 / 3)
        assert told.decided_by.rule == "not inspected: more than 1 % hold"

    def test_it_rejects_one_where_the_plant_says_so(self):
        plant = Plant(coverage=Coverage(hold_above=0.01, reject_above=0.3))
        assert verdict(plant=plant, stretches=HALF).verdict is Release.REJECT
        assert verdict(plant=Plant(coverage=Coverage(hold_above=None)), stretches=HALF).verdict is Release.ACCEPT

    def test_announced_strip_that_nobody_saw_counts(self):
        assert verdict(length_mm=200_000.0).verdict is Release.ACCEPT
        assert verdict(length_mm=300_000.0).verdict is Release.HOLD
        assert verdict(length_mm=300_000.0, closed_at=None).verdict is Release.ACCEPT

    def test_lost_frames_count_where_no_position_is_known(self):
        stretches = {"c1": [Stretch(50, 0, 49, None, None, START, END), Stretch(50, 60, 109, None, None, END, END)]}
        told = verdict(stretches=stretches)
        assert (told.verdict, told.decided_by.found) == (Release.HOLD, pytest.approx(10 / 110))

    def test_a_side_that_was_refused_whole_holds_a_coil_also_without_places(self):
        refused = [Refused("c2", "image_corrupt", START, number, None, "bottom") for number in range(20)]
        told = verdict(refused=refused)
        assert (told.verdict, told.decided_by.found) == (Release.HOLD, 1.0)

    @pytest.mark.parametrize(("unknown", "expected"), [("hold", "hold"), ("accept", "accept")])
    def test_where_nothing_is_known_the_plant_decides(self, unknown, expected):
        stretches = {"c1": [Stretch(50, None, None, None, None, START, END)]}
        told = verdict(plant=Plant(coverage=Coverage(unknown=unknown)), stretches=stretches)
        assert told.verdict == expected
        assert told.rules[-1].found is None

    @pytest.mark.parametrize(
        ("listed", "refused", "expected"),
        [(("c1",), (), "accept"), (("c1", "c2"), (), "hold"), (("c1", "c2"), ("c2",), "accept")],
    )
    def test_a_camera_that_sent_nothing_holds_a_coil_where_the_plant_says_so(self, listed, refused, expected):
        cameras = tuple(Camera(id=each, side="top", across_mm=0.0) for each in listed)
        some = [Refused(each, "image_corrupt", START, None, None, "top") for each in refused]
        lenient = {"hold_above": None}
        strict = Plant(cameras=cameras, coverage=Coverage(silent_camera="hold", **lenient))
        told = verdict(plant=strict, refused=some)
        assert (told.verdict, told.rules[-1].found) == (expected, expected == "hold")
        assert told.rules[-1].rule == "a camera of the plant file sent no frame of the coil: hold"
        silent_is_fine = Plant(cameras=cameras, coverage=Coverage(**lenient))
        assert verdict(plant=silent_is_fine, refused=some).verdict == "accept"

    def test_a_coil_of_which_nothing_was_inspected_is_held_always(self):
        lenient = Plant(coverage=Coverage(hold_above=None), acceptance=())
        told = verdict(plant=lenient, stretches={})
        assert told.verdict is Release.HOLD
        assert told.decided_by.rule == "no frame of the coil was inspected: hold"


def test_defaults_are_told_as_such():
    assert verdict(plant=Plant()).defaults == ("severity", "acceptance", "coverage")


@given(st.floats(0, 1e6, allow_nan=False), st.floats(0, 1e6, allow_nan=False))
def test_a_longer_event_is_never_lighter(one, other):
    lighter, graver = severities(np.array(sorted((one, other))), SEVERITIES)
    assert lighter <= graver


class TestPlaces:
    def test_the_plant_file_places_cameras_and_gives_their_side(self):
        plant = Plant(cameras=(Camera(id="c1", side="bottom", across_mm=300.0),))
        unsided = Tally("c1", None, "ok", "m1", None, 100, 800.0)
        seen_whole = {View("c1", None): seen(200_000.0)}
        told = examine(evidence(scratches(1, side=None), seen_whole, tallies=[unsided]), plant)
        assert told.places[View("c1", "bottom")].across_mm == 300.0
        assert told.events.side.tolist() == ["bottom"]
        assert told.across_mm[0] == pytest.approx(300.0 + 500.0 - 4.0)

    def test_a_frame_without_a_side_is_of_the_plant_files_though_others_name_another(self):
        tallies = [Tally("c1", side, "ok", "m1", None, 100, 800.0) for side in (None, "top")]
        named = {View("c1", each.side): seen(200_000.0) for each in tallies}
        for cameras, sides in (((), {"top"}), ((Camera(id="c1", side="bottom", across_mm=0.0),), {"top", "bottom"})):
            told = examine(evidence(None, named, tallies=tallies), Plant(cameras=cameras))
            assert {each.side for each in told.coverage.cameras} == sides

    def test_no_event_and_no_camera(self):
        told = examine(evidence(Events.of([]), stretches={}), Plant())
        assert (dict(told.places), told.repeats, len(told.events)) == ({}, (), 0)
