"""An SQLite file that nobody may change, not even by looking at it: no log beside it, no lock."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import sqlalchemy
from pysqlite3 import dbapi2
from sqlalchemy import Connection
from sqlalchemy.pool import NullPool


@contextmanager
def reading_frozen(file: Path) -> Iterator[Connection]:
    """Read a record that no server has open, such as a backup's."""

    def opened() -> dbapi2.Connection:
        return dbapi2.connect(f"file:{quote(str(file.absolute()))}?mode=ro&immutable=1", uri=True)

    engine = sqlalchemy.create_engine("sqlite+pysqlite://", module=dbapi2, creator=opened, poolclass=NullPool)
    with engine.connect() as connection:
        yield connection


def sealed(file: Path) -> None:
    """Everything into the one file, and no log beside it, so that it can be hashed and opened frozen."""
    connection = dbapi2.connect(str(file), isolation_level=None)
    try:
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.execute("PRAGMA journal_mode=DELETE")
    finally:
        connection.close()
