"""The figures of every epoch in the run's folder: `log.csv` for a spreadsheet, `tensorboard/` for TensorBoard.

What was logged is settled by the run's state, not by what a killed process had written: both are made anew when a run
is resumed, so no epoch is there twice or missing.
"""

import csv
import shutil
from pathlib import Path
from types import TracebackType
from typing import Self

import tensorflow as tf

from model.files import replace_text
from training.checkpoint import Epoch, State

LOG, EVENTS = "log.csv", "tensorboard"
FIGURES = ("loss", "validation_auroc", "validation_accuracy", "learning_rate")
COLUMNS = ("epoch", "step", *FIGURES, "seconds")


class Log:
    """Open while a run trains. steps: batches of an epoch."""

    def __init__(self, folder: Path, state: State, steps: int) -> None:
        self._file, self._steps = folder / LOG, steps
        took = _seconds(self._file)
        replace_text(self._file, ",".join(COLUMNS) + "\n")
        shutil.rmtree(folder / EVENTS, ignore_errors=True)
        self._events = tf.summary.create_file_writer(str(folder / EVENTS))
        for epoch in state.history:
            self.add(epoch, took.get(epoch.number))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._events.close()

    def add(self, epoch: Epoch, seconds: float | None) -> None:
        """Write one epoch, so that it can be read at once. seconds: how long it took, None where nobody knows."""
        step = epoch.number * self._steps
        figures = {name: value for name in FIGURES if (value := getattr(epoch, name)) is not None}
        row = {"epoch": epoch.number, "step": step, **figures}
        with self._file.open("a", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writerow(row if seconds is None else row | {"seconds": round(seconds, 3)})
        with self._events.as_default():
            for name, value in figures.items():
                _write_scalar(name, value, step)
        self._events.flush()


def _write_scalar(name: str, value: float, step: int) -> None:
    """`tf.summary.scalar` does the same, but asks for the tensorboard package, which training does without."""
    about = tf.compat.v1.SummaryMetadata()
    about.plugin_data.plugin_name = "scalars"
    tf.summary.write(name, tf.constant(value, tf.float32), step=step, metadata=about)


def _seconds(file: Path) -> dict[int, float]:
    """Epoch -> how long it took, from the log of the process before; a line that was cut off says nothing."""
    took = {}
    if file.exists():
        for row in csv.DictReader(file.read_text(encoding="utf-8", errors="replace").splitlines()):
            try:
                took[int(row["epoch"])] = float(row["seconds"])
            except (KeyError, TypeError, ValueError):
                continue
    return took
