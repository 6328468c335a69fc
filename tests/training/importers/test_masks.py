"""Shapes -> masks: properties that hold wherever a shape lies."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.importers.masks import Box, Circle, Line, Polygon, Runs, Undrawable

HEIGHT, WIDTH = 24, 37
anywhere = st.floats(-1e7, 1e7) | st.floats(-5, 45)
points = st.tuples(anywhere, anywhere)
whole = st.integers(-10, 50)


@given(whole, whole, st.integers(1, 50), st.integers(1, 50))
def test_a_polygon_of_whole_pixels_is_the_box(left, top, width, height):
    box = Box(left, top, left + width, top + height).draw(HEIGHT, WIDTH)
    corners = ((left, top), (left + width, top), (left + width, top + height), (left, top + height))
    np.testing.assert_array_equal(Polygon(corners).draw(HEIGHT, WIDTH), box)
    ys, xs = np.mgrid[:HEIGHT, :WIDTH]
    np.testing.assert_array_equal(box, (xs >= left) & (xs < left + width) & (ys >= top) & (ys < top + height))


@given(st.lists(points, min_size=3, max_size=8))
def test_every_polygon_is_drawn_without_a_warning_from_any_start_and_side(corners):
    mask = Polygon(tuple(corners)).draw(HEIGHT, WIDTH)
    assert mask.shape == (HEIGHT, WIDTH)
    assert mask.dtype == np.bool_


@given(st.lists(st.tuples(whole, whole), min_size=3, max_size=8), st.integers(0, 7))
def test_a_filled_polygon_is_the_same_from_any_corner_and_either_way_round(corners, shift):
    turned = corners[shift % len(corners) :] + corners[: shift % len(corners)]
    first = Polygon(tuple(corners)).draw(HEIGHT, WIDTH)
    second = Polygon(tuple(reversed(turned))).draw(HEIGHT, WIDTH)
    # Rounding may move one crossing by a pixel; a hairline is traced, and a trace may differ at its corners.
    assert (first != second).sum() <= HEIGHT


@given(points, points)
def test_a_line_stays_within_a_pixel_of_itself_and_never_vanishes_inside(start, end):
    mask = Line((start, end)).draw(HEIGHT, WIDTH)
    inside = [0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in (start, end)]
    assert mask.any() or not any(inside)
    if all(inside):
        (x, y), (end_x, end_y) = start, end
        length = np.hypot(end_x - x, end_y - y)
        for row, column in np.argwhere(mask) + 0.5:
            away = abs((end_x - x) * (y - row) - (x - column) * (end_y - y)) / length if length > 1e-6 else 0
            assert away <= 1
        assert mask.sum() >= max(abs(end_x - x), abs(end_y - y)) - 1


@given(anywhere, anywhere, st.floats(0, 1e7))
def test_a_circle_holds_its_centre(x, y, radius):
    mask = Circle(x, y, radius).draw(HEIGHT, WIDTH)
    if 0 <= x < WIDTH and 0 <= y < HEIGHT:
        assert mask.any()
        assert mask[int(y), int(x)] or radius < 1


@given(anywhere, anywhere, st.floats(1e-3, 1e7), st.floats(1e-3, 1e7))
def test_a_box_with_an_area_inside_is_never_empty(left, top, width, height):
    mask = Box(left, top, left + width, top + height).draw(HEIGHT, WIDTH)
    touches = left < WIDTH and top < HEIGHT and left + width > 0 and top + height > 0
    assert mask.any() == touches


def test_overlapping_runs_count_once():
    mask = Runs(np.array([0, 1]), np.array([3, 3])).draw(2, 2)
    assert mask.all()


@pytest.mark.parametrize(("start", "length"), [(3, 2), (5, 1), (2**62, 2**62), (0, 2**63 - 1), (-1, 1), (0, -1)])
def test_runs_beyond_the_image_are_refused(start, length):
    with pytest.raises(Undrawable, match="beyond their last pixel"):
        Runs(np.array([start]), np.array([length])).draw(2, 2)
