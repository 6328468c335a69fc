"""Files beside the labelled images that somebody may believe to be trained on."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from training.checks.finding import Finding, Severity, finding
from training.scan import LABELS_FILE, Record, unread, unread_columns

# Columns named in a message.
COLUMNS_NAMED = 5


def file_findings(data: Path, records: Sequence[Record]) -> Iterable[Finding]:
    """Image files below the data folder that none of its records reads, and columns of labels.csv that may be a group.

    records: all of `training.scan.scan(data)`.
    """
    for kind, files in unread(data, records).items():
        yield finding(kind, files)
    if columns := unread_columns(data):
        named = ", ".join(f"`{name}`" for name in columns[:COLUMNS_NAMED])
        more = f" and {len(columns) - COLUMNS_NAMED} more" if len(columns) > COLUMNS_NAMED else ""
        message = (
            f"{LABELS_FILE} has no column `group`, and {named}{more} count for nothing: where one of these names the "
            "coil or part, call it `group`, for likeness does not tell different places of one coil"
        )
        yield Finding("no_group_column", Severity.WARNING, message, ())
