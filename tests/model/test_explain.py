"""What is shown is what the network computes: traced values, exact parts, heat maps that look at the right place."""

import keras
import numpy as np
import pytest
from scipy.special import expit

from model.attribution import explained_logit, grad_cam, last_features, occlusion, parts, place_parts
from model.calibration import IdentityCalibrator
from model.engine import network_input
from model.errors import ErrorCode, SteelsightError
from model.explain import OCCLUDED_TILES, Explainer
from model.feature_maps import Reach, Window, convolve, flat_position, max_pool, reach, relu, trace
from model.network import Block, NetworkConfig, build, logits_model
from model.registry import Registry
from model.tiling import Fit

SIZE = 64
NETWORKS = {
    "flatten": NetworkConfig(input_size=SIZE, blocks=(Block(filters=4), Block(filters=8)), dense_units=16),
    "global average": NetworkConfig(input_size=SIZE, blocks=(Block(filters=4), Block(filters=8)), global_pooling=True),
    "colour, same padding": NetworkConfig(
        input_size=SIZE, channels=3, blocks=(Block(filters=4, kernel=5, stride=2, padding="same", pool_before=2),)
    ),
    "average pooling, dropout": NetworkConfig(
        input_size=SIZE, blocks=(Block(filters=4, pooling="average", pool_after=3),), dropout=0.5
    ),
    "two poolings": NetworkConfig(
        input_size=SIZE, blocks=(Block(filters=4), Block(filters=4, pooling="max_and_average", pool_after=3))
    ),
    "several classes": NetworkConfig(input_size=SIZE, blocks=(Block(filters=4),), outputs=4),
}


def normalised_network() -> keras.Model:
    """Layers as batch normalisation lays them: a convolution without bias or ReLU, then both of them apart."""
    layers = keras.layers
    network = keras.Sequential(
        [
            layers.Input((SIZE, SIZE, 1)),
            layers.Rescaling(1 / 255, name="rescale"),
            layers.Conv2D(6, 5, strides=2, use_bias=False, name="convolution_1"),
            layers.BatchNormalization(name="normalization_1"),
            layers.Activation("relu", name="relu_1"),
            layers.MaxPooling2D(30, name="pool_1"),
            layers.Flatten(name="flatten"),
            layers.Dense(8, activation="relu", name="dense"),
            layers.Dropout(0.5, name="dropout"),
            layers.Dense(1, name="logits"),
            layers.Activation("sigmoid", dtype="float32", name="probability"),
        ]
    )
    rng = np.random.default_rng(0)
    weights = [rng.normal(0.1, 0.3, 6), rng.normal(0, 0.1, 6), rng.normal(0, 0.3, 6), rng.uniform(0.5, 2, 6)]
    network.get_layer("normalization_1").set_weights(weights)
    return network


@pytest.fixture(scope="module", params=[*NETWORKS, "normalised"])
def network(request):
    keras.utils.set_random_seed(1)
    return normalised_network() if request.param == "normalised" else build(NETWORKS[request.param])


@pytest.fixture(scope="module")
def tile(steel_frame):
    return steel_frame(SIZE, SIZE, seed=5, defects=2)


@pytest.fixture(scope="module")
def explainer(tiny_models):
    return Explainer.load(Registry(tiny_models), "tiny-64-first")


def logit_of(network, tile):
    values = network_input(tile[np.newaxis], network.input_shape[3])
    return explained_logit(np.asarray(logits_model(network)(values, training=False)))[0]


class TestTrace:
    def test_every_value_is_the_network_s_own(self, network, tile):
        values = network_input(tile[np.newaxis], network.input_shape[3])
        whole = [
            keras.Sequential(network.layers[: index + 1])(values, training=False)
            for index in range(len(network.layers))
        ]
        stages = trace(network, tile)
        assert [stage.name for stage in stages] == [layer.name for layer in network.layers]
        for stage, expected in zip(stages, whole, strict=True):
            np.testing.assert_allclose(stage.output, np.asarray(expected)[0], atol=1e-6)

    def test_activations_lead_from_before_to_after(self, network, tile):
        shown = [stage for stage in trace(network, tile) if stage.activation == "relu"]
        assert shown
        for stage in shown:
            assert stage.before.min() < 0
            np.testing.assert_array_equal(stage.output, relu(stage.before).astype(np.float32))

    def test_convolution_relu_and_pooling_by_hand_give_the_same_maps(self, tile):
        network = build(NETWORKS["flatten"])
        rescale, first, pooled, second, *_ = trace(network, tile)
        for inputs, stage in ((rescale, first), (pooled, second)):
            for number in range(stage.output.shape[2]):
                channels = range(inputs.output.shape[2])
                answers = [convolve(inputs.output[..., c], stage.weights[:, :, c, number]) for c in channels]
                by_hand = sum(answers) + stage.bias[number]
                np.testing.assert_allclose(stage.before[..., number], by_hand, atol=1e-5)
        for number in range(4):
            np.testing.assert_array_equal(pooled.output[..., number], max_pool(first.output[..., number]))

    def test_flattening_puts_every_cell_where_it_is_said_to(self, tile):
        stages = {stage.name: stage for stage in trace(build(NETWORKS["flatten"]), tile)}
        maps, row = stages["pool_2"].output, stages["flatten"].output
        positions = [flat_position(*place, maps.shape[1], maps.shape[2]) for place in np.ndindex(maps.shape)]
        np.testing.assert_array_equal(row[positions], maps.ravel())
        assert sorted(positions) == list(range(len(row)))


class TestReach:
    def test_a_cell_changes_only_with_the_pixels_it_sees(self, network):
        """The geometry is measured: grey everywhere, one pixel changed, and the cells that notice."""
        index = last_features(network)
        rows, columns = reach(network, index)
        features = keras.Model(network.inputs[0], network.layers[index].output)
        plain = np.full((1, SIZE, SIZE), 128, np.uint8)
        for y, x in ((31, 31), (20, 41)):
            changed = plain.copy()
            changed[0, y, x] = 250
            before, after = (
                np.asarray(features(network_input(tiles, network.input_shape[3]), training=False)[0])
                for tiles in (plain, changed)
            )
            noticing = np.argwhere((before != after).any(axis=2))
            assert len(noticing)
            for row, column in noticing:
                assert abs(rows.first + rows.step * row - y) < rows.field / 2
                assert abs(columns.first + columns.step * column - x) < columns.field / 2

    def test_shares_keep_the_sum_and_spreads_keep_a_constant(self, network):
        rows, _ = reach(network, last_features(network))
        cells = network.layers[last_features(network)].output.shape[1]
        np.testing.assert_allclose(rows.share(cells, SIZE).sum(axis=0), 1)
        np.testing.assert_allclose(rows.spread(cells, SIZE).sum(axis=1), 1)

    def test_a_layer_that_resizes_spreads_its_cells_evenly(self):
        network = keras.Sequential([keras.layers.Input((8, 8, 1)), keras.layers.Resizing(4, 4)])
        rows, columns = reach(network, 0)
        assert (rows.first, rows.step) == (columns.first, columns.step) == (0.5, 2)

    def test_windows_of_padded_layers_begin_outside(self):
        assert Window((5, 5), (2, 2), (1, 1)).first(0, 0) == (-1, -1)
        assert Reach().through(5, 2, padding=1).first == 1


class TestParts:
    def test_parts_of_every_layer_sum_to_the_logit(self, network, tile):
        logit = logit_of(network, tile)
        stages = trace(network, tile)
        names = [stage.name for stage in stages]
        for index in range(names.index("logits")):
            assert parts(network, index, stages[index].output).logit == pytest.approx(logit, abs=1e-5)

    def test_the_parts_are_the_weights_along_the_open_units(self, tile):
        """sum_j w2_j [z_j > 0] (W1_j x + b1_j) + b2, from the dense layers' own weights."""
        network = build(NETWORKS["flatten"])
        network.get_layer("dense").bias.assign(np.linspace(-0.5, 0.5, 16))
        network.get_layer("logits").bias.assign([0.25])
        stages = {stage.name: stage for stage in trace(network, tile)}
        dense, logits, maps = stages["dense"], stages["logits"], stages["pool_2"].output
        opened = (dense.before > 0) * logits.weights[:, 0].astype(np.float64)
        assert 0 < np.count_nonzero(opened) < 16
        found = parts(network, 4, maps)
        by_hand = maps.ravel() * (dense.weights.astype(np.float64) @ opened)
        np.testing.assert_allclose(found.values.ravel(), by_hand, atol=1e-6)
        assert found.rest == pytest.approx(opened @ dense.bias + 0.25, abs=1e-5)
        np.testing.assert_allclose(found.of_maps, by_hand.reshape(-1, 8).sum(axis=0), atol=1e-6)
        assert found.of_maps.sum() + found.rest == pytest.approx(float(logits.output[0]), abs=1e-5)

    def test_parts_of_the_pixels_sum_to_the_parts_of_the_maps(self, network, tile):
        index = last_features(network)
        of_cells = parts(network, index, trace(network, tile)[index].output)
        pixels = place_parts(network, np.stack([tile, tile[::-1]]))
        assert pixels.shape == (2, SIZE, SIZE)
        assert pixels[0].sum(dtype=np.float64) + of_cells.rest == pytest.approx(logit_of(network, tile), abs=1e-4)


@pytest.fixture(scope="module")
def spotter():
    """A network that answers to one thing: a bright spot, wherever it lies."""
    keras.utils.set_random_seed(2)
    network = build(NETWORKS["global average"])
    for layer in network.layers:
        layer.set_weights([np.abs(weights) if weights.ndim > 1 else weights * 0 for weights in layer.get_weights()])
    network.get_layer("convolution_1").bias.assign(np.full(4, -0.5))
    return network


class TestHeat:
    @pytest.mark.parametrize(("y", "x"), [(20, 44), (48, 12), (32, 32)])
    def test_all_three_find_the_spot(self, spotter, y, x):
        tile = np.full((SIZE, SIZE), 10, np.uint8)
        tile[y - 3 : y + 4, x - 3 : x + 4] = 250

        def logits_of(tiles):
            return np.asarray(logits_model(spotter)(network_input(tiles, 1)))

        for heat in (
            grad_cam(spotter, tile[np.newaxis])[0],
            place_parts(spotter, tile[np.newaxis])[0],
            occlusion(logits_of, tile, square=8, stride=2),
        ):
            found = np.array(np.unravel_index(int(heat.argmax()), heat.shape))
            assert np.abs(found - (y, x)).max() <= 5
            assert heat[y, x] > 5 * np.abs(heat[:6, :6]).max()

    def test_grad_cam_is_never_below_0_and_0_without_evidence(self, network, tile):
        heat = grad_cam(network, np.stack([tile, np.zeros_like(tile)]))
        assert heat.shape == (2, SIZE, SIZE)
        assert heat.min() >= 0
        network_0 = build(NETWORKS["flatten"])
        network_0.get_layer("logits").kernel.assign(np.zeros((16, 1)))
        assert not grad_cam(network_0, tile[np.newaxis]).any()

    def test_covering_a_flat_tile_changes_nothing(self, explainer):
        flat = np.full((SIZE, SIZE), 90, np.uint8)
        heat = occlusion(explainer.inspector.engine.logits, flat, square=8, stride=4)
        np.testing.assert_allclose(heat, 0, atol=1e-5)

    @pytest.mark.parametrize(("square", "stride"), [(8, 8), (8, 3), (SIZE, 1), (7, 7)])
    def test_every_pixel_is_covered(self, square, stride, tile):
        def brightest(tiles):
            return tiles.reshape(len(tiles), -1).max(axis=1, keepdims=True).astype(np.float32)

        heat = occlusion(brightest, tile, square, stride)
        assert np.isfinite(heat).all()
        assert heat.shape == tile.shape


class TestExplainer:
    def test_the_last_value_is_the_engine_s_probability(self, explainer, steel_frame):
        for seed in range(6):
            frame = steel_frame(SIZE, SIZE, seed=seed, defects=seed)
            explanation = explainer.explain(frame)
            worst = explanation.worst
            inspected = explainer.inspector.inspect(frame)
            assert float(worst.stages[-1].output[0]) == pytest.approx(inspected.defect_probability, abs=1e-6)
            assert worst.defect_probability == pytest.approx(inspected.defect_probability, abs=1e-6)
            assert expit(worst.logit) == pytest.approx(inspected.defect_probability, abs=1e-6)
            for taken_apart in (worst.map_parts, worst.unit_parts):
                assert taken_apart.logit == pytest.approx(worst.logit, abs=1e-5)
            assert explanation.heat is None

    def test_a_frame_is_explained_by_its_worst_tile(self, explainer, steel_frame):
        frame = steel_frame(150, 200, seed=3, defects=4)
        explanation = explainer.explain(frame)
        y, x, height, width = explanation.box
        assert (height, width) == (SIZE, SIZE)
        np.testing.assert_array_equal(explanation.worst.tile, frame[y : y + SIZE, x : x + SIZE])
        probability = explanation.inspection.defect_probability
        assert explanation.worst.defect_probability == pytest.approx(probability, abs=1e-6)
        heat = explanation.heat
        assert heat.occluded == min(OCCLUDED_TILES, explanation.inspection.scores.size) == 12
        for values in (heat.place_parts, heat.grad_cam, heat.occlusion):
            assert values.shape == frame.shape
            assert values.min() >= 0
        assert heat.grad_cam.max() <= probability + 1e-6
        assert (heat.place_parts[y : y + SIZE, x : x + SIZE] >= explanation.worst.place_parts - 1e-6).all()

    @pytest.mark.parametrize(("height", "width"), [(20, 30), (8, 200), (64, 65)])
    def test_frames_of_any_shape(self, explainer, steel_frame, height, width):
        explanation = explainer.explain(steel_frame(height, width, seed=1))
        y, x, tall, wide = explanation.box
        assert y + tall <= height
        assert x + wide <= width
        assert explanation.worst.tile.shape == (SIZE, SIZE)
        if explanation.heat is not None:
            assert explanation.heat.grad_cam.shape == (height, width)

    def test_a_resized_image_is_one_tile(self, explainer, steel_frame):
        inspector = explainer.inspector
        fitting = inspector.fitting.model_copy(update={"fit": Fit.RESIZE})
        resizing = type(inspector)(
            inspector.version, inspector.engine, inspector.calibrator, inspector.thresholds, fitting
        )
        explanation = Explainer(explainer.manifest, resizing, explainer.network).explain(steel_frame(90, 170))
        assert explanation.box == (0, 0, 90, 170)
        assert explanation.heat is None
        probability = explanation.inspection.defect_probability
        assert explanation.worst.defect_probability == pytest.approx(probability, abs=1e-6)

    def test_a_damaged_version_is_refused(self, own_models):
        (own_models / "tiny-64-first" / "model.keras").write_bytes(b"changed")
        with pytest.raises(SteelsightError) as refusal:
            Explainer.load(Registry(own_models), "tiny-64-first")
        assert refusal.value.code is ErrorCode.ARTIFACT_INVALID

    def test_an_unknown_version_is_refused(self, tiny_models):
        with pytest.raises(SteelsightError) as refusal:
            Explainer.load(Registry(tiny_models), "none")
        assert refusal.value.code is ErrorCode.MODEL_UNKNOWN


def test_several_classes_are_explained_against_ok(tile):
    network = build(NETWORKS["several classes"])
    logits = np.asarray(logits_model(network)(network_input(tile[np.newaxis], 1)))
    assert logit_of(network, tile) == pytest.approx(float(logits[0, 1:].max() - logits[0, 0]), abs=1e-6)
    # "Any defect" is at least as probable as the likeliest defect class.
    assert IdentityCalibrator().probabilities(logits)[0] >= expit(logit_of(network, tile)) - 1e-9
