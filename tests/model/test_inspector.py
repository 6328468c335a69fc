"""model.inspector: the verdict on a frame is that of its tiles."""

import dataclasses
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from model.artifact import Fitting
from model.errors import ErrorCode, SteelsightError
from model.image import Limits
from model.inspector import BATCH_TILES, Inspector
from model.registry import Registry
from model.tiling import Fit, TileGrid, extend, resize
from model.verdict import Thresholds, Verdict, decide

TILE = 64
SIZES = [(64, 64), (64, 200), (200, 64), (150, 260), (8, 8), (8, 300), (63, 65), (65, 64), (400, 40)]


@pytest.fixture(scope="module")
def inspector(tiny_models):
    return Inspector.load(Registry(tiny_models), "tiny-64-first", "onnx", threads=1)


@pytest.fixture(scope="module")
def resizing(inspector):
    return dataclasses.replace(inspector, fitting=Fitting(fit=Fit.RESIZE, tile=TILE, stride=TILE))


@pytest.fixture(scope="module")
def naming(class_models):
    """A version that tells defect classes apart."""
    return Inspector.load(Registry(class_models), "tiny-classes", "onnx", threads=1)


def with_stride(inspector, stride):
    return dataclasses.replace(inspector, fitting=Fitting(tile=TILE, stride=stride))


def same(one, other):
    np.testing.assert_array_equal(one.scores, other.scores)
    return dataclasses.replace(one, scores=None) == dataclasses.replace(other, scores=None)


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("stride", [64, 40])
class TestAnyFrame:
    def test_verdict_is_that_of_its_worst_tile(self, inspector, height, width, stride, steel_frame):
        frame = steel_frame(height, width, seed=1, defects=2)
        inspection = with_stride(inspector, stride).inspect(frame)
        covered = extend(frame, TILE)
        grid = TileGrid.cover(*covered.shape, TILE, stride)
        tiles = np.stack([covered[y : y + TILE, x : x + TILE] for y, x in grid.positions()])
        scores = inspector.probabilities(tiles)
        np.testing.assert_allclose(inspection.scores.ravel(), scores, atol=1e-6)
        assert inspection.defect_probability == inspection.scores.max()
        assert inspection.verdict is decide(inspection.defect_probability, inspector.thresholds)
        assert (inspection.height, inspection.width) == (height, width)
        assert inspection.scores.shape == (len(grid.rows), len(grid.columns))

    def test_no_event_lies_outside(self, inspector, height, width, stride, steel_frame):
        inspection = with_stride(inspector, stride).inspect(steel_frame(height, width, seed=2, defects=3))
        for event in inspection.events:
            assert 0 <= event.x < event.x + event.width <= width
            assert 0 <= event.y < event.y + event.height <= height

    def test_events_and_verdict_tell_the_same(self, inspector, height, width, stride, steel_frame):
        inspection = with_stride(inspector, stride).inspect(steel_frame(height, width, seed=3, defects=1))
        assert bool(inspection.events) == (inspection.verdict is not Verdict.OK)
        if inspection.events:
            assert inspection.events[0].defect_probability == inspection.defect_probability

    def test_same_answer_on_repeat(self, inspector, height, width, stride, steel_frame):
        frame = steel_frame(height, width, seed=4)
        judge = with_stride(inspector, stride)
        assert same(judge.inspect(frame), judge.inspect(frame.copy()))


class TestKindsOfFrame:
    @pytest.mark.parametrize("value", [0, 1, 128, 254, 255])
    def test_constant(self, inspector, value):
        inspection = inspector.inspect(np.full((100, 180), value, np.uint8))
        assert "constant" in inspection.quality.warnings
        assert np.ptp(inspection.scores) < 1e-6
        assert 0 <= inspection.defect_probability <= 1

    def test_flipped_by_whole_tiles_keeps_the_scores(self, inspector, steel_frame):
        """Tiles in another order, each the same: rolling the frame by a tile moves its scores."""
        frame = steel_frame(128, 256, defects=2)
        scores = inspector.inspect(frame).scores
        np.testing.assert_allclose(
            inspector.inspect(np.roll(frame, TILE, axis=1)).scores, np.roll(scores, 1, axis=1), atol=1e-6
        )

    def test_views_are_judged_as_their_copies(self, inspector, steel_frame):
        """A camera driver hands on mirrored or cropped views: what lies in memory must not matter."""
        frame = steel_frame(150, 150)
        for view in (frame[::-1], frame[:, ::-1], frame.T, frame[10:90, 5:140], np.asfortranarray(frame)):
            assert same(inspector.inspect(view), inspector.inspect(np.ascontiguousarray(view)))

    def test_read_only(self, inspector, steel_frame):
        frame = steel_frame(64, 64)
        frame.setflags(write=False)
        assert same(inspector.inspect(frame), inspector.inspect(frame.copy()))

    @pytest.mark.parametrize(
        ("value", "warning"), [(3, "under_exposed"), (250, "over_exposed"), (255, "saturated"), (128, None)]
    )
    def test_brightness_is_warned_of_and_judged_all_the_same(self, inspector, value, warning):
        frame = np.full((64, 64), value, np.uint8)
        frame[0] = 100
        inspection = inspector.inspect(frame)
        assert inspection.quality.accepted
        assert (warning in inspection.quality.warnings) if warning else (inspection.quality.warnings == ())

    def test_more_tiles_than_a_batch(self, inspector, steel_frame):
        frame = steel_frame(64, 64 * (2 * BATCH_TILES + 1))
        scores = inspector.inspect(frame).scores
        assert scores.size == 2 * BATCH_TILES + 1
        last = inspector.inspect(frame[:, -64:])
        assert scores[0, -1] == pytest.approx(last.defect_probability, abs=1e-6)

    def test_thresholds_0_and_1(self, inspector, steel_frame):
        frame = steel_frame(128, 128)
        all_flagged = dataclasses.replace(inspector, thresholds=Thresholds(review=0, defect=0)).inspect(frame)
        assert all_flagged.verdict is Verdict.DEFECT
        assert [(event.width, event.height) for event in all_flagged.events] == [(128, 128)]
        none_flagged = dataclasses.replace(inspector, thresholds=Thresholds(review=1, defect=1)).inspect(frame)
        assert none_flagged.verdict is Verdict.OK
        assert none_flagged.events == ()


class TestResized:
    @pytest.mark.parametrize(("height", "width"), SIZES)
    def test_the_whole_frame_is_one_tile_and_one_box(self, resizing, height, width, steel_frame):
        frame = steel_frame(height, width)
        judge = dataclasses.replace(resizing, thresholds=Thresholds(review=0, defect=1))
        inspection = judge.inspect(frame)
        assert inspection.scores.shape == (1, 1)
        expected = resizing.probabilities(resize(frame, TILE)[np.newaxis])
        assert inspection.defect_probability == pytest.approx(expected[0], abs=1e-6)
        (event,) = inspection.events
        assert (event.x, event.y, event.width, event.height) == (0, 0, width, height)


class TestClasses:
    def test_an_event_is_called_what_its_worst_tile_is_most_probably(self, naming, steel_tiles):
        told = set()
        everything = steel_tiles(60, TILE)
        for tiles in (everything[start : start + 3] for start in range(0, 60, 3)):
            inspection = naming.inspect(np.concatenate(list(tiles), axis=1))
            named = np.array(naming.classes)[1 + naming.logits(tiles)[:, 1:].argmax(axis=1)]
            if inspection.events:
                assert inspection.events[0].defect_class == named[inspection.scores.argmax()]
            told |= {event.defect_class for event in inspection.events}
        assert len(told) > 1, "a network that has one name for everything would pass this test"

    def test_the_whole_frame_resized(self, naming, steel_frame):
        whole = dataclasses.replace(
            naming, fitting=Fitting(fit=Fit.RESIZE, tile=TILE, stride=TILE), thresholds=Thresholds(review=0, defect=1)
        )
        frame = steel_frame(100, 300, defects=2)
        logits = naming.logits(resize(frame, TILE)[np.newaxis])
        (event,) = whole.inspect(frame).events
        assert event.defect_class == naming.classes[1 + logits[0, 1:].argmax()]

    def test_the_engine_is_asked_once_a_batch(self, naming, steel_frame):
        class Counting:
            name = "counting"
            asked = 0

            def logits(self, tiles):
                self.asked += 1
                return naming.engine.logits(tiles)

        engine = Counting()
        dataclasses.replace(naming, engine=engine, shared=None).inspect(steel_frame(64, 64 * (BATCH_TILES + 1)))
        assert engine.asked == 2

    def test_both_engines_give_one_name(self, naming, class_models, steel_tiles):
        keras = Inspector.load(Registry(class_models), "tiny-classes", "keras", threads=1)
        tiles = steel_tiles(40, TILE)
        ours, theirs = (each.class_probabilities(each.logits(tiles)) for each in (naming, keras))
        np.testing.assert_allclose(ours, theirs, atol=1e-6)

    def test_one_output_names_nothing(self, inspector, steel_tiles):
        assert inspector.class_probabilities(inspector.logits(steel_tiles(10, TILE))) is None


class TestLoad:
    def test_takes_what_was_published(self, inspector, tiny_models):
        manifest = Registry(tiny_models).manifest("tiny-64-first")
        assert inspector.version == "tiny-64-first"
        assert inspector.thresholds == manifest.thresholds
        assert inspector.fitting == manifest.fitting
        assert inspector.engine.name == "onnx"

    @pytest.mark.parametrize(("asked", "used"), [(None, 64), (16, 16), (64, 64), (1000, 64)])
    def test_stride_is_at_most_a_tile(self, tiny_models, asked, used):
        loaded = Inspector.load(Registry(tiny_models), "tiny-64-first", "onnx", threads=1, stride=asked)
        assert loaded.fitting.stride == used

    def test_both_engines_give_one_verdict(self, inspector, tiny_models, steel_frame):
        keras = Inspector.load(Registry(tiny_models), "tiny-64-first", "keras", threads=1)
        for seed in range(5):
            frame = steel_frame(100, 200, seed=seed, defects=seed)
            ours, theirs = inspector.inspect(frame), keras.inspect(frame)
            np.testing.assert_allclose(ours.scores, theirs.scores, atol=1e-6)
            assert ours.verdict is theirs.verdict

    def test_versions_differ(self, inspector, tiny_models, steel_tiles):
        second = Inspector.load(Registry(tiny_models), "tiny-64-second", "onnx", threads=1)
        tiles = steel_tiles(10, TILE)
        assert np.abs(inspector.probabilities(tiles) - second.probabilities(tiles)).max() > 0.01

    def test_a_changed_file_is_refused_before_it_is_opened(self, own_models):
        onnx = own_models / "tiny-64-first" / "model.onnx"
        onnx.write_bytes(b"\0" * onnx.stat().st_size)
        with pytest.raises(SteelsightError) as caught:
            Inspector.load(Registry(own_models), "tiny-64-first", "onnx")
        assert caught.value.code is ErrorCode.ARTIFACT_INVALID

    def test_unknown_version(self, tiny_models):
        with pytest.raises(SteelsightError) as caught:
            Inspector.load(Registry(tiny_models), "none", "onnx")
        assert caught.value.code is ErrorCode.MODEL_UNKNOWN

    def test_warm_runs(self, inspector):
        inspector.warm()


class TestExtended:
    """A frame with a side shorter than a tile is as large as what is scored of it."""

    def held_to(self, inspector, max_pixels):
        return dataclasses.replace(inspector, limits=Limits(max_pixels=max_pixels))

    @pytest.mark.parametrize("turned", [False, True])
    def test_the_limit_is_inclusive_and_counts_what_is_scored(self, inspector, turned, steel_frame):
        frame = steel_frame(8, 300)
        frame = frame.T if turned else frame
        assert self.held_to(inspector, TILE * 300).inspect(frame).scores.size == 5
        with pytest.raises(SteelsightError, match=r"extended to (300 x 64|64 x 300) px \(0\.0 Mpx\)") as caught:
            self.held_to(inspector, TILE * 300 - 1).inspect(frame)
        assert caught.value.code is ErrorCode.IMAGE_TOO_LARGE

    def test_one_tile_is_never_too_large(self, inspector, steel_frame):
        small = self.held_to(inspector, max_pixels=100)
        assert small.inspect(steel_frame(8, 8)).scores.size == 1
        assert small.inspect(steel_frame(8, TILE)).scores.size == 1
        with pytest.raises(SteelsightError):
            small.inspect(steel_frame(8, TILE + 1))

    def test_a_frame_that_is_resized_is_not_extended(self, resizing, steel_frame):
        assert self.held_to(resizing, max_pixels=TILE * TILE).inspect(steel_frame(8, 500)).scores.size == 1

    def test_nothing_is_scored_in_vain(self, inspector, steel_frame):
        engine = dataclasses.replace(self.held_to(inspector, TILE * 300), engine=None, shared=None)
        with pytest.raises(SteelsightError):
            engine.inspect_all([steel_frame(64, 64), steel_frame(8, 301)])


class TestTogether:
    def test_each_is_judged_as_alone(self, inspector, steel_frame):
        frames = [steel_frame(height, width, seed, 1) for seed, (height, width) in enumerate(SIZES)]
        together = inspector.inspect_all(frames)
        assert len(together) == len(frames)
        for frame, one in zip(frames, together, strict=True):
            alone = inspector.inspect(frame)
            np.testing.assert_allclose(one.scores, alone.scores, atol=1e-6)
            assert (one.height, one.width, one.quality) == (alone.height, alone.width, alone.quality)
            assert len(one.events) == len(alone.events)

    def test_small_frames_share_a_batch(self, naming, steel_tiles):
        tiles = steel_tiles(2 * BATCH_TILES + 1, TILE)
        asked = []

        class Counted:
            name = naming.engine.name

            def logits(self, batch):
                asked.append(len(batch))
                return naming.engine.logits(batch)

        dataclasses.replace(naming, engine=Counted(), shared=None).inspect_all(list(tiles))
        assert asked == [BATCH_TILES, BATCH_TILES, 1]

    def test_none(self, inspector):
        assert inspector.inspect_all([]) == []


def test_probabilities_of_many_and_of_few_tiles(inspector, steel_tiles):
    tiles = steel_tiles(70, TILE)
    together = inspector.probabilities(tiles)
    assert together.shape == (70,)
    np.testing.assert_allclose(together[:3], inspector.probabilities(tiles[:3]), atol=1e-6)


def test_probabilities_of_no_tiles(inspector):
    assert inspector.probabilities(np.zeros((0, TILE, TILE), np.uint8)).shape == (0,)


def test_threads_share_one_inspector(inspector, steel_frame):
    frames = [steel_frame(100, 150, seed=seed) for seed in range(8)]
    expected = [inspector.inspect(frame) for frame in frames]
    with ThreadPoolExecutor(8) as pool:
        for number, inspection in enumerate(pool.map(inspector.inspect, frames * 4)):
            np.testing.assert_allclose(inspection.scores, expected[number % 8].scores, atol=1e-6)
