"""kill -9 of a server under load: what was acknowledged is in the record, once, and its image can be read.

The number of kills is STEELSIGHT_TEST_KILLS, 5 unless set.
"""

import asyncio
import os
import random
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import select

from app.archive import open_archive
from app.store import schema
from app.store.database import Database, open_database, sqlite_url
from app.store.numbers import inspection_id
from model.image import decode
from tests.faults.line import TILE, Line, Server

KILLS = int(os.environ.get("STEELSIGHT_TEST_KILLS") or 5)
# From the server's start: some kills come before the first verdict, most amid full load.
SOONEST_S, LATEST_S = 0.3, 2.5


def check(line: Line, database: Database, home: Path) -> None:
    """Every answer against the record and the archive, and the record against what was sent."""
    assert line.faults == []
    assert line.open == set()
    with database.reading() as connection:
        rows = connection.execute(select(schema.inspections)).all()
        images = {row.digest: row for row in connection.execute(select(schema.images))}
    by_request = {row.request_id: row for row in rows}
    assert len(by_request) == len(rows)
    assert set(by_request) == set(line.answers)
    archive = open_archive(str(home / "archive"))
    for request_id, answer in line.answers.items():
        row = by_request[request_id]
        assert inspection_id(row.number) == answer["inspection_id"]
        assert (row.verdict, row.defect_probability) == (answer["verdict"], answer["defect_probability"])
        frame = decode(archive.get(row.image, images[row.image].format))
        assert np.array_equal(frame.ravel(), np.frombuffer(line.body(request_id), np.uint8))
        assert frame.shape == (TILE, TILE)
    archive.close()


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_what_was_acknowledged_is_there_once(kind, tmp_path, tiny_models, request):
    settings = {"sample_ok": "1"}
    if kind == "postgresql":
        server_url = request.getfixturevalue("empty_postgresql")
        settings["database_url"] = server_url
    server = Server(tmp_path, tiny_models, **settings)
    moments = random.Random(0)

    async def play() -> Line:
        line, over = Line(server.url), asyncio.Event()
        sending = asyncio.create_task(line.run(over))
        for _ in range(KILLS):
            await asyncio.sleep(moments.uniform(SOONEST_S, LATEST_S))
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.start)
        await asyncio.sleep(LATEST_S)
        over.set()
        await sending
        await line.settle()
        return line

    with server.running():
        line = asyncio.run(play())
        assert server.kill() != 0
    database = open_database(settings.get("database_url") or sqlite_url(tmp_path / "record.db"))
    assert len(line.answers) > 20 * KILLS
    check(line, database, tmp_path)
    database.close()
