"""A server as a process: started, asked until it answers, loaded, weighed, and gone with all that it started."""

import ctypes
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers.contenders import Contender, Setting, python_of

ROOT = Path(__file__).parents[2]
# Ray Serve needs half a minute on a busy machine.
START_SECONDS = 120
STOP_SECONDS = 10
# Above any answer that is not a hang, below any patience.
ANSWER_SECONDS = 30
# Of <linux/prctl.h>: children of children that end are then this process's.
PR_SET_CHILD_SUBREAPER = 36


class NotMeasured(Exception):
    """A server did not start, or did not answer as it must; the message is the reason in one line."""


@dataclass(frozen=True)
class Server:
    """A server that has given its first verdict. start_seconds: from the start of its process until then."""

    contender: Contender
    port: int
    start_seconds: float

    def ask(self, tile: bytes) -> float:
        """The probability of one tile, over a connection of its own. Raises `NotMeasured`."""
        status, body = _post(self.contender, self.port, tile)
        if status != 200:
            raise NotMeasured(f"it answered {status}: {body[:200]!r}")
        return self.contender.probability(body)

    def ask_all(self, tiles: list[bytes], connections: int) -> list[float]:
        """The probabilities of tiles that are sent at the same time."""
        with ThreadPoolExecutor(connections) as pool:
            return list(pool.map(self.ask, tiles))

    def load(self, tile: bytes, connections: int, seconds: float) -> dict[str, float]:
        """Requests a second and latencies in ms, from a process of its own. Raises `NotMeasured`."""
        with tempfile.NamedTemporaryFile() as request:
            request.write(self.contender.request(tile))
            request.flush()
            command = [sys.executable, "-m", "benchmarks.load", self.port, connections, seconds, request.name]
            try:
                done = subprocess.run(
                    list(map(str, command)),
                    cwd=ROOT,
                    capture_output=True,
                    text=True,
                    timeout=seconds + ANSWER_SECONDS,
                    check=False,
                )
            except subprocess.TimeoutExpired:
                raise NotMeasured(f"{connections} connections got no answer within {ANSWER_SECONDS} s") from None
        if done.returncode:
            raise NotMeasured(f"under {connections} connections: {_last_line(done.stderr)}")
        figures: dict[str, float] = json.loads(done.stdout)
        return figures

    def resident_mb(self) -> float:
        """Memory of all its processes in 10^6 bytes; what they share is counted once (proportional set size)."""
        return sum(_proportional_bytes(pid) for pid in _started()) / 1e6


@contextmanager
def running(contender: Contender, setting: Setting, venv: Path | None, model: Path, tile: bytes) -> Iterator[Server]:
    """The server from its start, with a folder of its own for what it writes. Raises `NotMeasured`."""
    port = free_port()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        log = Path(home) / "log"
        command = [python_of(venv), "-m", contender.module, *contender.arguments]
        command += ["--port", str(port)] if contender.ours else []
        with log.open("wb") as output:
            start = time.perf_counter()
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                env=_environment(contender, setting, model, home) | {"PEER_PORT": str(port)},
            )
        try:
            _first_verdict(contender, port, process, tile, log)
            yield Server(contender, port, time.perf_counter() - start)
        finally:
            _stop(process)


def free_port() -> int:
    """A port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _environment(contender: Contender, setting: Setting, model: Path, home: str) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("STEELSIGHT_")}
    # Only what this project itself knows: it refuses a variable of its prefix that it does not.
    own = {"STEELSIGHT_HOME": home} if contender.ours else {"PYTHONPATH": str(ROOT), "HOME": home}
    return {
        **inherited,
        **own,
        "PEER_MODEL": str(model),
        "PEER_SPARE_PORT": str(free_port()),
        **setting.environment,
    }


def _first_verdict(contender: Contender, port: int, process: subprocess.Popen[bytes], tile: bytes, log: Path) -> None:
    status, deadline = 0, time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise NotMeasured(f"it ended with {process.returncode}: {_last_line(log.read_text(errors='replace'))}")
        with suppress(OSError, http.client.HTTPException):
            status, _ = _post(contender, port, tile)
        if status == 200:
            return
        time.sleep(0.01)
    answered = f"its last status was {status}; " if status else ""
    raise NotMeasured(f"no verdict in {START_SECONDS} s: {answered}{_last_line(log.read_text(errors='replace'))}")


def _post(contender: Contender, port: int, tile: bytes) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_SECONDS)
    try:
        headers = dict(line.split(": ", 1) for line in contender.headers)
        connection.request("POST", contender.path, tile, {"Content-Type": "application/octet-stream", **headers})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ask, wait, then end whatever the server has left behind."""
    process.terminate()
    deadline = time.monotonic() + STOP_SECONDS
    while _started() and time.monotonic() < deadline:
        _bury(process)
        time.sleep(0.05)
    while left := _started():
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        _bury(process)
        time.sleep(0.05)
    process.wait()


def adopt_orphans() -> None:
    """Let this process inherit what a server's processes leave behind, so that it is weighed and ended with them.

    Some name themselves over their environment and leave their session, so nothing else would find them.
    """
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "this process may not adopt the processes of the servers it starts")


def _bury(process: subprocess.Popen[bytes]) -> None:
    """Take the result of every child that has ended, or it would stay in the list of processes."""
    process.poll()
    for pid, (parent, _) in _processes().items():
        if parent == os.getpid() and pid != process.pid:
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)


def _started() -> list[int]:
    """The descendants of this process that have not ended: one server's, for only one runs at a time."""
    processes = _processes()
    family = {os.getpid()}
    while more := {pid for pid, (parent, _) in processes.items() if parent in family} - family:
        family |= more
    return [pid for pid in family - {os.getpid()} if processes[pid][1] != "Z"]


def _processes() -> dict[int, tuple[int, str]]:
    """Parent and state of each process of this machine."""
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError):
                # The name before it, in brackets, may itself hold spaces and brackets.
                state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
                found[int(folder.name)] = (int(parent), state)
    return found


def _proportional_bytes(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


def _last_line(text: str) -> str:
    """Where a traceback says what went wrong."""
    lines = [line.strip() for line in text.splitlines() if any(map(str.isalnum, line))]
    return lines[-1][:300] if lines else "it said nothing"
