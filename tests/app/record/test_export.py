"""Inspections as a file: every row, in types and cells that mean what the record means."""

import csv
import io
import tracemalloc
from datetime import UTC, datetime, timedelta

import pytest
from pyarrow import parquet

from app.export.csv import FORMULA_STARTS, as_csv, cell
from app.export.parquet import as_parquet
from app.schemas_record import COLUMNS, InspectionRow
from app.store import queries
from app.store.wanted import Wanted
from tests.app.store.rows import STARTED, add_image, add_inspection

HOSTILE = ["=1+1", "+1", "-1", "@SUM(A1)", '=HYPERLINK("x")', 'a "quoted", one', "a,b", "'x", "Grüße", " =1"]


@pytest.fixture
def filled(record):
    """Ids of the clients' own making, numbers of all signs, and what is not there."""
    with record.writing() as connection:
        add_image(connection, "a" * 64)
        for count, name in enumerate(HOSTILE):
            add_inspection(
                connection, name, camera_id=name, position_mm=-2.5, sequence=2**63 - 1, verdict="defect",
                defect_probability=0.1 + 0.2, defect_class=name, image="a" * 64 if count % 2 else None,
                captured_at=STARTED + timedelta(microseconds=1), review="ok",
            )  # fmt: skip
        add_inspection(connection, None, camera_id=None, side=None)
    return record


def rows_of(record):
    with record.reading() as connection:
        return [InspectionRow.of(row) for row in queries.page(connection, Wanted(), 500).rows]


def test_a_csv_holds_what_the_list_holds(filled):
    data = b"".join(as_csv(queries.batches(filled.reading, Wanted())))
    assert not data.startswith(b"\xef\xbb\xbf")
    header, *lines = csv.reader(io.StringIO(data.decode(), newline=""))
    assert tuple(header) == COLUMNS
    expected = rows_of(filled)
    assert len(lines) == len(expected) == len(HOSTILE) + 1
    for line, row in zip(lines, expected, strict=True):
        told = dict(zip(header, line, strict=True))
        assert told["inspection_id"] == row.inspection_id
        assert (told["position_mm"] or None) == (None if row.position_mm is None else "-2.5")
        assert float(told["defect_probability"]) == row.defect_probability
        assert (told["sequence"] or None) == (None if row.sequence is None else str(2**63 - 1))
        assert datetime.fromisoformat(told["received_at"]) == row.received_at
        assert told["received_at"].endswith("Z")
        assert told["has_image"] == str(row.has_image).lower()
        for name in ("coil_id", "camera_id", "defect_class"):
            assert told[name].removeprefix("'") == (getattr(row, name) or "").removeprefix("'")


def test_no_cell_is_a_formula(filled):
    data = b"".join(as_csv(queries.batches(filled.reading, Wanted()))).decode()
    texts = [name for name, field in InspectionRow.model_fields.items() if "str" in str(field.annotation)]
    for told in csv.DictReader(io.StringIO(data, newline="")):
        assert not any(told[name].startswith(FORMULA_STARTS) for name in texts)
    assert {cell(start + "x") for start in FORMULA_STARTS} == {f"'{start}x" for start in FORMULA_STARTS}


def test_lines_end_and_cells_are_quoted_as_rfc_4180_says(filled):
    data = b"".join(as_csv(queries.batches(filled.reading, Wanted()))).decode()
    assert data.count("\r\n") == len(HOSTILE) + 2
    assert "\n" not in data.replace("\r\n", "")
    assert '"a ""quoted"", one"' in data
    assert '"a,b"' in data


def test_parquet_holds_what_the_list_holds_in_its_types(filled):
    data = b"".join(as_parquet(queries.batches(filled.reading, Wanted())))
    table = parquet.read_table(io.BytesIO(data))
    kinds = {field.name: str(field.type) for field in table.schema}
    assert tuple(kinds) == COLUMNS
    assert kinds["received_at"] == kinds["captured_at"] == "timestamp[us, tz=UTC]"
    assert (kinds["sequence"], kinds["width"], kinds["sampled"]) == ("int64", "int32", "bool")
    assert (kinds["defect_probability"], kinds["coil_id"], kinds["verdict"]) == ("double", "string", "string")
    expected = [row.model_dump() for row in rows_of(filled)]
    for told, row in zip(table.to_pylist(), expected, strict=True):
        assert told == {**row, "verdict": row["verdict"].value}
        assert told["received_at"].tzinfo is not None


@pytest.mark.parametrize("written", [as_csv, as_parquet])
def test_an_empty_record_is_a_file_with_columns_alone(record, written):
    data = b"".join(written(queries.batches(record.reading, Wanted())))
    if written is as_csv:
        assert data.decode() == ",".join(COLUMNS) + "\r\n"
    else:
        table = parquet.read_table(io.BytesIO(data))
        assert (table.num_rows, tuple(table.column_names)) == (0, COLUMNS)


def repeated(row, times):
    """As `queries.batches` of a large record: the same thousand rows again and again."""
    batch = [row] * 1000
    return (batch for _ in range(times))


@pytest.mark.parametrize("written", [as_csv, as_parquet])
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_long_file_takes_no_more_memory_than_a_short_one(filled, monkeypatch, written):
    monkeypatch.setattr("app.export.parquet.ROW_GROUP", 2000)
    with filled.reading() as connection:
        row = queries.page(connection, Wanted(), 1).rows[0]

    def peak(times):
        tracemalloc.start()
        size = sum(len(part) for part in written(repeated(row, times)))
        _, highest = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return size, highest

    peak(1)
    (short, one), (long, many) = peak(4), peak(20)
    assert long > 2 * short
    assert many < 1.3 * one


def test_a_moment_is_written_in_utc():
    assert cell(datetime(2026, 1, 31, 8, 30, tzinfo=UTC)) == "2026-01-31T08:30:00Z"
