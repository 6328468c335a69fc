"""Which images go, and that nothing in the record names one that is gone."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from app import retention
from app.archive import Archive, ArchiveError, Picture, open_archive
from app.retention import Policy
from app.settings import load
from app.store import schema
from tests.app.store.rows import add_image, add_inspection

AT = datetime(2026, 6, 1, tzinfo=UTC)


@pytest.fixture
def archive(tmp_path):
    opened = open_archive(str(tmp_path / "archive"))
    yield opened
    opened.close()


def add(database, archive: Archive, text: str, days: float, verdict: str = "ok") -> str:
    picture = Picture(b"BM" + text.encode(), "bmp")
    assert archive.put(picture).result() is None
    with database.writing() as connection:
        return add_image(
            connection, picture.digest, format="bmp", bytes=len(picture.data), verdict=verdict,
            stored_at=AT - timedelta(days=days),
        )  # fmt: skip


def choose(database, policy: Policy) -> None:
    with database.reading() as connection:
        chosen = retention.expired(connection, policy, AT)
    with database.writing() as connection:
        retention.mark(connection, chosen, AT)


def run(database, archive: Archive, policy: Policy) -> None:
    choose(database, policy)
    with database.writing() as connection:
        retention.purge(connection, archive, AT)


def gone(database) -> dict[str, str]:
    with database.reading() as connection:
        found = select(schema.images).where(schema.images.c.purged_at.is_not(None))
        return {row.digest: row.deleted_why for row in connection.execute(found)}


def test_images_past_their_age_go(database, archive):
    old, new = add(database, archive, "old", 31), add(database, archive, "new", 29)
    called = add(database, archive, "called", 31, "defect")
    run(database, archive, Policy("ok", timedelta(days=30), None))
    assert gone(database) == {old: "older than 30 days"}
    assert [archive.holds(each, "bmp") for each in (old, new, called)] == [False, True, True]


def test_the_oldest_go_until_the_rest_fits(database, archive):
    images = [add(database, archive, f"{age:02}", age) for age in (5, 4, 3, 2, 1)]
    run(database, archive, Policy("ok", None, 8))
    assert set(gone(database)) == set(images[:3])
    run(database, archive, Policy("ok", None, 8))
    assert len(gone(database)) == 3


def test_what_was_reviewed_stays(database, archive):
    reviewed, other = add(database, archive, "reviewed", 31), add(database, archive, "other", 31)
    with database.writing() as connection:
        add_inspection(connection, image=reviewed, review="ok")
        add_inspection(connection, image=other)
    run(database, archive, Policy("ok", timedelta(days=30), 0))
    assert list(gone(database)) == [other]


def test_what_was_kept_again_since_it_was_chosen_stays(database, archive):
    digest = add(database, archive, "old", 31)
    with database.reading() as connection:
        chosen = retention.expired(connection, Policy("ok", timedelta(days=30), None), AT)
    with database.writing() as connection:
        connection.execute(schema.images.update().values(stored_at=AT))
    with database.writing() as connection:
        retention.mark(connection, chosen, AT)
        assert retention.purge(connection, archive, AT) == 0
    assert archive.holds(digest, "bmp")


def test_no_bound_keeps_everything(database, archive):
    add(database, archive, "old", 10_000)
    run(database, archive, Policy("ok", None, None))
    assert gone(database) == {}


def test_a_file_that_cannot_be_deleted_stays_to_be_deleted(database, archive, tmp_path):
    digest = add(database, archive, "old", 31)
    choose(database, Policy("ok", timedelta(days=30), None))
    # A folder in the file's place: not even root can unlink it as a file.
    file = tmp_path / "archive" / digest[:2] / f"{digest}.bmp"
    file.unlink()
    (file / "in the way").mkdir(parents=True)
    with pytest.raises(ArchiveError), database.writing() as connection:
        retention.purge(connection, archive, AT)
    assert gone(database) == {}
    (file / "in the way").rmdir()
    file.rmdir()
    with database.writing() as connection:
        retention.purge(connection, archive, AT)
    assert list(gone(database)) == [digest]


def test_what_is_freed_is_told(database, archive):
    add(database, archive, "old", 31)
    add(database, archive, "new", 1)
    with database.writing() as connection:
        assert retention.used_bytes(connection) == 10
    choose(database, Policy("ok", timedelta(days=30), None))
    with database.writing() as connection:
        assert retention.purge(connection, archive, AT) == 5
        assert retention.used_bytes(connection) == 5


def test_settings_are_policies():
    made = retention.policies(load({}, {"keep_ok_days": 0, "keep_defect_bytes": 7}))
    assert made[0] == Policy("ok", None, None)
    assert made[2] == Policy("defect", timedelta(days=730), 7)
