"""A data root from a backup: whole, of this release, and never over another."""

import errno
import json
import os
import shutil
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import func, select, text

from app.access.keys import create_key, read_keys, revoke_key
from app.access.people import Role, add_person, change_role, read_people
from app.access.principal import Scope
from app.access.sessions import make_session_key
from app.backup import restoring
from app.backup.contents import read_manifest
from app.backup.restoring import LOCK
from app.backup.taking import take
from app.backup.verifying import verify_root
from app.command import main
from app.settings import load
from app.store import schema
from app.store.database import open_database, sqlite_url
from app.store.migrate import known_revision, migrate, revision
from model.files import exclusive
from model.registry import Registry
from tests.app import databases
from tests.app.backup.roots import app, images_of, small_disk
from tests.app.store.rows import add_coil, add_inspection


def state(folder: Path) -> dict[str, bytes]:
    """Every file, whatever it is named, but the lock."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != LOCK
    }


def rows(file: Path) -> dict[str, list[tuple]]:
    with closing(open_database(sqlite_url(file))) as database, database.reading() as connection:
        return {
            table.name: [tuple(row) for row in connection.execute(select(table).order_by(*table.primary_key))]
            for table in schema.metadata.sorted_tables
        }


def test_all_of_it_is_back(home, saved, tmp_path):
    new = tmp_path / "new"
    assert main(["restore", str(saved), "--home", str(new)]) == 0
    found, saved_rows = rows(new / "record.db"), rows(home / "record.db")
    *lines, restored = found.pop("audit")
    assert restored[3] == "data.restore"
    assert lines == saved_rows.pop("audit")
    assert found == saved_rows
    assert [path.name for path in images_of(new)] == [path.name for path in images_of(home)]
    assert Registry(new / "models").active() == Registry(home / "models").active()
    assert (new / "plant.toml").read_bytes() == (home / "plant.toml").read_bytes()
    assert (new / "keys").stat().st_mode & 0o777 == 0o700
    assert (new / "keys" / "secret.pem").stat().st_mode & 0o777 == 0o600
    found = verify_root(load({}, {"home": new}))
    assert not found.counts
    assert found.checked["images"] == 12
    assert not verify_root(load({}, {"home": home})).counts


def test_a_root_that_has_something_is_left_alone(home, saved, capsys):
    before = state(home)
    assert main(["restore", str(saved), "--home", str(home)]) == 1
    told = capsys.readouterr().err
    assert "--replace" in told
    assert told.count("\n") == 1
    assert state(home) == before


def test_what_was_there_is_moved_aside_whole(home, saved, capsys):
    (home / "plant.toml").write_text("# newer\n")
    (home / "runs").mkdir()
    before = state(home)
    assert main(["restore", str(saved), "--home", str(home), "--replace"]) == 0
    (aside,) = home.glob("replaced-*")
    told = capsys.readouterr().err
    assert str(aside) in told
    assert "no backup has runs: move it back" in told
    assert state(aside) == before
    assert "newer" not in (home / "plant.toml").read_text()
    # And it can be done again: what was moved aside stays there.
    assert main(["restore", str(saved), "--home", str(home), "--replace"]) == 0
    assert len(list(home.glob("replaced-*"))) == 2


def test_a_running_server_is_not_replaced(home, saved, capsys):
    before = state(home)
    with exclusive(home / "serve.lock", wait=False):
        assert main(["restore", str(saved), "--home", str(home), "--replace"]) == 1
    assert "a server runs on" in capsys.readouterr().err
    assert state(home) == before


@pytest.fixture
def saved_with_access(home, tmp_path):
    """A backup of a root with two keys and two people; the first of each lost something after it was made."""
    keys = [create_key(home, name, [Scope.READ])[0] for name in ("lost", "kept")]
    for name in ("Lost", "Kept"):
        add_person(home, name, Role.ADMIN, "a password of the tests")
    make_session_key(home)
    take(load({}, {"home": home}), tmp_path / "with-access")
    revoke_key(home, keys[0].id)
    change_role(home, "Lost", Role.VIEWER)
    create_key(home, "newer", [Scope.READ])
    return tmp_path / "with-access"


def access(home: Path) -> tuple[dict[str, str], dict[str, Role]]:
    now = datetime.now(UTC)
    return {key.name: key.state(now) for key in read_keys(home)}, {each.name: each.role for each in read_people(home)}


@pytest.mark.parametrize("moved", [False, True], ids=["", "and a restore was killed since"])
def test_nobody_is_let_in_again_who_was_ended_after_the_backup(home, saved_with_access, capsys, moved):
    if moved:
        (home / "replaced-1").mkdir()
        (home / "keys").rename(home / "replaced-1" / "keys")
    assert main(["restore", str(saved_with_access), "--home", str(home), "--replace"]) == 0
    assert access(home) == ({"lost": "revoked", "kept": "valid"}, {"Lost": Role.VIEWER, "Kept": Role.ADMIN})
    assert "left so: lost, Lost\n" in capsys.readouterr().err
    # Who signed out since has no other trace than a file that is not put back.
    assert not (home / "keys" / "session.key").exists()


@pytest.mark.parametrize("damage", [shutil.rmtree, lambda keys: (keys / "keys.json").write_text("{")])
def test_where_nothing_tells_who_was_ended_since_that_is_said(home, saved_with_access, capsys, damage):
    damage(home / "keys")
    assert main(["restore", str(saved_with_access), "--home", str(home), "--replace"]) == 0
    assert access(home) == ({"lost": "valid", "kept": "valid"}, {"Lost": Role.ADMIN, "Kept": Role.ADMIN})
    assert "is let in again" in capsys.readouterr().err


@pytest.mark.skipif(os.getuid() != 0, reason="only root restores into the root of another user")
def test_what_root_restores_belongs_to_the_user_that_serves(home, saved):
    os.chown(home, 10001, 10001)
    assert main(["restore", str(saved), "--home", str(home), "--replace"]) == 0
    assert main(["verify", "--home", str(home)]) == 0
    (aside,) = home.glob("replaced-*")
    made = {aside, *home.rglob("*")} - set(aside.rglob("*"))
    assert {path for path in made if path.stat().st_uid != 10001} == set()
    assert len(list((home / "archive").iterdir())) == 256


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def newer(saved: Path) -> None:
    manifest = json.loads((saved / "manifest.json").read_text())
    (saved / "manifest.json").write_text(json.dumps(manifest | {"version": 2}))


def outside(saved: Path) -> None:
    manifest = json.loads((saved / "manifest.json").read_text())
    manifest["files"]["../../etc/passwd"] = manifest["files"]["plant.toml"]
    (saved / "manifest.json").write_text(json.dumps(manifest))


DAMAGE = {
    "a bit of the record": lambda saved: flip(saved / "record.db"),
    "a bit of an image": lambda saved: flip(sorted((saved / "archive").glob("??/*"))[5]),
    "an image is missing": lambda saved: sorted((saved / "archive").glob("??/*"))[5].unlink(),
    "a model's file is missing": lambda saved: sorted((saved / "models").rglob("model.onnx"))[0].unlink(),
    "a key's link": lambda saved: ((saved / "keys/secret.pem").unlink(), (saved / "keys/secret.pem").symlink_to("x")),
    "a file that nobody saved": lambda saved: (saved / "keys" / "more").touch(),
    "no manifest": lambda saved: (saved / "manifest.json").unlink(),
    "half a manifest": lambda saved: (saved / "manifest.json").write_text('{"kind"'),
    "a manifest of a later release": newer,
    "a path that leads outside": outside,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_backup_changes_nothing(home, saved, tmp_path, capsys, damage):
    damage(saved)
    before = state(home)
    assert main(["restore", str(saved), "--home", str(home), "--replace"]) == 1
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert told.count("\n") == 1
    assert state(home) == before
    assert main(["restore", str(saved), "--home", str(tmp_path / "new")]) == 1
    assert state(tmp_path / "new") == {}
    assert main(["verify", "--backup", str(saved)]) == 1


def killed(path: Path, target: Path) -> Path:
    os._exit(9)


def interrupted(path: Path, target: Path) -> Path:
    raise KeyboardInterrupt


def busy(path: Path, target: Path) -> Path:
    raise OSError(errno.EBUSY, "Device or resource busy", str(path))


@pytest.fixture
def fails_at_models(monkeypatch):
    """`with fails_at_models(how):` the new models are not moved into place; what was there is aside by then."""
    renamed = Path.rename

    @contextmanager
    def failing(how):
        def rename(path: Path, target: Path) -> Path:
            at_models = path.name == "models" and path.parent.name == restoring.STAGED
            return how(path, target) if at_models else renamed(path, target)

        with monkeypatch.context() as patched:
            patched.setattr(Path, "rename", rename)
            yield

    return failing


def test_a_restore_that_is_killed_between_its_renames_is_neither_served_nor_saved(home, saved, fails_at_models, capsys):
    before = rows(home / "record.db")
    with fails_at_models(killed):
        child = os.fork()
        if child == 0:
            try:
                main(["restore", str(saved), "--home", str(home), "--replace"])
            finally:
                os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    capsys.readouterr()
    for command in (["serve", "--port", "0"], ["backup", saved.with_name("half")], ["verify"]):
        refused = app(*command, home=home)
        assert refused.returncode == 1
        assert refused.stderr.startswith("error: a restore into")
        assert refused.stderr.count("\n") == 1
    # Nor after another one that fails.
    with fails_at_models(busy):
        assert main(["restore", str(saved), "--home", str(home), "--replace"]) == 1
    assert (home / restoring.MARKER).exists()
    assert main(["restore", str(saved), "--home", str(home), "--replace"]) == 0
    assert rows(home / "record.db") | {"audit": []} == before
    assert not verify_root(load({}, {"home": home})).counts
    assert not (home / restoring.MARKER).exists()
    assert any((folder / "record.db").exists() for folder in home.glob("replaced-*"))


@pytest.mark.parametrize(("how", "exit_code"), [(interrupted, 130), (busy, 1)])
def test_a_restore_that_fails_between_its_renames_undoes_them(home, saved, fails_at_models, capsys, how, exit_code):
    before = state(home)
    with fails_at_models(how):
        assert main(["restore", str(saved), "--home", str(home), "--replace"]) == exit_code
    assert "nothing was changed" in capsys.readouterr().err
    assert state(home) == before
    assert not list(home.glob("replaced-*"))


@pytest.mark.skipif(os.getuid() != 0, reason="only root mounts another disk")
def test_a_root_with_an_archive_on_a_disk_of_its_own_is_left_as_it_was(home, saved, capsys):
    shutil.rmtree(home / "archive")
    with small_disk(home / "archive", "1m"):
        before = state(home)
        assert main(["restore", str(saved), "--home", str(home), "--replace"]) == 1
        told = capsys.readouterr().err
        assert "has to be unmounted" in told
        assert told.count("\n") == 1
        assert state(home) == before


def test_a_link_is_not_written_through(home, saved, tmp_path, capsys):
    (home / "archive").rename(tmp_path / "big")
    (home / "archive").symlink_to(tmp_path / "big")
    assert main(["restore", str(saved), "--home", str(home), "--replace"]) == 1
    assert "archive is a link" in capsys.readouterr().err
    assert (home / "archive").is_symlink()


def test_settings_that_lead_out_of_the_root_are_refused(saved, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("STEELSIGHT_MODELS", str(tmp_path / "elsewhere"))
    assert main(["restore", str(saved), "--home", str(tmp_path / "new")]) == 1
    assert "STEELSIGHT_MODELS" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_a_backup_of_an_older_release_is_brought_to_this_one(tmp_path, tiny_models):
    """Rows of the first schema that was ever released."""
    home = tmp_path / "home"
    home.mkdir()
    shutil.copytree(tiny_models, home / "models")
    with closing(open_database(sqlite_url(home / "record.db"))) as database:
        migrate(database, "0001")
        with database.writing() as connection:
            connection.execute(text("INSERT INTO models VALUES (1, 'old', 0, 0.3, 0.7)"))
            connection.execute(text("INSERT INTO coils (coil_id, opened_at, opened_by) VALUES ('C1', 0, 'frame')"))
    take(load({}, {"home": home}), tmp_path / "saved")
    assert read_manifest(tmp_path / "saved").schema_revision == "0001"
    assert main(["restore", str(tmp_path / "saved"), "--home", str(tmp_path / "new")]) == 0
    with closing(open_database(sqlite_url(tmp_path / "new" / "record.db"))) as database, database.reading() as found:
        assert revision(found) == known_revision()
        assert found.scalars(select(schema.coils.c.coil_id)).all() == ["C1"]


def test_a_backup_of_a_newer_release_is_refused(home, tmp_path, capsys):
    with closing(open_database(sqlite_url(home / "record.db"))) as database, database.writing() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    take(load({}, {"home": home}), tmp_path / "saved")
    assert main(["restore", str(tmp_path / "saved"), "--home", str(tmp_path / "new")]) == 1
    assert "newer release" in capsys.readouterr().err
    assert state(tmp_path / "new") == {}


def test_into_an_empty_postgresql_and_into_no_other(home, saved, tmp_path, postgresql_server, monkeypatch, capsys):
    with databases.postgresql(postgresql_server) as database:
        url = database.url.set(drivername="postgresql").render_as_string(hide_password=False)
        monkeypatch.setenv("DATABASE_URL", url)
        assert main(["restore", str(saved), "--home", str(tmp_path / "new")]) == 0
        assert not (tmp_path / "new" / "record.db").exists()
        with database.writing() as connection:
            assert connection.scalar(select(func.count()).select_from(schema.events)) == 12
            # New rows get numbers that none of the old ones has.
            add_coil(connection, "C2")
            add_inspection(connection, "C2")
        assert main(["verify", "--home", str(tmp_path / "new")]) == 0
        capsys.readouterr()
        assert main(["restore", str(saved), "--home", str(tmp_path / "newer")]) == 1
        assert "a restore fills an empty one" in capsys.readouterr().err
        assert state(tmp_path / "newer") == {}
