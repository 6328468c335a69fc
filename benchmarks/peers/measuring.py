"""Which settings are best for a server, and what it does with them, round by round."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.peers.contenders import Contender, Setting
from benchmarks.peers.running import NotMeasured, running

# Of a probability: float32 logits of one file, in batches of different sizes.
TOLERANCE = 1e-5
# In flight at once while answers are checked: enough for batches, in which answers could be mixed up.
CHECK_CONNECTIONS = 8
# Before each measurement: batches of every size have then been seen once.
WARM_SECONDS = 1.0
# Two servers that had started in their trial did not in one of three rounds: one failure is no verdict.
TRIES = 2


@dataclass(frozen=True)
class Tiles:
    """Bodies of 128 x 128 bytes, and the defect probability that each must be answered with, within a tolerance."""

    bodies: list[bytes]
    expected: npt.NDArray[np.float64]
    tolerance: float = TOLERANCE


@dataclass
class Measured:
    """One server's figures. reason: why there are none."""

    contender: Contender
    venv: Path | None = None
    version: str = ""
    reason: str = ""
    # Requests a second in the trial, by setting and connections; what failed there, by setting.
    trial: dict[str, dict[int, float]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    chosen: dict[int, Setting] = field(default_factory=dict)
    # One of each for a round: by connections, and of the servers by setting.
    rounds: dict[int, list[dict[str, float]]] = field(default_factory=dict)
    servers: dict[str, list[dict[str, float]]] = field(default_factory=dict)

    def median(self, connections: int, figure: str) -> float:
        """Of all rounds."""
        return statistics.median(one[figure] for one in self.rounds[connections])

    def server_median(self, connections: int, figure: str) -> float:
        """As `median`, of the server with the setting chosen for so many connections."""
        return statistics.median(one[figure] for one in self.servers[self.chosen[connections].label])


def choose(measured: Measured, model: Path, tiles: Tiles, connections: Sequence[int], seconds: float) -> None:
    """Try every setting once and keep the one with the most requests a second for each number of connections."""
    if len(measured.contender.settings) == 1:
        seconds = 0
    for setting in measured.contender.settings:
        try:
            measured.trial[setting.label] = _trial(measured, setting, model, tiles, connections, seconds)
        except NotMeasured as reason:
            measured.failed[setting.label] = str(reason)
    if not measured.trial:
        measured.reason = next(iter(measured.failed.values()))
        return
    by_label = {setting.label: setting for setting in measured.contender.settings}
    for number in connections:
        best = max(measured.trial, key=lambda label: measured.trial[label][number])
        measured.chosen[number] = by_label[best]


def _trial(
    measured: Measured, setting: Setting, model: Path, tiles: Tiles, connections: Sequence[int], seconds: float
) -> dict[int, float]:
    with running(measured.contender, setting, measured.venv, model, tiles.bodies[0]) as server:
        _check(server.ask_all, tiles)
        if not seconds:
            return dict.fromkeys(connections, 0.0)
        rates = {}
        for number in connections:
            server.load(tiles.bodies[0], number, min(WARM_SECONDS, seconds))
            rates[number] = server.load(tiles.bodies[0], number, seconds)["per_second"]
        return rates


def one_round(measured: Measured, model: Path, tiles: Tiles, connections: Sequence[int], seconds: float) -> None:
    """Start the server anew with each chosen setting, and measure what that was chosen for, twice if it fails."""
    for label in dict.fromkeys(setting.label for setting in measured.chosen.values()):
        numbers = [number for number in connections if measured.chosen[number].label == label]
        failure = ""
        for _ in range(TRIES):
            try:
                _round_of(measured, measured.chosen[numbers[0]], model, tiles, numbers, seconds)
                break
            except NotMeasured as reason:
                failure = f"with {label}: {reason}"
                print(f"  {measured.contender.name} failed {failure}", flush=True)
        else:
            measured.reason = failure
            return


def _round_of(
    measured: Measured, setting: Setting, model: Path, tiles: Tiles, numbers: Sequence[int], seconds: float
) -> None:
    rounds = {}
    with running(measured.contender, setting, measured.venv, model, tiles.bodies[0]) as server:
        _check(server.ask_all, tiles)
        for number in numbers:
            server.load(tiles.bodies[0], number, min(WARM_SECONDS, seconds))
            rounds[number] = server.load(tiles.bodies[0], number, seconds)
        weighed = {"start_seconds": server.start_seconds, "resident_mb": server.resident_mb()}
    # All of a round, or none of it.
    for number, figures in rounds.items():
        measured.rounds.setdefault(number, []).append(figures)
    measured.servers.setdefault(setting.label, []).append(weighed)


def _check(ask_all: Callable[[list[bytes], int], list[float]], tiles: Tiles) -> None:
    """Every tile, one after the other and at once. Raises `NotMeasured`: a fast wrong answer does not count."""
    for at_once in (1, CHECK_CONNECTIONS):
        difference = float(np.abs(np.asarray(ask_all(tiles.bodies, at_once)) - tiles.expected).max())
        # Written so that a NaN is a fault too.
        if not difference <= tiles.tolerance:
            raise NotMeasured(f"a probability is off by {difference:.2g}, {at_once} requests at once")
