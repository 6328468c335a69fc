"""What a backup holds, and that there is none unless it is whole."""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from sqlalchemy import select, update

from app import retention
from app.appearing import PARTIAL, appearing
from app.archive import open_archive
from app.backup.contents import read_manifest
from app.backup.taking import LOST, take
from app.backup.verifying import verify_backup
from app.command import main
from app.settings import load
from app.store.database import open_database, sqlite_url
from app.store.schema import images
from tests.app.backup.roots import ROOT, WITHIN_S, environment, filled, images_of, small_disk


def test_everything_that_cannot_be_made_anew_is_in_it(home, tmp_path, capsys):
    (home / "live").mkdir()
    (home / "runs").mkdir()
    assert main(["backup", str(tmp_path / "saved"), "--home", str(home)]) == 0
    told = capsys.readouterr().err
    assert "12 inspections, 12 images" in told
    assert "left out: runs" in told
    assert "live" not in told
    manifest = read_manifest(tmp_path / "saved")
    assert (manifest.rows["inspections"], manifest.rows["events"], manifest.images.count) == (12, 12, 12)
    assert {"plant.toml", "record.db", "models/active.json", "keys/secret.pem"} < set(manifest.files)
    assert (tmp_path / "saved" / "keys" / "secret.pem").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "saved").stat().st_mode & 0o777 == 0o700
    # Linked, not copied: a backup on the same disk costs no second archive.
    assert all(file.stat().st_nlink == 2 for file in images_of(home))
    assert not verify_backup(tmp_path / "saved").counts


def test_a_file_that_the_archive_changes_later_stays_as_it_was_in_the_backup(home, tmp_path):
    take(load({}, {"home": home}), tmp_path / "saved")
    with closing(open_archive(str(home / "archive"))) as archive:
        for file in images_of(home):
            archive.delete(file.stem, "png")
    assert images_of(home) == []
    assert not verify_backup(tmp_path / "saved").counts


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("saved", "nothing is ever overwritten"),
        ("home/saved", "lies in the data root"),
        ("file/saved", "file: File exists"),
    ],
)
def test_a_place_that_will_not_do_is_refused(home, tmp_path, capsys, target, says):
    (tmp_path / "saved").mkdir()
    (tmp_path / "file").touch()
    before = sorted(tmp_path.rglob("*"))
    assert main(["backup", str(tmp_path / target), "--home", str(home)]) == 1
    told = capsys.readouterr().err
    assert says in told
    assert told.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_without_a_data_root_there_is_nothing_to_save(tmp_path, capsys):
    assert main(["backup", str(tmp_path / "saved"), "--home", str(tmp_path / "nowhere")]) == 1
    assert "there is no data root" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_an_image_that_was_lost_before_is_told_and_the_rest_is_saved(home, tmp_path, capsys):
    lost = images_of(home)[3]
    lost.unlink()
    assert main(["backup", str(tmp_path / "saved"), "--home", str(home)]) == 1
    assert f"damaged: image {lost.parent.name}/{lost.name}" in capsys.readouterr().err
    assert read_manifest(tmp_path / "saved").images.lost == 1
    assert not verify_backup(tmp_path / "saved").counts
    with closing(open_database(sqlite_url(tmp_path / "saved" / "record.db"))) as copy, copy.reading() as connection:
        row = connection.execute(select(images).where(images.c.digest == lost.stem)).one()
    assert row.deleted_why == LOST
    assert row.purged_at is not None


def test_images_that_retention_deletes_meanwhile(tmp_path, tiny_models):
    """Whatever of it falls between the rows' copy and the files', the backup's rows and files agree."""
    home = filled(tmp_path / "home", tiny_models, images=400)
    policy = retention.Policy("defect", timedelta(0), None)
    over = threading.Event()

    def delete() -> None:
        with (
            closing(open_database(sqlite_url(home / "record.db"))) as database,
            closing(open_archive(str(home / "archive"))) as archive,
        ):
            while not over.is_set():
                at = datetime.now(UTC)
                with database.writing() as connection:
                    retention.mark(connection, retention.expired(connection, policy, at)[:10], at)
                with database.writing() as connection:
                    retention.purge(connection, archive, at)

    deleting = threading.Thread(target=delete)
    deleting.start()
    try:
        taken = [take(load({}, {"home": home}), tmp_path / f"saved-{number}") for number in range(4)]
    finally:
        over.set()
        deleting.join()
    assert [faults for _, faults in taken] == [[]] * 4
    counts = [manifest.images.count for manifest, _ in taken]
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] < 400
    for number in range(4):
        assert not verify_backup(tmp_path / f"saved-{number}").counts


def start(home, target, **options):
    return subprocess.Popen(
        [sys.executable, "-m", "app", "backup", str(target)],
        cwd=ROOT, env=environment(home), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options,
    )  # fmt: skip


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_one_that_is_stopped_leaves_nothing_that_looks_whole(home, tmp_path, how):
    target = tmp_path / "saved"
    # Long enough to be met amid it.
    with (home / "keys" / "large").open("wb") as file:
        file.truncate(2 << 30)
    with start(home, target) as process:
        deadline = time.monotonic() + WITHIN_S
        while not (found := list(tmp_path.glob(f".saved.*{PARTIAL}"))) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert found
        process.send_signal(how)
        _, told = process.communicate(timeout=WITHIN_S)
    assert not target.exists()
    if how is signal.SIGINT:
        assert process.returncode == 130
        assert told == "error: stopped; nothing was changed\n"
    assert found[0].exists() == (how is signal.SIGKILL)
    (home / "keys" / "large").unlink()
    assert main(["backup", str(target), "--home", str(home)]) == 0
    assert list(tmp_path.glob(f".*{PARTIAL}")) == []


def test_ctrl_c_right_after_the_folder_was_made_leaves_none(tmp_path, monkeypatch):
    def stopped(*_):
        raise KeyboardInterrupt

    # The first thing that is done with the new folder; no signal hits that moment at will.
    monkeypatch.setattr(fcntl, "flock", stopped)
    with pytest.raises(KeyboardInterrupt), appearing(tmp_path / "saved"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_two_at_once_each_have_a_folder_of_their_own(tmp_path):
    with appearing(tmp_path / "saved") as first:
        with pytest.raises(ZeroDivisionError), appearing(tmp_path / "saved"):
            _ = 1 / 0
        assert first.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["saved"]


@pytest.mark.skipif(os.getuid() != 0, reason="only root mounts a small disk")
@pytest.mark.parametrize(("size", "says"), [("1m", "name another disk"), ("100m,nr_inodes=20", "the disk is full")])
def test_a_full_disk_is_one_clear_line(home, tmp_path, capsys, size, says):
    disk = tmp_path / "disk"
    with small_disk(disk, size):
        assert main(["backup", str(disk / "saved"), "--home", str(home)]) == 1
        told = capsys.readouterr().err
        assert says in told
        assert told.count("\n") == 1
        assert list(disk.iterdir()) == []


@pytest.mark.skipif(os.getuid() != 0, reason="only root mounts a small disk")
def test_a_full_disk_of_the_data_root_is_not_taken_for_the_backups_own(home, tmp_path, capsys):
    with small_disk(tmp_path / "disk", "8m"):
        full = shutil.copytree(home, tmp_path / "disk" / "home")
        with (tmp_path / "disk" / "fill").open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(bytes(4096)):
                pass
        assert main(["backup", str(tmp_path / "saved"), "--home", str(full)]) == 1
        assert f"the disk of {full} is full" in capsys.readouterr().err


@pytest.mark.skipif(os.getuid() != 0, reason="only root mounts another disk")
def test_on_another_disk_images_are_copied(home, tmp_path, capsys):
    with small_disk(tmp_path / "disk", "100m"):
        assert main(["backup", str(tmp_path / "disk" / "saved"), "--home", str(home)]) == 0
        assert "own disk" not in capsys.readouterr().err
        assert not verify_backup(tmp_path / "disk" / "saved").counts
        assert all(file.stat().st_nlink == 1 for file in images_of(home))


def test_a_damaged_record_is_not_saved(home, tmp_path, capsys):
    file = home / "record.db"
    data = bytearray(file.read_bytes())
    for page in range(1, len(data) // 4096):
        data[page * 4096 : page * 4096 + 8] = b"\xff" * 8
    file.write_bytes(data)
    assert main(["backup", str(tmp_path / "saved"), "--home", str(home)]) == 1
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert told.count("\n") == 1
    assert not (tmp_path / "saved").exists()


def test_a_root_without_a_record(tmp_path, tiny_models, capsys):
    home = tmp_path / "home"
    home.mkdir()
    shutil.copytree(tiny_models, home / "models")
    assert main(["backup", str(tmp_path / "saved"), "--home", str(home)]) == 0
    assert "record: there is none" in capsys.readouterr().err
    assert main(["restore", str(tmp_path / "saved"), "--home", str(tmp_path / "new")]) == 0
    assert main(["verify", "--home", str(tmp_path / "new"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["checked"]["models"] == 2


def test_a_backup_is_told_of_though_its_line_cannot_be_written(saved, tmp_path, empty_postgresql, monkeypatch, capsys):
    """As from a standby server, which only reads."""
    monkeypatch.setenv("DATABASE_URL", empty_postgresql)
    assert main(["restore", str(saved), "--home", str(tmp_path / "new")]) == 0
    with psycopg.connect(empty_postgresql, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {connection.info.dbname} SET default_transaction_read_only = on")
    capsys.readouterr()
    assert main(["backup", str(tmp_path / "again"), "--home", str(tmp_path / "new")]) == 1
    told = capsys.readouterr().err
    assert "12 inspections, 12 images" in told
    assert "error: the audit log cannot be written" in told
    assert not verify_backup(tmp_path / "again").counts


def test_a_record_that_is_gone_is_no_good_backup(home, tmp_path, capsys):
    (home / "record.db").unlink()
    assert main(["backup", str(tmp_path / "saved"), "--home", str(home)]) == 1
    assert "record.db is missing, and there are images" in capsys.readouterr().err


def test_rows_that_say_removed_have_no_file(home, tmp_path):
    gone = images_of(home)[0]
    with closing(open_database(sqlite_url(home / "record.db"))) as database, database.writing() as connection:
        at = datetime.now(UTC)
        connection.execute(update(images).where(images.c.digest == gone.stem).values(deleted_at=at, purged_at=at))
    manifest, faults = take(load({}, {"home": home}), tmp_path / "saved")
    assert (manifest.images.count, faults) == (11, [])
