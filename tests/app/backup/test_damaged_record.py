"""An SQLite file that is damaged: no server starts on it, and one that runs answers neither 500 nor another's row."""

import os
from contextlib import closing

import httpx
import pytest
from sqlalchemy import select

from app.process import StartError, serve
from app.settings import load
from app.store import schema, soundness
from app.store.database import DatabaseError, open_database, sqlite_url
from app.store.numbers import inspection_id
from app.store.soundness import require_sound
from tests.app.backup.roots import app
from tests.faults.server import Server

PAGE = 4096


def overwritten(file, at, data):
    with file.open("r+b") as opened:
        opened.seek(at)
        opened.write(data)


def flip(file, at):
    with file.open("r+b") as opened:
        opened.seek(at)
        byte = opened.read(1)[0]
        opened.seek(at)
        opened.write(bytes([byte ^ 0x40]))


DAMAGE = {
    "the first byte": lambda file: flip(file, 0),
    "the schema": lambda file: flip(file, 100),
    "a root page": lambda file: overwritten(file, PAGE, b"\xff" * 100),
    "half of it": lambda file: os.truncate(file, file.stat().st_size // 2 // PAGE * PAGE),
    "not a whole page": lambda file: os.truncate(file, file.stat().st_size - 100),
    "another file": lambda file: file.write_bytes(b"%PDF-1.7" * 4096),
    "the end of an index": lambda file: overwritten(file, file.stat().st_size - PAGE, b"\0" * PAGE),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_no_server_starts_on_it(home, damage):
    damage(home / "record.db")
    with pytest.raises(StartError) as refusal:
        serve(load({}, {"home": home, "port": 0}))
    assert "\n" not in str(refusal.value)
    assert "python -m app verify" in str(refusal.value)
    assert "python -m app restore BACKUP --replace" in str(refusal.value)


def test_the_command_says_it_in_one_line(home):
    flip(home / "record.db", 0)
    served = app("serve", "--port", "0", home=home)
    assert served.returncode == 1
    assert served.stdout == ""
    assert served.stderr.startswith("error: the record ")
    assert served.stderr.count("\n") == 1


@pytest.mark.parametrize("damage", list(DAMAGE.values())[:6], ids=list(DAMAGE)[:6])
def test_of_a_large_file_the_ends_are_looked_at(home, monkeypatch, damage):
    """The checks of a file that is too large to be read at a start, on a small one."""
    monkeypatch.setattr(soundness, "SMALL", 0)
    require_sound(home / "record.db")
    damage(home / "record.db")
    with pytest.raises(DatabaseError, match="damaged"):
        require_sound(home / "record.db")


def test_what_is_new_or_sound_is_let_pass(home, tmp_path):
    require_sound(tmp_path / "nothing.db")
    (tmp_path / "empty.db").touch()
    require_sound(tmp_path / "empty.db")
    require_sound(home / "record.db")


def test_damage_under_a_running_server_is_503_and_never_another_row(home, tiny_models):
    file = home / "record.db"
    with closing(open_database(sqlite_url(file))) as database, database.reading() as connection:
        kept = {inspection_id(row.number): row for row in connection.execute(select(schema.inspections))}
    server = Server(home, tiny_models, home.with_name("server.log"), {})
    with server.started(), httpx.Client(base_url=server.url, timeout=30) as http:
        server.until_ready()
        assert http.get(f"/v1/inspections/{min(kept)}").status_code == 200
        # All but the schema: whatever is read from now on is damaged, or was read before.
        for page in range(2, file.stat().st_size // PAGE):
            overwritten(file, page * PAGE, os.urandom(PAGE))
        answered = [http.get(f"/v1/inspections/{number}") for number in kept]
        answered += [
            http.get(path)
            for path in (
                "/v1/inspections", "/v1/inspections?verdict=defect", "/v1/coils", "/v1/coils/C1", "/v1/coils/C1/map",
                "/v1/coils/C1/events", "/v1/coils/C1/report", "/v1/reviews/queue", "/v1/reviews/rates", "/v1/cameras",
                "/v1/record", "/v1/inspections/export",
            )
        ]  # fmt: skip
        frame = {"width": "64", "height": "64", "pixel_format": "Mono8", "coil_id": "C9"}
        answered.append(
            http.post("/v1/inspect", params=frame, content=bytes(4096),
                      headers={"content-type": "application/octet-stream"})
        )  # fmt: skip
        assert {answer.status_code for answer in answered} <= {200, 503}
        assert any(answer.status_code == 503 for answer in answered)
        for answer in answered:
            if answer.status_code == 503:
                assert answer.json()["code"] == "record_unavailable"
        for number, answer in zip(kept, answered, strict=False):
            if answer.status_code == 200:
                assert answer.json()["inspection_id"] == number
                assert answer.json()["verdict"] == kept[number].verdict
