"""Files beside the labelled images that somebody may believe to be trained on."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from training.checks.finding import Finding, finding
from training.scan import Record, unread


def file_findings(data: Path, records: Sequence[Record]) -> Iterable[Finding]:
    """Image files below the data folder that none of its records reads; records: all of `training.scan.scan(data)`."""
    for kind, files in unread(data, records).items():
        yield finding(kind, files)
