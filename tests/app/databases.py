"""Empty databases with the record's tables, of both kinds; see the fixture `database`."""

import itertools
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy

from app.store.database import Database, open_database, sqlite_url
from app.store.migrate import migrate
from tests.app.postgresql import Server

_NUMBERS = itertools.count(1)
TEMPLATE = "migrated"


def migrated_file(folder: Path) -> Path:
    """One to copy: a copy takes less than the migrations do."""
    file = folder / "template.db"
    database = open_database(sqlite_url(file))
    migrate(database)
    database.close()
    return file


@contextmanager
def sqlite(template: Path, file: Path) -> Iterator[Database]:
    """A copy of `migrated_file`."""
    shutil.copy(template, file)
    database = open_database(sqlite_url(file))
    yield database
    database.close()


def migrated_template(server: Server) -> None:
    """A database to copy, in a server."""
    _administer(server, f"CREATE DATABASE {TEMPLATE}")
    database = open_database(server.url(TEMPLATE))
    migrate(database)
    database.close()


@contextmanager
def postgresql(server: Server, template: str = TEMPLATE) -> Iterator[Database]:
    """A copy of `migrated_template`."""
    name = f"test_{next(_NUMBERS)}"
    _administer(server, f"CREATE DATABASE {name} TEMPLATE {template}")
    database = open_database(server.url(name))
    yield database
    database.close()
    _administer(server, f"DROP DATABASE {name} WITH (FORCE)")


def _administer(server: Server, statement: str) -> None:
    engine = sqlalchemy.create_engine(
        server.url().replace("postgresql:", "postgresql+psycopg:"), isolation_level="AUTOCOMMIT"
    )
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text(statement))
    engine.dispose()
