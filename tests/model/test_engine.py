"""model.engine: the same logits from every runtime, alone, together and at once."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from model.calibration import IdentityCalibrator
from model.engine import ENGINES, KerasEngine, OnnxEngine, network_input, open_engine
from model.errors import ErrorCode, SteelsightError
from model.network import Block, NetworkConfig

RGB = NetworkConfig(input_size=32, channels=3, blocks=(Block(filters=3, padding="same"),), dense_units=5, outputs=4)


def probabilities(engine, tiles):
    return IdentityCalibrator().probabilities(engine.logits(tiles))


@pytest.fixture(scope="module")
def engines(tiny_models):
    return {name: open_engine(name, tiny_models / "tiny-64-first", threads=1) for name in ENGINES}


@pytest.fixture(scope="module")
def colour_model(seeded_network):
    return seeded_network(RGB, 3)


@pytest.fixture(scope="module")
def colour_engines(colour_model, tmp_path_factory):
    from model.export import save_keras, save_onnx

    folder = tmp_path_factory.mktemp("colour")
    save_keras(colour_model, folder)
    save_onnx(colour_model, folder)
    return {name: open_engine(name, folder, threads=1) for name in ENGINES}


class TestAgreement:
    def test_of_probabilities_on_tiles_that_spread_over_all_of_them(self, engines, steel_tiles):
        tiles = steel_tiles(64, 64, seed=7)
        keras, onnx = (probabilities(engines[name], tiles) for name in ("keras", "onnx"))
        assert keras.min() < 0.1
        assert keras.max() > 0.9
        assert np.abs(keras - onnx).max() < 1e-6

    @pytest.mark.parametrize("value", [0, 1, 127, 254, 255])
    def test_on_constant_tiles(self, engines, value):
        tiles = np.full((1, 64, 64), value, np.uint8)
        assert abs(probabilities(engines["keras"], tiles) - probabilities(engines["onnx"], tiles)) < 1e-6

    def test_with_colour_and_several_classes(self, colour_engines, steel_tiles):
        tiles = steel_tiles(20, 32)
        keras, onnx = (probabilities(colour_engines[name], tiles) for name in ("keras", "onnx"))
        assert np.abs(keras - onnx).max() < 1e-6
        assert np.ptp(keras) > 0.1

    def test_with_the_model_that_was_saved(self, colour_model, colour_engines, steel_tiles):
        tiles = steel_tiles(20, 32)
        grey_in_every_channel = np.repeat(tiles[..., np.newaxis], 3, axis=3).astype(np.float32)
        classes = np.asarray(colour_model(grey_in_every_channel), np.float64)
        for engine in colour_engines.values():
            np.testing.assert_allclose(probabilities(engine, tiles), 1 - classes[:, 0], atol=1e-6)


@pytest.mark.parametrize("name", ["keras", "onnx"])
class TestEachEngine:
    def test_gives_float32_logits_of_every_tile(self, engines, colour_engines, name, steel_tiles):
        assert engines[name].name == name
        for count in (1, 2, 33):
            logits = engines[name].logits(steel_tiles(40, 64)[:count])
            assert logits.shape == (count, 1)
            assert logits.dtype == np.float32
        assert colour_engines[name].logits(steel_tiles(5, 32)).shape == (5, 4)

    def test_batch_answer_equals_the_single_answers(self, engines, name, steel_tiles):
        tiles = steel_tiles(40, 64, seed=5)
        single = np.concatenate([probabilities(engines[name], tile[np.newaxis]) for tile in tiles])
        # TensorFlow sums in another order for another batch size: float32 then differs in the last digits.
        np.testing.assert_allclose(probabilities(engines[name], tiles), single, atol=5e-6, rtol=0)

    def test_order_of_the_batch_does_not_matter(self, engines, name, steel_tiles):
        tiles = steel_tiles(40, 64, seed=6)
        order = np.random.default_rng(0).permutation(40)
        np.testing.assert_allclose(
            probabilities(engines[name], tiles[order]), probabilities(engines[name], tiles)[order], atol=1e-6, rtol=0
        )

    def test_many_threads_get_their_own_answers(self, engines, name, steel_tiles):
        """Each thread has other tiles, so that a mix-up would show."""
        work = [steel_tiles(8, 64, seed=100 * seed) for seed in range(8)]
        expected = [engines[name].logits(tiles) for tiles in work]
        with ThreadPoolExecutor(8) as pool:
            for number, logits in enumerate(pool.map(engines[name].logits, work * 8)):
                np.testing.assert_allclose(logits, expected[number % 8], atol=1e-5)

    def test_the_tiles_are_not_changed(self, engines, name, steel_tiles):
        tiles = steel_tiles(8, 64)
        before = tiles.copy()
        engines[name].logits(tiles)
        np.testing.assert_array_equal(tiles, before)


def test_grey_is_repeated_over_the_channels(steel_tiles):
    tiles = steel_tiles(4, 16)
    for channels in (1, 3):
        fed = network_input(tiles, channels)
        assert fed.shape == (4, 16, 16, channels)
        assert fed.dtype == np.float32
        for channel in range(channels):
            np.testing.assert_array_equal(fed[..., channel], tiles)


def test_the_names_are_those_of_the_contract():
    assert {"onnx": OnnxEngine, "keras": KerasEngine} == ENGINES


def test_keras_engine_checks_the_layers_first(tmp_path):
    (tmp_path / "model.keras").write_bytes(b"not a model")
    with pytest.raises(SteelsightError) as caught:
        open_engine("keras", tmp_path)
    assert caught.value.code is ErrorCode.ARTIFACT_INVALID


SERVE = """
import sys
from pathlib import Path
import numpy as np
from model.__main__ import main
from model.engine import open_engine
folder, image = Path(sys.argv[1]), sys.argv[2]
assert open_engine("onnx", folder / "tiny-64-first").logits(np.zeros((1, 64, 64), np.uint8)).shape == (1, 1)
assert main(["inspect", "tiny-64-first", image, "--models", str(folder)]) == 0
print(sorted(name for name in sys.modules if name.split(".")[0] in {"tensorflow", "keras", "h5py", "training", "app"}))
"""


def test_serving_imports_no_tensorflow(tiny_models, make_file, steel_frame, tmp_path):
    image = tmp_path / "frame.png"
    image.write_bytes(make_file(steel_frame(64, 64), "png"))
    done = subprocess.run(
        [sys.executable, "-c", SERVE, tiny_models, image], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


def test_onnx_runtime_leaves_no_telemetry_behind(tiny_models, tmp_path):
    """Its builds write an identifier below the home folder and queue reports there unless they are told not to."""
    program = (
        "import sys; from pathlib import Path;"
        "from model.inspector import Inspector; from model.registry import Registry;"
        "registry = Registry(Path(sys.argv[1]));"
        "Inspector.load(registry, registry.require_active(), 'onnx').warm()"
    )
    # CI and the test variables of its makers would switch it off by themselves and hide a regression.
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(Path.cwd())}
    subprocess.run([sys.executable, "-c", program, str(tiny_models)], check=True, env=environment, timeout=60)
    assert list(tmp_path.rglob("*")) == []
