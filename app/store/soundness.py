"""Is the SQLite file one that a server may start on? What can be told within milliseconds, whatever its size.

Looked at are the file's head and length, the whole of a small file, and of a large one the way down to both ends of
every table and index, with the newest rows. Damage in the middle of a large file is found when it is read (503), or by
`python -m app verify`, which reads all of it.
"""

from pathlib import Path
from typing import Any

from pysqlite3 import dbapi2

from app.store.database import BUSY_MS, DatabaseError

MAGIC = b"SQLite format 3\x00"
# Bytes up to which SQLite checks every page of it within a fifth of a second.
SMALL = 32 << 20
# Rows read at either end of a table.
ROWS = 200


def require_sound(file: Path) -> None:
    """Raises `DatabaseError`, in which a file that is not there yet or is empty is none."""
    if not file.exists() or not file.stat().st_size:
        return
    with file.open("rb") as opened:
        if opened.read(len(MAGIC)) != MAGIC:
            raise _damaged(file, "it does not begin as an SQLite file does")
    try:
        connection = dbapi2.connect(str(file), timeout=BUSY_MS / 1000, isolation_level=None)
        try:
            _look(connection, file)
        finally:
            connection.close()
    except dbapi2.OperationalError as error:
        # Locked, or a disk that does not answer: not for us to judge.
        if "malformed" not in str(error) and "not a database" not in str(error) and "decode" not in str(error):
            raise DatabaseError(f"the sqlite database cannot be used: {error}") from error
        raise _damaged(file, str(error)) from error
    except dbapi2.DatabaseError as error:
        raise _damaged(file, str(error)) from error


def _look(connection: Any, file: Path) -> None:
    # What a crash left in the log comes first: the file is whole only with it.
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    (pages,), (page_size,) = (connection.execute(f"PRAGMA {name}").fetchone() for name in ("page_count", "page_size"))
    size = file.stat().st_size
    if size < pages * page_size:
        raise _damaged(file, f"it has {size} bytes of {pages * page_size}")
    if size <= SMALL:
        if (said := connection.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            raise _damaged(file, str(said).replace("\n", " "))
        return
    tables = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
    for (table,) in tables.fetchall():
        for order in ("ASC", "DESC"):
            connection.execute(f'SELECT * FROM "{table}" ORDER BY rowid {order} LIMIT {ROWS}').fetchall()  # noqa: S608
        for _, index, *_rest in connection.execute(f'PRAGMA index_list("{table}")').fetchall():
            _look_along(connection, table, index)


def _look_along(connection: Any, table: str, index: str) -> None:
    """Both ends of an index, and the rows that they lead to."""
    first = connection.execute(f'PRAGMA index_info("{index}")').fetchone()[2]
    if first is None:
        # Of an expression; the plan would be another.
        return
    partial = connection.execute("SELECT sql FROM sqlite_schema WHERE name = ?", (index,)).fetchone()[0]
    where = f"WHERE {partial.partition(' WHERE ')[2]}" if partial and " WHERE " in partial else ""
    for order in ("ASC", "DESC"):
        connection.execute(
            f'SELECT * FROM "{table}" INDEXED BY "{index}" {where} ORDER BY "{first}" {order} LIMIT 1'  # noqa: S608
        ).fetchall()


def _damaged(file: Path, reason: str) -> DatabaseError:
    return DatabaseError(
        f"the record {file} is damaged: {reason}. `python -m app verify` says what is, `python -m "
        "app restore BACKUP --replace` puts a backup in its place"
    )
