"""training.optimizer: a step of Muon is the gradient's directions, all as long; what is no kernel steps as in AdamW."""

import numpy as np
import pytest

from model.network import Block, NetworkConfig
from training.config import Experiment, load_experiment
from training.errors import UsageFault

NETWORK = NetworkConfig(input_size=16, blocks=(Block(filters=4, kernel=5, normalize=True),), dense_units=8, outputs=3)
RATE = 0.01


def step(optimizer: str, factor: float = 1.0) -> dict[str, np.ndarray]:
    """Change of each weight by the first step, over the learning rate, by its name."""
    from training.fit import compiled

    # No warm-up and no decay: the first step's rate is the experiment's, and nothing but the gradient moves a weight.
    settings = Experiment(optimizer=optimizer, learning_rate=RATE, warm_up=0, weight_decay=0, epochs=1000)
    model = compiled(NETWORK, settings, 1000)
    before = [variable.numpy() for variable in model.trainable_variables]
    rng = np.random.default_rng(1)
    gradients = [factor * rng.normal(size=weight.shape).astype(np.float32) for weight in before]
    model.optimizer.apply(gradients, model.trainable_variables)
    changes = zip(model.trainable_variables, before, strict=True)
    return {name(variable): (variable.numpy() - was) / RATE for variable, was in changes}


def name(variable) -> str:
    return "/".join(variable.path.split("/")[-2:])


@pytest.mark.parametrize("kernel", ["convolution_1/kernel", "dense/kernel"])
@pytest.mark.parametrize("factor", [1.0, 1e-6, 1e6])
def test_a_kernel_moves_as_far_in_every_direction_whatever_its_gradient(kernel, factor):
    change = step("muon", factor)[kernel]
    matrix = change.reshape(-1, change.shape[-1])
    # So long are the steps that AdamW comes to take, which are 0.2 to 0.4 for each weight (Liu et al. 2025).
    singular = np.linalg.svd(matrix / np.sqrt(max(matrix.shape)), compute_uv=False)
    assert singular == pytest.approx(0.2, rel=0.5)


def test_what_is_no_kernel_and_the_logits_step_as_in_adamw():
    muon, adamw = step("muon"), step("adamw")
    others = [each for each in muon if not each.endswith("/kernel")] + ["logits/kernel"]
    assert len(others) == 5
    for each in others:
        assert muon[each] == pytest.approx(adamw[each], rel=1e-3, abs=1e-4)
    assert np.median(np.abs(adamw["dense/kernel"])) == pytest.approx(1, rel=0.01)


def test_another_optimiser_is_refused_by_name():
    with pytest.raises(UsageFault, match=r"optimizer = 'sgd': Input should be 'adamw' or 'muon'"):
        load_experiment(None, {"optimizer": "sgd"})
