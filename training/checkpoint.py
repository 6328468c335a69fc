"""The folder of one training run: what resuming needs, and the best network so far.

    <runs>/<run>/
        run.json            experiment and data this run was started with
        state.json          the last finished epoch and the best one; names the files below
        last-0007.npz       weights and optimiser after that epoch: what a network has of its own, and nothing else
        averaged-0007.npz   its averaged weights, in float32
        averaged-0005.npz   those of the best epoch
        .lock               held by the process that trains it
        log.csv             the figures of every epoch, for people; tensorboard/ has them, too

`state.json` is replaced last, in one step: a run that is killed at any moment continues from the
last epoch that was kept.
"""

import os
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError

from model.files import exclusive, replace_text
from training.config import Experiment
from training.errors import DataFault, UsageFault

# The values of a network's variables, in its own order.
Values = list[npt.NDArray[np.generic]]

RUN, STATE, LOCK = "run.json", "state.json", ".lock"


class Run(BaseModel):
    """What a run was started with.

    faults: what `training check` had found by then that makes its figures doubtful, each as a person is told.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str
    data: Path
    fingerprint: str
    experiment: Experiment
    faults: tuple[str, ...] = ()


class Epoch(BaseModel):
    """Figures after one epoch; validation figures are those of `training.selection`, None where it has none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int
    loss: float
    validation_auroc: float | None = None
    validation_accuracy: float | None = None
    learning_rate: float

    @property
    def figure(self) -> float | None:
        """What the best epoch has most of: AUROC, accuracy over classes, or the mean of both where there are both.

        AUROC alone is 1 as soon as defects are told from ok, long before they are told from each other.
        """
        found = [each for each in (self.validation_auroc, self.validation_accuracy) if each is not None]
        return sum(found) / len(found) if found else None

    @property
    def told(self) -> str:
        """The figure with its name, for a person."""
        figures = {"AUROC": self.validation_auroc, "accuracy": self.validation_accuracy}
        found = ", ".join(f"{name} {each:.3f}" for name, each in figures.items() if each is not None)
        return f"validation {found}" if found else "not validated"


class State(BaseModel):
    """How far a run has come. Epochs count from 1."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    history: tuple[Epoch, ...] = ()
    # So many epochs at the beginning only prepare the network: none of them is the best.
    pretraining: int = 0

    @property
    def finished(self) -> int:
        """Number of finished epochs."""
        return len(self.history)

    @property
    def best(self) -> Epoch:
        """The epoch with the highest figure, the first of equals, or the last epoch as long as none can be told best.

        There must be an epoch.
        """
        judged = [(epoch.figure, epoch) for epoch in self.history[self.pretraining :] if epoch.figure is not None]
        return max(judged, key=lambda pair: pair[0])[1] if judged else self.history[-1]

    def after(self, epoch: Epoch) -> "State":
        """The state when one more epoch is finished."""
        return self.model_copy(update={"history": (*self.history, epoch)})

    def stale(self, patience: int) -> bool:
        """Whether the best epoch lies `patience` epochs back."""
        return bool(self.history) and self.finished - self.best.number >= patience


class Checkpoint:
    """Reads and writes one run's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def start(self, run: Run) -> None:
        """Make the folder."""
        self.folder.mkdir(parents=True)
        replace_text(self.folder / RUN, run.model_dump_json(indent=2) + "\n")

    @contextmanager
    def held(self) -> Iterator[None]:
        """Be the only process that trains this run; the lock goes with the process, however it ends.

        Raises `UsageFault` if another one does.
        """
        with ExitStack() as lock:
            try:
                lock.enter_context(exclusive(self.folder / LOCK, wait=False))
            except BlockingIOError as error:
                raise UsageFault(
                    f"{self.folder} is being trained by another process; wait for it, or stop it"
                ) from error
            yield

    def run(self) -> Run:
        """What this run was started with. Raises `UsageFault` if the folder is no run."""
        try:
            return Run.model_validate_json((self.folder / RUN).read_bytes())
        except OSError as error:
            raise UsageFault(f"{self.folder} is not a training run: {RUN} cannot be read ({error.strerror})") from error
        except ValidationError as error:
            raise UsageFault(f"{self.folder} cannot be resumed: its {RUN} is not valid") from error

    def state(self) -> State:
        """How far it has come; an empty state before the first epoch is finished."""
        path = self.folder / STATE
        if not path.exists():
            return State()
        try:
            return State.model_validate_json(path.read_bytes())
        except (OSError, ValidationError) as error:
            raise DataFault(f"{path} cannot be read; start the training anew") from error

    def save(self, state: State, last: Values, averaged: Values) -> None:
        """Keep what the network is after the last epoch of `state`, and its averaged weights."""
        needed = {self._last(state), self._averaged(state.finished), self._averaged(state.best.number)}
        _write(self._last(state), last)
        _write(self._averaged(state.finished), averaged)
        replace_text(self.folder / STATE, state.model_dump_json(indent=2) + "\n")
        for old in set(self.folder.glob("*.npz")) - needed:
            old.unlink()

    def load_last(self, state: State) -> Values:
        """The network with its optimiser after the last finished epoch."""
        return _read(self._last(state))

    def load_averaged(self, state: State) -> Values:
        """The averaged weights after the last finished epoch."""
        return _read(self._averaged(state.finished))

    def load_best(self, state: State) -> Values:
        """The averaged weights of the best epoch."""
        return _read(self._averaged(state.best.number))

    def _averaged(self, epoch: int) -> Path:
        return self.folder / f"averaged-{epoch:04d}.npz"

    def _last(self, state: State) -> Path:
        return self.folder / f"last-{state.finished:04d}.npz"


def _write(file: Path, values: Values) -> None:
    """Whole or not at all. A `.keras` file of the same network takes many times as long to put together."""
    beside = file.with_name(f".{file.stem}.partial{file.suffix}")
    with beside.open("wb") as into:
        np.savez(into, *values)
        into.flush()
        # The state that names the file outlives a power cut: so must what it names.
        os.fsync(into.fileno())
    beside.rename(file)


def _read(file: Path) -> Values:
    """In the order they were written in. Raises `DataFault`."""
    try:
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as kept:
            return [kept[f"arr_{number}"] for number in range(len(kept.files))]
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise DataFault(f"{file} cannot be read; start the training anew") from error
