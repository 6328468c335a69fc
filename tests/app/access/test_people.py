"""People on disk and `python -m app people`: what is kept, what a role may do, what is too easy to guess."""

import io
import json
import stat
import subprocess
import sys

import pytest

from app.access.keys import FOLDER
from app.access.passwords import NOBODYS, hashed, matches
from app.access.people import FILE, SCOPES, Role, add_person, change_role, disable_person, read_people, vouched_for
from app.access.principal import Scope
from app.access.watched import AccessError
from app.command import main

PASSWORD = "rolling mills at dawn"


def people(home, *arguments, stdin=None, monkeypatch=None):
    if stdin is not None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8"))
    return main(["people", *arguments, "--home", str(home)])


def test_each_role_may_do_what_those_before_it_may():
    assert SCOPES[Role.VIEWER] < SCOPES[Role.REVIEWER] < SCOPES[Role.ADMIN] == frozenset(Scope)
    assert SCOPES[Role.VIEWER] == {Scope.READ}


def test_a_password_is_kept_as_argon2id_and_nowhere_else(tmp_path):
    person = add_person(tmp_path, "M. Huber", Role.REVIEWER, PASSWORD)
    kept = (tmp_path / FOLDER / FILE).read_text()
    assert PASSWORD not in kept
    assert person.password.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert stat.S_IMODE((tmp_path / FOLDER / FILE).stat().st_mode) == 0o600
    assert matches(person.password, PASSWORD) and not matches(person.password, PASSWORD + "!")
    assert not matches(None, "nobody signs in with this")


def test_nobodys_password_takes_as_long_as_somebody_s():
    mine = hashed("correct horse battery", "anna")
    assert NOBODYS.split("$")[:4] == mine.split("$")[:4]
    assert [len(part) for part in NOBODYS.split("$")] == [len(part) for part in mine.split("$")]
    assert not matches(None, "correct horse battery")


def test_the_same_letters_from_another_keyboard_are_the_same_password():
    assert matches(hashed("Blech-Prüfer-7", "x"), "Blech-Pru\u0308fer-7")


@pytest.mark.parametrize("password", ["", "short", "aaaaaaaaaaaaaaaaaaaa", "anna is an admin", "x" * 300])
def test_what_is_guessed_first_is_refused(password):
    with pytest.raises(AccessError, match="password"):
        hashed(password, "Anna")


@pytest.mark.parametrize("name", ["", " x", "a:b", "a\nb", "a\0b", "x" * 65])
def test_a_name_that_a_log_could_not_tell_is_refused(tmp_path, name):
    with pytest.raises(AccessError, match="received the name"):
        add_person(tmp_path, name, Role.VIEWER, PASSWORD)
    assert read_people(tmp_path) == ()


def test_every_change_ends_the_sessions_before_it(tmp_path):
    generations = [add_person(tmp_path, "anna", Role.VIEWER, PASSWORD).generation]
    generations.append(change_role(tmp_path, "anna", Role.ADMIN).generation)
    generations += [disable_person(tmp_path, "anna", disabled).generation for disabled in (True, False)]
    assert generations == [0, 1, 2, 3]


def test_a_name_is_one_person_s_however_it_is_written(tmp_path):
    add_person(tmp_path, "Anna", Role.VIEWER, PASSWORD)
    for taken in ("Anna", "ANNA"):
        with pytest.raises(AccessError, match="there is a person"):
            add_person(tmp_path, taken, Role.ADMIN, PASSWORD)
        with pytest.raises(AccessError, match="another person"):
            vouched_for(tmp_path, taken, "https://id.plant 17", Role.ADMIN)


def test_whom_a_provider_names_keeps_the_name_and_gets_the_role_of_today(tmp_path):
    first = vouched_for(tmp_path, "berta", "https://id.plant 17", Role.VIEWER)
    assert vouched_for(tmp_path, "berta b.", "https://id.plant 17", Role.VIEWER) == first
    promoted = vouched_for(tmp_path, "berta", "https://id.plant 17", Role.ADMIN)
    assert (promoted.role, promoted.generation) == (Role.ADMIN, first.generation + 1)
    assert promoted.password is None
    with pytest.raises(AccessError):
        vouched_for(tmp_path, "berta", "https://id.plant 18", Role.ADMIN)


def test_the_command_reads_the_password_from_stdin(tmp_path, capsys, monkeypatch):
    assert (
        people(tmp_path, "add", "anna", "--role", "viewer", stdin=f"{PASSWORD}\n".encode(), monkeypatch=monkeypatch)
        == 0
    )
    assert people(tmp_path, "role", "anna", "admin") == 0
    assert people(tmp_path, "disable", "anna") == 0
    assert people(tmp_path, "list") == 0
    told = capsys.readouterr()
    assert told.out == "anna  admin  disabled  password\n"
    assert PASSWORD not in told.out + told.err
    assert people(tmp_path, "enable", "anna") == 0
    assert people(tmp_path, "password", "anna", stdin=b"another one that is long", monkeypatch=monkeypatch) == 0
    (person,) = read_people(tmp_path)
    assert matches(person.password, "another one that is long")


@pytest.mark.parametrize(
    ("arguments", "stdin", "says"),
    [
        (["role", "berta", "admin"], None, "there is no person 'berta'"),
        (["add", "anna", "--role", "viewer"], b"", "has 0 characters"),
        (["add", "anna", "--role", "viewer"], b"\xff\xfe\xff", "UTF-8"),
    ],
)
def test_what_cannot_be_done_is_one_line(tmp_path, capsys, monkeypatch, arguments, stdin, says):
    assert people(tmp_path, *arguments, stdin=stdin, monkeypatch=monkeypatch) == 1
    stderr = capsys.readouterr().err
    assert says in stderr and stderr.count("\n") == 1


def test_no_command_takes_a_password_as_an_argument(tmp_path):
    given = [sys.executable, "-m", "app", "people", "add", "a", "--role", "viewer", "--password", PASSWORD]
    told = subprocess.run(given, capture_output=True, text=True, check=False, env={"STEELSIGHT_HOME": str(tmp_path)})
    assert told.returncode == 2
    assert read_people(tmp_path) == ()


@pytest.mark.parametrize("content", ["", "{", '{"people": [{"name": "a"}]}', json.dumps({"people": 1})])
def test_a_damaged_file_lets_nobody_in_and_is_not_replaced(tmp_path, content):
    add_person(tmp_path, "anna", Role.ADMIN, PASSWORD)
    (tmp_path / FOLDER / FILE).write_text(content)
    with pytest.raises(AccessError, match="damaged"):
        add_person(tmp_path, "berta", Role.ADMIN, PASSWORD)
    assert (tmp_path / FOLDER / FILE).read_text() == content
