"""Groups that file names tell: a regular expression whose brackets name the piece of surface."""

import re
from collections.abc import Sequence
from dataclasses import replace

from training.errors import DataFault
from training.scan import Record

# What the commands say of it.
GROUP_PATTERN_HELP = "its brackets name the group in file names, where labels.csv names none, such as '(coil[0-9]+)_'"


def compiled(pattern: str) -> re.Pattern[str]:
    r"""The expression. Raises `ValueError` with how to mend it where it is none, or has no brackets.

    >>> compiled(r"coil(\d+)").groups
    1
    """
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise ValueError(f"group_pattern is no regular expression: {error}; received {pattern!r}") from error
    if not expression.groups:
        raise ValueError(
            f"group_pattern needs brackets round what names the group, such as (coil[0-9]+)_; received {pattern!r}"
        )
    return expression


def by_pattern(records: Sequence[Record], pattern: str | None) -> list[Record]:
    r"""The records; those without a group get the one that their `file` tells, and given groups are never changed.

    The expression is searched in the path below the data folder, with forward slashes. What its brackets found, where
    there are several joined by "-", is the group's name. Raises `DataFault` where it finds nothing in some file: an
    image that lost its group to a misspelt name would else stand alone, and its surface on two sides of a split.
    `ValueError` as `compiled` does.
    """
    if pattern is None:
        return list(records)
    if lost := nameless(records, pattern):
        raise DataFault(
            f"group_pattern {pattern!r} names no group for {len(lost)} of {len(records)} files, the first is "
            f"{lost[0]}; widen the pattern, or give these files their group in labels.csv"
        )
    return [replace(record, group=group_told(record, pattern)) for record in records]


def nameless(records: Sequence[Record], pattern: str) -> list[str]:
    """Files that have no group and that it names none for. Raises `ValueError` as `compiled` does."""
    return [record.file for record in records if group_told(record, pattern) is None]


def group_told(record: Record, pattern: str | None) -> str | None:
    r"""The record's own group, or the one that its file name tells; None without either.

    >>> from pathlib import Path
    >>> group_told(Record("ok/coil7_1.png", Path(), "ok", "none", None, None), r"coil(\d+)_")
    '7'
    """
    if record.group or pattern is None:
        return record.group
    found = compiled(pattern).search(record.file)
    # A bracket that took no part in the match is None.
    return "-".join(part for part in found.groups() if part) or None if found else None
