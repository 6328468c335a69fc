"""The audit log: every administrative act in order, each line's digest over the one before it.

Whoever changes, removes or inserts a line breaks the chain behind it. Lines cut off at the end leave a whole chain: who
must know of that keeps the latest digest elsewhere.
"""

import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection, insert, select, text

from app.store.schema import EPOCH, MICROSECOND, audit

# What the first line's digest covers in the place of a line before it.
BEGINNING = "0" * 64
# Any number, but the same in every release: two processes that append to one PostgreSQL database go one by one.
LOCK = 7_384_621_191
# Acts after which another version may be active.
ACTIVATIONS = ("model.activate", "model.rollback")
# Lines read at a time.
LINES = 1000


class Line(NamedTuple):
    """One act. actor: `key:NAME:ID`, `person:NAME`, `os:USER` or `open`."""

    number: int
    at: datetime
    actor: str
    action: str
    subject: str
    detail: Mapping[str, Any]
    previous: str
    digest: str


class Broken(NamedTuple):
    """The first line at which the log is no longer what was written, and what is wrong with it."""

    number: int
    why: str


def append(
    connection: Connection, actor: str, action: str, subject: str, detail: Mapping[str, Any] | None = None
) -> str:
    """Add a line, in the transaction of the act itself; its digest.

    action: such as `model.activate`. detail: what JSON can say, no NaN.
    """
    _alone(connection)
    last = select(audit.c.digest).order_by(audit.c.number.desc()).limit(1)
    row = {
        "at": EPOCH + timedelta(microseconds=time.time_ns() // 1000),
        "actor": _storable(actor),
        "action": action,
        "subject": _storable(subject),
        "detail": _storable(dict(detail or {})),
        "previous": connection.scalar(last) or BEGINNING,
    }
    row["digest"] = _digest(row)
    connection.execute(insert(audit), row)
    return str(row["digest"])


def append_activation(connection: Connection, actor: str, version: str, detail: Mapping[str, Any]) -> bool:
    """Add the line of a version that is active though the log's last word is another one; whether there was need to."""
    _alone(connection)
    last = select(audit.c.subject).where(audit.c.action.in_(ACTIVATIONS)).order_by(audit.c.number.desc()).limit(1)
    before = connection.scalar(last)
    if before == version:
        return False
    append(connection, actor, ACTIVATIONS[0], version, {"before": before, **detail})
    return True


def lines(connection: Connection) -> Iterator[Line]:
    """All lines, the oldest first."""
    # Page by page: a driver would bring all rows of one answer into memory.
    after = -1
    while True:
        page = select(audit).where(audit.c.number > after).order_by(audit.c.number).limit(LINES)
        rows = connection.execute(page).all()
        for row in rows:
            yield Line(*row)
        if len(rows) < LINES:
            return
        after = rows[-1].number


def verify(connection: Connection) -> Broken | None:
    """The first line that is broken, or None: all stand as they were written."""
    before = BEGINNING
    for line in lines(connection):
        if line.previous != before:
            return Broken(line.number, "a line before it is missing or was changed")
        if line.digest != _digest(line._asdict()):
            return Broken(line.number, "it is not what was written")
        before = line.digest
    return None


def _alone(connection: Connection) -> None:
    """Until the transaction's end; SQLite has one writer anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})


def _digest(row: Mapping[str, Any]) -> str:
    said = {name: row[name] for name in ("actor", "action", "subject", "detail", "previous")}
    at = (row["at"] - EPOCH) // MICROSECOND
    canonical = json.dumps(said | {"at": at}, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()


def _storable(value: Any) -> Any:
    """Texts without what a database refuses: half a character, or a NUL."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode().replace("\0", "\ufffd")
    if isinstance(value, Mapping):
        return {_storable(str(name)): _storable(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_storable(each) for each in value]
    return value
