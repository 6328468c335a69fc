"""What a person reads of a run that is under way, on a terminal and in a file."""

import os
import sys
import termios

import pytest

from training.checkpoint import Epoch, State
from training.progress import Progress


def state(*aurocs: float) -> State:
    numbered = enumerate(aurocs, start=1)
    return State(history=tuple(Epoch(number=n, loss=1, validation_auroc=a, learning_rate=1) for n, a in numbered))


def test_lines_tell_epoch_loss_figure_best_and_time_left(capsys):
    with Progress(state(0.9), epochs=3, steps=2, between_lines=0) as shown:
        shown.batch(0.5)
        shown.batch(0.4)
        shown.epoch(state(0.9, 0.8))
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("batch 3/6, epoch 2/3, loss 0.500, validation AUROC 0.900 (best: epoch 1, 0.900), ")
    assert lines[-1].startswith("batch 4/6, epoch 2/3, loss 0.400, validation AUROC 0.800 (best: epoch 1, 0.900), ")
    # The first batch compiles the network and tells nothing of how long the others take.
    assert lines[0].endswith(", ? left")
    assert lines[-1].endswith(", 00:00 left")


def test_a_file_is_not_filled_and_ends_with_where_it_stands(capsys):
    with Progress(State(), epochs=50, steps=20) as shown:
        for _ in range(20 * 50):
            shown.batch(0.5)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("batch 1000/1000, epoch 50/50, loss 0.500, ")


def test_nothing_is_left_of_a_run_of_one_batch(capsys):
    with Progress(State(), epochs=1, steps=1) as shown:
        shown.batch(0.5)
    assert capsys.readouterr().err.endswith(", 00:00 left\n")


def test_a_run_that_is_finished_already_says_nothing(capsys):
    with Progress(state(0.9), epochs=1, steps=5):
        pass
    assert not capsys.readouterr().err


@pytest.mark.parametrize(
    ("columns", "told"),
    [(80, "left, epoch 12/60, loss 0.500, AUROC 0.800 (best: epoch 10, 0.900)"), (40, "left, epoch 12/60, loss 0.5")],
)
def test_a_narrow_terminal_shows_the_time_left_and_the_figures_before_the_bar(monkeypatch, columns, told):
    ours, its = os.openpty()
    termios.tcsetwinsize(its, (24, columns))
    with os.fdopen(ours, "rb", 0) as screen, os.fdopen(its, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        with Progress(state(*[0.1] * 9, 0.9, 0.7), epochs=60, steps=1) as shown:
            shown.batch(0.5)
            shown.epoch(state(*[0.1] * 9, 0.9, 0.7, 0.8))
        written = b""
        # What one read finds is what the kernel has passed on so far; only the end of the bar is a new line.
        while not written.endswith(b"\n"):
            written += screen.read(10_000)
    lines = written.decode().splitlines()
    assert told in lines[-1]
    assert max(map(len, lines)) <= columns
