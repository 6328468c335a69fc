"""What each loss does to sure and unsure tiles, with hard and soft targets, and what class weights even out."""

from typing import ClassVar

import numpy as np
import pytest

from training.config import Experiment

LOGITS = np.array([[-3.0], [-0.2], [0.4], [6.0]], np.float32)
TARGETS = np.array([[0], [1], [0.3], [1]], np.float32)
SEVERAL = np.array([[2.0, 0.1, -1.0], [0.3, 0.2, 4.0]], np.float32)
SHARES = np.array([[0, 1, 0], [0.2, 0.1, 0.7]], np.float32)


def loss(targets, logits, **settings) -> float:
    from training.losses import loss_of

    return float(loss_of(Experiment(**settings), logits.shape[1])(targets, logits))


def test_cross_entropy_is_that_of_the_probabilities():
    p = 1 / (1 + np.exp(-LOGITS))
    expected = -(TARGETS * np.log(p) + (1 - TARGETS) * np.log(1 - p)).mean()
    assert loss(TARGETS, LOGITS) == pytest.approx(expected, rel=1e-5)

    q = np.exp(SEVERAL) / np.exp(SEVERAL).sum(axis=1, keepdims=True)
    assert loss(SHARES, SEVERAL) == pytest.approx(-(SHARES * np.log(q)).sum(axis=1).mean(), rel=1e-5)


@pytest.mark.parametrize(("targets", "logits"), [(TARGETS, LOGITS), (SHARES, SEVERAL)])
def test_focal_loss_with_gamma_0_is_cross_entropy(targets, logits):
    assert loss(targets, logits, loss="focal", focal_gamma=0) == pytest.approx(loss(targets, logits), rel=1e-4)


def test_focal_loss_counts_a_tile_by_how_unsure_the_network_is_of_it():
    for logit in (-1.0, 0.5, 3.0):
        one, p = np.array([[logit]], np.float32), 1 / (1 + np.exp(-logit))
        share = loss(np.ones((1, 1), np.float32), one, loss="focal", focal_gamma=3) / loss(np.ones((1, 1)), one)
        assert share == pytest.approx((1 - p) ** 3, rel=1e-3)

        several = np.array([[0.0, logit]], np.float32)
        target = np.array([[0, 1]], np.float32)
        share = loss(target, several, loss="focal", focal_gamma=3) / loss(target, several)
        assert share == pytest.approx((1 - p) ** 3, rel=1e-3)


@pytest.mark.parametrize("kind", ["cross_entropy", "focal"])
def test_the_best_answer_to_a_soft_target_lies_between(kind):
    """Of a tile that the teacher calls 70 % defect, neither 0 nor 1 may be the answer to learn."""
    logits = np.linspace(-6, 6, 25)
    losses = [loss(np.array([[0.7]], np.float32), np.array([[at]], np.float32), loss=kind) for at in logits]
    assert 0 < logits[np.argmin(losses)] <= 1


def test_what_is_sure_beyond_rounding_has_a_finite_slope():
    import tensorflow as tf

    from training.losses import Focal

    for gamma in (0.0, 0.5, 2.0):
        logits = tf.Variable([[200.0], [-200.0]])
        with tf.GradientTape() as tape:
            value = Focal(gamma)(np.array([[1], [1]], np.float32), logits)
        slope = tape.gradient(value, logits).numpy()
        assert np.isfinite(slope).all()
        assert slope[1] < -0.1


def sampler(kinds: list[str], defect_share: float):
    """One surface and one tile of the grid for each kind, defects masked all over."""
    from training.crops import CropSampler, Surface
    from training.dataset import TileSet

    surfaces, tiles, defect, file = {}, [], [], []
    for number, kind in enumerate(kinds):
        mask = np.full((32, 32), kind != "none")
        surfaces[number] = Surface(np.full((32, 32), 100, np.uint8), mask, kind, kind)
        tiles.append(np.full((16, 16), 100, np.uint8))
        defect.append(kind != "none")
        file.append(number)
    grid = TileSet(np.stack(tiles), np.array(defect), np.array(kinds), np.array(file))
    return CropSampler(surfaces, grid, 20, defect_share)


@pytest.mark.parametrize("defect_share", [0.2, 0.5, 0.8])
@pytest.mark.parametrize(
    ("classes", "kinds"),
    [
        pytest.param(("ok", "defect"), ["none", "pit", "fold"], id="binary"),
        pytest.param(("ok", "fold", "pit"), ["none", "pit", "fold"], id="classes"),
        pytest.param(("ok", "fold", "pit"), ["pit", "fold"], id="no ok"),
        pytest.param(("ok", "defect"), ["none"], id="no defects"),
        pytest.param(("ok", "fold", "pit", "scale"), ["none", "pit", "fold"], id="a type that only other parts show"),
    ],
)
def test_drawn_tiles_weigh_1_in_the_mean_and_all_drawn_classes_the_same(classes, kinds, defect_share):
    """Of a real sampler, whatever it draws, through hard tiles and blends as well."""
    from model.network import Block, NetworkConfig
    from training.batches import Curriculum
    from training.blend import blended
    from training.hard_negatives import HardTiles

    crops = sampler(kinds, defect_share)
    mined = HardTiles(crops._tiles, 0.5, seed=0).mine(crops, 2, lambda tiles: np.zeros(len(tiles)))
    samplers = [crops, mined]
    if "none" in kinds and len(classes) == 2:
        samplers.append(blended(crops, 0.5))
    outputs = 1 if len(classes) == 2 else len(classes)
    network = NetworkConfig(input_size=16, blocks=(Block(filters=2),), outputs=outputs)
    experiment = Experiment(network=network, batch_size=4000, class_weights=True, defect_share=defect_share)
    for each in samplers:
        epoch = Curriculum(network, experiment, 1, each, classes, None, None, None).epoch(1, lambda tiles: tiles)
        _, targets, weights = epoch[0]
        assert weights.mean() == pytest.approx(1, abs=0.06)
        number = targets[:, 0] if outputs == 1 else targets.argmax(axis=1)
        sums = [weights[number == drawn].sum() for drawn in np.unique(number)]
        assert np.array(sums) / np.mean(sums) == pytest.approx(1, abs=0.15)


def test_a_batch_tells_what_each_tile_counts_by_the_class_it_was_drawn_of():
    from model.network import Block, NetworkConfig
    from training.batches import Curriculum
    from training.crops import Drawn

    class Draws:
        def draw(self, count, rng):
            tiles, kinds = rng.integers(0, 256, (count, 16, 16), np.uint8), rng.choice(["none", "pit", "fold"], count)
            return Drawn(tiles, kinds, np.zeros(tiles.shape, np.bool_))

        shares: ClassVar = {"none": 0.2, "pit": 0.4, "fold": 0.4}

    def soften(images, targets):
        assert images.shape == (8, 16, 16, 1)
        assert images.dtype == np.float32
        return 0.5 * targets + 0.5 / targets.shape[1]

    network = NetworkConfig(input_size=16, blocks=(Block(filters=2),), outputs=3)
    experiment = Experiment(network=network, batch_size=8, class_weights=True, defect_share=0.8)
    curriculum = Curriculum(network, experiment, 2, Draws(), ("ok", "fold", "pit"), soften, None, None)
    batches = curriculum.epoch(1, lambda tiles: np.zeros(len(tiles)))
    assert len(batches) == 2
    _, targets, weights = batches[1]
    assert np.allclose(targets.sum(axis=1), 1)
    assert np.allclose(np.sort(targets, axis=1), [1 / 6, 1 / 6, 4 / 6])
    ok = targets.argmax(axis=1) == 0
    assert ok.any()
    assert (~ok).any()
    assert np.allclose(weights, np.where(ok, 1 / 0.6, 1 / 1.2))


def test_a_drawn_type_that_is_no_class_is_named():
    from training.batches import class_of_each

    with pytest.raises(ValueError, match="'crack'"):
        class_of_each(np.array(["none", "crack"]), ("ok", "fold", "pit"))
