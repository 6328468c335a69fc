"""python -m app export DATA: what was reviewed, as a data folder for `python -m training train`.

Exit code 0 done, 1 there is nothing to export or images of the archive are missing or damaged, 2 wrong usage or
settings.
"""

import argparse
import csv
import hashlib
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

from sqlalchemy.exc import DBAPIError

from app.appearing import appearing
from app.archive import Archive, ArchiveError, open_archive
from app.review.folder import LABELS, Entry, Placing, entry, mask, once, png
from app.settings import SettingsError, load
from app.store.database import Database, DatabaseError
from app.store.numbers import inspection_id
from app.store.record import database_of
from app.store.reviews import Reviewed, reviewed
from model.errors import SteelsightError
from model.files import sync_tree
from model.registry import Registry
from model.signing import public_keys

EXIT_DONE, EXIT_FAULT, EXIT_USAGE = 0, 1, 2
# Rows read at a time: a reader that walked the whole record in one view would hold up SQLite's log.
ROWS = 500
# Frames named on the terminal for one reason.
NAMED = 20

DELETED = "the image was deleted by the rules of retention"
NOT_KEPT = "the image was never kept"
DOUBLE = "the same image as one that was reviewed later"
NOWHERE = "defects larger than a tile without a box or an event: nobody said where they are; review them with a box"
FAULTY = "the archive has lost or damaged the image"


class ExportError(Exception):
    """Why nothing was exported, in one line."""


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `export` to the commands of `python -m app`."""
    command = commands.add_parser("export", help="reviewed frames as a data folder for training")
    command.add_argument("data", metavar="DATA", type=Path, help="a folder that does not exist yet, or is empty")
    command.add_argument("--home", metavar="DIR", help="the data root; STEELSIGHT_HOME unless set, else var")
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Export, beside a running server or without one; what was done is one line each on stderr."""
    try:
        settings = load(os.environ, {"home": arguments.home})
    except SettingsError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USAGE
    try:
        registry = Registry(settings.models, public_keys(settings.model_public_keys))
        placing = Placing.of(registry.manifest(registry.require_active()).fitting)
        with closing(database_of(settings)) as database:
            if database.file is not None and not database.file.exists():
                raise ExportError(f"there is no record in {database.file}: nothing was inspected below this data root")
            with closing(open_archive(settings.archive)) as archive:
                return export(arguments.data, database, archive, placing)
    except (ExportError, SteelsightError, DatabaseError, ArchiveError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
    except DBAPIError as error:
        # Read as it stands, beside a server that may be of another release: nothing is migrated here.
        print(f"error: the record cannot be read: {str(error.orig).partition(chr(10))[0]}", file=sys.stderr)
    return EXIT_FAULT


def export(data: Path, database: Database, archive: Archive, placing: Placing) -> int:
    """Write the folder; it is there when it is whole. Raises `ExportError` where nothing is, and OSError."""
    if data.exists() and (not data.is_dir() or any(data.iterdir())):
        raise ExportError(f"{data} is not an empty folder; nothing is ever overwritten: name another one")
    left_out: Counter[str] = Counter()
    kept = list(_kept(_all(database), left_out))
    frames, left_out[DOUBLE] = once(kept)
    entries = [found for frame in frames if (found := _placed(frame, placing, left_out))]
    target = data.absolute()
    target.parent.mkdir(parents=True, exist_ok=True)
    # Half a folder would train as if it were whole. Whoever trains need not be who serves.
    with appearing(target, mode=0o777) as folder:
        written = [each for each in entries if _written(folder, each, archive, left_out)]
        _tell(left_out)
        if not written:
            raise ExportError("there is no reviewed frame to export; review some first, see docs/review.md")
        with (folder / "labels.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([LABELS, *(each.row for each in written)])
        sync_tree(folder)
    labels = Counter(each.label for each in written)
    groups, masks = len({each.group for each in written}), sum(each.mask is not None for each in written)
    print(
        f"{data}: {len(written)} frames of {groups} groups, {labels['ok']} ok, {labels['defect']} defect, {masks} "
        f"masks (the active version takes frames {'in tiles' if placing.fit == 'tile' else 'whole'})",
        file=sys.stderr,
    )
    return EXIT_FAULT if left_out[FAULTY] else EXIT_DONE


def _all(database: Database) -> Iterator[Reviewed]:
    after = 0
    while True:
        with database.reading() as connection:
            frames = reviewed(connection, after, ROWS)
        if not frames:
            return
        yield from frames
        after = frames[-1].number


def _kept(frames: Iterable[Reviewed], left_out: Counter[str]) -> Iterator[Reviewed]:
    for frame in frames:
        if frame.digest is None:
            left_out[NOT_KEPT] += 1
        elif frame.deleted:
            left_out[DELETED] += 1
        else:
            yield frame


def _placed(frame: Reviewed, placing: Placing, left_out: Counter[str]) -> Entry | None:
    found = entry(frame, placing)
    if found is None:
        _name(left_out, NOWHERE, frame, "")
    return found


def _written(folder: Path, each: Entry, archive: Archive, left_out: Counter[str]) -> bool:
    """The image's bytes as they were archived, and its mask. Whether they could be."""
    frame = each.frame
    assert frame.digest is not None
    assert frame.file_format is not None
    try:
        data = archive.get(frame.digest, frame.file_format)
    except ArchiveError as error:
        _name(left_out, FAULTY, frame, str(error))
        return False
    if hashlib.sha256(data).hexdigest() != frame.digest:
        _name(left_out, FAULTY, frame, "its bytes are no longer those that were inspected")
        return False
    files = {each.file: data}
    if each.mask is not None:
        files[each.mask] = png(mask(frame.width, frame.height, each.boxes))
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return True


def _name(left_out: Counter[str], reason: str, frame: Reviewed, detail: str) -> None:
    left_out[reason] += 1
    if left_out[reason] <= NAMED:
        print(f"  left out: {inspection_id(frame.number)}{f': {detail}' if detail else ''}", file=sys.stderr)


def _tell(left_out: Counter[str]) -> None:
    for reason, count in left_out.items():
        if count:
            print(f"  left out: {count} frame{'s' if count > 1 else ''}: {reason}", file=sys.stderr)
