"""model.network: the presets' shapes and sizes as literals, and every configuration against Keras itself."""

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from model.artifact import MAX_FILE_BYTES
from model.export import save_keras
from model.layers import MAX_CONFIG_BYTES, check_layers
from model.network import PRESETS, Block, NetworkConfig, build, logits_model

SHAPES = {
    "steel-128": [
        ("rescale", (128, 128, 1)),
        ("convolution_1", (126, 126, 16)),
        ("pool_1", (63, 63, 16)),
        ("convolution_2", (61, 61, 32)),
        ("pool_2", (30, 30, 32)),
        ("flatten", (28_800,)),
        ("dense", (64,)),
        ("logits", (1,)),
        ("probability", (1,)),
    ],
    "steel-64": [
        ("rescale", (64, 64, 1)),
        ("convolution_1", (62, 62, 16)),
        ("pool_1", (31, 31, 16)),
        ("convolution_2", (29, 29, 32)),
        ("pool_2", (14, 14, 32)),
        ("flatten", (6_272,)),
        ("dense", (64,)),
        ("logits", (1,)),
        ("probability", (1,)),
    ],
    "steel-128-deep": [
        ("rescale", (128, 128, 1)),
        ("convolution_1", (126, 126, 16)),
        ("pool_1", (63, 63, 16)),
        ("convolution_2", (61, 61, 32)),
        ("pool_2", (30, 30, 32)),
        ("convolution_3", (28, 28, 64)),
        ("pool_3", (14, 14, 64)),
        ("flatten", (12_544,)),
        ("dense", (64,)),
        ("logits", (1,)),
        ("probability", (1,)),
    ],
    "rgb-224": [
        ("rescale", (224, 224, 3)),
        ("convolution_1", (224, 224, 32)),
        ("pool_1", (112, 112, 32)),
        ("convolution_2", (112, 112, 64)),
        ("pool_2", (56, 56, 64)),
        ("flatten", (200_704,)),
        ("dense", (128,)),
        ("logits", (10,)),
        ("probability", (10,)),
    ],
    "pool-first-128": [
        ("rescale", (128, 128, 3)),
        ("pool_before_1", (64, 64, 3)),
        ("convolution_1", (32, 32, 12)),
        ("pool_1", (16, 16, 12)),
        ("flatten", (3_072,)),
        ("dense", (64,)),
        ("logits", (1,)),
        ("probability", (1,)),
    ],
    "steel-128-local": [
        ("rescale", (128, 128, 1)),
        ("convolution_1", (64, 64, 32)),
        ("normalization_1", (64, 64, 32)),
        ("relu_1", (64, 64, 32)),
        ("pool_1", (32, 32, 32)),
        ("convolution_2", (32, 32, 64)),
        ("normalization_2", (32, 32, 64)),
        ("relu_2", (32, 32, 64)),
        ("pool_2", (1, 1, 128)),
        ("flatten", (128,)),
        ("dense", (64,)),
        ("dropout", (64,)),
        ("logits", (1,)),
        ("probability", (1,)),
    ],
    "steel-64-local": [
        ("level", (64, 64, 1)),
        ("rescale", (64, 64, 1)),
        ("convolution_1", (32, 32, 48)),
        ("normalization_1", (32, 32, 48)),
        ("relu_1", (32, 32, 48)),
        ("pool_1", (16, 16, 48)),
        ("convolution_2", (16, 16, 96)),
        ("normalization_2", (16, 16, 96)),
        ("relu_2", (16, 16, 96)),
        ("pool_2", (1, 1, 192)),
        ("flatten", (192,)),
        ("dense", (64,)),
        ("dropout", (64,)),
        ("logits", (1,)),
        ("probability", (1,)),
    ],
    "steel-128-line": [
        ("rescale", (128, 128, 1)),
        ("convolution_1", (61, 61, 32)),
        ("normalization_1", (61, 61, 32)),
        ("relu_1", (61, 61, 32)),
        ("pool_1", (30, 30, 32)),
        ("convolution_2", (22, 22, 64)),
        ("normalization_2", (22, 22, 64)),
        ("relu_2", (22, 22, 64)),
        ("pool_2", (1, 1, 128)),
        ("flatten", (128,)),
        ("dense", (64,)),
        ("dropout", (64,)),
        ("logits", (1,)),
        ("probability", (1,)),
    ],
    "steel-64-line": [
        ("rescale", (64, 64, 1)),
        ("convolution_1", (29, 29, 48)),
        ("normalization_1", (29, 29, 48)),
        ("relu_1", (29, 29, 48)),
        ("pool_1", (14, 14, 48)),
        ("convolution_2", (8, 8, 96)),
        ("normalization_2", (8, 8, 96)),
        ("relu_2", (8, 8, 96)),
        ("pool_2", (1, 1, 192)),
        ("flatten", (192,)),
        ("dense", (64,)),
        ("dropout", (64,)),
        ("logits", (1,)),
        ("probability", (1,)),
    ],
    "steel-128-deeper": [
        ("rescale", (128, 128, 1)),
        ("convolution_1", (128, 128, 32)),
        ("normalization_1", (128, 128, 32)),
        ("relu_1", (128, 128, 32)),
        ("pool_1", (32, 32, 32)),
        ("convolution_2", (32, 32, 64)),
        ("normalization_2", (32, 32, 64)),
        ("relu_2", (32, 32, 64)),
        ("convolution_3", (32, 32, 64)),
        ("normalization_3", (32, 32, 64)),
        ("relu_3", (32, 32, 64)),
        ("pool_3", (16, 16, 64)),
        ("convolution_4", (16, 16, 128)),
        ("normalization_4", (16, 16, 128)),
        ("relu_4", (16, 16, 128)),
        ("convolution_5", (16, 16, 128)),
        ("normalization_5", (16, 16, 128)),
        ("relu_5", (16, 16, 128)),
        ("pool_5", (8, 8, 128)),
        ("convolution_6", (8, 8, 128)),
        ("normalization_6", (8, 8, 128)),
        ("relu_6", (8, 8, 128)),
        ("convolution_7", (8, 8, 128)),
        ("normalization_7", (8, 8, 128)),
        ("relu_7", (8, 8, 128)),
        ("pool_7", (1, 1, 256)),
        ("flatten", (256,)),
        ("dense", (64,)),
        ("dropout", (64,)),
        ("logits", (1,)),
        ("probability", (1,)),
    ],
    "steel-64-deeper": [
        ("level", (64, 64, 1)),
        ("rescale", (64, 64, 1)),
        ("convolution_1", (64, 64, 32)),
        ("normalization_1", (64, 64, 32)),
        ("relu_1", (64, 64, 32)),
        ("pool_1", (32, 32, 32)),
        ("convolution_2", (32, 32, 64)),
        ("normalization_2", (32, 32, 64)),
        ("relu_2", (32, 32, 64)),
        ("convolution_3", (32, 32, 64)),
        ("normalization_3", (32, 32, 64)),
        ("relu_3", (32, 32, 64)),
        ("pool_3", (16, 16, 64)),
        ("convolution_4", (16, 16, 128)),
        ("normalization_4", (16, 16, 128)),
        ("relu_4", (16, 16, 128)),
        ("convolution_5", (16, 16, 128)),
        ("normalization_5", (16, 16, 128)),
        ("relu_5", (16, 16, 128)),
        ("pool_5", (8, 8, 128)),
        ("convolution_6", (8, 8, 128)),
        ("normalization_6", (8, 8, 128)),
        ("relu_6", (8, 8, 128)),
        ("convolution_7", (8, 8, 128)),
        ("normalization_7", (8, 8, 128)),
        ("relu_7", (8, 8, 128)),
        ("pool_7", (1, 1, 256)),
        ("flatten", (256,)),
        ("dense", (64,)),
        ("dropout", (64,)),
        ("logits", (1,)),
        ("probability", (1,)),
    ],
}
PARAMETERS = {
    "steel-128": 1_848_129,
    "steel-64": 406_337,
    "steel-128-deep": 826_241,
    "rgb-224": 25_710_922,
    "pool-first-128": 197_073,
    "steel-128-local": 110_625,
    "steel-64-local": 241_137,
    "steel-128-line": 176_161,
    "steel-64-line": 241_137,
    "steel-128-deeper": 591_393,
    "steel-64-deeper": 591_393,
}


def test_every_preset_is_in_the_tables():
    assert set(PRESETS) == set(SHAPES) == set(PARAMETERS)


def keras_shapes(model):
    return [(layer.name, tuple(layer.output.shape[1:])) for layer in model.layers]


@pytest.mark.parametrize("preset", SHAPES)
class TestPresets:
    def test_shapes_without_keras(self, preset):
        assert PRESETS[preset].layers() == SHAPES[preset]

    def test_shapes_and_parameters_in_keras(self, preset):
        model = build(PRESETS[preset])
        assert keras_shapes(model) == SHAPES[preset]
        assert model.count_params() == PRESETS[preset].weights() == PARAMETERS[preset]
        assert model.input_shape == (None, *SHAPES[preset][0][1])


def test_layers_of_steel_128_are_what_they_are_called():
    model = build(PRESETS["steel-128"])
    first, second = model.get_layer("convolution_1"), model.get_layer("convolution_2")
    assert [(layer.kernel_size, layer.padding, layer.activation.__name__) for layer in (first, second)] == [
        ((3, 3), "valid", "relu")
    ] * 2
    assert model.get_layer("pool_1").pool_size == (2, 2)
    assert model.get_layer("dense").activation.__name__ == "relu"
    assert model.get_layer("logits").activation.__name__ == "linear"
    assert model.get_layer("probability").activation.__name__ == "sigmoid"
    assert build(PRESETS["rgb-224"]).get_layer("probability").activation.__name__ == "softmax"


blocks = st.builds(
    Block,
    filters=st.integers(1, 4),
    kernel=st.integers(1, 5),
    stride=st.integers(1, 3),
    padding=st.sampled_from(["valid", "same"]),
    pooling=st.sampled_from(["max", "average", "max_and_average"]),
    pool_before=st.integers(1, 3),
    pool_after=st.integers(1, 3),
)


class TestAnyConfiguration:
    @given(
        input_size=st.integers(1, 40),
        channels=st.sampled_from([1, 3]),
        stack=st.lists(blocks, min_size=1, max_size=3),
        dropout=st.sampled_from([0.0, 0.5]),
        outputs=st.integers(1, 4),
        global_pooling=st.booleans(),
        levelled=st.booleans(),
    )
    @settings(max_examples=25, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
    def test_has_the_shapes_keras_gives_it(
        self, input_size, channels, stack, dropout, outputs, global_pooling, levelled
    ):
        try:
            config = NetworkConfig(
                input_size=input_size,
                channels=channels,
                blocks=tuple(stack),
                dense_units=5,
                dropout=dropout,
                outputs=outputs,
                global_pooling=global_pooling,
                levelled=levelled,
            )
        except ValidationError:
            assume(False)
        model = build(config)
        assert keras_shapes(model) == config.layers()
        assert model.count_params() == config.weights()
        weights = {layer.name: sum(map(np.size, layer.get_weights())) for layer in model.layers}
        depth = channels
        for number, block in enumerate(stack, start=1):
            twice = 2 if block.pooling == "max_and_average" else 1
            depth *= twice if block.pool_before > 1 else 1
            assert weights[f"convolution_{number}"] == (block.kernel**2 * depth + 1) * block.filters
            depth = block.filters * (twice if block.pool_after > 1 else 1)

    def test_survives_json(self):
        for config in PRESETS.values():
            assert NetworkConfig.model_validate_json(config.model_dump_json()) == config


class TestSizesThatVanish:
    @pytest.mark.parametrize(
        ("stack", "named"),
        [
            ((Block(filters=1, kernel=9),), "convolution_1"),
            ((Block(filters=1, pool_before=9),), "pool_before_1"),
            ((Block(filters=1, kernel=7, pool_after=4),), "pool_1"),
            ((Block(filters=1), Block(filters=1, pool_after=1), Block(filters=1)), "convolution_3"),
            ((Block(filters=1, padding="same"), Block(filters=1, kernel=4), Block(filters=1)), "pool_2"),
        ],
    )
    def test_name_the_layer(self, stack, named):
        with pytest.raises(ValidationError, match=rf"layer {named}\b"):
            NetworkConfig(input_size=8, blocks=stack)

    def test_one_pixel_that_remains_is_enough(self):
        assert NetworkConfig(input_size=8, blocks=(Block(filters=1, kernel=7),)).layers()[2].shape == (1, 1, 1)


class TestSizesThatNoVersionHas:
    """What training refuses is what loading would refuse: `model.layers`."""

    def test_the_weights_of_the_whole_file(self):
        one = Block(filters=32)  # 127,008 numbers reach the dense layer.
        assert 4 * NetworkConfig(blocks=(one,), dense_units=1005).weights() < MAX_FILE_BYTES - MAX_CONFIG_BYTES
        with pytest.raises(ValidationError, match=r"127,772,381 weights \(511 MB\).*fewer dense_units"):
            NetworkConfig(blocks=(one,), dense_units=1006)

    def test_the_numbers_that_reach_the_dense_layer(self, tmp_path):
        """A thousand pixels a side and one map: few weights, and a configuration that names too large a number."""
        pixels = {"blocks": (Block(filters=1, kernel=1, pool_after=1),), "dense_units": 1}
        save_keras(build(NetworkConfig(input_size=1000, **pixels)), tmp_path)
        check_layers(tmp_path / "model.keras")
        with pytest.raises(ValidationError, match="layer flatten makes 1,002,001 numbers"):
            NetworkConfig(input_size=1001, **pixels)


class TestVariants:
    def test_global_pooling_averages_each_map(self):
        config = NetworkConfig(input_size=12, blocks=(Block(filters=3),), dense_units=2, global_pooling=True)
        model = build(config)
        assert model.get_layer("global_average").__class__.__name__ == "GlobalAveragePooling2D"
        assert config.layers()[3] == ("global_average", (3,))

    def test_max_and_average_pooling_lie_side_by_side(self):
        image = np.random.default_rng(0).uniform(0, 255, (2, 6, 6, 1)).astype(np.float32)
        block = Block(filters=1, kernel=1, pool_before=3, pool_after=1, pooling="max_and_average")
        model = build(NetworkConfig(input_size=6, blocks=(block,)))
        windows = (image / 255).reshape(2, 2, 3, 2, 3).transpose(0, 1, 3, 2, 4).reshape(2, 2, 2, 9)
        pooled = model.layers[1](image / np.float32(255))
        np.testing.assert_allclose(pooled[..., 0], windows.max(axis=-1), rtol=1e-6)
        np.testing.assert_allclose(pooled[..., 1], windows.mean(axis=-1), rtol=1e-5)

    def test_average_pooling(self):
        model = build(NetworkConfig(input_size=12, blocks=(Block(filters=3, pooling="average", pool_before=2),)))
        names = {layer.name: layer.__class__.__name__ for layer in model.layers}
        assert names["pool_1"] == names["pool_before_1"] == "AveragePooling2D"

    def test_dropout_acts_in_training_only(self):
        model = build(NetworkConfig(input_size=12, blocks=(Block(filters=3),), dropout=0.9))
        image = np.full((1, 12, 12, 1), 100, np.float32)
        np.testing.assert_array_equal(model(image, training=False), model(image, training=False))
        assert model.get_layer("dropout").rate == 0.9

    def test_no_dropout_has_no_layer(self):
        assert "dropout" not in [layer.name for layer in PRESETS["steel-128"].layers()]

    def test_raw_grey_is_rescaled_inside(self):
        model = build(NetworkConfig(input_size=8, blocks=(Block(filters=2),)))
        assert float(np.max(model.layers[0](np.full((1, 8, 8, 1), 255, np.float32)))) == pytest.approx(1)

    @pytest.mark.parametrize("channels", [1, 3])
    def test_a_levelled_network_is_blind_to_exposure(self, channels):
        model = build(NetworkConfig(input_size=8, channels=channels, levelled=True, blocks=(Block(filters=4),)))
        tiles = np.random.default_rng(0).integers(10, 60, (5, 8, 8, 1)).repeat(channels, axis=3).astype(np.float32)
        dark, bright = (np.asarray(logits_model(model)(factor * tiles)) for factor in (0.5, 4))
        np.testing.assert_allclose(dark, bright, rtol=1e-4, atol=1e-6)
        first = model.get_layer("rescale")(model.get_layer("level")(np.full_like(tiles, 90)))
        np.testing.assert_allclose(first, 0, atol=1e-5)

    def test_what_normalisation_keeps_is_true_after_a_few_hundred_steps(self):
        """Of tiles of little contrast, whose variance is far below the 1 that it begins at."""
        model = logits_model(build(NetworkConfig(input_size=8, blocks=(Block(filters=4, normalize=True),))))
        tiles = np.random.default_rng(0).normal(60, 2, (32, 8, 8, 1)).astype(np.float32)
        fitted_to = np.asarray([model(tiles, training=True) for _ in range(300)][-1])
        np.testing.assert_allclose(np.asarray(model(tiles)), fitted_to, rtol=0.02, atol=0.02 * np.ptp(fitted_to))

    def test_a_levelled_network_stands_black_and_saturated_tiles(self):
        model = build(NetworkConfig(input_size=8, levelled=True, blocks=(Block(filters=2),)))
        extremes = np.stack([np.full((8, 8, 1), value, np.float32) for value in (0, 1, 255)])
        assert np.isfinite(np.asarray(model(extremes))).all()

    @pytest.mark.parametrize("outputs", [1, 3])
    def test_probability_follows_from_the_logits(self, outputs):
        model = build(NetworkConfig(input_size=8, blocks=(Block(filters=2),), outputs=outputs))
        images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 1)).astype(np.float32)
        logits = np.asarray(logits_model(model)(images), np.float64)
        powers = np.exp(logits)
        expected = powers / (1 + powers) if outputs == 1 else powers / powers.sum(axis=1, keepdims=True)
        np.testing.assert_allclose(np.asarray(model(images)), expected, atol=1e-6)

    def test_mixed_precision_ends_in_float32(self):
        import keras

        keras.mixed_precision.set_global_policy("mixed_float16")
        try:
            model = build(NetworkConfig(input_size=8, blocks=(Block(filters=2),)))
        finally:
            keras.mixed_precision.set_global_policy("float32")
        assert model.outputs[0].dtype == "float32"


@pytest.mark.parametrize(
    "wrong",
    [
        {"input_size": 0},
        {"input_size": 5000},
        {"channels": 2},
        {"blocks": ()},
        {"dense_units": 0},
        {"dropout": 1.0},
        {"dropout": -0.1},
        {"dropout": float("nan")},
        {"outputs": 0},
        {"layers": 3},
        {"blocks": ({"filters": 0},)},
        {"blocks": ({"filters": 4, "kernel": 0},)},
        {"blocks": ({"filters": 4, "stride": 0},)},
        {"blocks": ({"filters": 4, "padding": "causal"},)},
        {"blocks": ({"filters": 4, "pooling": "median"},)},
        {"blocks": ({"filters": 4, "activation": "tanh"},)},
        {"blocks": ({},)},
    ],
    ids=str,
)
def test_invalid_values_are_refused(wrong):
    with pytest.raises(ValidationError):
        NetworkConfig.model_validate({"blocks": ({"filters": 4},)} | wrong)


class TestMultiplyAdds:
    def test_steel_128(self):
        """By hand: 126² x 16 x 9 x 1 + 61² x 32 x 9 x 16 + 28,800 x 64 + 64."""
        assert 126**2 * 144 + 61**2 * 4608 + 28_800 * 64 + 64 == 21_275_776
        assert PRESETS["steel-128"].multiply_adds() == 21_275_776

    def test_with_strides_colour_and_global_pooling(self):
        config = NetworkConfig(
            input_size=20,
            channels=3,
            blocks=(Block(filters=2, kernel=5, stride=2, padding="same", pool_before=2, pool_after=1),),
            dense_units=7,
            outputs=4,
            global_pooling=True,
        )
        assert config.multiply_adds() == 5 * 5 * 2 * 25 * 3 + 2 * 7 + 7 * 4
