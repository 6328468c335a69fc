"""Which frames a coil has, which are missing and why: counted frame by frame."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.simulate.plan import Plan, PlanError, Stop, choose_loss, name_cameras
from app.simulate.planting import repeat, scatter


def planned(frames: int = 80, cameras: int = 2, stops: tuple[Stop, ...] = (), lose: int = 0, seed: int = 0) -> Plan:
    """Frames of 0.25 s and 250 mm each."""
    plan = Plan(name_cameras(cameras, ["top", "bottom"], [[250] * frames] * cameras), 1.0, 1000.0, stops)
    return replace(plan, loss=choose_loss(plan, lose, seed)) if lose else plan


def test_a_stop_of_12_s_is_48_frames_of_a_quarter_second():
    plan = planned(stops=(Stop("top-1", 5.0, 12.0),))
    (gap,) = plan.gaps()
    assert (gap.camera_id, gap.why, gap.frames, gap.first_sequence, gap.last_sequence) == (
        "top-1",
        "stopped",
        48,
        20,
        67,
    )
    assert (gap.from_mm, gap.to_mm) == (5000.0, 17000.0)


def test_a_frame_that_a_stop_touches_is_missing_whole():
    (gap,) = planned(stops=(Stop("top-1", 5.1, 0.1),)).gaps()
    assert (gap.frames, gap.from_mm, gap.to_mm) == (1, 5000.0, 5250.0)


@given(seed=st.integers(0, 2**32), lose=st.integers(1, 20), at_s=st.floats(0, 19), for_s=st.floats(0.01, 5))
def test_lost_frames_are_as_many_as_asked_and_apart_from_stops_and_ends(seed, lose, at_s, for_s):
    plan = planned(stops=(Stop("bottom-1", at_s, for_s),), lose=lose, seed=seed)
    (lost,) = (gap for gap in plan.gaps() if gap.why == "lost")
    assert lost.frames == lose == lost.last_sequence - lost.first_sequence + 1
    camera = next(camera for camera in plan.cameras if camera.camera_id == lost.camera_id)
    missing = {take.sequence: take.missing for take in plan.takes(camera)}
    assert missing[lost.first_sequence - 1] is None
    assert missing[lost.last_sequence + 1] is None


def test_the_same_seed_loses_the_same_frames():
    assert planned(lose=3, seed=7) == planned(lose=3, seed=7)
    assert len({planned(lose=3, seed=seed).loss for seed in range(20)}) > 10


def test_frames_that_cannot_be_lost_are_not():
    with pytest.raises(PlanError, match="--lose: received 79"):
        planned(lose=79)
    # One before, one after, and the rest is lost.
    assert planned(lose=78).loss.first_sequence == 1


@pytest.mark.parametrize("text", ["", "top-1", "top-1:1", ":1:2", "top-1:a:2", "top-1:-1:2", "top-1:1:0", "top-1:1:nan",
                                  "top-1:inf:1", "top-1:1:2:3"])  # fmt: skip
def test_a_stop_that_cannot_be_read_says_how_one_is_written(text):
    with pytest.raises(PlanError, match="expected CAMERA:AT_S:FOR_S"):
        Stop.read(text)


@pytest.mark.parametrize("cameras, sides", [(0, ["top"]), (1, ["top", "bottom"]), (2, ["top", "top"]), (1, [""])])
def test_cameras_and_sides_that_do_not_fit(cameras, sides):
    with pytest.raises(PlanError, match=r"--(cameras|sides): received"):
        name_cameras(cameras, sides, [[1]] * cameras)


class TestPlanted:
    def test_as_many_defects_as_asked_on_every_side(self):
        plan = planned(frames=400, cameras=4)
        placed = scatter(plan, 30.0, 256, 0)
        assert sum(map(len, placed.values())) == 2 * 30
        assert set(placed) == {camera.camera_id for camera in plan.cameras}
        assert all(0 <= defect.y <= 100_000 and 0 < defect.x < 256 for each in placed.values() for defect in each)
        assert placed == scatter(plan, 30.0, 256, 0) != scatter(plan, 30.0, 256, 1)

    def test_the_one_that_returns_keeps_its_interval_and_its_shape(self):
        plan = replace(planned(), mm_per_pixel=0.3)
        marks = repeat(plan, 1885.0, "bottom-1", 20.0, 256, 0)["bottom-1"]
        assert {round((after.y - before.y) * 0.3, 6) for before, after in pairwise(marks)} == {1885.0}
        assert {(mark.x, mark.seed, mark.size) for mark in marks} == {(20.0 / 0.3, marks[0].seed, 56.0)}

    @pytest.mark.parametrize(
        "interval, camera, across, told",
        [
            (1885.0, "top-9", None, "the cameras are top-1, bottom-1"),
            (1885.0, "top-1", 256.0, "the camera sees 256 mm"),
            (1885.0, "top-1", -1.0, "the camera sees 256 mm"),
            (100.0, "top-1", None, "expected at least twice that"),
        ],
    )
    def test_where_it_cannot_lie(self, interval, camera, across, told):
        with pytest.raises(PlanError, match=told):
            repeat(planned(), interval, camera, across, 256, 0)
