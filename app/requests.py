"""One request from arrival to its log line: its id, and what became of it."""

import itertools
import re
import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.types import Scope

from app.access.principal import ANYBODY, Principal

if TYPE_CHECKING:
    from app.replies import Stages

# Visible ASCII: it goes into a header, a log line and a URI.
SANE_ID = re.compile(r"[\x21-\x7e]{1,128}")

# Ids of our own: this process, and a count. Drawing each at random would be a system call in the event loop.
PROCESS_ID = secrets.token_hex(8)
COUNT = itertools.count(1)

# Never sent. In logs and metrics: the client went away before there was an answer (nginx's word for it).
STATUS_UNANSWERED = 499


@dataclass
class RequestRecord:
    """Filled in as the request is served; logged and counted once when it ends.

    started: `time.perf_counter()` at arrival, at the earliest. code: of a refusal. stages: of an inspection of one
    frame. principal: who asks, once somebody was let in.
    """

    request_id: str
    started: float = field(default_factory=time.perf_counter)
    status: int = STATUS_UNANSWERED
    code: str | None = None
    verdict: str | None = None
    version: str | None = None
    error: BaseException | None = None
    stages: "Stages | None" = None
    principal: Principal = ANYBODY

    @classmethod
    def of(cls, request: Request) -> "RequestRecord":
        """The record of a request that came through `app.middleware`."""
        record = request.state.record
        assert isinstance(record, cls)
        return record

    def elapsed_ms(self) -> float:
        """Milliseconds since arrival."""
        return (time.perf_counter() - self.started) * 1000


def request_id(scope: Scope) -> str:
    """The client's X-Request-ID if it is sane, else a new one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            offered = value.decode("latin-1")
            if SANE_ID.fullmatch(offered):
                return str(offered)
            break
    return f"{PROCESS_ID}{next(COUNT):016x}"
