"""Databases that are locked, gone, or silent."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tests.faults.fault import BROKEN, STARTING, Fault, Stage
from tests.faults.network import silent

LOCKED_S = 30.0
GONE_S = 5.0
SILENT_S = 30.0
PAGE = 4096

LOCKER = """
import sys
from pysqlite3 import dbapi2
held = dbapi2.connect(sys.argv[1], isolation_level=None, timeout=60)
held.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.read()
"""


@contextmanager
def locked(stage: Stage, seconds: float = LOCKED_S) -> Iterator[None]:
    """Another process begins a transaction, and lets go of it after that time."""
    command = [sys.executable, "-c", LOCKER, str(stage.home / "record.db")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdin is not None
        assert other.stdout.readline() == b"locked\n"
        stage.meanwhile(seconds)
        other.stdin.close()
        other.wait()
        stage.mended()
    yield


@contextmanager
def postgresql_stopped(stage: Stage) -> Iterator[None]:
    """At once, as if it had crashed, and started again."""
    server = stage.database_server
    assert server is not None
    server.stop("immediate")
    stage.meanwhile(GONE_S)
    server.start()
    yield


@contextmanager
def postgresql_silent(stage: Stage) -> Iterator[None]:
    """As if a cable had been pulled: no connection is refused or closed."""
    with silent():
        stage.meanwhile(SILENT_S)
    yield


@contextmanager
def damaged(stage: Stage) -> Iterator[None]:
    """Bits of its pages' heads flip while the server is down: it refuses to start, and a backup is put back."""
    stage.server.kill()
    backup = stage.folder / "backup"
    stage.server.command("backup", str(backup))
    file = stage.home / "record.db"
    data = bytearray(file.read_bytes())
    for page in stage.chance.sample(range(1, len(data) // PAGE), 5):
        data[page * PAGE + stage.chance.randrange(8)] ^= 1 << stage.chance.randrange(8)
    file.write_bytes(data)
    file.with_name("record.db-wal").unlink(missing_ok=True)
    stage.server.launch()
    code, said = stage.server.said()
    assert code == 1 and said.count("\n") == 1 and "is damaged" in said and "app restore" in said, said
    stage.server.command("restore", str(backup), "--replace")
    stage.mended()
    stage.server.start()
    yield


UNAVAILABLE = frozenset({"record_unavailable"})
FAULTS = [
    Fault(
        "SQLite locked for 30 s by another process",
        locked,
        within_s=2,
        codes=UNAVAILABLE | {"deadline_exceeded", "overloaded"},
    ),
    Fault(
        "PostgreSQL stopped and started",
        postgresql_stopped,
        within_s=3,
        codes=UNAVAILABLE,
        said=UNAVAILABLE,
        postgresql="here",
    ),
    Fault(
        "PostgreSQL silent: every packet is lost for 30 s",
        postgresql_silent,
        within_s=8,
        codes=UNAVAILABLE | {"deadline_exceeded", "overloaded"},
        said=UNAVAILABLE,
        postgresql="far away",
    ),
    Fault(
        "database file damaged",
        damaged,
        within_s=12,
        codes=BROKEN | STARTING,
    ),
]
