"""model.tiling: every pixel is seen, and what was seen is put together again."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from model.tiling import Event, TileGrid, extend, find_events, resize, tile_positions


@st.composite
def axes(draw):
    """(length, tile, stride) of one axis that holds at least one tile."""
    tile = draw(st.integers(1, 200))
    return draw(st.integers(tile, 1000)), tile, draw(st.integers(1, tile))


class TestTilePositions:
    @given(axes())
    def test_cover_every_pixel_from_inside(self, axis):
        length, tile, stride = axis
        starts = tile_positions(length, tile, stride)
        seen = np.zeros(length, int)
        for start in starts:
            assert 0 <= start <= length - tile
            seen[start : start + tile] += 1
        assert seen.min() >= 1

    @given(axes())
    def test_keep_the_stride_but_for_a_shifted_last_one(self, axis):
        length, tile, stride = axis
        starts = tile_positions(length, tile, stride)
        steps = np.diff(starts)
        assert starts[0] == 0
        assert starts[-1] == length - tile
        assert (steps[:-1] == stride).all()
        assert (steps > 0).all()
        assert (steps <= stride).all()

    @given(axes())
    def test_are_no_more_than_needed(self, axis):
        length, tile, stride = axis
        assert len(tile_positions(length, tile, stride)) == 1 + -(-(length - tile) // stride)

    def test_one_tile(self):
        assert tile_positions(128, 128, 1) == (0,)


class TestTileGrid:
    @given(st.data())
    def test_batches_are_the_tiles_row_by_row(self, data):
        tile = data.draw(st.integers(1, 12))
        height, width = data.draw(st.integers(tile, 40)), data.draw(st.integers(tile, 40))
        frame = np.random.default_rng(height * width).integers(0, 256, (height, width), np.uint8)
        grid = TileGrid.cover(height, width, tile, data.draw(st.integers(1, tile)))
        batches = list(grid.batches(frame, data.draw(st.integers(1, 50))))
        expected = [frame[y : y + tile, x : x + tile] for y in grid.rows for x in grid.columns]
        np.testing.assert_array_equal(np.concatenate(batches), expected)
        assert len(grid) == len(expected) == len(grid.positions())

    def test_batches_do_not_share_memory_with_the_frame(self, steel_frame):
        frame = steel_frame(32, 32)
        (batch,) = TileGrid.cover(32, 32, 16, 16).batches(frame, 10)
        assert not np.shares_memory(batch, frame)

    def test_a_large_batch_holds_all_and_the_last_holds_the_rest(self, steel_frame):
        grid = TileGrid.cover(32, 48, 16, 16)
        assert [len(batch) for batch in grid.batches(steel_frame(32, 48), 4)] == [4, 2]
        assert [len(batch) for batch in grid.batches(steel_frame(32, 48), 6)] == [6]


def reflected(side, position):
    """Slow reference: walk to and fro between the first and the last pixel."""
    index, step = 0, 1
    for _ in range(position):
        if not 0 <= index + step < side:
            step = -step
        index += step
    return index


class TestExtend:
    @pytest.mark.parametrize(("height", "width"), [(8, 8), (8, 200), (200, 8), (9, 127), (127, 128), (2, 2), (64, 63)])
    def test_reflects_as_often_as_needed(self, height, width, steel_frame):
        frame = steel_frame(height, width)
        extended = extend(frame, 128)
        rows = [reflected(height, y) for y in range(max(height, 128))]
        columns = [reflected(width, x) for x in range(max(width, 128))]
        np.testing.assert_array_equal(extended, frame[np.ix_(rows, columns)])

    @given(hnp.arrays(np.uint8, st.tuples(st.integers(2, 30), st.integers(2, 30))), st.integers(1, 64))
    def test_keeps_the_frame_where_it_was(self, frame, tile):
        extended = extend(frame, tile)
        assert extended.shape == (max(frame.shape[0], tile), max(frame.shape[1], tile))
        np.testing.assert_array_equal(extended[: frame.shape[0], : frame.shape[1]], frame)
        assert set(np.unique(extended)) == set(np.unique(frame))

    def test_a_frame_that_is_large_enough_is_not_copied(self, steel_frame):
        frame = steel_frame(128, 130)
        assert extend(frame, 128) is frame


class TestResize:
    @pytest.mark.parametrize("shape", [(128, 128), (8, 8), (500, 300), (64, 1000)])
    @pytest.mark.parametrize("value", [0, 77, 255])
    def test_a_constant_image_stays_constant(self, shape, value):
        resized = resize(np.full(shape, value, np.uint8), 128)
        assert resized.shape == (128, 128)
        assert resized.dtype == np.uint8
        assert (resized == value).all()

    def test_the_same_size_is_unchanged(self, steel_frame):
        frame = steel_frame(128, 128)
        np.testing.assert_array_equal(resize(frame, 128), frame)

    def test_shrinking_averages_instead_of_dropping_pixels(self):
        stripes = np.tile(np.array([0, 255], np.uint8), (256, 128))
        assert np.abs(resize(stripes, 64)[:, 2:-2].astype(int) - 127).max() <= 1


def frame_of(height, width):
    return np.zeros((height, width), np.uint8)


class TestFindEvents:
    def events(self, scores, threshold=0.5, *, height=64, width=64, tile=16, stride=16):
        grid = TileGrid.cover(max(height, tile), max(width, tile), tile, stride)
        full = np.zeros((len(grid.rows), len(grid.columns)))
        for (row, column), score in scores.items():
            full[row, column] = score
        return find_events(grid, full, threshold, frame_of(height, width))

    def test_none(self):
        assert self.events({}) == []

    def test_all_tiles_are_one_event_of_the_whole_frame(self):
        scores = {(row, column): 0.9 for row in range(4) for column in range(4)}
        assert self.events(scores) == [Event(0, 0, 64, 64, 0.9)]

    def test_one_tile(self):
        assert self.events({(1, 2): 0.7}) == [Event(32, 16, 16, 16, 0.7)]

    def test_a_score_on_the_threshold_has_reached_it(self):
        assert len(self.events({(0, 0): 0.5})) == 1
        assert self.events({(0, 0): np.nextafter(0.5, 0)}) == []

    def test_threshold_zero_flags_everything(self):
        assert len(self.events({}, threshold=0.0)) == 1

    def test_overlapping_tiles_of_one_defect_make_one_event(self):
        """A defect at (40, 40) of 8 px is in every tile of stride 8 that reaches it."""
        grid = TileGrid.cover(128, 128, 32, 8)
        scores = np.array(
            [[float(y < 48 and y + 32 > 40 and x < 48 and x + 32 > 40) for x in grid.columns] for y in grid.rows]
        )
        assert scores.sum() > 9
        (event,) = find_events(grid, scores, 0.5, frame_of(128, 128))
        assert event.x <= 40 and event.x + event.width >= 48
        assert event.y <= 40 and event.y + event.height >= 48

    def test_corners_touch(self):
        assert self.events({(0, 0): 0.6, (1, 1): 0.8}) == [Event(0, 0, 32, 32, 0.8)]

    def test_two_distant_ones_are_two_the_most_probable_first(self):
        assert self.events({(0, 0): 0.6, (3, 3): 0.8}) == [Event(48, 48, 16, 16, 0.8), Event(0, 0, 16, 16, 0.6)]

    def test_the_peak_is_of_its_own_tiles_only(self):
        """The box of an L-shaped event holds another event."""
        corner = {(row, 0): 0.6 for row in range(4)} | {(3, column): 0.6 for column in range(4)}
        events = self.events({**corner, (0, 3): 0.9})
        assert [event.defect_probability for event in events] == [0.9, 0.6]

    def test_an_event_has_the_class_of_its_worst_tile(self):
        """Also where a worse tile of another event lies inside its box."""
        grid = TileGrid.cover(48, 48, 16, 16)
        scores = np.array([[0.6, 0.0, 0.9], [0.7, 0.0, 0.0], [0.6, 0.6, 0.6]])
        named = np.array([["pit", "none", "crack"], ["fold", "none", "none"], ["pit", "pit", "pit"]])
        events = find_events(grid, scores, 0.5, frame_of(48, 48), named)
        assert [(event.defect_probability, event.defect_class) for event in events] == [(0.9, "crack"), (0.7, "fold")]

    def test_without_classes_none_is_named(self):
        (event,) = self.events({(1, 2): 0.7})
        assert event.defect_class is None

    def test_a_box_ends_where_the_frame_does(self):
        assert self.events({(0, 0): 0.9}, height=9, width=12) == [Event(0, 0, 12, 9, 0.9)]

    @given(
        st.integers(8, 90),
        st.integers(8, 90),
        st.integers(4, 32),
        st.floats(0, 1),
        st.integers(0, 2**32 - 1),
        st.data(),
    )
    def test_boxes_lie_inside_and_hold_every_flagged_tile(self, height, width, tile, threshold, seed, data):
        grid = TileGrid.cover(max(height, tile), max(width, tile), tile, data.draw(st.integers(1, tile)))
        scores = np.random.default_rng(seed).random((len(grid.rows), len(grid.columns)))
        events = find_events(grid, scores, threshold, frame_of(height, width))
        probabilities = [event.defect_probability for event in events]
        assert probabilities == sorted(probabilities, reverse=True)
        assert (max(probabilities, default=None)) == (scores.max() if (scores >= threshold).any() else None)
        held = np.zeros((height, width), bool)
        for event in events:
            assert event.width > 0
            assert event.height > 0
            assert 0 <= event.x < event.x + event.width <= width
            assert 0 <= event.y < event.y + event.height <= height
            assert event.defect_probability >= threshold
            held[event.y : event.y + event.height, event.x : event.x + event.width] = True
        for row, column in np.argwhere(scores >= threshold):
            y, x = grid.rows[row], grid.columns[column]
            assert held[y : y + tile, x : x + tile].all()
