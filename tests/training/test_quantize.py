"""training.quantize: convolutions in 8 bits that answer nearly as they did."""

import numpy as np
import onnx
import pytest

from model.engine import open_engine
from model.export import save_keras, save_onnx
from model.network import Block, NetworkConfig
from training.quantize import INT8_STEPS, UINT8_STEPS, quantize, save_int8

TWO = NetworkConfig(input_size=32, blocks=(Block(filters=4), Block(filters=8, normalize=True)), dense_units=8)
ONE = NetworkConfig(input_size=32, blocks=(Block(filters=4),), dense_units=8)


def smooth_windows(count=4000, maps=4, seed=0):
    """Windows (n, maps * 9), >= 0, whose pixels go together as neighbours do, and whose maps reach differently far."""
    rng = np.random.default_rng(seed)
    level = rng.gamma(2, 1, (count, maps, 1)) * np.array([1, 0.3, 2, 0.05])[:maps, None]
    return np.maximum(level + 0.1 * level * rng.normal(size=(count, maps, 9)), 0).reshape(count, -1)


def outputs(found, windows, area=9):
    stored = np.clip(np.rint(windows / np.repeat(found.input_scales, area)), 0, UINT8_STEPS)
    kernels = found.kernels.reshape(len(found.kernels), -1) * found.kernel_scales[:, None]
    return stored @ kernels.T


def error(found, kernels, windows):
    exact = windows @ kernels.reshape(len(kernels), -1).T
    return relative(outputs(found, windows), exact)


def kernel_error(found, kernels, windows):
    """Of the kernels alone: input that is stored already is given to both."""
    steps = np.repeat(found.input_scales, 9)
    stored = np.clip(np.rint(windows / steps), 0, UINT8_STEPS)
    return relative(outputs(found, stored * steps), stored * steps @ kernels.reshape(len(kernels), -1).T)


def relative(found, exact):
    return float(np.sqrt(np.square(found - exact).mean() / np.square(exact).mean()))


@pytest.fixture
def kernels():
    return np.random.default_rng(1).normal(size=(6, 4, 3, 3)).astype(np.float32)


class TestOneConvolution:
    def test_answers_nearly_as_before(self, kernels):
        windows = smooth_windows()
        found = quantize(kernels, windows)
        assert error(found, kernels, windows) < 0.02
        assert error(found, kernels, smooth_windows(seed=9)) < 0.025

    def test_is_better_than_rounding_each_weight(self, kernels):
        windows = smooth_windows()
        found = quantize(kernels, windows)
        factors = np.repeat(found.input_scales, 9).reshape(1, 4, 3, 3)
        nearest = np.rint(kernels * factors / found.kernel_scales[:, None, None, None])
        plain = found._replace(kernels=np.clip(nearest, -INT8_STEPS, INT8_STEPS))
        assert kernel_error(found, kernels, windows) < 0.7 * kernel_error(plain, kernels, windows)

    @pytest.mark.parametrize("largest", [0, 1e-12, 1e6])
    def test_of_windows_of_any_reach(self, kernels, largest):
        windows = smooth_windows() / smooth_windows().max() * largest
        found = quantize(kernels, windows)
        assert np.isfinite(outputs(found, windows)).all()
        assert np.abs(found.kernels.astype(int)).max() <= INT8_STEPS
        assert (found.input_scales > 0).all()

    def test_with_a_map_that_is_always_zero(self, kernels):
        windows = smooth_windows().reshape(-1, 4, 9)
        windows[:, 2] = 0
        assert error(quantize(kernels, windows.reshape(-1, 36)), kernels, windows.reshape(-1, 36)) < 0.02

    def test_with_a_filter_of_zeros(self, kernels):
        kernels[3] = 0
        assert not outputs(quantize(kernels, smooth_windows()), smooth_windows())[:, 3].any()


@pytest.fixture(scope="module")
def folder(seeded_network, steel_tiles, tmp_path_factory):
    folder = tmp_path_factory.mktemp("network")
    model = seeded_network(TWO, 1)
    save_keras(model, folder)
    save_onnx(model, folder)
    return folder


def test_only_inner_convolutions_are_in_8_bits(folder, steel_tiles):
    assert save_int8(folder, steel_tiles(64, 32), seed=0)
    for file in ("model.int8.onnx", "trunk.int8.onnx"):
        model = onnx.load(folder / file)
        onnx.checker.check_model(model)
        in_8_bits = [list(each.dims) for each in model.graph.initializer if each.data_type == onnx.TensorProto.INT8]
        assert [8, 4, 3, 3] in in_8_bits
        assert [4, 1, 3, 3] not in in_8_bits
        assert sum(node.op_type == "QuantizeLinear" for node in model.graph.node) == 1


def test_the_whole_and_its_halves_are_quantized_alike(folder, steel_tiles):
    save_int8(folder, steel_tiles(64, 32), seed=0)
    engine, exact = (open_engine(name, folder, 1) for name in ("openvino-int8", "onnx"))
    tiles = steel_tiles(20, 32, seed=50)
    whole = engine.logits(tiles)
    halves = np.concatenate([engine.head(engine.trunk(tile)[np.newaxis]) for tile in tiles])
    np.testing.assert_allclose(halves, whole, atol=1e-3)
    assert 0 < np.abs(whole - exact.logits(tiles)).max() < 0.2 * np.ptp(exact.logits(tiles))


def test_the_same_seed_writes_the_same_file(folder, steel_tiles):
    files = []
    for seed in (0, 0, 1):
        save_int8(folder, steel_tiles(300, 32), seed=seed)
        files.append((folder / "model.int8.onnx").read_bytes())
    assert files[0] == files[1] != files[2]


def test_of_one_convolution_nothing_is_written(seeded_network, steel_tiles, tmp_path):
    save_onnx(seeded_network(ONE, 1), tmp_path)
    assert not save_int8(tmp_path, steel_tiles(64, 32), seed=0)
    assert sorted(path.name for path in tmp_path.glob("*.int8.onnx")) == []
