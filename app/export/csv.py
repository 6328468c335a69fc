"""Inspections as CSV (RFC 4180, UTF-8), in which no cell is a formula to a spreadsheet.

No byte order mark: a program that reads CSV would take it for a part of the first column's name. Spreadsheets are told
UTF-8 when a file is imported.
"""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import RowMapping

from app.schemas_record import COLUMNS, told

MEDIA_TYPE = "text/csv; charset=utf-8; header=present"
# A cell that begins so is computed by spreadsheets, whatever it was meant to be: ids are the clients' own.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def as_csv(batches: Iterable[Sequence[RowMapping]]) -> Iterator[bytes]:
    """The file in parts: the header, then each batch of rows of `app.store.queries`."""
    yield _lines([COLUMNS])
    for batch in batches:
        yield _lines([[cell(said[name]) for name in COLUMNS] for said in map(told, batch)])


def cell(value: Any) -> Any:
    """A value as it stands in the file: no value is an empty cell, and a text that would be a formula gets a ' before.

    >>> [cell(value) for value in (None, True, -2.5, "-2.5", "=1+1", "coil 7")]
    ['', 'true', -2.5, "'-2.5", "'=1+1", 'coil 7']
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, str) and value.startswith(FORMULA_STARTS):
        return f"'{value}"
    return value


def _lines(rows: Iterable[Sequence[Any]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode()
