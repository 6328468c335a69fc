"""Is everything there that was kept, and as it was? Of a data root, beside its server, or of a backup."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Protocol

from pysqlite3 import dbapi2
from sqlalchemy import Connection, func, select
from sqlalchemy.exc import DBAPIError

from app.archive import FOLDERS, SETTLED, Archive, ArchiveError, open_archive
from app.backup import contents
from app.backup.checking import (
    AT_ONCE,
    Findings,
    faults_of_absence,
    faults_of_image,
    faults_of_images,
    faults_of_sqlite,
)
from app.backup.contents import BackupError, ImageFile, faults_of_files, read_manifest
from app.backup.frozen import reading_frozen
from app.backup.progress import Progress
from app.backup.restoring import require_no_half_restore
from app.backup.snapshot import row_counts
from app.orphans import orphans
from app.settings import Settings
from app.store import audit
from app.store.database import Database
from app.store.migrate import known_revision, revision
from app.store.record import database_of
from app.store.schema import events, images, inspections
from model.artifact import verify
from model.errors import SteelsightError
from model.registry import Registry

# Inspections whose events are counted in one go.
STRETCH = 20_000


class Reading(Protocol):
    """One consistent view of the record."""

    def __call__(self) -> AbstractContextManager[Connection]: ...


def verify_root(settings: Settings) -> Findings:
    """A data root, its record and its archive, wherever the settings have them. It changes nothing.

    Raises `BackupError` and `DatabaseError`: nothing could be looked at.
    """
    findings, progress = Findings(), Progress()
    if not settings.home.is_dir():
        raise BackupError(f"there is no data root {settings.home}; name it with --home or STEELSIGHT_HOME")
    require_no_half_restore(settings.home)
    _check_models(settings.models, findings)
    if settings.record == "off":
        return findings
    with closing(database_of(settings)) as record:
        if record.file is not None and not record.file.exists():
            findings.add("database", faults_of_absence(record.file, settings.archive))
            return findings
        try:
            _check_record(record, findings, progress)
            _check_archive(settings.archive, record, findings, progress)
        except (DBAPIError, dbapi2.Error) as error:
            findings.add("database", [f"the record cannot be read: {_first_line(error)}"])
        except ArchiveError as error:
            findings.add("image", [str(error)])
    return findings


def verify_backup(source: Path) -> Findings:
    """A backup, whole. Raises `BackupError`."""
    findings, progress = Findings(), Progress()
    manifest = read_manifest(source)
    findings.checked["files"] = len(manifest.files)
    findings.add("backup", faults_of_files(source, manifest))
    _check_models(source / contents.MODELS, findings)
    file = source / contents.RECORD
    if contents.RECORD not in manifest.files or not file.is_file():
        return findings
    try:
        with reading_frozen(file) as connection:
            findings.add("database", faults_of_sqlite(connection, progress))
            _check_rows(partial(reading_frozen, file), findings, progress)
            if (found := row_counts(connection)) != manifest.rows:
                findings.add("rows", [f"the manifest counts {manifest.rows}, there are {found}"])
            if "images" not in manifest.left_out:
                findings.checked["images"] = contents.image_count(connection)
                findings.add("image", faults_of_images(connection, source / contents.ARCHIVE, progress))
    except (DBAPIError, dbapi2.Error) as error:
        findings.add("database", [f"{contents.RECORD} cannot be read: {_first_line(error)}"])
    return findings


def _check_models(models: Path, findings: Findings) -> None:
    registry = Registry(models)
    versions = registry.versions()
    findings.checked["models"] = len(versions)
    for version in versions:
        try:
            verify(registry.folder(version))
        except SteelsightError as error:
            findings.add("model", [error.message])
    try:
        if (active := registry.active()) is not None and active not in versions:
            findings.add("model", [f"the active version {active} is not there"])
    except SteelsightError as error:
        findings.add("model", [error.message])


def _check_record(record: Database, findings: Findings, progress: Progress) -> None:
    if record.is_sqlite:
        with record.reading() as connection:
            findings.add("database", faults_of_sqlite(connection, progress))
    _check_rows(record.reading, findings, progress)


def _check_rows(reading: Reading, findings: Findings, progress: Progress) -> None:
    with reading() as connection:
        found = revision(connection)
        known = known_revision()
        if found != known:
            findings.add("database", [f"its schema is {found}, this release's is {known}: its server migrates it"])
            return
        findings.checked["inspections"] = connection.scalar(select(func.count()).select_from(inspections)) or 0
    findings.add("rows", _without_events(reading, progress))
    with reading() as connection:
        if (broken := audit.verify(connection)) is not None:
            findings.add("audit", [f"line {broken.number}: {broken.why}"])


def _without_events(reading: Reading, progress: Progress) -> Iterator[str]:
    """Inspections that have not as many events as they say, a stretch of the record at a time."""
    after, done = -1, 0
    number = inspections.c.number
    while True:
        with reading() as connection:
            stretch = select(number).where(number > after).order_by(number).limit(STRETCH).subquery()
            until = connection.scalar(select(func.max(stretch.c.number)))
            if until is None:
                return
            within = number > after, number <= until
            counts = (
                select(number, inspections.c.event_count, func.count(events.c.number).label("found"))
                .select_from(inspections.outerjoin(events, events.c.inspection == number))
                .where(*within)
                .group_by(number, inspections.c.event_count)
                .having(func.count(events.c.number) != inspections.c.event_count)
            )
            for row in connection.execute(counts):
                yield f"inspection {row.number:016x} says {row.event_count} events and has {row.found}"
        after, done = until, done + STRETCH
        progress.tell("inspections checked", done)


def _check_archive(where: str, record: Database, findings: Findings, progress: Progress) -> None:
    with closing(open_archive(where)) as archive:
        findings.add("image", _faults_of_archive(archive, record, findings, progress))
        # They cost space and nothing else: no fault.
        for number, folder in enumerate(FOLDERS, start=1):
            settled = datetime.now(UTC) - SETTLED
            findings.checked["orphans"] += sum(1 for _ in orphans(archive, record, folder, settled))
            progress.tell("folders of the archive", number, len(FOLDERS))


def _faults_of_archive(archive: Archive, record: Database, findings: Findings, progress: Progress) -> Iterator[str]:
    """Every file of a row, as long as no deletion of it is decided, a chunk of rows in each view of the record."""

    def archived(each: ImageFile) -> bytes | None:
        return archive.get(each.digest, each.format) if archive.holds(each.digest, each.format) else None

    after = ""
    with record.reading() as connection:
        of = contents.image_count(connection)
    with ThreadPoolExecutor(AT_ONCE) as readers:
        while True:
            with record.reading() as connection:
                chunk = contents.image_files(connection, after)
            if not chunk:
                return
            after = chunk[-1].digest
            staying = [each for each in chunk if not each.going]
            faults = readers.map(lambda each: faults_of_image(each, archived), staying)
            for each, fault in zip(staying, faults, strict=True):
                # Retention may have taken it since.
                if fault is not None and _is_kept(record, each.digest):
                    yield fault
            findings.checked["images"] += len(chunk)
            progress.tell("images checked", findings.checked["images"], of)


def _is_kept(record: Database, digest: str) -> bool:
    with record.reading() as connection:
        kept = images.c.digest == digest, images.c.deleted_at.is_(None)
        return connection.scalar(select(images.c.digest).where(*kept)) is not None


def _first_line(error: Exception) -> str:
    return str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
