"""What is around a server: clock, log reader, a second server, limits of the system."""

import os
import resource
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import psutil

from tests.faults.fault import BROKEN, STARTING, Fault, Stage
from tests.faults.server import WITHIN_S, Server, full_pipe

DAY_S = 86_400.0
LASTS_S = 3.0
GROUPS = Path("/sys/fs/cgroup/memory")
MORE_BYTES = 48 * 1024 * 1024


@contextmanager
def clock_jumps(stage: Stage) -> Iterator[None]:
    """A day forth, back to the truth, a day back, and to the truth again."""
    for days in (1, -1):
        with stage.own_machine.clock_off(days * DAY_S):
            stage.meanwhile(LASTS_S)
        stage.meanwhile(1)
    yield


@contextmanager
def log_blocked(stage: Stage) -> Iterator[None]:
    """Nobody reads the pipe that the log goes into; at last somebody does."""
    reading, writing = full_pipe()
    stage.server.kill(signal.SIGTERM)
    stage.server.output = writing
    stage.server.start()
    stage.line.until_verdicts(1, after=time.monotonic())
    since = time.monotonic()
    stage.meanwhile(2 * LASTS_S)
    came = stage.line.until_verdicts(20, after=since) - since
    assert came < 2 * LASTS_S, "verdicts wait for whoever reads the log"
    os.close(writing)
    threading.Thread(target=_into, args=(reading, stage.server.log), daemon=True).start()
    yield


def _into(reading: int, log: Path) -> None:
    with log.open("ab") as file:
        while data := os.read(reading, 65_536):
            file.write(data)
    os.close(reading)


@contextmanager
def second_server(stage: Stage) -> Iterator[None]:
    """Another one is started on the same data root."""
    other = Server(stage.home, stage.models, stage.folder / "other.log", {})
    other.launch()
    code, said = other.said()
    assert code == 1, said
    assert said.count("\n") == 1 and "another server runs on" in said, said
    yield


@contextmanager
def descriptors_exhausted(stage: Stage) -> Iterator[None]:
    """Not a file or connection more can be opened."""
    limits = resource.prlimit(stage.server.pid, resource.RLIMIT_NOFILE)
    in_use = psutil.Process(stage.server.pid).num_fds()
    resource.prlimit(stage.server.pid, resource.RLIMIT_NOFILE, (in_use, limits[1]))
    stage.meanwhile(LASTS_S)
    resource.prlimit(stage.server.pid, resource.RLIMIT_NOFILE, limits)
    yield


@contextmanager
def memory_used_up(stage: Stage) -> Iterator[None]:
    """Large frames come where the system allows little more memory: it kills the server, which is started again."""
    group = GROUPS / stage.folder.name
    group.mkdir()
    (group / "cgroup.procs").write_text(str(stage.server.pid))
    (group / "memory.limit_in_bytes").write_text(str(MORE_BYTES))
    frame = bytes(MORE_BYTES)
    query = {"width": 8192, "height": len(frame) // 8192, "pixel_format": "Mono8"}
    headers = {"content-type": "application/octet-stream"}
    with suppress(httpx.TransportError):
        url = f"{stage.server.url}/v1/inspect"
        said = httpx.post(url, params=query, content=frame, headers=headers, timeout=WITHIN_S).text
        raise AssertionError(f"the system killed nobody: {said}")
    assert stage.server.ended() == -signal.SIGKILL
    stage.mended()
    stage.server.start()
    stage.line.until_verdicts(1, after=time.monotonic())
    group.rmdir()
    yield


FAULTS = [
    Fault("clock a day forth and back", clock_jumps, within_s=1, serves=True, machine=True),
    Fault("log pipe blocked", log_blocked, within_s=1, codes=BROKEN | STARTING | {"shutting_down"}),
    Fault("two servers on one data root", second_server, within_s=1, serves=True),
    Fault(
        "file descriptors exhausted",
        descriptors_exhausted,
        within_s=2,
        codes=frozenset({"record_unavailable"}),
        lacking=frozenset({"archive_failed"}),
    ),
    Fault("memory limit reached", memory_used_up, within_s=8, codes=BROKEN | STARTING),
]
