"""The database of the record: SQLite in the data root, or PostgreSQL by URL. One way to read, one way to write."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy

# Python's own SQLite may be older than `LEAST_SQLITE`; this is the same driver with one of its own.
from pysqlite3 import dbapi2
from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, OperationalError
from sqlalchemy.pool import NullPool

# The first SQLite that has a WAL corruption mended, in which a checkpoint could meet a commit.
LEAST_SQLITE = (3, 51, 3)
# A writer of another process commits in milliseconds; a backup or a copied file system may hold the lock for seconds.
BUSY_MS = 30_000
# SQLite's own waiting sleeps ever longer, up to 100 ms, past commits of one: of two processes that write each would
# wait for the most part while nobody writes.
BUSY_LOOK_S = 0.0005
# Pages are read by this much at once from the file's mapping and the page cache: a query over a million rows touches
# tens of MB.
CACHE_KB = 32_000
# Readers of one process at a time: the routes that read run in a pool of threads.
READERS = 8
CONNECT_S = 5
# A statement that takes longer is a fault of ours, or a database in trouble: the request gets an answer.
STATEMENT_MS = 30_000
# A server that vanished from the network is noticed within so long, not within the two hours of TCP.
LOST = {
    "keepalives": 1,
    "keepalives_idle": 5,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}
# And by the server, too: a transaction that was cut off from us would hold its locks for as long as the server goes on
# sending to us ever more seldom. Between two statements ours waits for the archive at most: 20 s for a picture, and the
# deletion of 20 files; where these take longer, the transaction is undone, and whoever asked for it asks again.
CUT_OFF_MS = 25_000
NOTICED_MS = 10_000
_POSTGRESQL: dict[str, Any] = {"connect_timeout": CONNECT_S, **LOST}
SQLITE_FILE = "record.db"


class DatabaseError(Exception):
    """Why the database cannot be used, in one line."""


class Database:
    """Connections to one database."""

    def __init__(self, url: URL) -> None:
        self.url = url
        self.is_sqlite = url.get_backend_name() == "sqlite"
        self._writers = _sqlite(url, writing=True) if self.is_sqlite else _postgresql(url, writing=True)
        self._readers = _sqlite(url, writing=False) if self.is_sqlite else _postgresql(url, writing=False)

    @property
    def kind(self) -> str:
        """`sqlite` or `postgresql`."""
        return self.url.get_backend_name()

    @property
    def file(self) -> Path | None:
        """Where SQLite keeps it; None for a server."""
        return Path(self.url.database or "") if self.is_sqlite else None

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One consistent view of what is committed; whatever would write is refused by the database."""
        with self._readers.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """One transaction: committed at the end, or not at all."""
        with self._writers.begin() as connection:
            yield connection

    def session(self) -> Connection:
        """A connection of its own for what lasts as long as it does, such as a lock; whoever has it closes it."""
        engine = sqlalchemy.create_engine(
            self.url, poolclass=NullPool, isolation_level="AUTOCOMMIT", connect_args=_POSTGRESQL
        )
        return engine.connect()

    def close(self) -> None:
        """Let all connections go."""
        self._writers.dispose()
        self._readers.dispose()


def open_database(url: str) -> Database:
    """sqlite:///PATH or postgresql://USER:PASSWORD@HOST/NAME. Nothing is connected yet. Raises `DatabaseError`."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        # The URL may hold a password, and is not repeated.
        raise DatabaseError(f"DATABASE_URL is not a URL; {_EXPECTED}") from None
    backend = parsed.get_backend_name()
    if "@" in (parsed.host or ""):
        raise DatabaseError("DATABASE_URL has more than one @; write one in the password as %40")
    if backend == "sqlite" and parsed.database and parsed.database != ":memory:":
        return Database(parsed.set(drivername="sqlite+pysqlite"))
    if backend in ("postgresql", "postgres"):
        return Database(parsed.set(drivername="postgresql+psycopg"))
    raise DatabaseError(f"DATABASE_URL names {backend!r}; {_EXPECTED}")


_EXPECTED = "expected sqlite:///PATH or postgresql://USER:PASSWORD@HOST/NAME"


def sqlite_url(file: Path) -> str:
    """The URL of a file."""
    return URL.create("sqlite", database=str(file)).render_as_string()


def _sqlite(url: URL, *, writing: bool) -> Engine:
    if dbapi2.sqlite_version_info < LEAST_SQLITE:
        wanted = ".".join(map(str, LEAST_SQLITE))
        raise DatabaseError(
            f"SQLite {dbapi2.sqlite_version} can corrupt its write-ahead log; {wanted} or newer is needed: "
            "install pysqlite3 as the lock file has it"
        )
    engine = sqlalchemy.create_engine(
        url,
        module=dbapi2,
        pool_size=1 if writing else READERS,
        max_overflow=0,
        connect_args={"timeout": BUSY_MS / 1000, "check_same_thread": False},
    )

    @event.listens_for(engine, "connect")
    def _opened(connection: Any, _record: Any) -> None:
        # Transactions begin where we say so, and hold schema changes too: the driver's own rules do neither.
        connection.isolation_level = None
        for pragma in (
            "journal_mode=WAL",
            # A commit is on the disk before its frame is answered, power cut or not.
            "synchronous=FULL",
            f"busy_timeout={BUSY_MS}",
            "foreign_keys=ON",
            f"cache_size=-{CACHE_KB}",
            "temp_store=MEMORY",
            f"query_only={'OFF' if writing else 'ON'}",
            # Last: those before it wait.
            f"busy_timeout={0 if writing else BUSY_MS}",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begun(connection: Connection) -> None:
        if writing:
            _begin_to_write(connection)
        else:
            connection.exec_driver_sql("BEGIN")

    return engine


def _begin_to_write(connection: Connection) -> None:
    """Take the one lock for writing, when whoever has it is done; raises what SQLite raises after `BUSY_MS`.

    At once: a transaction that read first and then writes would fail if another wrote meanwhile.
    """
    deadline = time.monotonic() + BUSY_MS / 1000
    while True:
        try:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            return
        except OperationalError as error:
            code = getattr(error.orig, "sqlite_errorcode", None)
            if code is None or code & 0xFF != dbapi2.SQLITE_BUSY or time.monotonic() > deadline:
                raise
        time.sleep(BUSY_LOOK_S)


def _postgresql(url: URL, *, writing: bool) -> Engine:
    # A commit is on the disk when it is told, whatever the server's own setting.
    options = f"-c statement_timeout={STATEMENT_MS} -c timezone=UTC -c synchronous_commit=on"
    options += f" -c tcp_user_timeout={NOTICED_MS} -c tcp_keepalives_idle=5 -c tcp_keepalives_interval=3"
    if writing:
        options += f" -c idle_in_transaction_session_timeout={CUT_OFF_MS}"
    else:
        options += " -c default_transaction_read_only=on -c default_transaction_isolation=repeatable\\ read"
    return sqlalchemy.create_engine(
        url,
        pool_size=2 if writing else READERS,
        max_overflow=0,
        # A server that was restarted is met by a fresh connection, not by an error.
        pool_pre_ping=True,
        connect_args={**_POSTGRESQL, "options": options},
    )
