"""A folder that appears whole, by one rename, and copies of files that are on the disk."""

import errno
import fcntl
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from model.artifact import FileEntry
from model.files import sync_folder

# What a killed command leaves behind is told by this, and removed by the next one.
PARTIAL = ".steelsight-partial"
PIECE = 1 << 20


@contextmanager
def appearing(target: Path) -> Iterator[Path]:
    """A folder to write into, for its owner alone; when the block ends well it is `target`, else it is gone.

    Files in it are to be flushed by whoever writes them (`copied`, `linked`); the folders' entries are flushed here.
    """
    remove_abandoned(target.parent)
    # Not by the process's number: two containers on one disk may have the same, and one would remove the other's.
    folder = target.with_name(f".{target.name}.{secrets.token_hex(8)}{PARTIAL}")
    try:
        # Made in here: Ctrl-C may come right after, and before anybody holds it.
        folder.mkdir(mode=0o700)
        with _held(folder):
            yield folder
            sync_folders(folder)
            folder.rename(target)
            sync_folder(target.parent)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def remove_abandoned(parent: Path) -> None:
    """Partial folders whose process is dead. Their links go; the files they shared with an archive stay there."""
    for folder in parent.glob(f".*{PARTIAL}"):
        try:
            with _held(folder):
                shutil.rmtree(folder)
        except OSError:
            continue


def sync_folders(folder: Path) -> None:
    """Flush the entries of a folder and of all below."""
    for path, _folders, _files in os.walk(folder):
        sync_folder(Path(path))


def copied(source: Path, target: Path) -> FileEntry:
    """Copy a file with its mode, to the disk; hash and size of what was written."""
    digest, size = hashlib.sha256(), 0
    with source.open("rb") as read, target.open("xb") as write:
        while piece := read.read(PIECE):
            digest.update(piece)
            size += write.write(piece)
        shutil.copymode(source, target)
        write.flush()
        os.fsync(write.fileno())
    return FileEntry(sha256=digest.hexdigest(), size=size)


def copied_tree(source: Path, target: Path) -> Iterator[tuple[Path, FileEntry]]:
    """Copy a folder with its modes: each file's path below it, and what was written. Links are not followed, and what
    begins with a dot is a lock, or half written.
    """
    target.mkdir(exist_ok=True)
    shutil.copymode(source, target)
    for path in sorted(source.iterdir()):
        if path.is_symlink() or path.name.startswith("."):
            continue
        if path.is_dir():
            yield from ((Path(path.name) / below, entry) for below, entry in copied_tree(path, target / path.name))
        elif path.is_file():
            yield Path(path.name), copied(path, target / path.name)


def linked(source: Path, target: Path) -> None:
    """The same file under a second name, or a copy where that cannot be. Only for files that nobody changes in place.

    Its folder is made if need be. Raises FileNotFoundError if there is no such file.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.EACCES):
            raise
        copied(source, target)


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """The folder's own lock, which goes with the process. Raises BlockingIOError."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)
