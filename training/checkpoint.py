"""The folder of one training run: what resuming needs, and the best network so far.

    <runs>/<run>/
        run.json            experiment and data this run was started with
        state.json          the last finished epoch and the best one; names the files below
        last-0007.keras     network and optimiser after that epoch
        averaged-0007.keras its averaged weights
        best-0005.keras     averaged weights of the best epoch

`state.json` is replaced last, in one step: a run that is killed at any moment continues from the
last finished epoch.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, ValidationError

from model.files import replace_text
from training.config import Experiment
from training.errors import DataFault, UsageFault

if TYPE_CHECKING:
    import keras

RUN, STATE = "run.json", "state.json"


class Run(BaseModel):
    """What a run was started with."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str
    data: Path
    fingerprint: str
    experiment: Experiment


class Epoch(BaseModel):
    """Figures after one epoch; validation figures are over the tiles of the validation part."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int
    loss: float
    validation_auroc: float
    learning_rate: float


class State(BaseModel):
    """How far a run has come. Epochs count from 1."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    history: tuple[Epoch, ...] = ()

    @property
    def finished(self) -> int:
        """Number of finished epochs."""
        return len(self.history)

    @property
    def best(self) -> Epoch:
        """The epoch with the highest validation AUROC, the first of equals; there must be one."""
        return max(self.history, key=lambda epoch: epoch.validation_auroc)

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

    def save(self, state: State, network: "keras.Model", averaged: "keras.Model") -> None:
        """Keep the network after the last epoch of `state`, and its averaged weights if that epoch is the best."""
        last, mean, best = self._last(state), self._averaged(state), self.best_file(state)
        self._write(last, network)
        self._write(mean, averaged)
        if state.best is state.history[-1]:
            self._write(best, averaged)
        replace_text(self.folder / STATE, state.model_dump_json(indent=2) + "\n")
        for old in set(self.folder.glob("*.keras")) - {last, mean, best}:
            old.unlink()

    def load_last(self, state: State) -> tuple["keras.Model", "keras.Model"]:
        """The network with its optimiser after the last finished epoch, and its averaged weights."""
        import keras

        return keras.models.load_model(self._last(state)), keras.models.load_model(self._averaged(state))

    def best_file(self, state: State) -> Path:
        """The best epoch's network."""
        return self.folder / f"best-{state.best.number:04d}.keras"

    def _write(self, file: Path, network: "keras.Model") -> None:
        beside = file.with_name(f".{file.name}.partial.keras")
        network.save(beside)
        beside.rename(file)

    def _averaged(self, state: State) -> Path:
        return self.folder / f"averaged-{state.finished:04d}.keras"

    def _last(self, state: State) -> Path:
        return self.folder / f"last-{state.finished:04d}.keras"
