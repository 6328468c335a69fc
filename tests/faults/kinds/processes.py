"""Processes that die, stop, or are told to."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import httpx
import psutil

from model.registry import Registry
from tests.faults.fault import BROKEN, STARTING, Fault, Stage
from tests.faults.server import WITHIN_S, Server

LATEST_S = 1.0
STOPPED_S = 30.0


@contextmanager
def killed(stage: Stage) -> Iterator[None]:
    """The whole server, at a random moment; a supervisor starts it again at once."""
    stage.meanwhile(stage.chance.uniform(0, LATEST_S))
    stage.server.kill()
    stage.mended()
    stage.server.start()
    yield


@contextmanager
def worker_killed(stage: Stage) -> Iterator[None]:
    """One of two worker processes."""
    stage.meanwhile(stage.chance.uniform(0, LATEST_S))
    victim = stage.chance.choice(stage.server.workers())
    os.kill(victim, signal.SIGKILL)
    stage.mended()
    deadline = time.monotonic() + WITHIN_S
    while len(set(stage.server.workers()) - {victim}) < 2:
        assert time.monotonic() < deadline, "no worker took its place"
        time.sleep(0.05)
    yield


@contextmanager
def killed_in_a_commit(stage: Stage) -> Iterator[None]:
    """Between the writing of a commit and its flush; and once more between two writes."""
    for kind, call in (("fsync", 1), ("write", stage.chance.randint(1, 9))):
        stage.own_machine.die_at(kind, "record.db-wal", call)
        assert stage.server.ended() == -signal.SIGKILL
        stage.own_machine.live()
        stage.mended()
        stage.server.start()
        stage.line.until_verdicts(5, after=time.monotonic())
    yield


@contextmanager
def killed_in_a_swap(stage: Stage) -> Iterator[None]:
    """While another version is activated: before the pointer moves, and at a random moment."""
    registry = Registry(stage.models)
    for dies in (True, False):
        other = next(version for version in registry.versions() if version != registry.require_active())
        if dies:
            stage.own_machine.die_at("rename", "active.json", 1)
        with httpx.Client() as http, suppress(httpx.TransportError):
            timeout = WITHIN_S if dies else stage.chance.uniform(0.01, 0.3)
            http.post(f"{stage.server.url}/v1/models/{other}/activate", timeout=timeout)
        if dies:
            assert stage.server.ended() == -signal.SIGKILL
            assert registry.require_active() != other
        else:
            stage.server.kill()
        stage.own_machine.live()
        stage.mended()
        stage.server.start()
        stage.line.until_verdicts(5, after=time.monotonic())
    yield


@contextmanager
def killed_in_a_migration(stage: Stage) -> Iterator[None]:
    """A second server, on an empty data root, at each of several writes while it makes its tables; then it starts."""
    root = stage.folder / "migrated"
    root.mkdir()
    settings = {"archive": str(root / "archive")}
    one = Server(root, stage.models, stage.folder / "migrated.log", settings, stage.own_machine.environment)
    for call in sorted(stage.chance.sample(range(1, 40), 3)):
        stage.own_machine.die_at("write", "migrated/record.db-wal", call)
        one.launch()
        code, said = one.said()
        assert code == -signal.SIGKILL, said
    stage.own_machine.live()
    one.start()
    one.until_ready()
    assert one.kill(signal.SIGTERM) == 0
    yield


@contextmanager
def terminated(stage: Stage) -> Iterator[None]:
    """SIGTERM: what is in flight is answered, the exit code is 0."""
    assert stage.server.kill(signal.SIGTERM) == 0
    stage.mended()
    stage.server.start()
    yield


@contextmanager
def stopped(stage: Stage, seconds: float = STOPPED_S) -> Iterator[None]:
    """SIGSTOP, and SIGCONT."""
    process = psutil.Process(stage.server.pid)
    process.suspend()
    stage.meanwhile(seconds)
    process.resume()
    stage.mended()
    # What lay in the system's buffers is answered now.
    stage.line.until_verdicts(1, after=time.monotonic())
    yield


DYING = BROKEN | STARTING
FAULTS = [
    Fault("kill -9 of the server", killed, within_s=8, codes=DYING),
    Fault(
        "kill -9 of one worker of two", worker_killed, within_s=3, codes=DYING, serves=True, settings={"workers": "2"}
    ),
    Fault("kill -9 inside a commit", killed_in_a_commit, within_s=8, codes=DYING, machine=True),
    Fault("kill -9 inside a model swap", killed_in_a_swap, within_s=8, codes=DYING, machine=True),
    Fault("kill -9 inside a migration", killed_in_a_migration, within_s=1, serves=True, machine=True),
    Fault("SIGTERM", terminated, within_s=8, codes=DYING | {"shutting_down"}),
    Fault(
        "stopped for 30 s, and continued",
        stopped,
        within_s=2,
        codes=frozenset({"deadline_exceeded", "overloaded"}),
        said=frozenset({"deadline_exceeded"}),
    ),
]
