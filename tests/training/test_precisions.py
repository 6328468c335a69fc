"""training.precisions: every faster engine is measured, and what changes verdicts stays out."""

import numpy as np
import pytest

from model.artifact import Fitting, Parity
from model.engine import ENGINES, open_engine
from model.export import save_keras, save_onnx
from model.network import Block, NetworkConfig
from model.sharing import Sharing
from model.sliding import shared_network
from model.verdict import Thresholds
from training.precisions import Measured, logits_in_frame, measure_precisions, race_engines
from training.scoring import unpublished

HERE = [name for name, engine in ENGINES.items() if engine.runs_here()]
ONNX = Parity(tiles=1, max_probability_difference=0, verdict_flips=0)
NETWORK = NetworkConfig(input_size=32, blocks=(Block(filters=4), Block(filters=8)), dense_units=8)


def measured(folder, tiles, thresholds, classes=("ok", "defect"), network=NETWORK):
    keras = unpublished(open_engine("keras", folder), Fitting(tile=32, stride=32), classes)
    defect = np.arange(len(tiles)) % 2 == 0
    return Measured(keras, network, keras.logits(tiles), tiles, defect, thresholds)


@pytest.fixture
def folder(seeded_network, tmp_path):
    model = seeded_network(NETWORK, 1)
    save_keras(model, tmp_path)
    save_onnx(model, tmp_path)
    return tmp_path


def test_every_engine_of_this_machine_is_measured(folder, steel_tiles, capsys):
    tiles = steel_tiles(64, 32, seed=40)
    # No tile is near these: what is left are the differences of probability.
    measure = measured(folder, tiles, Thresholds(review=0, defect=0))
    found = measure_precisions(folder, measure, ONNX, calibration=steel_tiles(64, 32), seed=0)
    assert set(found) == set(HERE) - {"keras"}
    assert all(parity.accepted and parity.tiles_per_second for parity in found.values())
    assert all(
        parity.tiles == 64 and parity.auroc_change is not None for name, parity in found.items() if name != "onnx"
    )
    assert found["openvino"].max_probability_difference < 1e-6
    assert 1e-6 < found["openvino-int8"].max_probability_difference < 0.2
    assert "openvino-int8: offered" in capsys.readouterr().err
    assert {path.name for path in folder.glob("*.int8.onnx")} == {"model.int8.onnx", "trunk.int8.onnx"}


def test_what_changes_a_verdict_stays_out_and_says_why(folder, steel_tiles):
    tiles = steel_tiles(64, 32, seed=40)
    anywhere = measured(folder, tiles, Thresholds(review=0, defect=0))
    measure_precisions(folder, anywhere, ONNX, calibration=steel_tiles(64, 32), seed=0)
    ours, theirs = (
        unpublished(open_engine(name, folder), Fitting(tile=32, stride=32), ("ok", "defect")).probabilities(tiles)
        for name in ("keras", "openvino-int8")
    )
    worst = np.abs(ours - theirs).argmax()
    between = float((ours[worst] + theirs[worst]) / 2)
    strict = measured(folder, tiles, Thresholds(review=between, defect=between))
    found = measure_precisions(folder, strict, ONNX, calibration=steel_tiles(64, 32), seed=0)["openvino-int8"]
    assert not found.accepted
    assert found.verdict_flips >= 1
    assert "of 64 verdicts changed" in (found.reason or "")
    assert list(folder.glob("*.int8.onnx")) == []


def test_classes_are_measured_too(seeded_network, steel_tiles, tmp_path):
    network = NETWORK.model_copy(update={"outputs": 3})
    model = seeded_network(network, 1)
    save_keras(model, tmp_path)
    save_onnx(model, tmp_path)
    measure = measured(
        tmp_path, steel_tiles(32, 32, seed=40), Thresholds(review=0, defect=0), ("ok", "crack", "pit"), network
    )
    found = measure_precisions(tmp_path, measure, ONNX, calibration=steel_tiles(64, 32), seed=0)["openvino-int8"]
    of_any = measure.keras.calibrator.probabilities(measure.logits)
    engine = open_engine("openvino-int8", tmp_path)
    difference = np.abs(measure.keras.calibrator.probabilities(engine.logits(measure.tiles)) - of_any).max()
    assert found.max_probability_difference >= difference - 1e-6


def test_a_network_of_one_convolution_has_no_int8(seeded_network, steel_tiles, tmp_path):
    network = NetworkConfig(input_size=32, blocks=(Block(filters=4),), dense_units=8)
    model = seeded_network(network, 1)
    save_keras(model, tmp_path)
    save_onnx(model, tmp_path)
    measure = measured(tmp_path, steel_tiles(32, 32, seed=40), Thresholds(review=0, defect=0), network=network)
    found = measure_precisions(tmp_path, measure, ONNX, calibration=steel_tiles(64, 32), seed=0)
    assert set(found) == set(HERE) - {"keras", "openvino-int8"}


def test_a_race_has_a_figure_for_everybody(folder, steel_tiles):
    engines = {name: open_engine(name, folder, 1) for name in ("onnx", "openvino")}
    assert all(rate > 0 for rate in race_engines(engines, steel_tiles(8, 32)).values())


@pytest.mark.parametrize("stride", [16, 24, 32])
def test_a_frame_of_tiles_has_the_logits_of_the_tiles(folder, steel_tiles, stride):
    engine, tiles = open_engine("openvino", folder, 1), steel_tiles(31, 32, seed=7)
    shared = shared_network(engine, Sharing.of(NETWORK), stride)
    np.testing.assert_allclose(logits_in_frame(shared, tiles, stride), engine.logits(tiles), atol=1e-5)
