"""The rows of one moment, as an SQLite file of their own; and rows from one database into another."""

from pathlib import Path

from pysqlite3 import dbapi2
from sqlalchemy import Connection, func, insert, literal_column, select, text

from app.backup.contents import BackupError
from app.backup.progress import Progress
from app.store.database import Database, open_database, sqlite_url
from app.store.migrate import migrate, revision
from app.store.schema import metadata

# Pages copied between two looks at Ctrl-C: 8 MB.
PAGES = 2000
ROWS = 2000


def snapshot(record: Database, target: Path, progress: Progress) -> None:
    """What is committed now into a new SQLite file; a server that writes meanwhile neither waits nor is seen.

    Raises `BackupError`: the record is damaged, or of another release where its rows have to be understood.
    """
    if record.is_sqlite:
        _copy_pages(record, target, progress)
    else:
        _copy_from_server(record, target, progress)


def copy_rows(source: Connection, target: Connection, progress: Progress) -> None:
    """All rows of all tables into tables that are empty; both are of this release."""
    for table in metadata.sorted_tables:
        rows = source.execution_options(yield_per=ROWS).execute(select(table))
        for done, chunk in enumerate(rows.mappings().partitions(ROWS), start=1):
            target.execute(insert(table), [dict(row) for row in chunk])
            progress.tell(f"rows of {table.name}", done * ROWS)


def count_on(target: Connection) -> None:
    """PostgreSQL numbers new rows from its own counters, which rows that brought their numbers do not move."""
    for table in metadata.sorted_tables:
        number = table.autoincrement_column
        if number is None:
            continue
        counter = func.pg_get_serial_sequence(table.name, number.name)
        greatest = select(func.max(number)).scalar_subquery()
        if target.scalar(select(counter)) is not None and target.scalar(select(greatest)) is not None:
            target.execute(select(func.setval(counter, greatest)))


def row_counts(connection: Connection) -> dict[str, int]:
    """Of every table that is there."""
    names = connection.scalars(
        text("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name")
    ).all()
    count = func.count(literal_column("*"))
    return {name: int(connection.scalar(select(count).select_from(text(f'"{name}"'))) or 0) for name in names}


def _copy_pages(record: Database, target: Path, progress: Progress) -> None:
    """By SQLite's own backup, within a read transaction: without one it would begin anew at each commit."""

    def tell(_status: int, left: int, of: int) -> None:
        progress.tell("pages of the database", of - left, of)

    # A disk without room says so here; SQLite would say that it cannot open a file.
    target.touch()
    copy = dbapi2.connect(str(target), isolation_level=None)
    try:
        with record.reading() as connection:
            # Only a read fixes the moment.
            connection.execute(text("SELECT count(*) FROM sqlite_schema"))
            driver = connection.connection.driver_connection
            assert driver is not None
            driver.backup(copy, pages=PAGES, progress=tell)
        # A copy repeats whatever is wrong with the original.
        if (said := copy.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            raise BackupError(
                f"the record {record.file} is damaged ({said}) and no backup is made of it: `python -m app verify` "
                "says what is, `python -m app restore BACKUP --replace` puts an earlier backup in its place"
            )
    finally:
        copy.close()


def _copy_from_server(record: Database, target: Path, progress: Progress) -> None:
    copy = open_database(sqlite_url(target))
    migrate(copy)
    with record.reading() as source, copy.writing() as connection:
        found, known = revision(source), revision(connection)
        if found != known:
            raise BackupError(
                f"the {record.kind} database has schema {found}, this release {known}: save it with the release that "
                "wrote it, or start this release's server once, which migrates it"
            )
        # A million rows take longer than a request may.
        source.execute(text("SET LOCAL statement_timeout = 0"))
        copy_rows(source, connection, progress)
    copy.close()
