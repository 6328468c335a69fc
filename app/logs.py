"""Every log line is one JSON object on stdout: ours, uvicorn's and any library's."""

import json
import logging
import os
import select
import socket
import stat
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, TextIO

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

# Lines that wait for a reader: some seconds of a busy server. What is more is lost.
MOST_WAITING_BYTES = 1_000_000
DRAIN_S = 1.0


class Outlet:
    """Where lines go, one at a time from whatever thread: it never waits for a reader, and fails no request.

    What a pipe or a terminal does not take at once is sent when it does. Lines past `MOST_WAITING_BYTES`, and those
    that cannot be written at all (a full disk, a closed pipe), are lost, counted, and told of in a line of their own.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor, self._send, self.close = _without_waiting(descriptor)
        self._sending = threading.Lock()
        self._waiting = bytearray()
        self._lost = 0
        self._drains = False

    def write(self, text: str) -> int:
        """Whole lines."""
        # Lines of libraries may hold half a character.
        data = text.encode(errors="backslashreplace")
        with self._sending:
            if len(self._waiting) + len(data) > MOST_WAITING_BYTES:
                self._lost += 1
                return len(text)
            if self._lost:
                told = {"event": "log_lines_lost", "lines": self._lost, "level": "warning"}
                self._waiting += json.dumps(told).encode() + b"\n"
                self._lost = 0
            self._waiting += data
            self._send_waiting()
            if self._waiting and not self._drains:
                self._drains = True
                threading.Thread(target=self._drain, name="log", daemon=True).start()
        return len(text)

    def flush(self) -> None:
        """Nothing is held back that could be sent."""

    def _send_waiting(self) -> None:
        try:
            while self._waiting:
                del self._waiting[: self._send(bytes(self._waiting))]
        except BlockingIOError:
            return
        except OSError:
            self._lost += self._waiting.count(b"\n")
            self._waiting.clear()

    def _drain(self) -> None:
        while self._drains:
            select.select([], [self._descriptor], [], DRAIN_S)
            with self._sending:
                self._send_waiting()
                self._drains = bool(self._waiting)


def _without_waiting(descriptor: int) -> tuple[int, Callable[[bytes], int], Callable[[], None]]:
    """A descriptor of the same place, how to write there as much as is taken at once, and how to let it go."""
    kind = os.fstat(descriptor).st_mode
    if stat.S_ISSOCK(kind):
        connection = socket.socket(fileno=os.dup(descriptor))
        return connection.fileno(), lambda data: connection.send(data, socket.MSG_DONTWAIT), connection.close
    if stat.S_ISFIFO(kind) or os.isatty(descriptor):
        # A description of its own: one that is shared would refuse to wait for every process that has it. Where there
        # is none to be had (another system, a terminal of another user) it has to be waited for.
        with suppress(OSError):
            flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
            own = os.open(f"/proc/self/fd/{descriptor}", flags)
            return own, partial(os.write, own), partial(os.close, own)
    return descriptor, partial(os.write, descriptor), lambda: None


class LineLogger:
    """What `structlog` writes lines with."""

    def __init__(self, name: str | None, stream: TextIO | Outlet) -> None:
        self.name = name
        self._stream = stream

    def msg(self, line: str) -> None:
        """Write one line."""
        self._stream.write(line + "\n")
        self._stream.flush()

    debug = info = warning = error = critical = msg


def configure(level: str, stream: TextIO | Outlet | None = None) -> None:
    """Send all logging of this process to `stream`, stdout unless given; level is a word such as `info`."""
    stream = Outlet(sys.stdout.fileno()) if stream is None else stream
    ours: list[Processor] = [
        structlog.stdlib.add_logger_name,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _no_empty_fields,
    ]
    as_text: list[Processor] = [
        structlog.processors.format_exc_info,
        structlog.processors.JSONRenderer(serializer=one_line),
    ]
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=ours,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *as_text],
        )
    )
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    # Not through `logging`, which takes longer over one line than a reply does: there is one for every frame.
    structlog.configure(
        processors=[*ours, *as_text],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda name=None: LineLogger(name, stream),
        cache_logger_on_first_use=True,
    )


def one_line(event: EventDict, **_: Any) -> str:
    r"""An event as JSON in ASCII: whatever the terminal or collector takes it for, it stays one line.

    >>> one_line({"camera": "Süd\n", "lone": "\ud800"})
    '{"camera": "S\\u00fcd\\n", "lone": "\\ud800"}'
    """
    try:
        line = orjson.dumps(event).decode()
    # Half a character, or an object of a library's: rare, and worth its slower line.
    except TypeError:
        return json.dumps(event, default=repr)
    return line if line.isascii() else json.dumps(event)


def _no_empty_fields(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    return {name: value for name, value in event.items() if value is not None}
