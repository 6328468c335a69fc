"""A trial as the one who asks for it sees it: a process is started, and answers, or dies, or is killed.

Whatever becomes of it, nothing but the version is refused.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from model.errors import ErrorCode, SteelsightError
from model.registry import Registry

# Of the clock. TensorFlow alone starts in twenty seconds where every core is busy.
LIMIT_S = 120.0
MAX_ANSWER_BYTES = 20_000
SOURCES = Path(__file__).parents[2]
# Where Python and the system find libraries. Nothing else of the environment is handed on: it may hold passwords.
HANDED_ON = ("PATH", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "LANG", "TZ")
ENVIRONMENT = {
    # The GPU's memory belongs to what serves; a network computes the same without.
    "CUDA_VISIBLE_DEVICES": "-1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "ORT_DISABLE_TELEMETRY": "1",
    "KERAS_HOME": "/nonexistent",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONNOUSERSITE": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}


@dataclass(frozen=True)
class Passed:
    """known: whether its scores were compared with recorded ones, which versions from before have not. confined: the
    layers that held, see `model.trial.confine`. seconds: of the trial itself, without the start of its process.
    """

    known: bool
    confined: tuple[str, ...]
    seconds: float


def require(
    registry: Registry,
    version: str,
    engine: str,
    *,
    threads: int = 1,
    stride: int | None = None,
    limit_s: float = LIMIT_S,
) -> Passed:
    """Try a version in a process of its own. engine: the name of one, not `auto`.

    Raises `SteelsightError`: model_unknown, artifact_invalid, engine_unavailable.
    """
    registry.folder(version)
    question = {
        "models": str(registry.models.resolve()),
        "keys": [key.hex() for key in registry.keys],
        "version": version,
        "engine": engine,
        "threads": threads,
        "stride": stride,
    }
    exit_code, answer, late = _asked(json.dumps(question).encode(), limit_s)
    try:
        told = json.loads(answer)
        if "code" in told:
            raise SteelsightError(ErrorCode(told["code"]), str(told["message"])[:2000])
        return Passed(bool(told["known"]), tuple(map(str, told["confined"])), float(told["seconds"]))
    except (ValueError, KeyError, TypeError) as error:
        raise SteelsightError(
            ErrorCode.ARTIFACT_INVALID, f"version {version} is refused: on trial {_end(exit_code, late, limit_s)}"
        ) from error


def environment(ours: Mapping[str, str]) -> dict[str, str]:
    """What the process of a trial finds in its environment.

    >>> environment({"DATABASE_URL": "postgresql://user:secret@host/name", "PATH": "/bin"})["PATH"]
    '/bin'
    """
    path = os.pathsep.join(filter(None, [str(SOURCES), ours.get("PYTHONPATH")]))
    return {name: ours[name] for name in HANDED_ON if name in ours} | ENVIRONMENT | {"PYTHONPATH": path}


def _asked(question: bytes, limit_s: float) -> tuple[int, bytes, bool]:
    """Exit code, what it answered, and whether it was killed at the limit."""
    late = threading.Event()
    with subprocess.Popen(
        [sys.executable, "-m", "model.trial"],
        cwd=SOURCES,
        env=environment(os.environ),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        # Ctrl-C on a terminal reaches a whole group.
        start_new_session=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def kill() -> None:
            late.set()
            process.kill()

        limit = threading.Timer(limit_s, kill)
        limit.start()
        try:
            try:
                process.stdin.write(question)
                process.stdin.close()
            except BrokenPipeError:
                pass
            # No more than an answer can have: a process that floods us is ended instead.
            answer = process.stdout.read(MAX_ANSWER_BYTES)
        finally:
            limit.cancel()
            process.kill()
    return process.returncode, answer, late.is_set()


def _end(exit_code: int, late: bool, limit_s: float) -> str:
    if late:
        return f"it was not done within {limit_s:g} s and was killed"
    if exit_code == -signal.SIGXCPU:
        return "it took more of the processor's time than a trial may"
    if exit_code < 0:
        name = signal.Signals(-exit_code).name
        return f"its process died of {name}, perhaps for more memory than a trial may have"
    return f"its process ended with exit code {exit_code} and no answer"
