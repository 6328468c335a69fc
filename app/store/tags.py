"""The tag of a process in inspection numbers: claimed, so that no two that write to one record have the same.

A claim goes with its process, however that ends. It is a lock on a file beside SQLite's, or in PostgreSQL a session's
advisory lock. A tag that is free again may be used again: numbers rise above all that stand in the record.
"""

import fcntl
import os
from pathlib import Path
from typing import Protocol

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError, ResourceClosedError

from app.store.database import Database, DatabaseError
from app.store.numbers import TAG_BITS

TAGS = 1 << TAG_BITS
FOLDER = "tags"
# Any number, but the same in every release: PostgreSQL's advisory locks have two keys, of which the second is the tag.
LOCK = 738_462


class Claim(Protocol):
    """A tag that is this process's alone until it is closed."""

    tag: int

    def renew(self) -> None:
        """Claim it again where the claim was lost; `tag` may be another then. Raises what the database raises."""

    def close(self) -> None:
        """Let go of it."""


def claim(database: Database) -> Claim:
    """The least tag that nobody has. Raises `DatabaseError`: all are taken."""
    if database.file is not None:
        return _FileClaim(database.file.parent / FOLDER)
    return _SessionClaim(database)


class _FileClaim:
    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        for self.tag in range(TAGS):
            self._descriptor = os.open(folder / f"{self.tag:04d}", os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(self._descriptor)
            else:
                return
        raise _none_left()

    def renew(self) -> None:
        """The lock is the process's own as long as it lives."""

    def close(self) -> None:
        os.close(self._descriptor)


class _SessionClaim:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._session: Connection
        self._open(range(TAGS))

    def renew(self) -> None:
        try:
            self._session.execute(text("SELECT 1"))
        except (DBAPIError, ResourceClosedError):
            # The server was restarted, or lost: its locks went with the session. Our own tag first.
            self.close()
            self._open([self.tag, *range(TAGS)])

    def close(self) -> None:
        # It is closed already where the server could not be reached for another one.
        if not self._session.closed:
            self._session.invalidate()
            self._session.close()

    def _open(self, tags: "range | list[int]") -> None:
        self._session = self._database.session()
        for tag in tags:
            taken = text("SELECT pg_try_advisory_lock(:lock, :tag)")
            if self._session.scalar(taken, {"lock": LOCK, "tag": tag}):
                self.tag = tag
                return
        self.close()
        raise _none_left()


def _none_left() -> DatabaseError:
    return DatabaseError(f"{TAGS} processes write to this record, and no more can")
