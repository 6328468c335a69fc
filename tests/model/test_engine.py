"""model.engine: the same logits from every runtime, alone, together and at once."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from textwrap import dedent
from typing import get_args

import numpy as np
import pytest

from model.calibration import IdentityCalibrator
from model.choices import EngineChoice
from model.engine import ENGINES, network_input, open_engine
from model.engines.openvino import _properties
from model.errors import ErrorCode, SteelsightError
from model.export import save_keras, save_onnx
from model.network import Block, NetworkConfig
from model.precision import AUTO
from training.quantize import save_int8

ROOT = Path(__file__).parents[2]
RGB = NetworkConfig(
    input_size=32, channels=3, blocks=(Block(filters=3, padding="same"), Block(filters=4)), dense_units=5, outputs=4
)
HERE = [name for name, engine in ENGINES.items() if engine.runs_here()]
# Largest difference of a probability from the Keras model's: rounding of float32, or of 8 bits of each number. Kernels
# sum in the order of the processor's vectors: with those of 256 bits 1.03e-6 was seen, with those of 512 less.
WITHIN = {"onnx": 2e-6, "keras": 1e-6, "openvino": 2e-6, "openvino-bf16": 0.1, "openvino-int8": 0.1}


def probabilities(engine, tiles):
    return IdentityCalibrator().probabilities(engine.logits(tiles))


def exported(model, folder, tiles):
    """A folder with every file that an engine reads."""
    save_keras(model, folder)
    save_onnx(model, folder)
    assert save_int8(folder, tiles, seed=0)
    return folder


@pytest.fixture(scope="module")
def folder(seeded_network, steel_tiles, tmp_path_factory):
    network = NetworkConfig(input_size=64, blocks=(Block(filters=4), Block(filters=8)), dense_units=16)
    return exported(seeded_network(network, 1), tmp_path_factory.mktemp("grey"), steel_tiles(64, 64, seed=300))


@pytest.fixture(scope="module")
def engines(folder):
    return {name: open_engine(name, folder, threads=1) for name in HERE}


@pytest.fixture(scope="module")
def colour_model(seeded_network):
    return seeded_network(RGB, 3)


@pytest.fixture(scope="module")
def colour_engines(colour_model, steel_tiles, tmp_path_factory):
    folder = exported(colour_model, tmp_path_factory.mktemp("colour"), steel_tiles(64, 32, seed=300))
    return {name: open_engine(name, folder, threads=1) for name in HERE}


@pytest.mark.parametrize("name", HERE)
class TestAgreement:
    def test_of_probabilities_on_tiles_that_spread_over_all_of_them(self, engines, name, steel_tiles):
        tiles = steel_tiles(64, 64, seed=7)
        keras, other = (probabilities(engines[each], tiles) for each in ("keras", name))
        assert keras.min() < 0.1
        assert keras.max() > 0.9
        assert np.abs(keras - other).max() < WITHIN[name]

    @pytest.mark.parametrize("value", [0, 1, 127, 254, 255])
    def test_on_constant_tiles(self, engines, name, value):
        tiles = np.full((1, 64, 64), value, np.uint8)
        assert abs(probabilities(engines["keras"], tiles) - probabilities(engines[name], tiles)) < WITHIN[name]

    def test_with_colour_several_classes_and_the_model_that_was_saved(
        self, colour_model, colour_engines, name, steel_tiles
    ):
        tiles = steel_tiles(20, 32)
        grey_in_every_channel = np.repeat(tiles[..., np.newaxis], 3, axis=3).astype(np.float32)
        classes = np.asarray(colour_model(grey_in_every_channel), np.float64)
        found = probabilities(colour_engines[name], tiles)
        # Keras itself sums in another order when it is not compiled.
        np.testing.assert_allclose(found, 1 - classes[:, 0], atol=5 * WITHIN[name])
        assert np.ptp(found) > 0.1


@pytest.mark.parametrize("name", HERE)
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
        # Sums are taken in another order for another batch size: float32 then differs in the last digits.
        np.testing.assert_allclose(probabilities(engines[name], tiles), single, atol=5 * WITHIN[name], rtol=0)

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

    def test_an_answer_outlives_the_next_question(self, engines, name, steel_tiles):
        tiles = steel_tiles(8, 64)
        first = engines[name].logits(tiles)
        kept = first.copy()
        engines[name].logits(tiles[::-1].copy())
        np.testing.assert_array_equal(first, kept)

    def test_the_tiles_are_not_changed(self, engines, name, steel_tiles):
        tiles = steel_tiles(8, 64)
        before = tiles.copy()
        engines[name].logits(tiles)
        np.testing.assert_array_equal(tiles, before)

    def test_the_halves_make_the_whole(self, engines, name, steel_tiles):
        engine, tiles = engines[name], steel_tiles(16, 64, seed=9)
        assert engine.shares_convolutions
        whole = engine.logits(tiles)
        halves = np.concatenate([engine.head(engine.trunk(tile)[np.newaxis]) for tile in tiles])
        assert np.abs(halves - whole).max() <= engine.rounding * np.abs(whole).max()

    def test_a_padded_network_has_no_halves(self, colour_engines, name):
        assert not colour_engines[name].shares_convolutions


@pytest.mark.skipif("openvino-bf16" not in HERE, reason="this processor has no bfloat16")
def test_precision_is_what_the_name_says(engines, steel_tiles):
    """OpenVINO would compute in bfloat16 by itself where the processor can."""
    tiles = steel_tiles(32, 64, seed=11)
    keras, single, half = (engines[name].logits(tiles) for name in ("keras", "openvino", "openvino-bf16"))
    assert np.abs(single - keras).max() < 1e-5
    assert np.abs(half - keras).max() > 1e-4


@pytest.mark.skipif("openvino-bf16" not in HERE, reason="this processor has no bfloat16")
def test_bf16_is_given_whole_greys(seeded_network, steel_tiles, tmp_path):
    """A 255th is no number of bfloat16: unless the network is fed whole greys, nearby ones cannot be told apart."""
    network = NetworkConfig(input_size=32, blocks=(Block(filters=4, pool_after=1),), dense_units=4)
    save_onnx(seeded_network(network, 2), tmp_path)
    engine = open_engine("openvino-bf16", tmp_path, threads=1)
    greys = np.repeat(np.arange(236, 256, dtype=np.uint8), 32 * 32).reshape(20, 32, 32)
    maps = [engine.trunk(tile)[0, 0] for tile in greys]
    assert len(np.unique(maps, axis=0)) == 20


@pytest.mark.parametrize("threads", [0, 1, 2, 10_000])
def test_as_many_calls_at_a_time_as_threads_go_into_the_cores(threads):
    properties = _properties("f32", threads)
    cores = len(os.sched_getaffinity(0))
    assert properties["NUM_STREAMS"] == (max(1, cores // threads) if threads else 1)
    assert properties["INFERENCE_NUM_THREADS"] == threads * properties["NUM_STREAMS"]


class TestHostileFiles:
    @pytest.mark.parametrize("name", [name for name in HERE if name != "keras"])
    @pytest.mark.parametrize("content", [None, b"", b"not a model", b"\x08\x08" * 500, b"\xff" * 4096])
    def test_are_refused(self, name, content, tmp_path):
        if content is not None:
            (tmp_path / ENGINES[name].file).write_bytes(content)
        with pytest.raises(SteelsightError) as caught:
            open_engine(name, tmp_path, 1)
        assert caught.value.code is ErrorCode.ARTIFACT_INVALID
        assert "\n" not in caught.value.message

    @pytest.mark.parametrize("name", [name for name in HERE if name != "keras"])
    def test_cut_short_are_refused(self, name, folder, tmp_path):
        whole = (folder / ENGINES[name].file).read_bytes()
        (tmp_path / ENGINES[name].file).write_bytes(whole[: len(whole) // 2])
        with pytest.raises(SteelsightError, match="cannot be loaded"):
            open_engine(name, tmp_path, 1)

    @pytest.mark.parametrize("name", [name for name in HERE if name != "keras"])
    def test_weights_from_elsewhere_are_refused(self, name, folder, tmp_path):
        """A network may name other files for its weights; nobody vouches for those."""
        import onnx

        model = onnx.load(folder / ENGINES[name].file)
        secret = tmp_path / "secret"
        secret.write_bytes(b"\0" * 1_000_000)
        weights = max(model.graph.initializer, key=lambda each: len(each.raw_data))
        weights.data_location = onnx.TensorProto.EXTERNAL
        weights.external_data.add(key="location", value=str(secret))
        weights.ClearField("raw_data")
        artifact = tmp_path / "artifact"
        artifact.mkdir()
        (artifact / ENGINES[name].file).write_bytes(model.SerializeToString())
        with pytest.raises(SteelsightError) as caught:
            open_engine(name, artifact, 1)
        assert caught.value.code is ErrorCode.ARTIFACT_INVALID

    @pytest.mark.parametrize("name", [name for name in HERE if name.startswith("openvino")])
    def test_opens_alike_where_nothing_may_be_written(self, name, folder):
        """As in a process on trial, where not even a file in memory may be."""
        program = f"""
            import resource
            from pathlib import Path
            import numpy as np
            from model.engine import open_engine
            tiles = np.arange(64 * 64, dtype=np.uint8).reshape(1, 64, 64)
            expected = open_engine({name!r}, Path({str(folder)!r}), 1).logits(tiles)
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
            found = open_engine({name!r}, Path({str(folder)!r}), 1).logits(tiles)
            assert (found == expected).all(), (found, expected)
            """
        done = subprocess.run(
            [sys.executable, "-c", dedent(program)], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr


def test_grey_is_repeated_over_the_channels(steel_tiles):
    tiles = steel_tiles(4, 16)
    for channels in (1, 3):
        fed = network_input(tiles, channels)
        assert fed.shape == (4, 16, 16, channels)
        assert fed.dtype == np.float32
        for channel in range(channels):
            np.testing.assert_array_equal(fed[..., channel], tiles)


def test_the_names_are_those_of_the_contract():
    assert set(ENGINES) == {"onnx", "keras", "openvino", "openvino-bf16", "openvino-int8"}
    assert all(engine.name == name for name, engine in ENGINES.items())
    assert set(get_args(EngineChoice)) == {AUTO, *ENGINES}


def test_keras_engine_checks_the_layers_first(tmp_path):
    (tmp_path / "model.keras").write_bytes(b"not a model")
    with pytest.raises(SteelsightError) as caught:
        open_engine("keras", tmp_path)
    assert caught.value.code is ErrorCode.ARTIFACT_INVALID


SERVE = """
import sys
from pathlib import Path
from textwrap import dedent
import numpy as np
from model.command import main
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


# What is counted is what Python itself sees of the network; the reports are sent by threads, which get a moment.
WATCHED = """
import sys, time
from pathlib import Path
from textwrap import dedent
calls = []
sys.addaudithook(lambda event, given: calls.append((event, given)) if event.startswith("socket.") else None)
from model.engine import open_engine
import numpy as np
engine = open_engine(sys.argv[2], Path(sys.argv[1]), 1)
engine.logits(np.zeros((1, 64, 64), np.uint8))
time.sleep(0.5)
assert not calls, calls
assert sys.modules.get("openvino_telemetry") is None
"""


@pytest.mark.parametrize("name", ["onnx", "openvino"])
def test_no_engine_reports_or_leaves_anything_behind(folder, tmp_path, name):
    """Builds of both write an identifier below the home folder and send reports, unless they are told not to."""
    # CI and the test variables of their makers would switch it off by themselves and hide a regression.
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(Path.cwd())}
    subprocess.run([sys.executable, "-c", WATCHED, str(folder), name], check=True, env=environment, timeout=60)
    assert list(tmp_path.rglob("*")) == []


WITHOUT = """
import sys
sys.modules["openvino"] = None
from pathlib import Path
from textwrap import dedent
from model.engine import ENGINES, open_engine
from model.errors import SteelsightError
assert not ENGINES["openvino"].runs_here()
try:
    open_engine("openvino", Path(sys.argv[1]), 1)
except SteelsightError as error:
    print(error.code, error.message)
"""


def test_without_openvino_it_says_so(folder):
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, str(folder)], check=True, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.startswith("engine_unavailable the openvino engines need OpenVINO")
