"""Files that are there whole or not at all: write beside, flush to the disk, rename."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def replace_text(path: Path, text: str, mode: int | None = None, *, beside: Path | None = None) -> None:
    """Replace the file in one step that a crash cannot halve, and that outlives a power cut.

    mode: its permissions, from before anything stands in it; None: as the process makes files. beside: the file that is
    written first and that a killed process leaves behind, on the same disk; None: a hidden one in the same folder.
    """
    beside = beside or path.with_name(f".{path.name}.{os.getpid()}")
    with beside.open("w", encoding="utf-8") as file:
        try:
            if mode is not None:
                os.fchmod(file.fileno(), mode)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
            beside.rename(path)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Flush the folder's own entries: a rename lives there, not in the file."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Flush every file and folder below, and the folder itself."""
    for path in folder.rglob("*"):
        if path.is_dir():
            sync_folder(path)
        else:
            with path.open("rb") as file:
                os.fsync(file.fileno())
    sync_folder(folder)


@contextmanager
def exclusive(lock: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold a lock file for the block; the system lets go of it when the process dies.

    Raises BlockingIOError if another process holds it and `wait` is false.
    """
    with lock.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
