"""Every log line is one JSON object on stdout: ours, uvicorn's and any library's."""

import json
import logging
import sys
import threading
from contextlib import suppress
from typing import Any, TextIO

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

WRITING = threading.Lock()


class LineLogger:
    """Writes whole lines to a stream, one at a time from whatever thread."""

    def __init__(self, name: str | None, stream: TextIO) -> None:
        self.name = name
        self._stream = stream

    def msg(self, line: str) -> None:
        """Write one line. One that cannot be written (a full disk, a closed pipe) fails no request."""
        with WRITING, suppress(OSError):
            self._stream.write(line + "\n")
            self._stream.flush()

    debug = info = warning = error = critical = msg


def configure(level: str, stream: TextIO = sys.stdout) -> None:
    """Send all logging of this process to `stream`; level is a word such as `info`."""
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
