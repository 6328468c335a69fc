"""What lies in a backup, and the manifest that vouches for it.

    <backup>/
        record.db        all rows, as an SQLite file, whichever database they came from
        archive/xx/...   the images that these rows name
        models/ keys/ plant.toml
        manifest.json    written last: the sha256 of every other file but the images, whose names are theirs

The manifest vouches for record.db, and its rows for the images.
"""

import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy import Connection, func, select

from app.archive import MEDIA_TYPES, image_path
from app.complaints import echo
from app.store.schema import images
from model.artifact import FileEntry, FileName, entry

MANIFEST = "manifest.json"
RECORD = "record.db"
ARCHIVE = "archive"
MODELS = "models"
KEYS = "keys"
PLANT = "plant.toml"
# A manifest has some kilobytes for each version; its size is checked before it is read.
MAX_MANIFEST_BYTES = 16_000_000
DIGEST = re.compile("[0-9a-f]{64}")
# Files named on the terminal for one reason; all are counted.
NAMED = 20
# Image rows looked at in one go.
ROWS = 1000


class BackupError(Exception):
    """Why nothing was saved, put back or checked, in one line."""


class Images(BaseModel):
    """The image files of a backup. lost: of those that the archive should have had and had not."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    count: int = Field(ge=0)
    bytes: int = Field(ge=0)
    lost: int = Field(ge=0)


class Manifest(BaseModel):
    """What a backup is. schema_revision: of record.db; rows: how many each table has; left_out: what, and why."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["steelsight-backup"] = "steelsight-backup"
    version: Literal[1] = 1
    created_at: datetime
    database: Literal["sqlite", "postgresql"] | None
    schema_revision: str | None
    rows: dict[str, int]
    images: Images
    files: dict[FileName, FileEntry]
    left_out: dict[str, str]


class ImageFile(NamedTuple):
    """A row of `images` whose file is to be there. going: its deletion is decided, and may be done at any moment."""

    digest: str
    format: str
    bytes: int
    going: bool

    @property
    def path(self) -> str:
        """Below the archive."""
        return image_path(self.digest, self.format)


def read_manifest(source: Path) -> Manifest:
    """Raises `BackupError`: there is none, or not one of ours."""
    path = source / MANIFEST
    try:
        if path.stat().st_size > MAX_MANIFEST_BYTES:
            raise BackupError(f"{path} has more than {MAX_MANIFEST_BYTES} bytes: it is no manifest of a backup")
        return Manifest.model_validate_json(path.read_bytes())
    except OSError as error:
        raise BackupError(f"{source} is no backup: {MANIFEST} cannot be read ({error.strerror})") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the whole file"
        raise BackupError(f"{path} is no manifest that this release knows: {first['msg']} ({where})") from error


def faults_of_files(source: Path, manifest: Manifest) -> Iterator[str]:
    """Every file that is not what the manifest says, and every one that it does not name; images aside."""
    for name, expected in manifest.files.items():
        path = source / name
        if path.is_symlink() or not path.is_file():
            yield f"{name} is missing"
        elif path.stat().st_size != expected.size or entry(path) != expected:
            yield f"{name} is not the file that was saved (its size or sha256 differs)"
    for top in sorted(source.iterdir()):
        if top.name in (ARCHIVE, MANIFEST):
            continue
        for path in sorted(top.rglob("*")) if top.is_dir() and not top.is_symlink() else [top]:
            name = path.relative_to(source).as_posix()
            if name not in manifest.files and (path.is_symlink() or not path.is_dir()):
                yield f"{name} is not in the manifest"


def image_files(connection: Connection, after: str) -> list[ImageFile]:
    """The next `ROWS` images whose files were not removed, in order of their digests. Raises `BackupError`."""
    rows = connection.execute(
        select(images.c.digest, images.c.format, images.c.bytes, images.c.deleted_at)
        .where(images.c.purged_at.is_(None), images.c.digest > after)
        .order_by(images.c.digest)
        .limit(ROWS)
    )
    found = [ImageFile(row.digest, row.format, row.bytes, row.deleted_at is not None) for row in rows]
    for each in found:
        # Of these a path is made, and the rows may be anybody's.
        if not DIGEST.fullmatch(each.digest) or each.format not in MEDIA_TYPES:
            raise BackupError(f"the record names an image that cannot be one: {echo(f'{each.digest}.{each.format}')}")
    return found


def image_count(connection: Connection) -> int:
    """Of all `image_files`."""
    return int(connection.scalar(select(func.count()).where(images.c.purged_at.is_(None))) or 0)
