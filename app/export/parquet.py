"""Inspections as Parquet, each column of its own type, times in UTC."""

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import RowMapping

from app.schemas_record import COLUMNS, told

if TYPE_CHECKING:
    import pyarrow

MEDIA_TYPE = "application/vnd.apache.parquet"
# Rows that are read together later on: few make a file that is slow to read, many are memory while it is written.
ROW_GROUP = 20_000

TIMES = {"received_at", "captured_at"}
DOUBLES = {"position_mm", "mm_per_pixel", "defect_probability"}
SHORT_INTEGERS = {"width", "height", "event_count"}
SWITCHES = {"sampled", "has_image"}


def as_parquet(batches: Iterable[Sequence[RowMapping]]) -> Iterator[bytes]:
    """The file in parts, from batches of rows of `app.store.queries`."""
    # Imported by who exports: it takes 100 MB that a line never needs.
    from pyarrow import Table, parquet  # noqa: PLC0415

    sink, schema = _Sink(), _schema()
    with parquet.ParquetWriter(sink, schema, compression="zstd") as writer:
        for group in _groups(batches, schema):
            writer.write_table(Table.from_batches(group, schema))
            yield sink.taken()
    yield sink.taken()


def _schema() -> "pyarrow.Schema":
    import pyarrow  # noqa: PLC0415

    text, moment = pyarrow.string(), pyarrow.timestamp("us", tz="UTC")
    kinds: Mapping[str, Any] = {
        **dict.fromkeys(TIMES, moment),
        **dict.fromkeys(DOUBLES, pyarrow.float64()),
        **dict.fromkeys(SHORT_INTEGERS, pyarrow.int32()),
        **dict.fromkeys(SWITCHES, pyarrow.bool_()),
        "sequence": pyarrow.int64(),
    }
    return pyarrow.schema([(name, kinds.get(name, text)) for name in COLUMNS])


def _groups(batches: Iterable[Sequence[RowMapping]], schema: "pyarrow.Schema") -> Iterator[list["pyarrow.RecordBatch"]]:
    """As many batches together as make a row group."""
    from pyarrow import RecordBatch  # noqa: PLC0415

    group, rows = [], 0
    for batch in batches:
        group.append(RecordBatch.from_pylist([told(row) for row in batch], schema))
        rows += len(batch)
        if rows >= ROW_GROUP:
            yield group
            group, rows = [], 0
    if group:
        yield group


class _Sink(io.RawIOBase):
    """A file that is sent as it grows: a Parquet file is written from its first byte to its last."""

    def __init__(self) -> None:
        self._written: list[bytes] = []
        self._length = 0

    def writable(self) -> bool:
        return True

    def write(self, part: Any) -> int:
        self._written.append(bytes(part))
        self._length += len(self._written[-1])
        return len(self._written[-1])

    def tell(self) -> int:
        return self._length

    def taken(self) -> bytes:
        """What was written since the last time."""
        part = b"".join(self._written)
        self._written.clear()
        return part
