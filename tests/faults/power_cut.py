"""The power goes: what a server's data root may look like then, from the record of every change that `machine.c` wrote.

Kept is what was flushed: a file's bytes up to its last fsync, names up to the last fsync of their folder. Of what came
later a file system may have written anything or nothing: of bytes each page by itself, some in part; of the names of a
folder the first few changes, for a journal keeps their order. One record has as many cuts as one wants.
"""

import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

# As `struct record` in machine.c.
HEAD = struct.Struct("=IIqqQqIIII")
OPENED, WRITTEN, TRUNCATED, SYNCED, FOLDER_SYNCED, RENAMED, UNLINKED = range(1, 8)
PAGE, SECTOR = 4096, 512
# Not data: SQLite makes it anew from the log beside it, locks and live pictures are of the processes that are gone.
FORGOTTEN = ("-shm",)
NOT_KEPT = ("live/", "serve.lock", "metrics/")


class Change(NamedTuple):
    """One call of the server's. began_ns, ended_ns: by the monotonic clock."""

    kind: int
    began_ns: int
    ended_ns: int
    inode: int
    offset: int
    truncates: bool
    path: str
    other: str
    data: bytes


def changes(log: Path) -> Iterator[Change]:
    """All of them, in order of their ends."""
    data = log.read_bytes()
    at = 0
    while at < len(data):
        size, kind, began, ended, inode, offset, path, other, bytes_, flags = HEAD.unpack_from(data, at)
        start = at + HEAD.size
        names = data[start : start + path + other].decode()
        body = data[start + path + other : start + path + other + bytes_]
        yield Change(kind, began, ended, inode, offset, bool(flags), names[:path], names[path:], body)
        at += size


@dataclass(eq=False)
class _File:
    """flushed: its bytes on the disk; later: what came since."""

    flushed: bytearray = field(default_factory=bytearray)
    later: list[Change] = field(default_factory=list)

    def flush(self, until_ns: int) -> None:
        """Put on the disk what had ended by then."""
        for change in [each for each in self.later if each.ended_ns <= until_ns]:
            _apply(self.flushed, change)
        self.later = [each for each in self.later if each.ended_ns > until_ns]

    def after_the_cut(self, chance: random.Random) -> bytes:
        """What is on the disk when the power is back."""
        content = bytearray(self.flushed)
        share = chance.choice((0.0, 0.5, 1.0))
        for change in self.later:
            if change.kind == TRUNCATED:
                if chance.random() < share:
                    _apply(content, change)
                continue
            for part in _pages(change):
                if chance.random() < share:
                    _apply(content, _torn(part, chance) if chance.random() < 0.1 else part)
        return bytes(content)


Naming = tuple[int, list[tuple[str, _File | None]]]


@dataclass(eq=False)
class _Folder:
    """names: what is on the disk; later: when, and what names then stand for (None: nothing), since, in order."""

    names: dict[str, _File] = field(default_factory=dict)
    later: list[Naming] = field(default_factory=list)

    def flush(self, until_ns: int) -> None:
        """As of a file."""
        _rename(self.names, [each for each in self.later if each[0] <= until_ns])
        self.later = [each for each in self.later if each[0] > until_ns]


def _rename(names: dict[str, _File], later: list[Naming]) -> None:
    for name, file in (each for _, named in later for each in named):
        if file is None:
            names.pop(name, None)
        else:
            names[name] = file


def _apply(content: bytearray, change: Change) -> None:
    end = change.offset + len(change.data)
    if change.kind == TRUNCATED:
        del content[change.offset :]
        end = change.offset
    if len(content) < end:
        content.extend(bytes(end - len(content)))
    if change.data:
        content[change.offset : end] = change.data


def _pages(change: Change) -> Iterator[Change]:
    start = change.offset
    end = start + len(change.data)
    while start < end:
        stop = min(end, start - start % PAGE + PAGE)
        yield change._replace(offset=start, data=change.data[start - change.offset : stop - change.offset])
        start = stop


def _torn(part: Change, chance: random.Random) -> Change:
    """Its first sectors."""
    sectors = range(0, len(part.data), SECTOR)
    return part._replace(data=part.data[: chance.choice(sectors)])


class Disk:
    """The data root as it lies on the disk, and what the system has not written yet."""

    def __init__(self) -> None:
        self._folders: dict[str, _Folder] = {}
        # As programs see them.
        self._names: dict[str, _File] = {}
        self._by_inode: dict[int, _File] = {}

    def play(self, change: Change) -> None:
        """One change more."""
        match change.kind:
            case 1:  # OPENED
                self._opened(change)
            case 2 | 3:  # WRITTEN, TRUNCATED
                self._by_inode[change.inode].later.append(change)
            case 4:  # SYNCED
                if change.inode in self._by_inode:
                    self._by_inode[change.inode].flush(change.began_ns)
            case 5:  # FOLDER_SYNCED
                self._folder(change.path).flush(change.began_ns)
            case 6:  # RENAMED
                self._named(change, {change.path: None, change.other: self._names[change.path]})
            case 7:  # UNLINKED
                self._named(change, {change.path: None})

    def after_the_cut(self, root: Path, chance: random.Random) -> None:
        """Make the folder that a server finds when the power is back."""
        for path, folder in self._folders.items():
            names = dict(folder.names)
            # The journal was written up to some moment.
            _rename(names, folder.later[: chance.randint(0, len(folder.later))])
            for name, file in names.items():
                if f"{path}/{name}".lstrip("/").startswith(NOT_KEPT):
                    continue
                target = root / path / name
                target.parent.mkdir(parents=True, exist_ok=True)
                if name.endswith(FORGOTTEN):
                    target.write_bytes(chance.randbytes(32_768))
                else:
                    target.write_bytes(file.after_the_cut(chance))

    def _opened(self, change: Change) -> None:
        known = self._names.get(change.path)
        if known is None or self._by_inode.get(change.inode) is not known:
            # The inode of a file that is gone may be another one's now.
            self._by_inode[change.inode] = file = _File()
            self._named(change, {change.path: file})
        elif change.truncates:
            known.later.append(change._replace(kind=TRUNCATED, offset=0))

    def _named(self, change: Change, paths: dict[str, _File | None]) -> None:
        """Names of one folder change together; of several, each by itself."""
        by_folder: dict[str, list[tuple[str, _File | None]]] = {}
        for path, file in paths.items():
            if file is None:
                self._names.pop(path, None)
            else:
                self._names[path] = file
            folder, _, name = path.rpartition("/")
            by_folder.setdefault(folder, []).append((name, file))
        for folder, named in by_folder.items():
            self._folder(folder).later.append((change.ended_ns, named))

    def _folder(self, path: str) -> _Folder:
        return self._folders.setdefault(path, _Folder())


def cut(log: Path, at_ns: list[int]) -> Iterator[tuple[int, Disk]]:
    """The disk at each of these moments, rising: to be looked at before the next one."""
    disk = Disk()
    ahead = iter(at_ns)
    moment = next(ahead, None)
    for change in changes(log):
        while moment is not None and change.ended_ns > moment:
            yield moment, disk
            moment = next(ahead, None)
        disk.play(change)
    while moment is not None:
        yield moment, disk
        moment = next(ahead, None)
