"""Databases that are locked, gone, or silent."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tests.faults.fault import Fault, Stage

LOCKED_S = 30.0
GONE_S = 5.0

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
        postgresql=True,
    ),
]
