"""Resuming gives the run that an interruption took away; the best epoch is what is published."""

import numpy as np
import pytest

from model.network import Block, NetworkConfig
from training.checkpoint import Checkpoint, Epoch, Run, State
from training.config import Experiment
from training.crops import CropSampler, Drawn, Surface
from training.dataset import TileSet
from training.errors import DataFault, UsageFault

NETWORK = NetworkConfig(input_size=16, blocks=(Block(filters=4, normalize=True),), dense_units=8, dropout=0.2)


def tiles(count: int, seed: int) -> TileSet:
    """Defects are brighter in the middle: learnable in a few steps."""
    rng = np.random.default_rng(seed)
    grey = rng.integers(60, 120, (count, 16, 16), np.uint8)
    defect = np.arange(count) % 2 == 0
    grey[defect, 6:10, 6:10] += 100
    return TileSet(grey, defect, np.array([str(n) for n in range(count)]), np.arange(count))


def crops(shown: TileSet) -> CropSampler:
    """Each tile is a surface of its own; the middle of a defect is masked."""
    middle = np.zeros((16, 16), bool)
    middle[6:10, 6:10] = True
    surfaces = {
        number: Surface(tile, middle & bool(defect), "spot" if defect else "none", group)
        for number, (tile, defect, group) in enumerate(zip(shown.tiles, shown.defect, shown.group, strict=True))
    }
    return CropSampler(surfaces, shown, min_defect_pixels=10)


def train(network_run: Checkpoint, experiment: Experiment) -> State:
    from training.fit import fit

    network = experiment.resolved_network()
    return fit(network, crops(tiles(64, 1)), 64, tiles(32, 2), experiment, network_run)


def started(folder, experiment: Experiment) -> Checkpoint:
    run = Checkpoint(folder)
    run.start(Run(version="v", data=folder, fingerprint="0", experiment=experiment))
    return run


def same_to_the_bit(one: Checkpoint, other: Checkpoint, state: State) -> None:
    """Weights, optimiser and averaged weights after the last epoch."""
    for load in (Checkpoint.load_last, Checkpoint.load_averaged, Checkpoint.load_best):
        kept = load(one, state)
        assert len(kept) > 4
        for ours, theirs in zip(kept, load(other, state), strict=True):
            assert ours.dtype == theirs.dtype
            assert np.array_equal(ours, theirs)


def experiment(epochs: int) -> Experiment:
    return Experiment(
        network=NETWORK, epochs=epochs, patience=epochs, batch_size=16, learning_rate=0.02, averaging=0.8, seed=4
    )


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    from training.fit import trained_network

    run = started(tmp_path_factory.mktemp("runs") / "whole", experiment(6))
    state = train(run, run.run().experiment)
    return run, state, trained_network(NETWORK, run, state)


def test_it_learns(fitted):
    _, state, _ = fitted
    assert state.finished == 6
    assert state.best.validation_auroc > 0.9
    assert state.history[-1].loss < state.history[0].loss


class Interrupted(Checkpoint):
    """A run whose process ends after two epochs, right after they are kept."""

    def save(self, state, last, averaged):
        super().save(state, last, averaged)
        if state.finished == 2:
            raise KeyboardInterrupt


def stopped_run(folder, settings: Experiment, go_on) -> Checkpoint:
    """A run that `go_on` was in when its process ended: what was written is all that the second process knows."""
    started(folder, settings)
    with pytest.raises(KeyboardInterrupt):
        go_on(Interrupted(folder), settings)
    return Checkpoint(folder)


def test_a_resumed_run_ends_like_an_uninterrupted_one(fitted, tmp_path):
    from training.fit import trained_network

    _, whole_state, whole = fitted
    run = stopped_run(tmp_path / "stopped", experiment(6), train)
    assert run.state().finished == 2
    resumed = train(run, experiment(6))
    assert resumed == whole_state
    for one, other in zip(whole.get_weights(), trained_network(NETWORK, run, resumed).get_weights(), strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_half_precision_resumes_and_what_is_kept_is_float32(policy, optimizer, tmp_path, seeded_network):
    import keras

    from training.fit import compiled, trained_network

    network = NETWORK.model_copy(update={"blocks": (*NETWORK.blocks, Block(filters=6, normalize=True))})
    settings = experiment(4).model_copy(update={"precision": policy, "optimizer": optimizer, "network": network})
    fresh = compiled(network, settings, 4)
    half = {layer.name for layer in fresh.layers if layer.compute_dtype == policy.removeprefix("mixed_")}
    assert half == {"convolution_2"}
    assert isinstance(fresh.optimizer, keras.optimizers.LossScaleOptimizer) == (policy == "mixed_float16")
    whole = started(tmp_path / "whole", settings)
    state = train(whole, settings)
    assert state.history[-1].loss < state.history[0].loss

    stopped = stopped_run(tmp_path / "stopped", settings, train)
    assert train(stopped, settings) == state

    same_to_the_bit(whole, stopped, state)

    published = trained_network(network, whole, state)
    assert {layer.compute_dtype for layer in published.layers} == {"float32"}
    assert published.to_json() == seeded_network(network, 0).to_json()
    assert keras.config.dtype_policy().name == "float32"


def test_only_the_last_and_the_best_network_are_kept(fitted):
    run, state, _ = fitted
    kept = {"last-0006.npz", "averaged-0006.npz", f"averaged-{state.best.number:04d}.npz"}
    expected = kept | {"run.json", "state.json", "log.csv", "tensorboard"}
    assert {path.name for path in run.folder.iterdir()} == expected


def test_patience_stops_a_run_that_gets_no_better():
    def state(*aurocs: float) -> State:
        numbered = enumerate(aurocs, start=1)
        return State(history=tuple(Epoch(number=n, loss=1, validation_auroc=a, learning_rate=1) for n, a in numbered))

    assert state(0.6, 0.9, 0.8, 0.9).best.number == 2
    assert state(0.6, 0.9, 0.8, 0.9).stale(2)
    assert not state(0.6, 0.9, 0.8).stale(2)
    assert not State().stale(1)


def test_epochs_of_pretraining_are_never_the_best():
    def epoch(number: int, auroc: float | None) -> Epoch:
        return Epoch(number=number, loss=1, validation_auroc=auroc, learning_rate=1)

    preparing = State(pretraining=2).after(epoch(1, 0.9)).after(epoch(2, 0.8))
    # Nothing is best yet: what is kept is the last, and there is no patience to lose.
    assert preparing.best.number == 2
    assert not preparing.stale(1)
    assert preparing.after(epoch(3, 0.6)).best.number == 3


def test_without_validation_the_last_epoch_is_the_best():
    def epoch(number: int) -> Epoch:
        return Epoch(number=number, loss=1, learning_rate=1)

    state = State().after(epoch(1)).after(epoch(2))
    assert state.best.number == 2
    assert not state.stale(1)
    assert state.best.told == "not validated"


class Tilted:
    """Draws whole tiles of one kind of surface: a sampler like any other."""

    def __init__(self, shown: TileSet) -> None:
        self.shown, self.drawn = shown, 0

    def draw(self, count, rng):
        self.drawn += count
        chosen = rng.integers(0, len(self.shown), count)
        drawn = self.shown.tiles[chosen]
        kinds = np.where(self.shown.defect[chosen], "spot", "none")
        return Drawn(drawn, kinds, np.zeros(drawn.shape, np.bool_))

    @property
    def shares(self):
        defects = float(self.shown.defect.mean())
        return {"none": 1 - defects, "spot": defects}


def test_pretraining_hard_tiles_and_a_teacher_resume_bit_by_bit(tmp_path):
    """All that an epoch may be made of at once, stopped after the pre-training and while hard tiles are drawn."""
    from training.fit import fit
    from training.hard_negatives import HardTiles

    shown, held = tiles(64, 1), tiles(32, 2)
    chosen = experiment(4).model_copy(update={"pretraining": 1, "loss": "focal", "class_weights": True})

    def go_on(run: Checkpoint) -> tuple[State, Tilted]:
        synthetic = Tilted(shown)
        options = {"pretraining": synthetic, "hard": HardTiles(shown, 0.5, seed=4), "soften": lambda _, y: 0.9 * y}
        return fit(NETWORK, crops(shown), 64, held, chosen, run, **options), synthetic

    whole = started(tmp_path / "whole", chosen)
    state, synthetic = go_on(whole)
    assert state.pretraining == 1
    assert state.best.number > 1
    assert synthetic.drawn == 64

    started(tmp_path / "stopped", chosen)
    with pytest.raises(KeyboardInterrupt):
        go_on(Interrupted(tmp_path / "stopped"))
    stopped = Checkpoint(tmp_path / "stopped")
    resumed, synthetic = go_on(stopped)
    assert synthetic.drawn == 0
    assert resumed == state
    same_to_the_bit(whole, stopped, state)


def test_several_classes_are_learned_and_the_last_epoch_is_kept_without_validation(tmp_path):
    from training.fit import fit, trained_network

    shown, network = tiles(64, 1), NETWORK.model_copy(update={"outputs": 3})
    classes = ("ok", "spot", "other")
    run = started(tmp_path / "run", experiment(6))
    state = fit(network, crops(shown), 64, None, experiment(6), run, classes=classes)
    assert state.best.number == 6
    probabilities = trained_network(network, run, state).predict(shown.tiles[..., np.newaxis], verbose=0)
    assert ((probabilities.argmax(axis=1) == 1) == shown.defect).mean() > 0.9
    assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-5)


def test_a_network_that_cannot_be_read_is_told(tmp_path):
    run = started(tmp_path / "run", experiment(2))
    state = State().after(Epoch(number=1, loss=1, learning_rate=1))
    run.save(state, [np.arange(3.0), np.int64(7)], [np.arange(3.0)])
    assert [each.tolist() for each in run.load_last(state)] == [[0, 1, 2], 7]
    file = run.folder / "last-0001.npz"
    whole = file.read_bytes()
    for broken in (whole[:-40], whole[:60] + b"x" + whole[61:], b""):
        file.write_bytes(broken)
        with pytest.raises(DataFault, match=r"last-0001.npz cannot be read; start the training anew"):
            run.load_last(state)
    file.unlink()
    with pytest.raises(DataFault, match="cannot be read"):
        run.load_last(state)


class Full(Checkpoint):
    """A run whose disk is full."""

    def save(self, state, last, averaged):
        raise OSError(28, "No space left on device")


def test_a_disk_that_is_full_ends_the_run(tmp_path):
    started(tmp_path / "run", experiment(3))
    with pytest.raises(OSError, match="No space left"):
        train(Full(tmp_path / "run"), experiment(3))


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(UsageFault, match="is not a training run"):
        Checkpoint(tmp_path).run()
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(UsageFault, match="cannot be resumed"):
        Checkpoint(tmp_path).run()
    (tmp_path / "state.json").write_text("{")
    with pytest.raises(DataFault, match="start the training anew"):
        Checkpoint(tmp_path).state()
