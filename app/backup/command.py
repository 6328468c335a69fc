"""python -m app backup DEST | restore SOURCE | verify: the data root saved, put back and checked.

Exit code 0 done, 1 nothing was saved or put back, or something is damaged, 2 wrong usage or settings, 130 stopped by
Ctrl-C.
"""

import argparse
import errno
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from pysqlite3 import dbapi2
from sqlalchemy.exc import DBAPIError

from app.access.acts import audited, system_user
from app.access.watched import AccessError
from app.archive import ArchiveError
from app.backup.checking import Findings
from app.backup.contents import NAMED, BackupError
from app.backup.restoring import restore
from app.backup.taking import take, unsaved
from app.backup.verifying import verify_backup, verify_root
from app.settings import Settings, SettingsError, load
from app.store.database import DatabaseError
from model.errors import SteelsightError
from model.interrupt import EXIT_INTERRUPTED

EXIT_DONE, EXIT_FAULT, EXIT_USAGE = 0, 1, 2
# What SQLite needs to open a record that no server has open, amply.
BESIDE_BYTES = 1 << 20
HOME = "the data root; STEELSIGHT_HOME unless set, else var"

Work = Callable[[Settings, argparse.Namespace], int]


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the three to the commands of `python -m app`."""
    backup = commands.add_parser("backup", help="save the data root, beside its running server")
    backup.add_argument("target", metavar="DEST", type=Path, help="a folder that does not exist yet")
    _finish(backup, _backup)
    restoring = commands.add_parser("restore", help="put a backup back; the server is stopped")
    restoring.add_argument("source", metavar="SOURCE", type=Path, help="a backup")
    restoring.add_argument("--replace", action="store_true", help="move what is in the data root aside first")
    _finish(restoring, _restore)
    verify = commands.add_parser("verify", help="check every row, image and model; exit 1 if any is damaged")
    verify.add_argument("--backup", metavar="SOURCE", type=Path, help="of a backup instead of the data root")
    verify.add_argument("--json", action="store_true", help="one JSON object on standard output")
    _finish(verify, _verify)


def _finish(command: argparse.ArgumentParser, work: Work) -> None:
    command.add_argument("--home", metavar="DIR", help=HOME)
    command.set_defaults(run=lambda arguments: _run(work, arguments))


def _run(work: Work, arguments: argparse.Namespace) -> int:
    # As Ctrl-C: what is half done is taken back.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        settings = load(os.environ, {"home": arguments.home})
    except SettingsError as error:
        return _fail(str(error), EXIT_USAGE)
    try:
        return work(settings, arguments)
    except KeyboardInterrupt:
        return _fail("stopped; nothing was changed", EXIT_INTERRUPTED)
    except (BackupError, DatabaseError, ArchiveError, AccessError, SteelsightError) as error:
        return _fail(str(error), EXIT_FAULT)
    except (OSError, DBAPIError, dbapi2.Error) as error:
        return _fail(_said(error, settings.home), EXIT_FAULT)


def _backup(settings: Settings, arguments: argparse.Namespace) -> int:
    manifest, faults = take(settings, arguments.target)
    for name, why in manifest.left_out.items():
        print(f"  left out: {name}: {why}", file=sys.stderr)
    for fault in faults:
        print(f"  damaged: {fault}", file=sys.stderr)
    print(
        f"{arguments.target}: {manifest.rows.get('inspections', 0)} inspections, {manifest.images.count} images "
        f"({manifest.images.bytes} bytes), {len(manifest.files)} other files",
        file=sys.stderr,
    )
    if arguments.target.stat().st_dev == settings.home.stat().st_dev:
        print("  on the data root's own disk: copy it to another, or it is lost with that one", file=sys.stderr)
    # Last: the backup is there, whatever becomes of its line.
    with audited(settings, system_user()) as note:
        counts = {"inspections": manifest.rows.get("inspections", 0), "images": manifest.images.count}
        note("data.backup", str(arguments.target.absolute()), counts)
    if lost := manifest.images.lost:
        return _fail(f"{lost} images were lost before this backup; `python -m app verify` names them", EXIT_FAULT)
    return EXIT_FAULT if faults else EXIT_DONE


def _restore(settings: Settings, arguments: argparse.Namespace) -> int:
    restored = restore(arguments.source, settings, replace=arguments.replace)
    manifest = restored.manifest
    print(
        f"{settings.home}: {manifest.rows.get('inspections', 0)} inspections, {manifest.images.count} images, as of "
        f"{manifest.created_at:%Y-%m-%d %H:%M:%S} UTC",
        file=sys.stderr,
    )
    if restored.aside is not None:
        print(f"  what was there before is in {restored.aside}", file=sys.stderr)
        if alone := ", ".join(unsaved(restored.aside)):
            print(f"  of that, no backup has {alone}: move it back before you delete the rest", file=sys.stderr)
    if restored.changed is None:
        print("  keys and people are as of then: who was revoked or disabled since is let in again", file=sys.stderr)
    elif restored.changed:
        print(f"  revoked or changed since, and left so: {', '.join(restored.changed)}", file=sys.stderr)
    for name, why in manifest.left_out.items():
        print(f"  not in the backup: {name}: {why}", file=sys.stderr)
    return EXIT_DONE


def _verify(settings: Settings, arguments: argparse.Namespace) -> int:
    found = verify_root(settings) if arguments.backup is None else verify_backup(arguments.backup)
    if arguments.json:
        print(json.dumps(_as_json(found)))
    else:
        _tell(found, str(arguments.backup or settings.home))
    return EXIT_FAULT if found.counts else EXIT_DONE


def _as_json(found: Findings) -> dict[str, object]:
    return {
        "sound": not found.counts,
        "checked": found.checked,
        "counts": found.counts,
        "findings": [each._asdict() for each in found.first],
    }


def _tell(found: Findings, what: str) -> None:
    for each in found.first:
        print(f"{each.kind}: {each.text}")
    for kind, count in found.counts.items():
        if count > NAMED:
            print(f"{kind}: {count - NAMED} more")
    checked = ", ".join(f"{count} {of}" for of, count in found.checked.items())
    print(f"{what}: checked {checked}; {found.counts.total() or 'nothing'} found", file=sys.stderr)


def _said(error: Exception, home: Path) -> str:
    said = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
    if isinstance(error, OSError) and error.filename is not None:
        said = f"{error.filename}: {error.strerror}"
    if not isinstance(error, OSError) and home.exists() and shutil.disk_usage(home).free < BESIDE_BYTES:
        return f"the disk of {home} is full, and SQLite writes beside a record even to read it ({said}); make room"
    if (isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)) or "disk is full" in said:
        return f"the disk is full ({said}); nothing was left there"
    return said


def _fail(error: str, exit_code: int) -> int:
    print(f"error: {error}", file=sys.stderr)
    return exit_code
