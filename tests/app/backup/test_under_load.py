"""A backup while cameras send: what was acknowledged before it began is in it, once, with its image."""

import shutil
from collections.abc import Iterator
from contextlib import closing

import httpx
import numpy as np
import pytest
from sqlalchemy import select

from app.archive import open_archive
from app.store import schema
from app.store.database import open_database, sqlite_url
from app.store.numbers import inspection_id
from model.image import decode
from tests.app.backup.roots import app
from tests.faults.line import TILE, Line
from tests.faults.server import Server

# Verdicts before the backup begins.
BEFORE = 100


def recorded(line: Line, url: str, archive_folder: str) -> Iterator[tuple[str, str]]:
    """Request and inspection id of every row, whose image is what was sent."""
    with closing(open_database(url)) as database, closing(open_archive(archive_folder)) as archive:
        with database.reading() as connection:
            rows = connection.execute(select(schema.inspections, schema.images.c.format).join(schema.images)).all()
        for row in rows:
            frame = decode(archive.get(row.image, row.format))
            assert frame.shape == (TILE, TILE)
            assert np.array_equal(frame.ravel(), np.frombuffer(line.body(row.request_id), np.uint8))
            yield row.request_id, inspection_id(row.number)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_backup_amid_traffic_has_all_that_was_acknowledged(kind, tmp_path, tiny_models, request):
    home, saved, new = tmp_path / "home", tmp_path / "saved", tmp_path / "new"
    home.mkdir()
    shutil.copytree(tiny_models, home / "models")
    settings, variables = {"sample_ok": "1"}, {}
    if kind == "postgresql":
        settings["database_url"] = variables["DATABASE_URL"] = request.getfixturevalue("empty_postgresql")
    server = Server(home, home / "models", tmp_path / "server.log", settings)
    with server.started():
        line = Line(server.url)
        with line.running():
            line.until_verdicts(BEFORE)
            acknowledged = {name: told.said["inspection_id"] for name, told in dict(line.answers).items()}
            backup = app("backup", saved, home=home, **variables)
            assert backup.returncode == 0, backup.stderr
            assert len(line.answers) > len(acknowledged)
            # Of the root itself, beside its server and more frames.
            verified = app("verify", home=home, **variables)
            assert verified.returncode == 0, verified.stdout + verified.stderr
    # Into a file, whichever database it came from.
    restored = app("restore", saved, home=new)
    assert restored.returncode == 0, restored.stderr
    verified = app("verify", home=new)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    found = list(recorded(line, sqlite_url(new / "record.db"), str(new / "archive")))
    assert len(dict(found)) == len(found)
    assert acknowledged.items() <= dict(found).items()
    sent = {name: told.said["inspection_id"] for name, told in line.answers.items()}
    assert all(sent.get(name, number) == number for name, number in found)

    again = Server(new, new / "models", tmp_path / "again.log", {})
    with again.started():
        name, number = next(iter(acknowledged.items()))
        answer = httpx.get(f"{again.url}/v1/inspections/{number}/image", timeout=30)
        assert answer.status_code == 200
        assert np.array_equal(decode(answer.content).ravel(), np.frombuffer(line.body(name), np.uint8))
