"""The numbers told are the network's own, for every kind of network: stages, sums and probabilities."""

import math

import keras
import numpy as np
import pytest

from app.explain.messages import Part
from app.explain.pictures import file_of
from app.explain.seeing import HEATED_TILES, see
from app.explain.telling import part, told
from model.artifact import Fitting, Manifest
from model.attribution import explained_logit
from model.calibration import IdentityCalibrator, PlattCalibrator
from model.engine import network_input
from model.explain import Explainer
from model.inspector import Inspector
from model.network import PRESETS, NetworkConfig, build, logits_model
from model.registry import Registry
from model.tiling import Fit
from model.verdict import Thresholds

# One of each family, as small as it comes.
FAMILIES = ["steel-64", "steel-128-deep", "steel-64-local", "steel-64-line", "steel-64-deeper", "pool-first-128"]
THRESHOLDS = Thresholds(review=0.3, defect=0.7)
# What a page of the desk loads for one frame.
MOST_BYTES = 1_500_000


class NetworkEngine:
    """The network's own logits, without an export."""

    name = "keras"
    rounding = 1e-4
    shares_convolutions = False

    def __init__(self, network):
        self._logits, self._channels = logits_model(network), network.input_shape[3]

    def logits(self, tiles):
        return np.asarray(self._logits(network_input(tiles, self._channels), training=False))


def explainer_of(config: NetworkConfig, calibrator=None, **fitting) -> Explainer:
    classes = ("ok", *(f"defect_{number}" for number in range(1, max(2, config.outputs))))
    manifest = Manifest(
        version="v1", created_at="2026-01-01T00:00:00Z", classes=classes, network=config,
        fitting=Fitting(**{"tile": config.input_size, "stride": config.input_size} | fitting),
        calibrator=calibrator or IdentityCalibrator(), thresholds=THRESHOLDS,
        metrics={}, parity={}, data={}, training={}, packages={}, files={},
    )  # fmt: skip
    keras.utils.set_random_seed(1)
    network = build(config)
    inspector = Inspector("v1", NetworkEngine(network), manifest.calibrator, THRESHOLDS, manifest.fitting, classes)
    return Explainer(manifest, inspector, network)


@pytest.fixture(scope="module")
def frame(steel_frame):
    return steel_frame(150, 200, seed=3, defects=4)


@pytest.fixture(scope="module", params=FAMILIES)
def family(request, frame):
    """The configuration of a preset, what its network saw, and what is told of it."""
    seen = see(explainer_of(PRESETS[request.param]), frame, 0)
    return PRESETS[request.param], seen, told(seen)


def whole(weighed):
    """A sum from its parts."""
    return sum(term.product for term in weighed.largest) + weighed.others + weighed.bias


class TestEveryFamily:
    def test_the_stages_are_the_pixels_and_every_layer_in_order(self, family):
        config, _, explanation = family
        layers = config.layers()
        size = config.input_size
        assert [stage.name for stage in explanation.stages] == ["pixels", *(layer.name for layer in layers)]
        assert [tuple(stage.shape) for stage in explanation.stages[1:]] == [layer.shape for layer in layers]
        before = [(size, size, config.channels), *(layer.shape for layer in layers[:-1])]
        assert [tuple(stage.input_shape) for stage in explanation.stages[1:]] == before

    def test_every_stage_has_a_sentence_of_its_own(self, family):
        _, _, explanation = family
        for stage in explanation.stages:
            assert stage.sentence.endswith(".")
            assert len(stage.sentence) > 40
            if stage.kind == "convolution":
                assert f"{stage.shape[2]} filters" in stage.sentence
                assert f"{stage.shape[0]} \u00d7 {stage.shape[1]}" in stage.sentence

    def test_every_layer_with_places_has_its_maps_and_every_convolution_its_filters(self, family):
        _, _, explanation = family
        # The pixels are shown once, however many channels repeat them.
        assert explanation.stages[0].picture.maps == 1
        for stage in explanation.stages[1:]:
            assert (stage.picture is not None) == (len(stage.shape) == 3)
            assert (stage.filters is not None) == (stage.kind == "convolution")
            for sheet in filter(None, (stage.picture, stage.filters)):
                assert file_of(sheet).startswith(b"\x89PNG")
                assert sheet.maps == stage.shape[2]

    def test_the_weights_add_up_to_the_network_s(self, family):
        _, seen, explanation = family
        traced = [(stage.weights, stage.bias) for stage in seen.stages]
        expected = sum(values.size for pair in traced for values in pair if values is not None)
        assert sum(stage.weights for stage in explanation.stages) == expected > 0

    def test_the_vector_and_the_last_layer_add_up_to_the_logit(self, family):
        _, seen, explanation = family
        stages = {stage.name: stage for stage in explanation.stages}
        logit = float(explained_logit(seen.logits.output[np.newaxis])[0])
        vector = next(stage.vector for stage in explanation.stages if stage.vector)
        for weighed in (vector.to_logit, stages["logits"].sum):
            assert whole(weighed) == pytest.approx(weighed.total, abs=1e-9)
            assert weighed.total == pytest.approx(logit, abs=1e-4)
        dense = stages["dense"].sum
        assert whole(dense) == pytest.approx(dense.total, abs=1e-4)
        assert dense.after == pytest.approx(max(0, dense.total), abs=1e-6)

    def test_each_number_of_the_vector_is_where_it_says(self, family):
        _, seen, explanation = family
        vector = next(stage.vector for stage in explanation.stages if stage.vector)
        maps = seen.stages[seen.vector - 1].output
        assert vector.height * vector.width * vector.maps == seen.stages[seen.vector].output.size
        assert vector.to_logit.largest
        for term in vector.to_logit.largest:
            assert term.position == (term.y * vector.width + term.x) * vector.maps + term.map
            assert term.value == pytest.approx(float(maps[term.y, term.x, term.map]), abs=1e-6)
            assert term.product == pytest.approx(term.value * term.weight)
        sizes = [abs(term.product) for term in vector.to_logit.largest]
        assert sizes == sorted(sizes, reverse=True)

    def test_the_worst_tile_and_the_frame_have_heat(self, family):
        config, _, explanation = family
        assert [(heat.over, heat.method) for heat in explanation.heat] == [
            ("tile", "grad_cam"), ("tile", "parts"), ("frame", "grad_cam"), ("frame", "parts")
        ]  # fmt: skip
        assert all(heat.tiles <= HEATED_TILES and heat.sentence.endswith(".") for heat in explanation.heat)
        assert explanation.heat[2].picture.width / explanation.heat[2].picture.height == pytest.approx(200 / 150)
        tile = explanation.tile
        assert (tile.size, tile.width, tile.height) == (config.input_size,) * 3
        assert 0 <= tile.x <= 200 - tile.size
        assert 0 <= tile.y <= 150 - tile.size

    def test_it_is_no_more_than_a_page_can_take(self, family):
        assert len(family[2].model_dump_json()) <= MOST_BYTES


def test_the_engine_gives_the_logit_that_is_taken_apart(tiny_models, class_models, steel_frame):
    for models, version in ((tiny_models, "tiny-64-first"), (class_models, "tiny-classes")):
        explainer = Explainer.load(Registry(models), version, "onnx", threads=1)
        for seed in range(3):
            seen = see(explainer, steel_frame(64, 64, seed=seed, defects=seed), 0)
            logits = explainer.inspector.engine.logits(seen.tile[np.newaxis])
            explanation = told(seen)
            stages = {stage.name: stage for stage in explanation.stages}
            assert whole(stages["logits"].sum) == pytest.approx(float(explained_logit(logits)[0]), abs=1e-4)
            vector = next(stage.vector for stage in explanation.stages if stage.vector)
            assert whole(vector.to_logit) == pytest.approx(float(explained_logit(logits)[0]), abs=1e-4)
            found = stages["probability"].probability
            assert found.calibrated == pytest.approx(explanation.defect_probability, abs=1e-6)
            assert found.verdict == explanation.verdict
            assert sum(each.calibrated for each in found.classes) == pytest.approx(1)


def test_a_network_of_several_classes_is_explained_for_the_likeliest(class_models, frame):
    explanation = told(see(Explainer.load(Registry(class_models), "tiny-classes", threads=1), frame, 0))
    stages = {stage.name: stage for stage in explanation.stages}
    classes = stages["probability"].probability.classes
    likeliest = max(classes[1:], key=lambda each: each.logit)
    assert [each.name for each in classes] == ["ok", "crack", "pit", "scratch"]
    assert explanation.defect_class == likeliest.name
    assert stages["logits"].sum.of == f"the logit of {likeliest.name} less that of ok"
    assert stages["logits"].sum.total == pytest.approx(likeliest.logit - classes[0].logit, abs=1e-4)
    assert "crack" in stages["logits"].sentence


def test_a_calibrator_stands_between_the_logit_and_the_probability(frame):
    calibrator = PlattCalibrator(slope=0.5, intercept=-1)
    explanation = told(see(explainer_of(PRESETS["steel-64"], calibrator), frame, 0))
    found = explanation.stages[-1].probability
    assert found.calibrated_logit == pytest.approx(0.5 * found.logit - 1)
    assert found.calibrated == pytest.approx(1 / (1 + math.exp(-found.calibrated_logit)))
    assert found.network == pytest.approx(1 / (1 + math.exp(-found.logit)), abs=1e-6)
    assert "platt" in explanation.stages[-1].sentence


def test_a_resized_frame_is_one_tile_with_heat_in_the_frame_s_shape(steel_frame):
    explanation = told(see(explainer_of(PRESETS["steel-64"], fit=Fit.RESIZE), steel_frame(90, 170, seed=2), 0))
    tile = explanation.tile
    assert (tile.fit, tile.x, tile.y, tile.width, tile.height, tile.size) == ("resize", 0, 0, 170, 90, 64)
    over_frame = [heat.picture for heat in explanation.heat if heat.over == "frame"]
    assert [picture.width / picture.height for picture in over_frame] == [pytest.approx(170 / 90)] * 2


@pytest.mark.parametrize(("height", "width"), [(20, 30), (64, 64), (8, 200)])
def test_frames_that_are_a_tile_or_smaller(steel_frame, height, width):
    explanation = told(see(explainer_of(PRESETS["steel-64"]), steel_frame(height, width, seed=1), 0))
    assert explanation.tile.x + explanation.tile.width <= width
    assert explanation.tile.y + explanation.tile.height <= height
    assert any(heat.over == "frame" for heat in explanation.heat) == ((height, width) != (64, 64))


def test_the_pixels_are_the_tile_s(frame):
    explanation = told(see(explainer_of(PRESETS["steel-64"]), frame, 0))
    tile, pixels = explanation.tile, explanation.stages[0].pixels
    np.testing.assert_array_equal(pixels.values, frame[tile.y : tile.y + 64, tile.x : tile.x + 64])
    patch = pixels.patch
    values = np.array(pixels.values)[patch.y : patch.y + patch.height, patch.x : patch.x + patch.width]
    np.testing.assert_array_equal(patch.values, values)


def test_what_the_frame_before_was_judged_for_is_not_explained_again(steel_frame):
    """A defect in the repeated rows alone: the worst tile is one of the new surface."""
    frame = steel_frame(256, 64, seed=1)
    frame[10:30, 10:30] = 0
    explainer = explainer_of(PRESETS["steel-64"])
    alone = [see(explainer, frame, overlap) for overlap in (0, 64)]
    for seen in alone:
        y, x, _, _ = seen.box
        np.testing.assert_array_equal(seen.tile, frame[y : y + 64, x : x + 64])
        scored = told(seen).tile.defect_probability
        assert scored == pytest.approx(seen.inspection.defect_probability, abs=1e-6)
    assert alone[1].box[0] > 0


@pytest.fixture(scope="module")
def seen(frame):
    return see(explainer_of(PRESETS["steel-64"]), frame, 0)


class TestParts:
    @pytest.mark.parametrize(("of", "maps"), [("maps", 1), ("before", 1), ("filters", 16)])
    def test_a_map_a_map_before_its_activation_and_a_filter(self, seen, of, maps):
        sheet = part(seen, Part(layer="convolution_2", of=of, number=31))
        assert sheet.maps == maps
        assert max(sheet.width, sheet.height) > 250

    @pytest.mark.parametrize(
        ("layer", "of", "number", "said"),
        [
            ("convolution_3", "maps", 0, "convolution_2"),
            ("convolution_2", "maps", 32, "32, counted from 0"),
            ("pool_1", "filters", 0, "no filters"),
            ("pool_1", "before", 0, "no before"),
            ("dense", "maps", 0, "no maps"),
            ("dense", "filters", 0, "no filters"),
        ],
    )
    def test_what_there_is_not_is_said(self, seen, layer, of, number, said):
        with pytest.raises(LookupError, match=said):
            part(seen, Part(layer=layer, of=of, number=number))
