"""A data root -> a backup, while its server runs."""

import shutil
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Connection, bindparam, select, update

from app.appearing import appearing
from app.archive import Archive, open_archive
from app.backup import contents
from app.backup.checking import faults_of_absence
from app.backup.contents import BackupError, ImageFile, Images, Manifest
from app.backup.copying import copied, copied_tree, linked
from app.backup.frozen import reading_frozen, sealed
from app.backup.progress import Progress
from app.backup.restoring import require_no_half_restore
from app.backup.snapshot import row_counts, snapshot
from app.retention import used_bytes
from app.settings import Settings
from app.store.database import SQLITE_FILE, Database, open_database, sqlite_url
from app.store.inserting import now
from app.store.migrate import revision
from app.store.record import database_of
from app.store.schema import images
from model.artifact import FileEntry, FileName, entry, verify
from model.errors import SteelsightError
from model.files import replace_text
from model.registry import POINTER, Registry
from model.shadow import SHADOW

NAMED = TypeAdapter(FileName)
LOST = "the archive had no such file when a backup was made"
# Of the data root: what a server makes anew, and the record, which is saved in its own way.
MADE_ANEW = {"live": "previews", "metrics": "counts of worker processes", "serve.lock": "a lock", "tags": "locks"}
IN_ITS_OWN_WAY = {SQLITE_FILE, f"{SQLITE_FILE}-wal", f"{SQLITE_FILE}-shm"}
# For the database's log and the folders, beside what is counted.
SPARE_BYTES = 64 << 20


@dataclass
class _Taken:
    """What was put into a backup so far."""

    folder: Path
    files: dict[str, FileEntry] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    database: Database | None = None
    revision: str | None = None
    rows: dict[str, int] = field(default_factory=dict)
    images: Images = field(default_factory=lambda: Images(count=0, bytes=0, lost=0))
    faults: list[str] = field(default_factory=list)

    def manifest(self) -> Manifest:
        return Manifest(
            created_at=datetime.now(UTC),
            database=None if self.database is None else "sqlite" if self.database.is_sqlite else "postgresql",
            schema_revision=self.revision,
            rows=self.rows,
            images=self.images,
            files=self.files,
            left_out=self.left_out,
        )


def take(settings: Settings, target: Path) -> tuple[Manifest, list[str]]:
    """Save everything that cannot be made anew; the manifest, and what was found damaged on the way.

    target: does not exist, and lies outside the data root.
    Raises `BackupError`, `DatabaseError`, `ArchiveError` and OSError; there is then no backup.
    """
    home, target = settings.home.resolve(), target.absolute()
    if not home.is_dir():
        raise BackupError(f"there is no data root {home}; name it with --home or STEELSIGHT_HOME")
    require_no_half_restore(home)
    if target.exists() or target.is_symlink():
        raise BackupError(f"{target} exists, and nothing is ever overwritten: name a folder that does not exist yet")
    if target.resolve().is_relative_to(home):
        raise BackupError(f"{target} lies in the data root, and would be lost with it: name a folder elsewhere")
    target.parent.mkdir(parents=True, exist_ok=True)
    progress = Progress()
    with appearing(target) as folder:
        _require_room(settings, folder)
        taken = _Taken(folder)
        # The pointer before the versions: those that it names are there by then.
        _settings_and_keys(settings, taken)
        _models(settings, taken)
        _record(settings, taken, progress)
        _say_left_out(settings, taken)
        manifest = taken.manifest()
        replace_text(folder / contents.MANIFEST, manifest.model_dump_json(indent=1) + "\n")
    return manifest, taken.faults


def _settings_and_keys(settings: Settings, taken: _Taken) -> None:
    if settings.plant.is_file():
        taken.files[contents.PLANT] = copied(settings.plant, taken.folder / contents.PLANT)
    keys = settings.home / contents.KEYS
    if keys.is_dir():
        _add(taken, contents.KEYS, copied_tree(keys, taken.folder / contents.KEYS))


def _models(settings: Settings, taken: _Taken) -> None:
    target = taken.folder / contents.MODELS
    target.mkdir()
    for pointer in (POINTER, SHADOW):
        if (settings.models / pointer).is_file():
            taken.files[f"{contents.MODELS}/{pointer}"] = copied(settings.models / pointer, target / pointer)
    for version in Registry(settings.models).versions():
        _add(taken, f"{contents.MODELS}/{version}", copied_tree(settings.models / version, target / version))
        try:
            verify(target / version)
        except SteelsightError as error:
            taken.faults.append(f"model version {version}: {error.message}")


def _add(taken: _Taken, below: str, files: Iterable[tuple[Path, FileEntry]]) -> None:
    for path, written in files:
        name = f"{below}/{path.as_posix()}"
        try:
            taken.files[NAMED.validate_python(name)] = written
        except ValidationError:
            (taken.folder / below / path).unlink()
            taken.left_out[name] = "its name is not one of ours"


def _record(settings: Settings, taken: _Taken, progress: Progress) -> None:
    with closing(database_of(settings)) as record:
        if settings.record == "off":
            taken.left_out["record"] = "STEELSIGHT_RECORD is off"
            return
        if record.file is not None and not record.file.exists():
            taken.left_out["record"] = "there is none"
            taken.faults.extend(faults_of_absence(record.file, settings.archive))
            return
        with closing(open_archive(settings.archive)) as archive:
            file = taken.folder / contents.RECORD
            snapshot(record, file, progress)
            taken.database = record
            if archive.folder is None:
                taken.left_out["images"] = f"they lie in {settings.archive}, which is saved by its own means"
            else:
                taken.images = _images(open_database(sqlite_url(file)), record, archive, taken, progress)
            sealed(file)
            with reading_frozen(file) as connection:
                taken.revision, taken.rows = revision(connection), row_counts(connection)
            taken.files[contents.RECORD] = entry(file)


def _require_room(settings: Settings, folder: Path) -> None:
    """A disk that is too small is told at once, not after an hour."""
    needed = SPARE_BYTES
    for copied_whole in (settings.models, settings.home / contents.KEYS):
        needed += sum(path.stat().st_size for path in copied_whole.rglob("*") if path.is_file())
    with closing(database_of(settings)) as record:
        if record.file is not None and record.file.exists():
            needed += record.file.stat().st_size
            with closing(open_archive(settings.archive)) as archive, record.reading() as connection:
                if archive.folder is not None and archive.folder.stat().st_dev != folder.stat().st_dev:
                    needed += used_bytes(connection)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise BackupError(f"the backup needs some {needed} bytes, and {folder.parent} has {free}: name another disk")


def _images(copy: Database, record: Database, archive: Archive, taken: _Taken, progress: Progress) -> Images:
    """The files that the copied rows name. One that retention has removed meanwhile is removed from these rows too."""
    assert archive.folder is not None
    target = taken.folder / contents.ARCHIVE
    with closing(copy):
        with copy.reading() as connection:
            of = contents.image_count(connection)
        count, size, lost, after = 0, 0, 0, ""
        while True:
            with copy.reading() as connection:
                chunk = contents.image_files(connection, after)
            if not chunk:
                break
            after = chunk[-1].digest
            missing = list(_missing(chunk, archive.folder, target))
            if missing:
                lost += _removed(missing, copy, record, archive.folder, target, taken)
            kept = [each for each in chunk if (target / each.path).exists()]
            count, size = count + len(kept), size + sum(each.bytes for each in kept)
            progress.tell("images", count, of)
    return Images(count=count, bytes=size, lost=lost)


def _missing(chunk: Iterable[ImageFile], source: Path, target: Path) -> Iterator[ImageFile]:
    """Link all; those whose file is not there."""
    for each in chunk:
        try:
            linked(source / each.path, target / each.path)
        except FileNotFoundError:
            yield each


def _removed(
    missing: list[ImageFile], copy: Database, record: Database, source: Path, target: Path, taken: _Taken
) -> int:
    """Say in the copied rows that these files are gone; how many are gone for no reason that is on record."""
    with record.reading() as connection:
        why = _why_deleted(connection, [each.digest for each in missing])
    # One that is not deleted (any more) was put again since, or is lost.
    gone = [each for each in missing if each.digest in why or list(_missing([each], source, target))]
    lost = [each for each in gone if each.digest not in why]
    for each in lost:
        if len(taken.faults) < contents.NAMED:
            taken.faults.append(f"image {each.path} is not in the archive, though its row says so")
    if gone:
        saying = update(images).where(images.c.digest == bindparam("its"))
        with copy.writing() as connection:
            connection.execute(
                saying.values(deleted_at=bindparam("at"), deleted_why=bindparam("why"), purged_at=bindparam("at")),
                [{"its": each.digest, "at": now(), "why": why.get(each.digest, LOST)} for each in gone],
            )
    return len(lost)


def _why_deleted(connection: Connection, digests: list[str]) -> dict[str, str]:
    columns = images.c.digest, images.c.deleted_why
    deleted = images.c.digest.in_(digests), images.c.deleted_at.is_not(None)
    return {row.digest: row.deleted_why for row in connection.execute(select(*columns).where(*deleted))}


def unsaved(home: Path) -> list[str]:
    """What lies in a data root and is never a part of a backup, though nothing makes it anew."""
    saved = {contents.KEYS, contents.PLANT, contents.MODELS, contents.ARCHIVE, *MADE_ANEW, *IN_ITS_OWN_WAY}
    return [path.name for path in sorted(home.iterdir()) if path.name not in saved and not path.name.startswith(".")]


def _say_left_out(settings: Settings, taken: _Taken) -> None:
    for name in unsaved(settings.home):
        taken.left_out[name] = "not a part of a backup; copy it yourself if it matters"
