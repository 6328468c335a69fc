"""model.seam: a strip cut into frames anywhere has each of its defects once, and loses none."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.artifact import Fitting
from model.calibration import IdentityCalibrator
from model.inspector import Inspector
from model.seam import judge_seam
from model.tiling import TileGrid
from model.verdict import Thresholds, Verdict

TILE, WIDTH, LENGTH = 16, 40, 260
THRESHOLDS = Thresholds(review=0.3, defect=0.7)


class DarkPixels:
    """An engine that calls a tile a defect if it has a dark pixel: what is on a frame is known exactly."""

    name = "dark-pixels"
    shares_convolutions = False

    def logits(self, tiles):
        return np.where(tiles.min(axis=(1, 2)) < 50, 9, -9).astype(np.float32)[:, np.newaxis]


def inspector(stride):
    return Inspector("v", DarkPixels(), IdentityCalibrator(), THRESHOLDS, Fitting(tile=TILE, stride=stride))


def strip_with(boxes):
    strip = np.full((LENGTH, WIDTH), 200, np.uint8)
    for y, x, height, width in boxes:
        strip[y : y + height, x : x + width] = 0
    return strip


def inspected(strip, stride, new_rows, overlap):
    """All frames' events as (y on the strip, event), and the verdicts: each frame repeats `overlap` rows."""
    judge, events, verdicts, end = inspector(stride), [], [], 0
    for number in range(LENGTH):
        if end == LENGTH:
            break
        repeated = min(overlap, end)
        start = end - repeated
        end = min(LENGTH, end + new_rows[number % len(new_rows)])
        inspection = judge.inspect(strip[start:end], repeated)
        events += [(start + event.y, event) for event in inspection.events]
        verdicts.append(inspection.verdict)
        assert bool(inspection.events) == (inspection.verdict is not Verdict.OK)
    return events, verdicts


boxes = st.builds(
    lambda y, x, height, width: (y, x, min(height, LENGTH - y), min(width, WIDTH - x)),
    st.integers(0, LENGTH - 1),
    st.integers(0, WIDTH - 1),
    st.one_of(st.integers(1, 12), st.integers(13, 120)),
    st.integers(1, 20),
)
strides = st.sampled_from([16, 8, 5, 4])
overlaps = st.integers(TILE, 40)


class TestStrip:
    @settings(max_examples=60)
    @given(boxes, strides, st.lists(st.integers(3, 90), min_size=1, max_size=5), overlaps)
    def test_a_defect_is_counted_once_and_is_inside_what_is_reported(self, box, stride, new_rows, overlap):
        events, verdicts = inspected(strip_with([box]), stride, [max(new_rows[0], TILE), *new_rows], overlap)
        assert sum(not event.continued for _, event in events) == 1
        reported = {row for y, event in events for row in range(y, y + event.height)}
        assert set(range(box[0], box[0] + box[2])) <= reported
        assert Verdict.DEFECT in verdicts

    @settings(max_examples=60)
    @given(boxes, strides, st.lists(st.integers(TILE, 90), min_size=1, max_size=5), overlaps)
    def test_one_that_ends_before_the_seam_is_reported_once(self, box, stride, new_rows, overlap):
        """New rows of a tile or more: what the frame before has seen to its end is not said again."""
        seams = np.cumsum(np.resize(new_rows, LENGTH))
        y, _, height, _ = box
        events, _ = inspected(strip_with([box]), stride, new_rows, overlap)
        crossed = ((seams > y) & (seams < y + height)).sum()
        last = seams[seams < LENGTH].max(initial=0)
        # The strip's last frame may have fewer new rows: no tile of its own says then that nothing goes on.
        seen_to_its_end = y + height <= (last if LENGTH - last >= TILE else last - TILE)
        assert len(events) == 1 if not crossed and seen_to_its_end else len(events) >= 1

    @settings(max_examples=60)
    @given(st.lists(boxes, max_size=3), strides, st.lists(st.integers(3, 90), min_size=1, max_size=5), overlaps)
    def test_of_several_none_is_lost_and_none_made_up(self, several, stride, new_rows, overlap):
        events, _ = inspected(strip_with(several), stride, [max(new_rows[0], TILE), *new_rows], overlap)
        for y, x, height, width in several:
            assert any(
                top < y + height and y < top + event.height and event.x < x + width and x < event.x + event.width
                for top, event in events
            )
        assert sum(not event.continued for _, event in events) <= len(several)

    def test_the_seam_of_the_contract(self):
        """A spot 3 rows before the end of a frame: two frames see it, one reports it."""
        strip = strip_with([(97, 8, 2, 2)])
        for overlap, times in ((TILE, 1), (TILE + 5, 1), (0, 1), (TILE - 1, 2)):
            events, _ = inspected(strip, 8, [100], overlap)
            assert len(events) == times, overlap

    def test_a_scratch_over_three_frames_is_one_and_goes_on(self):
        events, verdicts = inspected(strip_with([(50, 8, 200, 2)]), 8, [90], TILE)
        assert [event.continued for _, event in events] == [False, True, True]
        assert verdicts == [Verdict.DEFECT] * 3


class TestJudge:
    GRID = TileGrid.cover(6 * TILE, TILE, tile=TILE, stride=TILE // 2, overlap=TILE)

    def judged(self, *scores):
        rest = [0.1] * (len(self.GRID.rows) - len(scores))
        return judge_seam(self.GRID, np.array([*scores, *rest])[:, np.newaxis], THRESHOLDS, TILE)

    def test_the_repeated_tiles_always_belong_to_the_frame_before(self):
        before, continued = self.judged(0.1)
        assert before.ravel().tolist() == [True] + [False] * (len(self.GRID.rows) - 1)
        assert not continued.any()

    def test_a_higher_verdict_than_was_given_is_reported(self):
        before, continued = self.judged(0.5, 0.9)
        assert before.sum() == 1
        assert continued[1]
        before, continued = self.judged(0.5, 0.6)
        assert before.sum() == 2
        assert not continued.any()

    def test_what_begins_on_new_surface_is_new(self):
        before, continued = self.judged(0.9, 0.1, 0.9)
        assert before.sum() == 1
        assert not continued.any()

    @pytest.mark.parametrize("overlap", [0, 1, TILE - 1])
    def test_with_less_than_a_tile_everything_is_new(self, overlap):
        before, continued = judge_seam(self.GRID, np.ones((len(self.GRID.rows), 1)), THRESHOLDS, overlap)
        assert not before.any()
        assert not continued.any()

    @pytest.mark.parametrize("overlap", [-1, 20, 21])
    def test_an_overlap_that_leaves_nothing_new_is_an_error(self, overlap):
        with pytest.raises(ValueError, match="leaves nothing new"):
            inspector(8).inspect(np.zeros((20, 20), np.uint8), overlap)


@given(st.integers(TILE, 200), st.integers(1, TILE), st.integers(0, 150))
def test_grid_covers_every_row_that_is_new_and_repeats_the_last_tile_before(height, stride, overlap):
    overlap = min(overlap, height - 1)
    grid = TileGrid.cover(height, TILE, TILE, stride, overlap)
    covered = {row for y in grid.rows for row in range(y, y + TILE)}
    assert set(range(overlap if overlap >= TILE else 0, height)) <= covered <= set(range(height))
    assert list(grid.rows) == sorted(set(grid.rows))
    if overlap >= TILE:
        assert grid.rows[0] == overlap - TILE
        assert all(later - earlier <= stride for earlier, later in zip(grid.rows, grid.rows[1:], strict=False))
