"""How far a training is, while it runs: a bar on a terminal, else a line on stderr now and then."""

import sys
import time
from types import TracebackType
from typing import Self

from tqdm import tqdm

from training.checkpoint import State

# More often only fills a log file when no person is watching.
SECONDS_BETWEEN_LINES = 10.0
# What is cut off where a terminal is too narrow is the end, so the bar itself stands there.
BAR = "{percentage:3.0f}% {remaining} left{postfix} {bar}"


class Progress:
    """Tells of a run. steps: batches of an epoch. The time left is reckoned from when the first is fitted."""

    def __init__(self, state: State, epochs: int, steps: int, between_lines: float = SECONDS_BETWEEN_LINES) -> None:
        self._between_lines = between_lines
        self._state, self._epochs, self._steps = state, epochs, steps
        self._batches, self._first = steps * state.finished, steps * state.finished
        self._loss = float("nan")
        # In the first batch the network is compiled, which takes as long as hundreds of others.
        self._told = self._compiled = time.monotonic()
        self._lines = not sys.stderr.isatty()
        self._bar = tqdm(total=steps * epochs, initial=self._batches, bar_format=BAR, disable=self._lines)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bar.close()
        if self._lines and self._batches > self._first:
            print(self, file=sys.stderr, flush=True)

    def batch(self, loss: float) -> None:
        """One more batch was fitted. loss: the mean of its epoch so far."""
        self._batches, self._loss = self._batches + 1, loss
        self._bar.set_postfix_str(self._briefly(), refresh=False)
        self._bar.update()
        now = time.monotonic()
        if self._batches == self._first + 1:
            self._compiled = now
        if self._lines and now - self._told >= self._between_lines:
            self._told = now
            print(self, file=sys.stderr, flush=True)

    def epoch(self, state: State) -> None:
        """One more epoch is finished and kept."""
        self._state = state
        self._bar.set_postfix_str(self._briefly())

    def __str__(self) -> str:
        total = self._steps * self._epochs
        left, reckoned = total - self._batches, self._batches - self._first - 1
        told = "?"
        if reckoned > 0 or not left:
            each = (time.monotonic() - self._compiled) / max(1, reckoned)
            told = tqdm.format_interval(each * left)
        return f"batch {self._batches}/{total}, {self._figures()}, {told} left"

    def _figures(self) -> str:
        number = -(-self._batches // self._steps)
        told = f"epoch {number}/{self._epochs}, loss {self._loss:.3f}"
        if self._state.history:
            best = self._state.best
            told += f", {self._state.history[-1].told}"
            told += "" if best.figure is None else f" (best: epoch {best.number}, {best.told.split()[-1]})"
        return told

    def _briefly(self) -> str:
        """The figures in as many words as 80 columns hold."""
        return self._figures().replace("validation ", "")
