"""Masks are taught where they lie, to the network that is published as it was."""

import numpy as np
import pytest

from model.network import PRESETS, Block, NetworkConfig, build, logits_model
from model.tiling import Fit
from tests.training.test_fit import crops, same_to_the_bit, started, stopped_run, tiles
from training.checkpoint import State
from training.config import Experiment
from training.places import Places, taught_maps, tell_untaught

SPOTS = NetworkConfig(
    input_size=16,
    blocks=(
        Block(filters=4, padding="same", normalize=True),
        Block(filters=8, padding="same", pooling="max_and_average", pool_after=8, normalize=True),
    ),
    dense_units=8,
    centred=True,
)
TAUGHT = Experiment(
    network=SPOTS,
    batch_size=16,
    epochs=25,
    patience=25,
    learning_rate=0.02,
    averaging=0.8,
    mask_weight=1.0,
    min_defect_pixels=4,
)


def places(network: NetworkConfig = SPOTS, **settings) -> Places:
    taught = Places.of(Experiment(mask_weight=0.5, **settings), network, Fit.TILE)
    assert taught
    return taught


def fitted(run, experiment: Experiment) -> State:
    from training.fit import fit

    of_masks = Places.of(experiment, SPOTS, Fit.TILE)
    return fit(SPOTS, crops(tiles(64, 1)), 64, None, experiment, run, places=of_masks)


def one_pixel(size: int, y: int, x: int) -> np.ndarray:
    mask = np.zeros((1, size, size), np.bool_)
    mask[0, y, x] = True
    return mask


@pytest.mark.parametrize("name", ["steel-128-local", "steel-128-line", "steel-128-deeper"])
def test_each_place_answers_for_what_it_sees(name):
    """In a network of random weights, what changes when the pixels of one place do lies round that place."""
    import keras

    keras.utils.set_random_seed(0)
    network = PRESETS[name]
    model = build(network)
    for each in taught_maps(network):
        maps = keras.Model(model.inputs[0], model.get_layer(f"normalization_{each.number}").output)
        flat = np.full((1, network.input_size, network.input_size, 1), 128, np.float32)
        side = len(each.rows)
        assert maps.output_shape[1:3] == (side, side)
        for place in (side // 2 - 1, side // 2):
            spot = flat.copy()
            rows = np.flatnonzero(each.rows[place])
            spot[0, rows[0] : rows[-1] + 1, rows[0] : rows[-1] + 1] = 20
            changed = np.abs(maps.predict_on_batch(spot) - maps.predict_on_batch(flat)).sum(axis=(0, 3))
            middle = (changed * np.arange(side)).sum() / changed.sum()
            assert middle == pytest.approx(place, abs=0.5)


def test_the_places_of_a_padded_network_share_out_the_tile():
    for each in taught_maps(PRESETS["steel-128-deeper"]):
        assert (each.rows.sum(axis=0) == 1).all()
        assert len(set(each.rows.sum(axis=1).tolist())) == 1


def test_a_place_is_a_defect_an_ok_one_or_unclear():
    taught = places(min_defect_pixels=20)
    (of_map,) = taught.maps
    assert of_map.rows.shape == (8, 16)
    # Of a place's four pixels one is more than an eighth.
    told = taught.targets(one_pixel(16, 5, 12), np.array([True])).reshape(8, 8)
    assert np.argwhere(told == 1).tolist() == [[2, 6]]
    assert (told == 0).sum() == 63

    coarse = places(PRESETS["steel-128-deeper"], min_defect_pixels=20)
    told = coarse.targets(one_pixel(128, 0, 127), np.array([True]))
    assert told.shape == (1, coarse.count) == (1, 16 * 16 + 8 * 8)
    fine, wide = told[0, :256].reshape(16, 16), told[0, 256:].reshape(8, 8)
    assert (fine[0, 15], wide[0, 7]) == (-1, -1), "one pixel of a defect is not enough to tell, and too much to be ok"
    assert (told == 0).sum() == coarse.count - 2


def test_a_defect_without_a_mask_teaches_no_place():
    empty = np.zeros((2, 16, 16), np.bool_)
    told = places().targets(empty, np.array([True, False]))
    assert set(told[0]) == {-1}
    assert set(told[1]) == {0}


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("focal", ["cross_entropy", "focal"])
def test_the_loss_is_that_of_the_label_and_of_each_side_of_the_mask(outputs, focal):
    from training.losses import loss_of

    taught, rng = places(), np.random.default_rng(0)
    of_label = loss_of(Experiment(loss=focal), outputs)
    logits = rng.normal(0, 3, (4, outputs + taught.count)).astype(np.float32)
    labels = np.eye(3, dtype=np.float32)[[0, 1, 2, 0]][:, -outputs:]
    known = rng.choice([-1, 0, 1], (4, taught.count)).astype(np.float32)
    known[0], known[1], known[2] = -1, 0, 1
    found = np.asarray(taught.loss(of_label, outputs)(np.concatenate([labels, known], axis=1), logits))

    expected = np.asarray(of_label.call(labels, logits[:, :outputs]))
    entropy = np.logaddexp(0, np.where(known == 1, -1, 1) * logits[:, outputs:])
    for side in (0, 1):
        counted = known == side
        expected = expected + 0.5 * (entropy * counted).sum(axis=1) / np.maximum(counted.sum(axis=1), 1)
    assert found == pytest.approx(expected, rel=1e-4)


def test_a_taught_network_shows_where_the_defect_is_and_is_published_as_any_other(tmp_path):
    from model.engine import network_input
    from training.fit import trained_network

    shown = tiles(40, 7)

    def clearer(experiment: Experiment, name: str) -> float:
        """By how much the places of a spot, rows and columns 6 to 9, answer higher than those away from it."""
        run = started(tmp_path / name, experiment)
        published = trained_network(SPOTS, run, fitted(run, experiment))
        assert [layer.name for layer in published.layers] == [layer.name for layer in build(SPOTS).layers]
        asked = places().asked(logits_model(published)).predict_on_batch(network_input(shown.tiles, 1))
        of_places = asked[shown.defect, 1:].reshape(-1, 8, 8)
        away = np.delete(of_places, [2, 3, 4, 5], axis=1)
        return float(of_places[:, 3:5, 3:5].mean() - away.mean())

    assert clearer(TAUGHT, "taught") > 2
    assert clearer(TAUGHT.model_copy(update={"mask_weight": 0.0}), "untaught") < 2


@pytest.mark.parametrize("settings", [{"precision": "mixed_float16", "optimizer": "muon"}, {"class_weights": True}])
def test_a_stopped_fit_goes_on_to_the_same_weights(tmp_path, settings):
    experiment = TAUGHT.model_copy(update={"epochs": 4} | settings)
    whole = started(tmp_path / "whole", experiment)
    state = fitted(whole, experiment)
    stopped = stopped_run(tmp_path / "stopped", experiment, fitted)
    assert fitted(stopped, experiment) == state
    same_to_the_bit(whole, stopped, state)


@pytest.mark.parametrize(
    ("network", "fit", "why"),
    [(SPOTS, Fit.RESIZE, "have no masks"), (PRESETS["steel-128"], Fit.TILE, "no map to teach")],
)
def test_what_cannot_be_taught_is_told(network, fit, why, capsys):
    assert Places.of(TAUGHT, network, fit) is None
    tell_untaught(TAUGHT, network, fit)
    assert why in capsys.readouterr().err
    tell_untaught(TAUGHT.model_copy(update={"mask_weight": 0.0}), network, fit)
    tell_untaught(TAUGHT, SPOTS, Fit.TILE)
    assert capsys.readouterr().err == ""
