"""Image files that the record names: a folder, or S3 by URL. Each is named by the sha256 of its bytes.

A file is on the disk before the row that names it is committed; two frames of the same bytes are one file.
"""

import errno
import hashlib
import os
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal, NamedTuple

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, ObjectStore, from_url

from model.files import sync_folder

# Files written at a time. A disk's flushes wait for one another's company, and S3 for the network.
AT_ONCE = 8
# Folders of the local archive, by the first two digits of the digest: none holds so many files that listing it is slow.
FOLDERS = [f"{number:02x}" for number in range(256)]

# Of S3: the library's own is three minutes, in which a line is long past.
PATIENCE: Any = {
    "client_options": {"timeout": "10s", "connect_timeout": "3s"},
    "retry_config": {"max_retries": 2, "retry_timeout": timedelta(seconds=15)},
}

MEDIA_TYPES = {"jpeg": "image/jpeg", "png": "image/png", "bmp": "image/bmp", "tiff": "image/tiff", "webp": "image/webp"}
# What a file begins with; of RIFF only WebP is accepted at the door.
SIGNATURES = {b"\xff\xd8": "jpeg", b"\x89PNG": "png", b"BM": "bmp", b"II": "tiff", b"MM": "tiff", b"RIFF": "webp"}


# A file is put before the row that names it is committed: younger than this it may still get one.
SETTLED = timedelta(hours=1)
# Files listed in one go.
LISTED = 500


class ArchiveError(Exception):
    """Why a file cannot be kept or read, in one line. full: for want of space."""

    def __init__(self, message: str, *, full: bool = False) -> None:
        super().__init__(message)
        self.full = full


def format_of(data: bytes) -> str:
    """The format of an image file that was decoded, by its first bytes.

    >>> format_of(b"BM....")
    'bmp'
    """
    return next(name for signature, name in SIGNATURES.items() if data.startswith(signature))


@dataclass(frozen=True, slots=True)
class Picture:
    """An image file. format: a key of `MEDIA_TYPES`."""

    data: bytes
    format: str
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "digest", hashlib.sha256(self.data).hexdigest())


class ArchivedFile(NamedTuple):
    """A file that lies in an archive, whether a row names it or not."""

    path: str
    bytes: int
    put_at: datetime

    @property
    def digest(self) -> str:
        """As its name says."""
        return self.path.rpartition("/")[2].partition(".")[0]

    @property
    def format(self) -> str:
        """As its name says."""
        return self.path.rpartition(".")[2]


class Archive:
    """One place where files are kept; from any thread.

    max_bytes: 0 for as much as there is room for; how much is kept already is told by `used`.
    """

    def __init__(self, store: ObjectStore, folder: Path | None, max_bytes: int = 0) -> None:
        self.folder = folder
        self.used = 0
        self._store = store
        self._max_bytes = max_bytes
        self._counting = threading.Lock()
        self._writers = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="archive")

    @property
    def kind(self) -> Literal["folder", "s3"]:
        """Where it is."""
        return "folder" if self.folder is not None else "s3"

    def free_bytes(self) -> int | None:
        """How much more can be kept; None if nobody knows."""
        left = [self._max_bytes - self.used] if self._max_bytes else []
        if self.folder is not None:
            left.append(shutil.disk_usage(self.folder).free)
        return max(0, min(left)) if left else None

    def put(self, picture: Picture) -> "Future[ArchiveError | None]":
        """Keep a file, soon and safe from a power cut: what comes is None, or why it could not be kept."""
        return self._writers.submit(self._put, picture)

    def get(self, digest: str, file_format: str) -> bytes:
        """The bytes of a file. Raises `ArchiveError`."""
        try:
            return bytes(obstore.get(self._store, image_path(digest, file_format)).bytes())
        except FileNotFoundError:
            raise ArchiveError("the archive does not hold the file") from None
        except (BaseError, OSError) as error:
            raise ArchiveError(f"the archive cannot be read: {_first_line(error)}") from error

    def holds(self, digest: str, file_format: str) -> bool:
        """Whether the file is there. Raises `ArchiveError`."""
        try:
            obstore.head(self._store, image_path(digest, file_format))
        except FileNotFoundError:
            return False
        except (BaseError, OSError) as error:
            raise ArchiveError(f"the archive cannot be read: {_first_line(error)}") from error
        return True

    def delete(self, digest: str, file_format: str) -> None:
        """Keep a file no longer; one that is not there is no error. Raises `ArchiveError`."""
        try:
            obstore.delete(self._store, image_path(digest, file_format))
        except FileNotFoundError:
            return
        except (BaseError, OSError) as error:
            raise ArchiveError(f"the archive cannot be changed: {_first_line(error)}") from error

    def listed(self, folder: str) -> Iterator[list[ArchivedFile]]:
        """All files of one of `FOLDERS`, some hundred at a time. Raises `ArchiveError`."""
        try:
            for chunk in obstore.list(self._store, folder, chunk_size=LISTED):
                yield [ArchivedFile(each["path"], each["size"], each["last_modified"]) for each in chunk]
        except (BaseError, OSError) as error:
            raise ArchiveError(f"the archive cannot be read: {_first_line(error)}") from error

    def close(self) -> None:
        """Write nothing more."""
        self._writers.shutdown(wait=False, cancel_futures=True)

    def _put(self, picture: Picture) -> ArchiveError | None:
        path = image_path(picture.digest, picture.format)
        # Bytes that are there already are written once more, which mends a file that a crash left empty.
        more = 0 if self.folder is not None and (self.folder / path).exists() else len(picture.data)
        with self._counting:
            if more and self._max_bytes and self.used + more > self._max_bytes:
                return ArchiveError(f"the archive holds the {self._max_bytes} bytes that it may", full=True)
            self.used += more
        try:
            obstore.put(self._store, path, picture.data, use_multipart=False)
            if self.folder is not None:
                _flush(self.folder / path)
        except (BaseError, OSError) as error:
            with self._counting:
                self.used -= more
            return ArchiveError(f"the archive cannot be written: {_first_line(error)}", full=_says_full(error))
        return None


def open_archive(where: str, max_bytes: int = 0) -> Archive:
    """A folder, or an s3:// URL whose credentials are in the environment (AWS_...). Raises `ArchiveError`."""
    try:
        if "://" in where:
            if not where.startswith("s3://"):
                raise ArchiveError(f"received {where.partition('://')[0]}://; the archive is a folder or an s3:// URL")
            # Options that are given make the library forget the one that it would read from there itself.
            options = {**PATIENCE["client_options"], "allow_http": _is_set(os.environ.get("AWS_ALLOW_HTTP"))}
            return Archive(from_url(where, **{**PATIENCE, "client_options": options}), None, max_bytes)
        folder = Path(where).resolve()
        for name in FOLDERS:
            (folder / name).mkdir(parents=True, exist_ok=True)
        sync_folder(folder)
        return Archive(LocalStore(folder), folder, max_bytes)
    except (BaseError, OSError, ValueError) as error:
        raise ArchiveError(f"the archive {where} cannot be used: {_first_line(error)}") from error


def image_path(digest: str, file_format: str) -> str:
    """Where in an archive the file lies.

    >>> image_path("4f53cda1", "png")
    '4f/4f53cda1.png'
    """
    return f"{digest[:2]}/{digest}.{file_format}"


def _is_set(value: str | None) -> bool:
    return (value or "").lower() in ("1", "true", "yes", "on")


def _flush(path: Path) -> None:
    """The file's bytes, then its name: obstore wrote it beside and renamed it, and flushes neither."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
    sync_folder(path.parent)


def _says_full(error: Exception) -> bool:
    """Whether space ran out: obstore tells of the system's error only in its words."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    return f"os error {errno.ENOSPC}" in str(error) or f"os error {errno.EDQUOT}" in str(error)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
