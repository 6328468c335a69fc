"""A folder that appears whole, by one rename."""

import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from model.files import sync_folder

# What a killed command leaves behind is told by this, and removed by the next one.
PARTIAL = ".steelsight-partial"


@contextmanager
def appearing(target: Path, mode: int = 0o700) -> Iterator[Path]:
    """A folder to write into; when the block ends well it is `target`, else it is gone.

    mode: for its owner alone, unless said otherwise; less what the process's umask takes. Files in it are to be flushed
    by whoever writes them; the folders' entries are flushed here.
    """
    remove_abandoned(target.parent)
    # Not by the process's number: two containers on one disk may have the same, and one would remove the other's.
    folder = target.with_name(f".{target.name}.{secrets.token_hex(8)}{PARTIAL}")
    try:
        # Made in here: Ctrl-C may come right after, and before anybody holds it.
        folder.mkdir(mode)
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


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """The folder's own lock, which goes with the process. Raises BlockingIOError."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)
