"""Image files that no row names go, and never one that a frame is about to name."""

import os
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from sqlalchemy import select

from app import orphans, retention
from app.archive import FOLDERS, Archive, Picture, open_archive
from app.housekeeping import Housekeeping
from app.store import audit, schema
from tests.app.store.rows import add_image

AT = datetime.now(UTC)
BEFORE = AT - orphans.KEPT


@pytest.fixture
def archive(tmp_path):
    opened = open_archive(str(tmp_path / "archive"))
    yield opened
    opened.close()


def put(archive: Archive, text: str, days: float = 8) -> Picture:
    picture = Picture(b"BM" + text.encode(), "bmp")
    assert archive.put(picture).result() is None
    age(archive, picture, days)
    return picture


def age(archive: Archive, picture: Picture, days: float) -> None:
    then = (AT - timedelta(days=days)).timestamp()
    os.utime(archive.folder / picture.digest[:2] / f"{picture.digest}.bmp", (then, then))


def swept(database, archive: Archive) -> int:
    count = 0
    for folder in FOLDERS:
        found = list(orphans.orphans(archive, database, folder, BEFORE))
        with database.writing() as connection:
            count += orphans.sweep(connection, folder, found, AT)
    with database.writing() as connection:
        while retention.purge(connection, archive, AT):
            pass
    return count


def named(database, picture: Picture, **values) -> None:
    with database.writing() as connection:
        add_image(connection, picture.digest, format="bmp", bytes=len(picture.data), **values)


def test_old_ones_go_and_it_is_on_record(database, archive):
    old, young, kept = put(archive, "old"), put(archive, "young", days=6), put(archive, "kept")
    named(database, kept)
    assert swept(database, archive) == 1
    assert [archive.holds(each.digest, "bmp") for each in (old, young, kept)] == [False, True, True]
    with database.reading() as connection:
        row = connection.execute(select(schema.images).where(schema.images.c.digest == old.digest)).one()
        (line,) = audit.lines(connection)
    assert (row.deleted_why, row.purged_at) == (orphans.WHY, AT)
    assert (line.actor, line.action, line.detail) == ("housekeeping", "archive.sweep", {"files": 1, "bytes": 5})
    assert swept(database, archive) == 0


def test_a_frame_that_brings_the_same_bytes_meanwhile_keeps_its_file(database, archive):
    picture = put(archive, "again")
    folder = picture.digest[:2]
    found = list(orphans.orphans(archive, database, folder, BEFORE))
    named(database, picture)
    with database.writing() as connection:
        assert orphans.sweep(connection, folder, found, AT) == 0
        retention.purge(connection, archive, AT)
    assert archive.holds(picture.digest, "bmp")


def test_one_that_was_removed_and_is_there_goes_once_more(database, archive):
    picture = put(archive, "back")
    named(database, picture, deleted_at=AT, deleted_why="old", purged_at=AT)
    assert swept(database, archive) == 1
    assert not archive.holds(picture.digest, "bmp")


def test_what_is_not_ours_stays(database, archive):
    stranger = archive.folder / "aa" / "aardvark.bmp"
    stranger.write_bytes(b"BM")
    then = (AT - timedelta(days=30)).timestamp()
    os.utime(stranger, (then, then))
    assert swept(database, archive) == 0
    assert stranger.exists()


@pytest.mark.anyio
async def test_a_server_sweeps_its_own_archive_and_no_other(start, tiny_models, tmp_path):
    for where in ("inside", "outside"):
        outside = {"archive": str(tmp_path / "elsewhere")} if where == "outside" else {}
        async with start(models=tiny_models, **outside) as running:
            service = running.service
            picture = put(service.store.archive, where)
            await Housekeeping(service).sweep_orphans(picture.digest[:2])
            while await service.store.write(partial(retention.purge, archive=service.store.archive, at=AT)):
                pass
            assert service.store.archive.holds(picture.digest, "bmp") == (where == "outside")
            count = service.metrics.registry.get_sample_value("steelsight_orphans_swept_total")
            assert count == (0 if where == "outside" else 1)
