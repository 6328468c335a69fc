"""What is wrong with a record and its images: findings, in memory that does not grow with them."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Connection, text

from app.backup import contents
from app.backup.contents import ImageFile
from app.backup.progress import Progress
from model.errors import SteelsightError
from model.image import Limits, decode

# Files read and decoded at a time.
AT_ONCE = 4
# Whatever a server once accepted: its own limits may have been others.
LIMITS = Limits(max_pixels=1 << 31, min_side=1)
# Virtual machine steps of SQLite between two looks at how long it has been at it: some 10 ms.
STEPS = 1_000_000


class Finding(NamedTuple):
    """Something that is wrong. kind: `image`, `database`, `rows`, `audit`, `model` or `backup`."""

    kind: str
    text: str


@dataclass
class Findings:
    """The first of each kind, and the counts of all. checked: how much was looked at."""

    first: list[Finding] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    checked: Counter[str] = field(default_factory=Counter)

    def add(self, kind: str, texts: Iterable[str]) -> None:
        """What one check has found, as it finds it."""
        for said in texts:
            self.counts[kind] += 1
            if self.counts[kind] <= contents.NAMED:
                self.first.append(Finding(kind, said))


def faults_of_image(each: ImageFile, archived: Callable[[ImageFile], bytes | None]) -> str | None:
    """What is wrong with one file; `archived` gives its bytes, or None where there is none."""
    data = archived(each)
    if data is None:
        return f"{each.path} is missing"
    if len(data) != each.bytes or hashlib.sha256(data).hexdigest() != each.digest:
        return f"{each.path} is not the file that was kept (its size or sha256 differs)"
    try:
        decode(data, LIMITS)
    except SteelsightError as error:
        return f"{each.path} cannot be decoded: {error.message}"
    return None


def faults_of_absence(file: Path, archive: str) -> Iterator[str]:
    """Without a record nothing can be missing from it, unless it is the record that is missing."""
    if any(Path(archive).glob("??/*")):
        yield f"{file} is missing, and there are images in {archive}"


def faults_of_images(connection: Connection, archive: Path, progress: Progress) -> Iterator[str]:
    """Of a backup's images: all that its rows name have to be there."""

    def archived(each: ImageFile) -> bytes | None:
        try:
            return (archive / each.path).read_bytes()
        except FileNotFoundError:
            return None

    after, done, of = "", 0, contents.image_count(connection)
    with ThreadPoolExecutor(AT_ONCE) as readers:
        while chunk := contents.image_files(connection, after):
            after, done = chunk[-1].digest, done + len(chunk)
            found = readers.map(lambda each: faults_of_image(each, archived), chunk)
            yield from (fault for fault in found if fault is not None)
            progress.tell("images checked", done, of)


def faults_of_sqlite(connection: Connection, progress: Progress) -> Iterator[str]:
    """What SQLite itself finds: every page, every index against its table, every reference."""
    driver = connection.connection.driver_connection
    assert driver is not None
    driver.set_progress_handler(lambda: progress.tell("checking the database; pages", 0), STEPS)
    try:
        for row in connection.execute(text("PRAGMA integrity_check(1000)")):
            if row[0] != "ok":
                yield str(row[0]).replace("\n", "; ")
        for row in connection.execute(text("PRAGMA foreign_key_check")):
            yield f"row {row[1]} of {row[0]} names a row of {row[2]} that is not there"
    finally:
        driver.set_progress_handler(None, 0)
