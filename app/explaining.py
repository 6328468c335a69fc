"""The process that explains, as the server sees it: started when it is first needed, let go when it idles, and killed
when it takes too long. Whatever becomes of it costs the one request that it was busy with. See docs/decisions/0018.
"""

import asyncio
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import structlog

from app.explain.messages import Answer, Question, receive, send
from app.refusals import Refusal, ServiceCode
from app.settings import Settings
from model.errors import ErrorCode, SteelsightError
from model.image import Frame
from model.signing import PUBLIC_KEYS

# Explanations at a time, one of them being made: each holds its frame, 64 MB at most, and more would wait for minutes.
PLACES = 4
# For one explanation, of a second or two where a core is free. The first of a process has as much again: TensorFlow
# starts in three seconds, and in twenty where every core is busy with what comes first.
LIMIT_S = 30.0
# Past this an explanation that waits for others is not begun: whoever asked is answered in a minute or so, in any case.
WAIT_S = 30.0
# A person who looks at frames asks again within minutes; the process holds 0.8 to 1.1 GB meanwhile.
IDLE_S = 300.0
# Explaining needs Keras and what it runs on. Neither is imported here, only looked for.
NEEDED = ("keras", "tensorflow")
# One thread, no GPU memory, and nothing but errors on the console.
ENVIRONMENT = {
    "CUDA_VISIBLE_DEVICES": "-1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}
# Of what a process that died had written to its console, so much is logged.
LAST_WORDS_BYTES = 2000
SOURCES = Path(__file__).parents[1]

log = structlog.get_logger("steelsight.explaining")


class Lost(Exception):
    """The process ended before it had answered. late: because it was killed at its limit. words: its last ones."""

    def __init__(self, exit_code: int, words: str, *, late: bool) -> None:
        super().__init__(f"exit code {exit_code}")
        self.exit_code = exit_code
        self.words = words
        self.late = late


@dataclass(eq=False)
class Ticket:
    """One question, from the queue to its answer. by: `time.monotonic()` past which it is not begun."""

    question: Question
    frame: Frame
    by: float
    answer: "Future[bytes]" = field(default_factory=Future)


class Child:
    """The process from its start to its end. `ask` is for one thread, `kill` for any."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        # Found wherever the server was started from.
        path = os.pathsep.join(filter(None, [str(SOURCES), os.environ.get("PYTHONPATH")]))
        # TensorFlow greets on the console whatever it is told; of a process that dies, the words are wanted.
        self._console = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `end`
        self._process = subprocess.Popen(  # noqa: S603 - our own module, no shell
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._console,
            env={**os.environ, **environment, "PYTHONPATH": path},
            # Ctrl-C on a terminal reaches a whole group: the server ends it when it is done itself.
            start_new_session=True,
        )
        self._late = False

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def ask(self, question: Question, frame: Frame, limit_s: float) -> tuple[bytes, bytes]:
        """The answer's head and what follows it. Raises `Lost`; there is nothing to ask any more then."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        limit = threading.Timer(limit_s, self._too_late)
        limit.start()
        try:
            send(self._process.stdin, question, np.ascontiguousarray(frame).data.cast("B"))
            return receive(self._process.stdout)
        except (EOFError, OSError):
            words = self.end()
            raise Lost(self._process.returncode, words, late=self._late) from None
        finally:
            limit.cancel()

    def kill(self) -> None:
        """Whatever it is doing."""
        self._process.kill()

    def end(self) -> str:
        """Kill it and see it off: it has nothing to lose. Returns its last words on the console."""
        self._process.kill()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            # What was left to be written has nobody to read it.
            with suppress(OSError):
                stream.close()
        self._process.wait()
        with self._console as console:
            console.seek(max(0, console.seek(0, os.SEEK_END) - LAST_WORDS_BYTES))
            return console.read().decode(errors="replace")

    def _too_late(self) -> None:
        self._late = True
        self._process.kill()


class Explaining:
    """At most one process for this worker, and a bounded number of questions for it.

    Its thread starts the process with the first question, and ends it when none has come for `idle_s` (0: never
    kept) or when the worker closes.
    """

    def __init__(
        self, settings: Settings, *, limit_s: float = LIMIT_S, wait_s: float = WAIT_S, idle_s: float = IDLE_S
    ) -> None:
        self._command = [sys.executable, "-m", "app.explain", str(settings.models.resolve())]
        # It verifies versions itself, by what it finds in its environment.
        self._environment = ENVIRONMENT | ({PUBLIC_KEYS: keys} if (keys := settings.model_public_keys) else {})
        self._limit_s = limit_s
        self._wait_s = wait_s
        # Each worker has a process of its own: the more there are, the sooner an idle one goes.
        self._idle_s = idle_s / settings.workers
        self._taken = 0
        self._waiting: queue.Queue[Ticket | None] = queue.Queue()
        self._thread: threading.Thread | None = None
        self._child: Child | None = None
        self._changing = threading.Lock()
        self._closed = False

    @property
    def pid(self) -> int | None:
        """Of the process, while there is one."""
        child = self._child
        return None if child is None else child.pid

    def require_place(self) -> None:
        """For what is about to ask for one. Raises `Refusal` (explain_unavailable, overloaded)."""
        missing = [name for name in NEEDED if find_spec(name) is None]
        if missing:
            raise Refusal(
                ServiceCode.EXPLAIN_UNAVAILABLE,
                f"explaining needs {' and '.join(missing)}, which this server's Python does not have; run a server "
                "with the `train` extra installed on the same data, or `python -m training explain VERSION IMAGE "
                "--out DIR` where it is",
            )
        if self._taken == PLACES:
            raise Refusal(
                ServiceCode.OVERLOADED,
                f"{PLACES} explanations are being made or wait for it, as many as this server takes; try again in a "
                "few seconds",
            )

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold a place. Raises as `require_place`, at once."""
        self.require_place()
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1

    async def ask(self, question: Question, frame: Frame) -> bytes:
        """The explanation as JSON, or one of its pictures as a PNG file; inside a `place`.

        frame: uint8 (height, width). Raises `Refusal` (explain_unavailable, deadline_exceeded, not_found,
        shutting_down) and `SteelsightError` (model_unknown, artifact_invalid, engine_unavailable).
        """
        if self._closed:
            raise _stopped()
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="explain")
            self._thread.start()
        ticket = Ticket(question, frame, time.monotonic() + self._wait_s)
        self._waiting.put(ticket)
        return await asyncio.wrap_future(ticket.answer)

    def close(self) -> None:
        """End the process; what it was asked is answered with `shutting_down`."""
        with self._changing:
            self._closed = True
            if self._child is not None:
                self._child.kill()
        self._waiting.put(None)
        if self._thread is not None:
            self._thread.join()

    def _work(self) -> None:
        """The thread's life: one question after another."""
        while True:
            try:
                ticket = self._waiting.get(timeout=None if self._child is None else self._idle_s)
            except queue.Empty:
                self._let_go()
                continue
            if ticket is None or self._closed:
                self._let_go()
                self._refuse_all(ticket)
                return
            # A request that was cancelled has nobody to answer.
            if not ticket.answer.set_running_or_notify_cancel():
                continue
            try:
                ticket.answer.set_result(self._answered(ticket))
            # Told apart where it is awaited: a refusal, or our own fault, belongs to one request.
            except BaseException as error:  # noqa: BLE001
                ticket.answer.set_exception(error)

    def _answered(self, ticket: Ticket) -> bytes:
        if ticket.by <= time.monotonic():
            raise Refusal(
                ServiceCode.DEADLINE_EXCEEDED,
                f"other explanations were being made for {self._wait_s:g} s, and this one was not begun; try again",
            )
        limit_s = self._limit_s if self._child is not None else 2 * self._limit_s
        child = self._started()
        try:
            head, body = child.ask(ticket.question, ticket.frame, limit_s)
        except Lost as lost:
            self._child = None
            raise self._told(lost, limit_s) from lost
        answer = Answer.model_validate_json(head)
        if answer.trace is not None:
            log.error("explaining_failed", version=ticket.question.version, trace=answer.trace)
            raise Refusal(
                ServiceCode.EXPLAIN_UNAVAILABLE,
                "this frame could not be explained: "
                + answer.trace.strip().rpartition("\n")[2]
                + "; it has been logged",
            )
        if answer.code in set(ErrorCode):
            raise SteelsightError(ErrorCode(answer.code), answer.message)
        if answer.code is not None:
            raise Refusal(ServiceCode.NOT_FOUND, answer.message)
        return body

    def _started(self) -> Child:
        """The process that is there, or a new one."""
        with self._changing:
            if self._closed:
                raise _stopped()
            if self._child is None:
                self._child = Child(self._command, self._environment)
                log.info("explaining_started", pid=self._child.pid)
            return self._child

    def _told(self, lost: Lost, limit_s: float) -> Refusal:
        if self._closed:
            return _stopped()
        log.error("explaining_lost", exit_code=lost.exit_code, late=lost.late, console=lost.words)
        if lost.late:
            return Refusal(
                ServiceCode.DEADLINE_EXCEEDED,
                f"the explanation was not ready within {limit_s:g} s and was given up; a smaller part of the "
                "frame takes less",
            )
        return Refusal(
            ServiceCode.EXPLAIN_UNAVAILABLE,
            f"the process that explains ended unexpectedly (exit code {lost.exit_code}); the next request starts a "
            "new one. If it goes on, look for a lack of memory: it needs about 1 GB",
        )

    def _let_go(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.end()
            log.info("explaining_ended", pid=child.pid)

    def _refuse_all(self, ticket: Ticket | None) -> None:
        """Whatever still waits when the worker stops."""
        while True:
            if ticket is not None and ticket.answer.set_running_or_notify_cancel():
                ticket.answer.set_exception(_stopped())
            try:
                ticket = self._waiting.get_nowait()
            except queue.Empty:
                return


def _stopped() -> Refusal:
    return Refusal(ServiceCode.SHUTTING_DOWN, "the server stops, and with it what explains; ask again in a moment")
