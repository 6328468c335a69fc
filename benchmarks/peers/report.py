"""What was measured, as a table, as a plot, and as an object for JSON."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter

from benchmarks.machine import Machine
from benchmarks.peers.measuring import Measured


@dataclass(frozen=True)
class Run:
    """One run: machine, artifact version, and everyone's figures."""

    machine: Machine
    version: str
    rounds: int
    seconds: float
    connections: Sequence[int]
    entries: Sequence[Measured]

    def measured(self) -> list[Measured]:
        """Those that have figures."""
        return [entry for entry in self.entries if not entry.reason]

    def best_peer(self, connections: int) -> Measured | None:
        """The peer with the most requests a second."""
        peers = [entry for entry in self.measured() if not entry.contender.ours]
        return max(peers, key=lambda entry: entry.median(connections, "per_second"), default=None)


def table(run: Run) -> str:
    """Markdown."""
    lines = [
        f"{run.machine.cores} cores of {run.machine.processor}, float32 matrix multiply {run.machine.gflops:.0f} "
        f"GFLOP/s. Medians of {run.rounds} rounds of {run.seconds:g} s, `{run.version}`.",
        "",
        "| connections | server | requests/s | p50 ms | p99 ms | memory MB | start to first verdict s | settings |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for number in run.connections:
        lines += [_row(entry, number) for entry in run.entries]
    lines += ["", "| connections | ours | best peer | requests/s: ours / best peer | p99: ours / best peer |"]
    lines += ["|---|---|---|---|---|"]
    for number in run.connections:
        best = run.best_peer(number)
        ours = [entry for entry in run.measured() if entry.contender.ours]
        lines += [_ratio_row(entry, best, number) for entry in ours if best is not None]
    return "\n".join(lines)


def _row(entry: Measured, number: int) -> str:
    name = f"{entry.contender.name} {entry.version}".rstrip()
    if entry.reason:
        return f"| {number} | {name} | not measured: {entry.reason.replace('|', ' ')} | | | | | |"
    rate, p50, p99 = (entry.median(number, figure) for figure in ("per_second", "p50_ms", "p99_ms"))
    memory, start = (entry.server_median(number, figure) for figure in ("resident_mb", "start_seconds"))
    return (
        f"| {number} | {name} | {rate:,.0f} | {p50:.1f} | {p99:.1f} | {memory:,.0f} | {start:.1f} "
        f"| {entry.chosen[number].label} |"
    )


def _ratio_row(ours: Measured, best: Measured, number: int) -> str:
    rate, p99 = (_ratio(ours, best, number, figure) for figure in ("per_second", "p99_ms"))
    return f"| {number} | {ours.contender.name} | {best.contender.name} | {rate:.2f} | {p99:.2f} |"


def _ratio(ours: Measured, best: Measured, number: int, figure: str) -> float:
    """The median of the rounds' ratios: what slows a whole round down is not in it."""
    pairs = zip(ours.rounds[number], best.rounds[number], strict=True)
    return statistics.median(one[figure] / other[figure] for one, other in pairs)


def figures(run: Run) -> dict[str, Any]:
    """Everything that was measured, each round of it."""
    return {
        "version": run.version,
        "rounds": run.rounds,
        "seconds": run.seconds,
        "servers": [
            {
                "name": entry.contender.name,
                "version": entry.version,
                "not_measured": entry.reason or None,
                "trial_requests_per_second": entry.trial,
                "trial_failures": entry.failed,
                "settings": {number: setting.label for number, setting in entry.chosen.items()},
                "rounds_by_connections": entry.rounds,
                "rounds_by_settings": entry.servers,
            }
            for entry in run.entries
        ],
        "ratios": [
            {
                "connections": number,
                "ours": ours.contender.name,
                "best_peer": best.contender.name,
                "per_second": _ratio(ours, best, number, "per_second"),
                "p99_ms": _ratio(ours, best, number, "p99_ms"),
            }
            for number in run.connections
            if (best := run.best_peer(number)) is not None
            for ours in run.measured()
            if ours.contender.ours
        ],
    }


def plot(run: Run, path: Path) -> None:
    """Bars of requests a second and of p99, grouped by connections."""
    entries = run.measured()
    figure = Figure(figsize=(10, 4), layout="constrained")
    panels = zip(figure.subplots(1, 2), ("per_second", "p99_ms"), ("requests/s", "p99 ms"), strict=True)
    width = 0.8 / max(1, len(entries))
    for axes, name, title in panels:
        for index, entry in enumerate(entries):
            heights = [entry.median(number, name) for number in run.connections]
            at = [place + index * width for place in range(len(heights))]
            axes.bar(at, heights, width, label=entry.contender.name)
        middle = width * (len(entries) - 1) / 2
        axes.set_xticks([place + middle for place in range(len(run.connections))], list(map(str, run.connections)))
        axes.set_xlabel("connections")
        axes.set_title(title)
    # From a few ms to hundreds: on a linear scale only the slowest would be seen.
    axes.set_yscale("log")
    axes.set_ylim(bottom=1)
    axes.yaxis.set_major_formatter(ScalarFormatter())
    # Both panels have the same bars: one panel's names are everybody's.
    handles, names = axes.get_legend_handles_labels()
    if handles:
        figure.legend(handles, names, loc="outside lower center", ncols=4, frameon=False)
    figure.savefig(path, dpi=110, metadata={"Software": None})
