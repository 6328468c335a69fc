"""What verify finds, and that it finds nothing else."""

import hashlib
import json
import os
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pysqlite3 import dbapi2
from sqlalchemy import Connection, delete, insert, text, update

from app.archive import SETTLED, Picture, open_archive
from app.backup import contents
from app.command import main
from app.store import audit, schema
from app.store.database import open_database, sqlite_url
from model.registry import POINTER
from tests.app.backup.roots import images_of
from tests.app.store.rows import add_image


def change(home: Path, work: Callable[[Connection], object]) -> None:
    with closing(open_database(sqlite_url(home / "record.db"))) as database, database.writing() as connection:
        work(connection)


def verified(home: Path, capsys: pytest.CaptureFixture[str]) -> dict:
    code = main(["verify", "--home", str(home), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert code == (0 if found["sound"] else 1)
    return found


def test_a_sound_root(home, capsys):
    found = verified(home, capsys)
    assert found["sound"]
    assert found["checked"] == {"models": 2, "inspections": 12, "images": 12, "orphans": 0}


def replace(file: Path, data: bytes) -> None:
    file.unlink()
    file.write_bytes(data)


def undecodable(home: Path) -> None:
    """A row and a file that agree, on bytes that are no image."""
    data = b"\x89PNG\r\n\x1a\n and nothing behind it"
    with closing(open_archive(str(home / "archive"))) as archive:
        assert archive.put(Picture(data, "png")).result() is None
    change(home, lambda connection: add_image(connection, hashlib.sha256(data).hexdigest(), bytes=len(data)))


def without_foreign_keys(home: Path, statement: str) -> None:
    connection = dbapi2.connect(str(home / "record.db"))
    connection.execute(statement)
    connection.commit()
    connection.close()


def audited(home: Path) -> None:
    change(home, lambda connection: [audit.append(connection, "os:root", "key.create", name) for name in "ab"])


DAMAGE = {
    "an image is missing": (lambda home: images_of(home)[2].unlink(), "image", "is missing"),
    "half an image": (lambda home: os.truncate(images_of(home)[2], 100), "image", "is not the file that was kept"),
    "one bit of an image": (
        lambda home: replace(images_of(home)[2], images_of(home)[2].read_bytes()[:-1] + b"\x83"),
        "image", "is not the file that was kept",
    ),
    "no image at all": (undecodable, "image", "cannot be decoded"),
    "an event is missing": (
        lambda home: change(home, lambda connection: connection.execute(
            delete(schema.events).where(schema.events.c.number == 3))),
        "rows", "says 1 events and has 0",
    ),
    "a row names nothing": (
        lambda home: without_foreign_keys(home, "UPDATE inspections SET coil = 77"), "database", "names a row of coils",
    ),
    "a line of the audit log": (
        lambda home: (audited(home), without_foreign_keys(home, "UPDATE audit SET actor = 'nobody' WHERE number = 1")),
        "audit", "line 1: it is not what was written",
    ),
    "a model's file": (
        lambda home: next((home / "models").rglob("model.onnx")).write_bytes(b""), "model", "is not the file",
    ),
    "the active version": (
        lambda home: (home / "models" / POINTER).write_text('{"active": "gone"}'), "model", "is not there",
    ),
    "the record": (lambda home: (home / "record.db").unlink(), "database", "is missing"),
    "half the record": (
        lambda home: os.truncate(home / "record.db", (home / "record.db").stat().st_size // 2), "database", "",
    ),
    "no record": (lambda home: (home / "record.db").write_bytes(b"no database" * 1000), "database", "cannot be read"),
    "another release's": (
        lambda home: change(home, lambda connection: connection.execute(
            text("UPDATE alembic_version SET version_num = '9999'"))),
        "database", "its schema is 9999",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("damage", "kind", "says"), DAMAGE.values(), ids=DAMAGE.keys())
def test_damage_is_found_and_named(home, capsys, damage, kind, says):
    damage(home)
    found = verified(home, capsys)
    assert set(found["counts"]) == {kind}
    assert any(says in each["text"] for each in found["findings"])
    assert main(["verify", "--home", str(home)]) == 1
    assert capsys.readouterr().out.startswith(f"{kind}: ")


def test_only_the_first_are_named_and_all_are_counted(home, capsys):
    def more(connection: Connection) -> None:
        for number in range(contents.NAMED + 5):
            add_image(connection, hashlib.sha256(bytes([number])).hexdigest())

    change(home, more)
    found = verified(home, capsys)
    assert found["counts"] == {"image": contents.NAMED + 5}
    assert len(found["findings"]) == contents.NAMED
    assert main(["verify", "--home", str(home)]) == 1
    assert "image: 5 more" in capsys.readouterr().out


def test_orphans_are_counted_once_they_are_old(home, capsys):
    old, young = (home / "archive" / "aa" / f"aa{number}.png" for number in range(2))
    for file in (old, young):
        file.write_bytes(b"image")
    long_ago = datetime.now(UTC).timestamp() - SETTLED.total_seconds() - 60
    os.utime(old, (long_ago, long_ago))
    found = verified(home, capsys)
    assert found["sound"]
    assert found["checked"]["orphans"] == 1


def test_what_retention_has_removed_is_no_loss(home, capsys):
    images = images_of(home)
    gone, going = images[0], images[1]
    gone.unlink()
    going.unlink()
    at = datetime.now(UTC)

    def remove(connection: Connection) -> None:
        for file, values in ((gone, {"deleted_at": at, "purged_at": at}), (going, {"deleted_at": at})):
            connection.execute(update(schema.images).where(schema.images.c.digest == file.stem).values(values))

    change(home, remove)
    assert verified(home, capsys)["sound"]


def test_a_path_is_never_made_of_a_row_that_is_no_digest(home, capsys):
    change(home, lambda connection: connection.execute(
        insert(schema.images), {"digest": "../../etc", "format": "png", "bytes": 1, "verdict": "ok",
                                "stored_at": datetime.now(UTC)}))  # fmt: skip
    assert main(["verify", "--home", str(home)]) == 1
    told = capsys.readouterr().err
    assert told.startswith("error: the record names an image that cannot be one")
    assert told.count("\n") == 1


def test_nothing_to_verify(tmp_path, capsys):
    assert main(["verify", "--home", str(tmp_path / "nowhere")]) == 1
    assert main(["verify", "--backup", str(tmp_path / "nowhere")]) == 1
    assert capsys.readouterr().err.count("\n") == 2
    with pytest.raises(SystemExit) as usage:
        main(["verify", "--backups"])
    assert usage.value.code == 2
