"""What the commands say to the person at the terminal: on stderr, and with which exit code."""

import json
import sys

from training.checks.finding import Finding
from training.errors import printable
from training.outcome import Outcome
from training.wording import figure

EXIT_DONE, EXIT_FAULT, EXIT_USAGE = 0, 1, 2

# AUROC of a coin.
CHANCE = 0.5

# Enough to see what a finding is about without scrolling past the others.
FILES_SHOWN = 5


def say(line: str) -> None:
    """One line on stderr, whatever the file names in it hold."""
    print(printable(line), file=sys.stderr)


def tell(finding: Finding) -> None:
    """What was found, and the first files it is about."""
    say(f"{finding.severity}: {finding.kind}: {finding.message}")
    for file in finding.files[:FILES_SHOWN]:
        say(f"    {file}")
    if len(finding.files) > FILES_SHOWN:
        print(f"    and {len(finding.files) - FILES_SHOWN} more (all of them with --json)", file=sys.stderr)


def tell_outcome(outcome: Outcome, as_json: bool) -> None:
    """The figures, and on stdout the version or the outcome as JSON."""
    print(f"on {outcome.tiles} tiles of {outcome.groups} groups:", file=sys.stderr)
    for name, interval in outcome.metrics.items():
        limits = [figure(end, name) for end in (interval.low, interval.high) if end is not None]
        span = f"  ({' to '.join(limits)})" if limits else ""
        print(f"{name:>27}: {figure(interval.value, name)}{span}", file=sys.stderr)
    auroc = outcome.metrics.get("auroc")
    if auroc and (auroc.value if auroc.low is None else auroc.low) <= CHANCE:
        say(
            "warning: defects may be told from ok surface no better than by a coin: AUROC, or its interval, reaches 0.5"
        )
    folds = outcome.cross_validation
    if folds:
        name = "auroc" if "auroc" in folds["mean"] else "class_accuracy"
        each = ", ".join(figure(fold[name]["value"]) for fold in folds["folds"])
        mean, spread = folds["mean"][name], folds["spread"][name]
        print(f"{name} of each fold alone: {each} (mean {mean:.3f}, standard deviation {spread:.3f})", file=sys.stderr)
    if as_json:
        print(json.dumps(outcome.summary()))
    elif outcome.version:
        print(outcome.version)
