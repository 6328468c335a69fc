"""Brings a database's schema to what this program knows: all of it or nothing, in one transaction."""

import logging
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError, OperationalError

from app.store.database import Database, DatabaseError

SCRIPTS = Path(__file__).parent / "migrations"
# At every start it would tell of a rule for SQLite that does not hold here: migrations/env.py.
logging.getLogger("alembic").setLevel(logging.WARNING)
# Any number, but the same in every release: processes that migrate one PostgreSQL database wait for one another.
LOCK = 7_384_621_190


def migrate(database: Database, to: str = "head", scripts: Path = SCRIPTS) -> None:
    """Create the tables or change them; what is up to date stays as it is.

    to: a revision. scripts: the folder with the steps.
    Raises `DatabaseError`: it cannot be reached or written, was left by a newer release, or a step failed; the schema
    and the rows are then as they were.
    """
    try:
        with database.writing() as connection:
            if not database.is_sqlite:
                connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
            _upgrade(connection, to, scripts)
    except OperationalError as error:
        raise DatabaseError(f"the {database.kind} database cannot be used: {_first_line(error)}") from error
    except (DBAPIError, CommandError) as error:
        raise DatabaseError(
            f"the {database.kind} database could not be brought to this release's schema and is as it was: "
            f"{_first_line(error)}"
        ) from error


def revision(connection: Connection) -> str | None:
    """The schema that a database has; None where there is none."""
    return MigrationContext.configure(connection).get_current_revision()


def known_revision() -> str | None:
    """The schema of this release."""
    return _scripts(SCRIPTS)[0].get_current_head()


def _scripts(scripts: Path) -> tuple[ScriptDirectory, Config]:
    config = Config()
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))
    config.set_main_option("path_separator", "newline")
    return ScriptDirectory.from_config(config), config


def _upgrade(connection: Connection, to: str, scripts: Path) -> None:
    known, config = _scripts(scripts)
    found = revision(connection)
    steps = [step.revision for step in known.walk_revisions()]
    if found is not None and found not in steps:
        raise DatabaseError(
            f"the database was written by a newer release (schema {found}, this one knows {steps[0]}); "
            "run that release, or restore a backup of before"
        )
    if found != (steps[0] if to == "head" else to):
        config.attributes["connection"] = connection
        command.upgrade(config, to)


def _first_line(error: Exception) -> str:
    cause = getattr(error, "orig", None) or error
    return str(cause).strip().splitlines()[0] if str(cause).strip() else type(cause).__name__
