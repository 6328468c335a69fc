"""A training that is killed with SIGKILL at random moments, and resumed, ends in the same weights to the last bit."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from training.checkpoint import Checkpoint

EPOCHS = 8
EXPERIMENT = f"""
epochs = {EPOCHS}
patience = 1000
batch_size = 64
averaging = 0.9
hard_negatives = 0.4
[network]
input_size = 32
dense_units = 512
dropout = 0.2
blocks = [{{filters = 4, kernel = 5, stride = 2, normalize = true}}]
[augmentation]
noise = 8.0
"""
# For a machine that does ten other things; an idle one needs some seconds.
LIMIT_SECONDS = 240


@contextmanager
def training(told: Path, *arguments: object) -> Iterator[subprocess.Popen[bytes]]:
    """The process, while it lives; it is killed at the end of the block. told: the file for what it says."""
    command = [sys.executable, "-m", "training", "train", *map(str, arguments)]
    with told.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        try:
            yield process
        finally:
            died = process.poll()
            process.send_signal(signal.SIGKILL)
            assert died is None, told.read_text()
            assert process.wait() == -signal.SIGKILL


def wait_until(happened: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    """Look every millisecond: so many dense units take some of them to be written."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while process.poll() is None and not happened():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def finished(folder: Path) -> int:
    return Checkpoint(folder).state().finished


def wait_for_a_moment(run: Path, process: subprocess.Popen[bytes], seed: int) -> None:
    """Seed 1: while a network is being written; others: wherever the clock says, some epochs later than before."""
    wait_until(lambda: finished(run) >= 3 * seed + 1, process)
    if seed == 1:
        wait_until(lambda: any(run.glob(".*.partial.npz")), process)
    else:
        time.sleep(np.random.default_rng(seed).uniform(0, 0.2))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The data, the experiment file, and the folder of a run that nobody killed before its last epoch was kept."""
    base = tmp_path_factory.mktemp("kill")
    data, config, models = base / "data", base / "experiment.toml", base / "whole" / "models"
    config.write_text(EXPERIMENT)
    from synthetic import synthesize

    synthesize(data, 90, 1)
    runs = base / "whole" / "runs"
    with training(base / "told", data, "--config", config, "--models", models) as process:
        # What comes after the last epoch is publishing, which other tests look at.
        wait_until(lambda: any(finished(run) == EPOCHS for run in runs.glob("*")), process)
    return data, config, next(runs.iterdir())


def test_killed_in_the_middle_of_epochs_and_of_saves_it_ends_in_the_same_weights(whole, tmp_path):
    data, config, uninterrupted = whole
    models, runs = tmp_path / "models", tmp_path / "runs"
    start: list[object] = [data, "--config", config]
    killed_at = []
    for seed in range(2):
        with training(tmp_path / "told", *start, "--models", models) as process:
            wait_until(lambda: any(runs.glob("*/run.json")), process)
            (run,) = runs.iterdir()
            wait_for_a_moment(run, process, seed)
        killed_at.append(finished(run))
        start = ["--resume", run]
    with training(tmp_path / "told", *start, "--models", models) as process:
        wait_until(lambda: finished(run) == EPOCHS, process)
    assert all(0 < at < EPOCHS for at in killed_at), f"killed after epochs {killed_at}: not in the middle"

    one, other = Checkpoint(uninterrupted), Checkpoint(run)
    assert other.state() == one.state()
    for load in (Checkpoint.load_best, Checkpoint.load_averaged, Checkpoint.load_last):
        for ours, theirs in zip(load(other, other.state()), load(one, one.state()), strict=True):
            assert np.array_equal(ours, theirs)
    table = (run / "log.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in table[1:]] == [str(epoch) for epoch in range(1, EPOCHS + 1)]
