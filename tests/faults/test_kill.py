"""kill -9 of a server under load, again and again: what was acknowledged is in the record, once, with its image.

The number of kills is STEELSIGHT_TEST_KILLS, 3 unless set; STEELSIGHT_TEST_SEED draws other moments.
"""

import os
import random
import time

import pytest

from app.store.database import open_database, sqlite_url
from tests.faults.checking import check
from tests.faults.line import Line
from tests.faults.server import Server

KILLS = int(os.environ.get("STEELSIGHT_TEST_KILLS") or 3)
SEED = int(os.environ.get("STEELSIGHT_TEST_SEED") or 0)
# After so many verdicts of a start, and a moment: some kills come before the first one.
MOST_VERDICTS, LATEST_S = 40, 0.3
# Cameras that knock all the time take the processor from the server that starts.
AGAIN_S = 0.25


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_what_was_acknowledged_is_there_once(kind, tmp_path, tiny_models, request):
    settings = {"sample_ok": "1"}
    if kind == "postgresql":
        settings["database_url"] = request.getfixturevalue("empty_postgresql")
    server = Server(tmp_path, tiny_models, tmp_path / "server.log", settings)
    moments = random.Random(SEED)
    try:
        server.start()
        line = Line(server.url, every_s=0, again_s=AGAIN_S, seed=SEED)
        with line.running():
            for _ in range(KILLS):
                started = time.monotonic()
                line.until_verdicts(moments.randint(0, MOST_VERDICTS), after=started)
                time.sleep(moments.uniform(0, LATEST_S))
                server.kill()
                server.start()
            line.until_verdicts(MOST_VERDICTS, after=time.monotonic())
        assert server.kill() != 0
    finally:
        server.stop()
    assert len(line.answers) > 5 * KILLS
    database = open_database(settings.get("database_url") or sqlite_url(tmp_path / "record.db"))
    check(line, database, tmp_path / "archive", tiny_models)
    database.close()
