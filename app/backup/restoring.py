"""A backup -> a data root: new, empty, or one whose old contents are moved aside. Nothing is deleted.

Everything is made ready in a folder inside the root first; then come a few renames, which are undone if one fails. A
marker stands in the root as long as these run: no server starts on a root that a killed restore left half old and half
new.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Connection, func, literal_column, select

from app.access.acts import system_user
from app.access.keys import give_to_owner_of, keep_revoked
from app.access.people import keep_changed
from app.access.sessions import KEY_FILE
from app.access.watched import AccessError
from app.appearing import PARTIAL, sync_folders
from app.archive import FOLDERS
from app.backup import contents
from app.backup.checking import faults_of_images
from app.backup.contents import BackupError, Manifest, faults_of_files, read_manifest
from app.backup.copying import copied, copied_tree, linked
from app.backup.frozen import reading_frozen, sealed
from app.backup.progress import Progress
from app.backup.snapshot import copy_rows, count_on
from app.settings import Settings
from app.store import audit
from app.store.database import SQLITE_FILE, Database, open_database, sqlite_url
from app.store.migrate import migrate
from app.store.record import database_of
from app.store.schema import metadata
from model.files import exclusive, replace_text, sync_folder

LOCK = "serve.lock"
MARKER = "restore.pending"
STAGED = f".restoring{PARTIAL}"
ASIDE = "replaced-"
# What a root may have and be empty all the same; a disk of its own has the last.
NOTHING = {LOCK, STAGED, MARKER, "lost+found"}


class Restored(NamedTuple):
    """What was put back. aside: where the old contents are. changed: the keys that stay revoked and the people who stay
    as they were changed since the backup; None: nothing was there, or nothing readable, to tell of any.
    """

    manifest: Manifest
    aside: Path | None
    changed: list[str] | None


def restore(source: Path, settings: Settings, *, replace: bool) -> Restored:
    """Put a backup into the data root of the settings, brought to this release's schema.

    replace: move what is there aside. Raises `BackupError`, `DatabaseError` and OSError: nothing was changed then,
    unless the line says so.
    """
    source, home = source.absolute(), settings.home.absolute()
    manifest = read_manifest(source)
    _require_one_root(settings, source)
    home.mkdir(parents=True, exist_ok=True)
    with _stopped(home):
        _require_empty(home, replace=replace)
        _require_whole(source, manifest)
        staged = home / STAGED
        shutil.rmtree(staged, ignore_errors=True)
        swap = _Swap(home, staged)
        try:
            _stage(source, manifest, staged)
            changed = _access_as_since(home, staged)
            for path in staged.rglob("*"):
                give_to_owner_of(home, path)
            with _rows_in_place(settings, staged):
                swap.do()
        except BaseException:
            swap.undo()
            shutil.rmtree(staged, ignore_errors=True)
            raise
        swap.finish()
    return Restored(manifest, swap.aside, changed)


def require_no_half_restore(home: Path) -> None:
    """Raises `BackupError` in a root where a restore was interrupted between its renames."""
    if (home / MARKER).exists():
        raise BackupError(
            f"a restore into {home} was interrupted; run it again: `python -m app restore BACKUP --replace` (what was "
            f"there before is in {home}/{ASIDE}...)"
        )


def _require_one_root(settings: Settings, source: Path) -> None:
    home = settings.home.resolve()
    places = [("MODELS", settings.models, contents.MODELS), ("PLANT", settings.plant, contents.PLANT)]
    if "://" not in settings.archive:
        places.append(("ARCHIVE", Path(settings.archive), contents.ARCHIVE))
    with closing(database_of(settings)) as record:
        if record.file is not None:
            places.append(("DATABASE_URL", record.file, SQLITE_FILE))
    for name, place, expected in places:
        if (home / expected).is_symlink():
            raise BackupError(f"{home / expected} is a link, which a restore would replace: remove it first")
        if place.resolve() != home / expected:
            raise BackupError(f"STEELSIGHT_{name} is {place}, and a restore writes {home / expected}: unset it first")
    if source.resolve().is_relative_to(home):
        raise BackupError(f"{source} lies in the data root that it is to replace: move it elsewhere first")


@contextmanager
def _stopped(home: Path) -> Iterator[None]:
    try:
        with exclusive(home / LOCK, wait=False):
            give_to_owner_of(home, home / LOCK)
            yield
    except BlockingIOError as error:
        raise BackupError(f"a server runs on {home}; stop it first") from error


def _contents(home: Path) -> list[Path]:
    return [path for path in sorted(home.iterdir()) if path.name not in NOTHING and not path.name.startswith(ASIDE)]


def _require_empty(home: Path, *, replace: bool) -> None:
    if (found := _contents(home)) and not replace:
        raise BackupError(
            f"{home} is not empty (it has {found[0].name}); name another data root with --home, or move what is there "
            "aside with --replace"
        )


def _require_whole(source: Path, manifest: Manifest) -> None:
    faults = chain(faults_of_files(source, manifest), _faults_of_rows(source, manifest))
    if first := next(faults, None):
        raise BackupError(
            f"the backup {source} is damaged: {first}; nothing was changed. `python -m app verify --backup {source}` "
            "says all"
        )


def _faults_of_rows(source: Path, manifest: Manifest) -> Iterator[str]:
    if contents.RECORD in manifest.files and "images" not in manifest.left_out:
        with reading_frozen(source / contents.RECORD) as connection:
            yield from faults_of_images(connection, source / contents.ARCHIVE, Progress())


def _stage(source: Path, manifest: Manifest, staged: Path) -> None:
    """All of the backup as a data root has it; the record brought to this release's schema."""
    staged.mkdir(mode=0o755)
    for name in (contents.MODELS, contents.KEYS):
        if (source / name).is_dir():
            for _ in copied_tree(source / name, staged / name):
                pass
    if contents.PLANT in manifest.files:
        copied(source / contents.PLANT, staged / contents.PLANT)
    if contents.RECORD not in manifest.files:
        return
    copied(source / contents.RECORD, staged / SQLITE_FILE)
    if "images" not in manifest.left_out:
        _stage_images(source, staged)
    with closing(open_database(sqlite_url(staged / SQLITE_FILE))) as record:
        migrate(record)
        with record.writing() as connection:
            about = {"saved_at": manifest.created_at.isoformat(), "inspections": manifest.rows.get("inspections", 0)}
            audit.append(connection, system_user(), "data.restore", str(source), about)
    sealed(staged / SQLITE_FILE)
    sync_folders(staged)


def _stage_images(source: Path, staged: Path) -> None:
    progress, after = Progress(), ""
    # All of them, as a server makes them: whoever looks at the root first may be root, and would make them its own.
    for folder in FOLDERS:
        (staged / contents.ARCHIVE / folder).mkdir(parents=True)
    with reading_frozen(source / contents.RECORD) as connection:
        while chunk := contents.image_files(connection, after):
            after = chunk[-1].digest
            for each in chunk:
                linked(source / contents.ARCHIVE / each.path, staged / contents.ARCHIVE / each.path)
            progress.tell("images put back, the last of them", int(after[:4], 16), 0x10000)


def _access_as_since(home: Path, staged: Path) -> list[str] | None:
    """Nobody is let in again whom the old contents let in no longer, those of earlier restores among them; the names.

    All sessions end.
    """
    (staged / contents.KEYS / KEY_FILE).unlink(missing_ok=True)
    if not (staged / contents.KEYS).is_dir():
        return []
    known = [root for root in (home, *home.glob(f"{ASIDE}*")) if (root / contents.KEYS).is_dir()]
    try:
        changed = [name for root in known for name in (*keep_revoked(root, staged), *keep_changed(root, staged))]
    except AccessError:
        return None
    return changed if known else None


@contextmanager
def _rows_in_place(settings: Settings, staged: Path) -> Iterator[None]:
    """The rows where the settings want them: for PostgreSQL in a transaction that is committed if the block ends well.

    A file stays where it is: it is a part of the root.
    """
    with closing(database_of(settings)) as record:
        if record.is_sqlite or not (staged / SQLITE_FILE).exists():
            yield
            return
        migrate(record)
        with record.writing() as target, reading_frozen(staged / SQLITE_FILE) as source:
            _require_no_rows(target, record)
            copy_rows(source, target, Progress())
            count_on(target)
            (staged / SQLITE_FILE).unlink()
            yield


def _require_no_rows(target: Connection, record: Database) -> None:
    for table in metadata.sorted_tables:
        if target.scalar(select(func.count(literal_column("*"))).select_from(table)):
            raise BackupError(
                f"the {record.kind} database has rows in {table.name}: a restore fills an empty one, name another in "
                "DATABASE_URL"
            )


class _Swap:
    """The old contents aside, the new ones in. aside: where the old ones go; None if there are none."""

    def __init__(self, home: Path, staged: Path) -> None:
        self._home, self._staged = home, staged
        self._marker = home / MARKER
        # Of a restore that was killed: until one ends well no server may start.
        self._marked_before = self._marker.exists()
        self._renames: list[tuple[Path, Path]] = []
        self.aside = home / f"{ASIDE}{datetime.now(UTC):%Y%m%d-%H%M%S-%f}-{os.getpid()}" if _contents(home) else None

    def do(self) -> None:
        """Raises `BackupError`: something cannot be moved."""
        replace_text(self._marker, "a restore is being put in place\n")
        if self.aside is not None:
            self.aside.mkdir()
            give_to_owner_of(self._home, self.aside)
            self._renames += [(path, self.aside / path.name) for path in _contents(self._home)]
        self._renames += [(path, self._home / path.name) for path in self._staged.iterdir()]
        for path, target in self._renames:
            try:
                path.rename(target)
            except OSError as error:
                raise BackupError(
                    f"{path} cannot be moved to {target} ({error.strerror}); nothing was changed. A disk or a mount of "
                    "its own has to be unmounted first; or name another data root with --home"
                ) from error
        if self.aside is not None:
            sync_folder(self.aside)
        sync_folder(self._home)

    def undo(self) -> None:
        """All as it was, however far it came."""
        for path, target in reversed(self._renames):
            if os.path.lexists(target) and not os.path.lexists(path):
                target.rename(path)
        if self.aside is not None and self.aside.exists():
            self.aside.rmdir()
        if not self._marked_before:
            self._marker.unlink(missing_ok=True)

    def finish(self) -> None:
        """From here on a server may start."""
        self._staged.rmdir()
        self._marker.unlink()
        sync_folder(self._home)
