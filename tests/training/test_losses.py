"""What each loss does to sure and unsure tiles, with hard and soft targets, and what class weights even out."""

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


@pytest.mark.parametrize("classes", [("ok", "defect"), ("ok", "pit", "fold", "scratch")])
@pytest.mark.parametrize("defect_share", [0.1, 0.5, 0.8])
def test_weighed_tiles_of_all_classes_add_up_to_the_same(classes, defect_share):
    from training.losses import class_weights

    kinds = len(classes) - 1
    drawn = np.array([1 - defect_share] + [defect_share / kinds] * kinds)
    weighed = drawn * class_weights(classes, defect_share)
    assert np.allclose(weighed, 1 / len(classes))
    assert weighed.sum() == pytest.approx(1)


def test_a_batch_tells_what_each_tile_counts_by_the_class_it_was_drawn_of():
    from model.network import Block, NetworkConfig
    from training.batches import Curriculum

    class Draws:
        def draw(self, count, rng):
            return rng.integers(0, 256, (count, 16, 16), np.uint8), rng.choice(["none", "pit", "fold"], count)

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
