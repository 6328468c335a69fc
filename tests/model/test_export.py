"""model.export: what is published computes what was evaluated."""

import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.engine import open_engine
from model.errors import ErrorCode, SteelsightError
from model.export import parity, save_keras, save_onnx
from model.layers import ALLOWED_MEMBERS, check_layers
from model.network import Block, NetworkConfig, logits_model
from model.verdict import Thresholds

THRESHOLDS = Thresholds(review=0.3, defect=0.7)
WITH_DROPOUT = NetworkConfig(
    input_size=16,
    blocks=(Block(filters=2, pooling="average", pool_before=2), Block(filters=2, kernel=1, pooling="max_and_average")),
    dense_units=3,
    dropout=0.5,
    global_pooling=True,
)


class TestParity:
    def test_counts_tiles_and_the_largest_difference(self):
        found = parity(np.array([0.1, 0.5, 0.9]), np.array([0.1, 0.52, 0.89]), THRESHOLDS, "onnx")
        assert (found.tiles, found.verdict_flips) == (3, 0)
        assert found.max_probability_difference == pytest.approx(0.02)

    def test_the_same_is_zero(self):
        scores = np.linspace(0, 1, 50)
        assert parity(scores, scores, THRESHOLDS, "onnx").max_probability_difference == 0

    def test_counts_the_probability_of_every_class(self):
        of_any = np.array([0.1, 0.9])
        ours, theirs = (np.array([[0.9, 0.1, 0.0], [0.1, share, 0.9 - share]]) for share in (0.5, 0.2))
        found = parity(of_any, of_any, THRESHOLDS, "onnx", (ours, theirs))
        assert found.max_probability_difference == pytest.approx(0.3)
        with pytest.raises(SteelsightError):
            parity(of_any, of_any, THRESHOLDS, "onnx", (ours, np.full((2, 3), np.nan)))
        with pytest.raises(SteelsightError):
            parity(np.array([0.1, np.nan]), of_any, THRESHOLDS, "onnx", (ours, ours))

    @pytest.mark.parametrize(
        ("ours", "theirs"),
        [(0.3, np.nextafter(0.3, 0)), (np.nextafter(0.3, 0), 0.3), (0.7, np.nextafter(0.7, 0)), (0.0, 1.0)],
    )
    def test_one_flip_is_refused_however_small(self, ours, theirs):
        with pytest.raises(SteelsightError, match="on 1 of 3 tiles") as caught:
            parity(np.array([0.1, ours, 0.9]), np.array([0.1, theirs, 0.9]), THRESHOLDS, "onnx")
        assert caught.value.code is ErrorCode.EXPORT_DISAGREES

    @given(st.lists(st.floats(0, 1), min_size=1, max_size=20), st.floats(0, 0.2))
    def test_a_difference_that_flips_nothing_is_accepted(self, scores, shift):
        reference = np.array(scores)
        export = np.clip(reference + shift, 0, 1)
        flips = (np.digitize(reference, [0.3, 0.7]) != np.digitize(export, [0.3, 0.7])).any()
        if flips:
            with pytest.raises(SteelsightError):
                parity(reference, export, THRESHOLDS, "onnx")
        else:
            assert parity(reference, export, THRESHOLDS, "onnx").max_probability_difference <= shift + 1e-12

    def test_a_missing_tile_is_an_error(self):
        with pytest.raises(ValueError, match="shorter"):
            parity(np.zeros(3), np.zeros(2), THRESHOLDS, "onnx")

    @pytest.mark.parametrize(("ours", "theirs"), [(0.1, np.nan), (np.nan, 0.1), (np.nan, np.nan)])
    def test_a_probability_that_is_none_is_refused(self, ours, theirs):
        with pytest.raises(SteelsightError) as caught:
            parity(np.array([0.1, ours]), np.array([0.1, theirs]), THRESHOLDS, "onnx")
        assert caught.value.code is ErrorCode.EXPORT_DISAGREES


class TestSaved:
    @pytest.fixture(scope="class")
    @classmethod
    def model(cls, seeded_network):
        return seeded_network(WITH_DROPOUT, 4)

    def test_both_formats_compute_what_the_model_does(self, model, tmp_path, steel_tiles):
        save_keras(model, tmp_path)
        save_onnx(model, tmp_path)
        tiles = steel_tiles(16, 16)
        expected = np.asarray(logits_model(model)(tiles[..., np.newaxis].astype(np.float32)))
        for name in ("keras", "onnx"):
            np.testing.assert_allclose(open_engine(name, tmp_path, 1).logits(tiles), expected, atol=1e-5)

    def test_neither_optimiser_nor_loss_is_in_the_file(self, model, tmp_path):
        model.compile(optimizer="adam", loss="binary_crossentropy")
        model.fit(np.zeros((2, 16, 16, 1)), np.zeros((2, 1)), epochs=1, verbose=0)
        save_keras(model, tmp_path)
        check_layers(tmp_path / "model.keras")
        with zipfile.ZipFile(tmp_path / "model.keras") as archive:
            assert set(archive.namelist()) == ALLOWED_MEMBERS
            assert b"binary_crossentropy" not in archive.read("config.json")
            assert b"optimizer" not in archive.read("model.weights.h5")

    def test_saving_leaves_the_weights_alone(self, model, tmp_path):
        before = [weight.copy() for weight in model.get_weights()]
        save_keras(model, tmp_path)
        save_onnx(model, tmp_path)
        for one, other in zip(before, model.get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)
