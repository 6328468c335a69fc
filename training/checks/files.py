"""What lies in a data folder unread though somebody may believe otherwise: image files, and columns of labels.csv."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from training.checks.finding import Finding, Severity, finding
from training.scan import LABELS_FILE, Record, unread, unread_columns

# Columns named in a message.
COLUMNS_NAMED = 5


def file_findings(data: Path, records: Sequence[Record]) -> Iterable[Finding]:
    """Image files below the data folder that none of its records reads; records: all of `training.scan.scan(data)`."""
    for kind, files in unread(data, records).items():
        yield finding(kind, files)


def column_findings(data: Path, records: Sequence[Record]) -> Iterable[Finding]:
    """Columns of labels.csv one of which may be the group; records: with the groups that any person gave."""
    if any(record.group is None for record in records) and (columns := unread_columns(data)):
        named = ", ".join(f"`{name}`" for name in columns[:COLUMNS_NAMED])
        more = f" and {len(columns) - COLUMNS_NAMED} more" if len(columns) > COLUMNS_NAMED else ""
        message = (
            f"{LABELS_FILE} has no column `group`, and {named}{more} count for nothing: where one of these names the "
            "coil or part, call it `group`, for likeness does not tell different places of one coil"
        )
        yield Finding("no_group_column", Severity.WARNING, message, ())
