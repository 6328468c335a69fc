"""Copies of files that are on the disk when they are told of."""

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from model.artifact import FileEntry

PIECE = 1 << 20


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
