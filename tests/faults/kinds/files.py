"""Disks that are full, that fail, and that are suddenly read-only."""

import itertools
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

from tests.faults.fault import BROKEN, STARTING, Fault, Stage

LASTS_S = 4.0


@contextmanager
def small(folder: Path, options: str) -> Iterator[None]:
    """A file system of its own in the folder."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "steelsight-fault", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@contextmanager
def full(stage: Stage, folder: Callable[[Stage], Path]) -> Iterator[None]:
    """Not a byte is free, also after what others let go."""
    filler = folder(stage) / "filler"
    with filler.open("wb", buffering=0) as file:
        stage.meanwhile(LASTS_S, partial(_done, lambda: file.write(bytes(4096))))
    yield
    filler.unlink()


@contextmanager
def without_inodes(stage: Stage) -> Iterator[None]:
    """Not a file more can be made."""
    fillers, names = stage.archive / "fillers", itertools.count()
    fillers.mkdir()

    def touched() -> None:
        (fillers / str(next(names))).touch()

    stage.meanwhile(LASTS_S, partial(_done, touched))
    yield
    shutil.rmtree(fillers)


def _done(work: Callable[[], object]) -> bool:
    """Whether there was room for it."""
    try:
        work()
    except OSError:
        return False
    return True


@contextmanager
def fsync_fails(stage: Stage) -> Iterator[None]:
    """EIO, whatever is flushed."""
    with stage.own_machine.fsync_fails():
        stage.meanwhile(LASTS_S)
        yield


def ext4(image: Path, folder: Path) -> None:
    """Mount it; a fault of the file system makes it read-only, as a plant's would be."""
    subprocess.run(["mount", "-o", "loop,errors=remount-ro", image, folder], check=True)


@contextmanager
def disk(folder: Path) -> Iterator[None]:
    """A disk of its own for the folder."""
    image = folder.with_suffix(".img")
    with image.open("wb") as file:
        file.truncate(256 * 1024 * 1024)
    subprocess.run(["mkfs.ext4", "-q", image], check=True)
    ext4(image, folder)
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


@contextmanager
def read_only(stage: Stage) -> Iterator[None]:
    """The file system finds a fault in itself; an operator stops the server, has the disk checked, and starts it."""
    source = subprocess.run(["findmnt", "-no", "SOURCE", stage.home], check=True, capture_output=True, text=True)
    device = Path(source.stdout.strip())
    image = stage.home.with_suffix(".img")
    # Frozen, for the system tells a program whose flush is under way in that moment that all is on the disk, which is
    # not: docs/log.md.
    subprocess.run(["fsfreeze", "--freeze", stage.home], check=True)
    Path(f"/sys/fs/ext4/{device.name}/trigger_fs_error").write_text("1")
    subprocess.run(["fsfreeze", "--unfreeze", stage.home], check=True)
    stage.meanwhile(LASTS_S)
    stage.server.kill()
    subprocess.run(["umount", stage.home], check=True)
    subprocess.run(["fsck.ext4", "-p", image], check=False, stdout=subprocess.DEVNULL)
    ext4(image, stage.home)
    stage.mended()
    stage.server.start()
    yield


def on(size: str, inodes: int = 0) -> Callable[[Path], AbstractContextManager[None]]:
    """A tmpfs of that size."""
    return partial(small, options=f"size={size},nr_inodes={inodes}")


UNAVAILABLE = frozenset({"record_unavailable"})
ARCHIVE_FULL = frozenset({"archive_full"})
FAULTS = [
    Fault(
        "disk full: database",
        partial(full, folder=lambda stage: stage.home),
        within_s=2,
        codes=UNAVAILABLE,
        said=UNAVAILABLE,
        on_home=on("24m"),
    ),
    Fault(
        "disk full: archive",
        partial(full, folder=lambda stage: stage.archive),
        within_s=2,
        serves=True,
        lacking=ARCHIVE_FULL,
        on_archive=on("24m"),
    ),
    Fault(
        "disk full: archive, frames to be refused then",
        partial(full, folder=lambda stage: stage.archive),
        within_s=2,
        codes=ARCHIVE_FULL,
        said=ARCHIVE_FULL,
        settings={"archive_when_full": "refuse"},
        on_archive=on("24m"),
    ),
    Fault(
        "no inodes: archive",
        without_inodes,
        within_s=2,
        serves=True,
        lacking=ARCHIVE_FULL,
        on_archive=on("64m", 4000),
    ),
    Fault(
        "fsync fails",
        fsync_fails,
        within_s=2,
        codes=UNAVAILABLE,
        said=UNAVAILABLE,
        lacking=frozenset({"archive_failed"}),
        machine=True,
    ),
    Fault(
        "file system falls read-only",
        read_only,
        within_s=8,
        codes=UNAVAILABLE | BROKEN | STARTING,
        said=UNAVAILABLE,
        on_home=disk,
    ),
]
