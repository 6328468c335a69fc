"""Resuming gives the run that an interruption took away; the best epoch is what is published."""

import numpy as np
import pytest

from model.network import Block, NetworkConfig
from training.checkpoint import Checkpoint, Epoch, Run, State
from training.config import Experiment
from training.dataset import TileSet
from training.errors import DataFault, UsageFault

NETWORK = NetworkConfig(input_size=16, blocks=(Block(filters=4),), dense_units=8)


def tiles(count: int, seed: int) -> TileSet:
    """Defects are brighter in the middle: learnable in a few steps."""
    rng = np.random.default_rng(seed)
    grey = rng.integers(60, 120, (count, 16, 16), np.uint8)
    defect = np.arange(count) % 2 == 0
    grey[defect, 6:10, 6:10] += 100
    return TileSet(grey, defect, np.array([str(n) for n in range(count)]), np.arange(count))


def started(folder, experiment: Experiment) -> Checkpoint:
    run = Checkpoint(folder)
    run.start(Run(version="v", data=folder, fingerprint="0", experiment=experiment))
    return run


def experiment(epochs: int) -> Experiment:
    return Experiment(network=NETWORK, epochs=epochs, patience=epochs, batch_size=16, seed=4)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    from training.fit import fit, trained_network

    run = started(tmp_path_factory.mktemp("runs") / "whole", experiment(4))
    state = fit(NETWORK, tiles(64, 1), tiles(32, 2), run.run().experiment, run)
    return run, state, trained_network(NETWORK, run, state)


def test_it_learns(fitted):
    _, state, _ = fitted
    assert state.finished == 4
    assert state.best.validation_auroc > 0.9
    assert state.history[-1].loss < state.history[0].loss


def test_a_resumed_run_ends_like_an_uninterrupted_one(fitted, tmp_path):
    from training.fit import fit, trained_network

    _, whole_state, whole = fitted
    run = started(tmp_path / "stopped", experiment(2))
    fit(NETWORK, tiles(64, 1), tiles(32, 2), run.run().experiment, run)
    # Stopped after two of four epochs; what was written is all that the second process knows.
    resumed = fit(NETWORK, tiles(64, 1), tiles(32, 2), experiment(4), Checkpoint(tmp_path / "stopped"))
    assert resumed == whole_state
    for one, other in zip(whole.get_weights(), trained_network(NETWORK, run, resumed).get_weights(), strict=True):
        assert np.array_equal(one, other)


def test_only_the_last_and_the_best_network_are_kept(fitted):
    run, state, _ = fitted
    expected = {"last-0004.keras", run.best_file(state).name, "run.json", "state.json"}
    assert {path.name for path in run.folder.iterdir()} == expected


def test_patience_stops_a_run_that_gets_no_better():
    def state(*aurocs: float) -> State:
        numbered = enumerate(aurocs, start=1)
        return State(history=tuple(Epoch(number=n, loss=1, validation_auroc=a, learning_rate=1) for n, a in numbered))

    assert state(0.6, 0.9, 0.8, 0.9).best.number == 2
    assert state(0.6, 0.9, 0.8, 0.9).stale(2)
    assert not state(0.6, 0.9, 0.8).stale(2)
    assert not State().stale(1)


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(UsageFault, match="is not a training run"):
        Checkpoint(tmp_path).run()
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(UsageFault, match="cannot be resumed"):
        Checkpoint(tmp_path).run()
    (tmp_path / "state.json").write_text("{")
    with pytest.raises(DataFault, match="start the training anew"):
        Checkpoint(tmp_path).state()
