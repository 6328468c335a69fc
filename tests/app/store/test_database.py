"""One way to read, one way to write, on both databases."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import func, insert, select, text
from sqlalchemy.exc import DBAPIError, OperationalError

from app.store import schema
from app.store.database import DatabaseError, open_database, sqlite_url
from app.store.migrate import migrate
from tests.app import databases
from tests.app.store.rows import add_coil, add_event, add_inspection, now


def count(connection, table):
    return connection.scalar(select(func.count()).select_from(table))


def test_what_is_written_is_read(database):
    moment = now()
    with database.writing() as connection:
        number = add_inspection(connection, received_at=moment, sequence=2**63 - 1, position_mm=0.1)
        add_event(connection, number, defect_class="Kratzer")
    with database.reading() as connection:
        row = connection.execute(select(schema.inspections)).one()
        assert (row.number, row.received_at, row.sequence, row.position_mm) == (number, moment, 2**63 - 1, 0.1)
        assert row.sampled is False
        assert connection.scalar(select(schema.events.c.defect_class)) == "Kratzer"


def test_a_transaction_that_fails_leaves_nothing(database):
    with pytest.raises(RuntimeError), database.writing() as connection:
        add_inspection(connection)
        raise RuntimeError
    with database.reading() as connection:
        assert count(connection, schema.inspections) == 0


def test_reading_cannot_write(database):
    with pytest.raises(DBAPIError), database.reading() as connection:
        add_coil(connection)


def test_a_reader_sees_one_moment(database):
    with database.reading() as reader:
        assert count(reader, schema.coils) == 0
        with database.writing() as writer:
            add_coil(writer)
        assert count(reader, schema.coils) == 0
    with database.reading() as reader:
        assert count(reader, schema.coils) == 1


def test_a_row_that_names_nothing_is_refused(database):
    with pytest.raises(DBAPIError), database.writing() as connection:
        connection.execute(insert(schema.reviews), {"inspection": 1, "at": now(), "reviewer": "a", "label": "ok"})


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("nonsense", "not a URL"),
        ("mysql://host/name", "'mysql'"),
        ("sqlite://", "sqlite:///PATH"),
        ("sqlite:///:memory:", "sqlite:///PATH"),
        ("postgresql://user:secret@host:port/name", "not a URL"),
        ("postgresql://user:se@cret@host/name", "%40"),
    ],
)
def test_other_urls_are_refused(url, says):
    with pytest.raises(DatabaseError, match=says):
        open_database(url)


def test_a_password_is_not_repeated():
    with pytest.raises(DatabaseError) as refusal:
        open_database("postgresql//user:secret@host/name")
    assert "secret" not in str(refusal.value)


def test_a_server_that_is_not_there_is_one_line():
    database = open_database("postgresql://user:secret@127.0.0.1:1/name")
    with pytest.raises(DatabaseError, match="cannot be used") as refusal:
        migrate(database)
    assert "secret" not in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_sqlite_is_durable_and_mended(sqlite_template):
    database = open_database(sqlite_url(sqlite_template))
    with database.reading() as connection:
        assert connection.scalar(text("PRAGMA journal_mode")) == "wal"
        assert connection.scalar(text("PRAGMA synchronous")) == 2
        assert tuple(map(int, connection.scalar(text("SELECT sqlite_version()")).split("."))) >= (3, 51, 3)
    database.close()


@pytest.fixture
def two_writers(sqlite_template, tmp_path):
    """As two processes have them."""
    with databases.sqlite(sqlite_template, tmp_path / "record.db") as one:
        other = open_database(sqlite_url(tmp_path / "record.db"))
        yield one, other
        other.close()


def test_of_two_that_write_one_waits_for_the_other(two_writers):
    def write(database, names):
        for name in names:
            with database.writing() as connection:
                connection.execute(insert(schema.coils).values(coil_id=name, opened_at=now(), opened_by="api"))

    with ThreadPoolExecutor() as threads:
        names = [[f"{number}-{each}" for each in range(100)] for number in range(2)]
        list(threads.map(write, two_writers, names))
    with two_writers[0].reading() as connection:
        assert count(connection, schema.coils) == 200


def test_a_lock_that_is_never_let_go_is_not_waited_for_for_ever(two_writers, monkeypatch):
    monkeypatch.setattr("app.store.database.BUSY_MS", 50)
    one, other = two_writers
    with one.writing() as connection:
        add_coil(connection)
        with pytest.raises(OperationalError, match="database is locked"), other.writing():
            pass
    with other.writing() as connection:
        assert count(connection, schema.coils) == 1
