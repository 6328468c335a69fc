"""Files of the archive that no row names: of frames that were never committed, or were repeats.

A sweep gives each a row whose deletion is decided, and leaves the rest to retention: a frame that brings the same bytes
at that moment finds the row and keeps its file (`app.store.inserting`), and what went stays on record.
"""

import re
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from sqlalchemy import Connection, select
from sqlalchemy.dialects import postgresql, sqlite

from app.archive import MEDIA_TYPES, Archive, ArchivedFile
from app.store import audit
from app.store.database import Database
from app.store.schema import images

# How long one lies before it is swept. Nothing needs so long to be committed; but who has put an older record beside a
# newer archive by hand finds this out in less.
KEPT = timedelta(days=7)
WHY = "no inspection names it"
ACTOR = "housekeeping"
NAME = re.compile(f"[0-9a-f]{{64}}\\.({'|'.join(MEDIA_TYPES)})")


def orphans(archive: Archive, record: Database, folder: str, before: datetime) -> Iterator[ArchivedFile]:
    """Those of one of `app.archive.FOLDERS` that were put before that moment: a younger one may be of a frame that is
    about to be committed. Raises `ArchiveError`.
    """
    for files in archive.listed(folder):
        old = [file for file in files if file.put_at < before]
        with record.reading() as connection:
            found = unnamed(connection, old)
        yield from found


def unnamed(connection: Connection, files: Sequence[ArchivedFile]) -> list[ArchivedFile]:
    """Those of a few hundred files that no row names, or that a row says were removed."""
    digests = {file.digest for file in files}
    rows = connection.execute(
        select(images.c.digest, images.c.format).where(images.c.digest.in_(digests), images.c.purged_at.is_(None))
    )
    named = {(row.digest, row.format) for row in rows}
    return [file for file in files if (file.digest, file.format) not in named]


def sweep(connection: Connection, folder: str, found: Sequence[ArchivedFile], at: datetime) -> int:
    """Decide the deletion of orphans, as far as they still are; how many. What is not named as ours stays."""
    chosen = [file for file in unnamed(connection, found) if NAME.fullmatch(file.path.rpartition("/")[2])]
    if not chosen:
        return 0
    statement = (postgresql if connection.dialect.name == "postgresql" else sqlite).insert(images)
    decided = {"deleted_at": at, "deleted_why": WHY, "purged_at": None}
    # One that was removed before, and is there all the same, goes once more.
    again = statement.on_conflict_do_update(
        index_elements=[images.c.digest], set_=decided, where=images.c.purged_at.is_not(None)
    )
    connection.execute(
        again,
        [
            {
                "digest": file.digest,
                "format": file.format,
                "bytes": file.bytes,
                "verdict": "ok",
                "stored_at": file.put_at,
            }
            | decided
            for file in sorted(chosen)
        ],
    )
    about = {"files": len(chosen), "bytes": sum(file.bytes for file in chosen)}
    audit.append(connection, ACTOR, "archive.sweep", folder, about)
    return len(chosen)
