"""Administrative acts on files, told to the audit log where there is a record to keep it."""

import getpass
import os
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any, Protocol

import sqlalchemy
from sqlalchemy.exc import DBAPIError

from app.access.watched import AccessError
from app.settings import Settings
from app.store import audit
from app.store.database import DatabaseError
from app.store.record import database_of
from app.store.schema import audit as lines


class Note(Protocol):
    """Tells one act."""

    def __call__(self, action: str, subject: str, detail: Mapping[str, Any] | None = None) -> None: ...


def system_user() -> str:
    """Who runs a command, as an actor of the audit log."""
    try:
        return f"os:{getpass.getuser()}"
    # A container's user may have no name.
    except (KeyError, OSError):
        return f"os:{os.getuid()}"


@contextmanager
def audited(settings: Settings, actor: str) -> Iterator[Note]:
    """A block in which acts are done and told; if the log cannot take them in, none is told.

    What is told is kept once the block ends well. Where there is no record yet, or none is kept, nothing is told: the
    first key is made before a server may make the tables. Raises `AccessError`: the record cannot be written.
    """
    try:
        with closing(database_of(settings)) as database:
            absent = database.file is not None and not database.file.exists()
            if settings.record == "off" or absent:
                yield _untold
                return
            with database.writing() as connection:

                def note(action: str, subject: str, detail: Mapping[str, Any] | None = None) -> None:
                    audit.append(connection, actor, action, subject, detail)

                yield note if sqlalchemy.inspect(connection).has_table(lines.name) else _untold
    except DatabaseError as error:
        raise AccessError(f"the audit log cannot be written: {error}") from error
    except DBAPIError as error:
        reason = str(error.orig).strip().partition("\n")[0]
        raise AccessError(f"the audit log cannot be written: {reason}") from error


def _untold(action: str, subject: str, detail: Mapping[str, Any] | None = None) -> None:
    """An act where there is no record."""
