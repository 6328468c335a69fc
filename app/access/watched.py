"""A file that other processes replace: what it said when it was last read whole."""

from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

import structlog

# Ten thousand keys take 4 MB; whatever is larger is not what it should be.
MAX_BYTES = 16 * 1024 * 1024

T = TypeVar("T")
Stamp = tuple[int, int, int]

log = structlog.get_logger("steelsight.access")


class AccessError(Exception):
    """Why keys or people cannot be read or changed, in one line."""


class Watched(Generic[T]):
    """What a file says. One that becomes damaged, unreadable or absent changes nothing but the log.

    parse: raises ValueError. absent: what holds where there has never been a file.
    """

    def __init__(self, path: Path, parse: Callable[[bytes], T], absent: T) -> None:
        self.path = path
        self._parse = parse
        self._absent = absent
        self._read: T | None = None
        # Of the file that was read last, whatever came of it; (): never looked.
        self._stamp: Stamp | tuple[()] | None = ()
        self._failure: str | None = None

    @property
    def value(self) -> T | None:
        """As it was last read; None where it never could be."""
        return self._read

    def read(self) -> T:
        """What it says now. Raises `AccessError`."""
        try:
            with self.path.open("rb") as file:
                content = file.read(MAX_BYTES + 1)
        except FileNotFoundError:
            return self._absent
        except OSError as error:
            raise AccessError(
                f"{self.path} cannot be read ({error.strerror}); it and its folder must belong to the user that serves"
            ) from error
        try:
            if len(content) > MAX_BYTES:
                raise ValueError
            return self._parse(content)
        except ValueError as error:
            # What stands in it is not repeated: it may be of the kind that nobody should see.
            raise AccessError(
                f"{self.path} is damaged; put the file of a backup in its place, or remove it and make new entries"
            ) from error

    def refresh(self) -> None:
        """Look whether there is another file, and read it if there is."""
        try:
            stamp = self._stamp_now()
            if stamp == self._stamp and self._read is not None:
                return
            if stamp is None and self._read is not None:
                raise AccessError(f"{self.path} has vanished")
            self._read, self._stamp, self._failure = self.read(), stamp, None
        except AccessError as error:
            # Said once, not at every look.
            if str(error) != self._failure:
                self._failure = str(error)
                kept = "what it last said holds on" if self._read is not None else "nobody is let in"
                log.error("access_file_unusable", reason=self._failure, consequence=kept)

    def _stamp_now(self) -> Stamp | None:
        """None where there is no file. Raises `AccessError`."""
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise AccessError(f"{self.path} cannot be read ({error.strerror})") from error
        return found.st_mtime_ns, found.st_ino, found.st_size
