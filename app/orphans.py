"""Files of the archive that no row names: of frames that were never committed, or were repeats."""

from collections.abc import Iterator

from sqlalchemy import Connection, select

from app.archive import Archive, ArchivedFile
from app.store.database import Database
from app.store.schema import images


def orphans(archive: Archive, record: Database, folder: str) -> Iterator[ArchivedFile]:
    """Those of one of `app.archive.FOLDERS`. What lies there for less than `app.archive.SETTLED` may be of a frame
    that is about to be committed, and is none. Raises `ArchiveError`.
    """
    for files in archive.listed(folder):
        settled = [file for file in files if file.settled]
        with record.reading() as connection:
            found = unnamed(connection, settled)
        yield from found


def unnamed(connection: Connection, files: list[ArchivedFile]) -> list[ArchivedFile]:
    """Those of a few hundred files that no row names, or that a row says were removed."""
    digests = {file.digest for file in files}
    rows = connection.execute(
        select(images.c.digest, images.c.format).where(images.c.digest.in_(digests), images.c.purged_at.is_(None))
    )
    named = {(row.digest, row.format) for row in rows}
    return [file for file in files if (file.digest, file.format) not in named]
