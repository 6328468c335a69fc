"""The endless strip: the same however it is cut, without seams, quick, and with its defects where they were put."""

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthetic.defects import DEFECT_CLASSES
from synthetic.strip import SHEET_ROWS, PlacedDefect, Steel, Strip, roll_steel

WIDTH = 96


@pytest.fixture(scope="module")
def steel() -> Steel:
    return roll_steel(3, WIDTH)


def strong(name: str, y: float, x: float = WIDTH / 2, seed: int = 1) -> PlacedDefect:
    return PlacedDefect(name, y, x, size=DEFECT_CLASSES[name].largest_px / 2, strength=9.0, seed=seed)


@given(first=st.integers(-50, 10**9), cuts=st.lists(st.integers(1, 90), min_size=1, max_size=5))
def test_a_strip_is_the_same_however_it_is_cut(steel, first, cuts):
    defects = [strong(name, first + 40.5 * number) for number, name in enumerate(DEFECT_CLASSES)]
    strip = Strip(steel, 1, defects)
    starts = first + np.cumsum([0, *cuts[:-1]])
    pieces = [strip.rows(int(start), count) for start, count in zip(starts, cuts, strict=True)]
    assert np.array_equal(np.vstack(pieces), strip.rows(first, sum(cuts)))


def test_no_seam_shows_where_a_sheet_begins_anew(steel):
    rows = Strip(steel, 1).rows(0, 3 * max(SHEET_ROWS)).astype(float)
    step = np.abs(np.diff(rows, axis=0)).mean(axis=1)
    assert step.max() < 1.5 * step.mean()


def test_the_strip_does_not_repeat_with_its_sheets(steel):
    rows = Strip(steel, 1).rows(0, 4 * max(SHEET_ROWS)).astype(float)
    rows -= rows.mean(axis=0)
    for period in (*SHEET_ROWS, SHEET_ROWS[1] - SHEET_ROWS[0]):
        alike = np.mean([np.corrcoef(rows[k], rows[k + period])[0, 1] for k in range(0, 2000, 40)])
        assert abs(alike) < 0.2


def test_two_cameras_see_other_steel_and_the_same_seed_the_same(steel):
    one, same, other = (Strip(steel, seed).rows(0, 64) for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)
    assert np.array_equal(Strip(roll_steel(3, WIDTH), 1).rows(0, 64), one)
    assert not np.array_equal(Strip(roll_steel(4, WIDTH), 1).rows(0, 64), one)


@pytest.mark.parametrize("name", DEFECT_CLASSES)
def test_a_defect_is_in_its_box_and_nothing_else_changes(steel, name):
    defect = strong(name, 1000.0)
    box = steel.box(defect)
    assert box is not None
    assert box.top < defect.y < box.bottom
    first, count = 1000 - 2 * defect.reach, 4 * defect.reach
    sound = Strip(steel, 1).rows(first, count).astype(int)
    change = np.abs(Strip(steel, 1, [defect]).rows(first, count).astype(int) - sound)
    inside = change[box.top - first : box.bottom - first, box.left : box.right]
    visible = steel.finish.visible_contrast * steel.camera.level
    assert inside.max() > visible
    # Outside it nothing is visible: less than what an inspector would point at, and the rounding of two greys.
    inside[:] = 0
    assert change.max() <= 1.3 * visible + 1
    far = np.r_[0 : defect.reach - 1, count - defect.reach + 1 : count]
    assert change[far].max() == 0


def test_one_seed_prints_the_same_shape_at_each_turn(steel):
    first, second = (steel.seen(strong("rolled-in_scale", y)) for y in (500.0, 2500.0))
    assert np.array_equal(first, second)


@pytest.mark.parametrize("x", [-40.0, -1.0, 0.0, WIDTH - 1.0, WIDTH + 40.0])
def test_defects_at_the_edge_and_beyond_are_cut_off(steel, x):
    rows = Strip(steel, 1, [strong("corrosion", 30.0, x)]).rows(0, 64)
    assert rows.shape == (64, WIDTH)


def test_a_core_draws_more_than_a_line_of_four_megapixels_a_second():
    strip = Strip(roll_steel(0, 1024), 1, [strong("crack", 200.0 * number) for number in range(40)])
    begun = time.process_time()
    for number in range(8):
        strip.rows(512 * number, 512)
    assert 8 * 512 * 1024 / (time.process_time() - begun) > 4e6
