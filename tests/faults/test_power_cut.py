"""The power goes under load: a server that starts on what the disk holds then has everything that was acknowledged.

The number of cuts is STEELSIGHT_TEST_CUTS, 2 unless set. They are drawn at random from rounds of load, each from an
empty data root on: of ten cuts one falls into the time in which the tables are made.
"""

import os
import random
import shutil
import signal
import time
from pathlib import Path

from app.store.database import open_database, sqlite_url
from tests.faults.checking import check
from tests.faults.line import Line
from tests.faults.machine import Machine
from tests.faults.power_cut import Disk, changes, cut
from tests.faults.server import Server

CUTS = int(os.environ.get("STEELSIGHT_TEST_CUTS") or 2)
CUTS_OF_A_ROUND = 10
VERDICTS = 400


def round_of_load(folder: Path, models: Path, seed: int) -> tuple[Path, Line]:
    """The record of all changes, and what the cameras were told."""
    home, log = folder / "home", folder / "changes"
    home.mkdir()
    machine = Machine(folder)
    machine.record(home, log)
    server = Server(home, models, folder / "server.log", {"sample_ok": "1"}, machine.environment)
    try:
        server.start()
        line = Line(server.url, every_s=0, seed=seed)
        with line.running():
            line.until_verdicts(VERDICTS // 2)
            # The end of one process and the start of another are changes, too: the log is taken into the database.
            server.kill(signal.SIGTERM)
            server.start()
            line.until_verdicts(VERDICTS // 2, after=time.monotonic())
        server.kill()
    finally:
        server.stop()
    return log, line


def known_at(line: Line, moment_ns: int, of: Line) -> Line:
    """What the cameras had been told by then. Into `line`, without frames that are open."""
    line.answers = {key: told for key, told in of.answers.items() if told.at * 1e9 <= moment_ns}
    return line


def test_what_was_acknowledged_is_there_when_the_power_is_back(tmp_path, tiny_models):
    chance = random.Random(0)
    for number, start in enumerate(range(0, CUTS, CUTS_OF_A_ROUND)):
        folder = tmp_path / f"round-{number}"
        folder.mkdir()
        log, line = round_of_load(folder, tiny_models, number)
        moments = [change.ended_ns for change in changes(log)]
        first, last = moments[0], moments[-1]
        # By changes, not by time: most of them come under load, and each is as likely.
        chosen = sorted(chance.choice(moments) for _ in range(min(CUTS_OF_A_ROUND, CUTS - start)))
        assert first < last
        for place, (moment, disk) in enumerate(cut(log, chosen)):
            restored(folder / f"cut-{place}", tiny_models, disk, known_at(Line(""), moment, line), chance)
        shutil.rmtree(folder)


def restored(folder: Path, models: Path, disk: Disk, line: Line, chance: random.Random) -> None:
    """A server starts on what is left, and answers; then everything is looked at."""
    home = folder / "home"
    home.mkdir(parents=True)
    disk.after_the_cut(home, chance)
    # Of the folder's own names nothing was ever in doubt: it was there before the server.
    server = Server(home, models, folder / "server.log", {"sample_ok": "1"})
    try:
        server.start()
        line.url = server.url
        more = Line(server.url, every_s=0, seed=9)
        with more.running():
            more.until_verdicts(5)
        # Frames that were acknowledged before are answered as they were then.
        assert server.kill(signal.SIGTERM) == 0
    finally:
        server.stop()
    line.answers |= more.answers
    database = open_database(sqlite_url(home / "record.db"))
    check(line, database, home / "archive", models)
    database.close()


def test_what_was_flushed_is_kept_and_what_was_not_may_be_lost(tmp_path):
    """The rule itself, on a record of a few changes."""
    machine = Machine(tmp_path)
    root, log = tmp_path / "root", tmp_path / "changes"
    root.mkdir()
    machine.record(root, log)
    program = """
import os, sys
os.chdir(sys.argv[1])
def write(name, data, flush):
    fd = os.open(name, os.O_WRONLY | os.O_CREAT)
    os.write(fd, data)
    if flush: os.fsync(fd)
    os.close(fd)
def flush(folder):
    fd = os.open(folder, os.O_RDONLY); os.fsync(fd); os.close(fd)
write("kept", b"1" * 9000, True); write("no-bytes", b"2" * 9000, False); flush(".")
write("beside", b"3" * 10, True); os.rename("beside", "renamed"); flush(".")
write("no-name", b"4", True); os.rename("kept", "moved"); os.unlink("renamed")
"""
    import subprocess
    import sys

    environment = {"PATH": os.environ["PATH"], **machine.environment}
    subprocess.run([sys.executable, "-c", program, root], env=environment, check=True)
    seen = set()
    for seed in range(200):
        ((_, disk),) = cut(log, [time.monotonic_ns()])
        target = tmp_path / str(seed)
        target.mkdir()
        disk.after_the_cut(target, random.Random(seed))
        found = {path.name: path.read_bytes() for path in target.iterdir()}
        assert found.pop("no-bytes").strip(b"2\0") == b""
        assert (found.get("kept") or found.get("moved")) == b"1" * 9000
        seen.add(tuple(sorted((name, len(data)) for name, data in found.items())))
    lists = [dict(each) for each in seen]
    assert {"kept": 9000, "renamed": 10} in lists
    assert {"no-name": 1, "moved": 9000} in lists
    assert {"kept": 9000, "renamed": 10, "no-name": 1} in lists
