"""Groups that file names tell: a regular expression whose brackets name the piece of surface."""

import re
from collections.abc import Sequence
from dataclasses import replace

from training.errors import DataFault
from training.scan import Record


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
    expression = compiled(pattern)
    named = [record if record.group else replace(record, group=_named(expression, record.file)) for record in records]
    if nameless := [record.file for record in named if not record.group]:
        raise DataFault(
            f"group_pattern {pattern!r} names no group for {len(nameless)} of {len(records)} files, the first is "
            f"{nameless[0]}; widen the pattern, or give these files their group in labels.csv"
        )
    return named


def names_some(records: Sequence[Record], pattern: str) -> bool:
    """Whether it tells the group of any of the records that have none, or there are none of these."""
    expression = compiled(pattern)
    nameless = [record for record in records if not record.group]
    return not nameless or any(_named(expression, record.file) for record in nameless)


def _named(expression: re.Pattern[str], file: str) -> str | None:
    found = expression.search(file)
    # A bracket that took no part in the match is None.
    return "-".join(part for part in found.groups() if part) or None if found else None
