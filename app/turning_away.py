"""Frames that find no place, answered from their head alone: before a task, a route or a body.

Where far more is sent than can be inspected, refusing must not cost what inspecting needs. Such a frame is asked what
any other is (whose it is, whether its query is sound), noted in the record as a gap with its reason, counted, and
answered with bytes that were made beforehand; the log has one line a second for all of them.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import orjson
import structlog

from app.access.gate import require_camera
from app.access.principal import Scope
from app.errors import PROBLEM_JSON, RETRY_AFTER_S, problem_document
from app.middleware import PROTECTION
from app.parameters import InspectQuery
from app.refusals import Refusal, ServiceCode
from app.requests import RequestRecord, request_id
from app.routing import QUERIES_KEPT, QUERY_KEPT_BYTES
from app.service import Service

# Word for word: another spelling of it is answered by the route, only later.
ROUTE = "/v1/inspect"
URL = ROUTE.encode()
LOG_EVERY_S = 1.0
# A place is asked for once the body is whole: of a small one in the next moment, and until then its place is as good as
# taken. Who takes longer has no claim to one.
SOON_S = 0.02
# Of the addresses that were turned away, the log names those with most frames.
CLIENTS_LOGGED = 8
# Stands in the prepared answer for the request's id; no JSON holds it unescaped.
HERE = "\N{OBJECT REPLACEMENT CHARACTER}"
HEADERS = (
    f"content-type: {PROBLEM_JSON}\r\nretry-after: {RETRY_AFTER_S[ServiceCode.OVERLOADED]}\r\n".encode()
    + b"".join(b"%s: %s\r\n" % each for each in PROTECTION)
)

log = structlog.get_logger("steelsight.request")


class TurningAway:
    """For the event loop's thread."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._kept = lru_cache(QUERIES_KEPT)(InspectQuery.parsed)
        document = problem_document(RequestRecord(HERE), ServiceCode.OVERLOADED, service.pool.full_of)
        self._before, self._after = (part.encode() for part in document.model_dump_json().split(f'"{HERE}"'))
        self._clients: Counter[str] = Counter()
        # When heads were let in whose requests have not asked for a place yet.
        self._let_in: deque[float] = deque()
        self._asked = 0

    def answer(self, method: bytes, url: bytes, headers: Sequence[tuple[bytes, bytes]], client: Any) -> bytes | None:
        """The whole answer but for its first line; None if the request is none of those, or is to be refused otherwise.

        client: address and port.
        """
        if method != b"POST" or not url.startswith(URL):
            return None
        path, _, query_string = url.partition(b"?")
        if path != URL:
            return None
        started = time.perf_counter()
        if self._service.pool.free > self._waited_for(started):
            self._let_in.append(started)
            return None
        # What is refused for another reason is so by the route, which has the words for it.
        try:
            query = (self._kept if len(query_string) <= QUERY_KEPT_BYTES else InspectQuery.parsed)(query_string)
            require_camera(self._service.gate.admit(headers, Scope.INSPECT), query.camera_id)
        except Refusal:
            return None
        self._service.note(query, ServiceCode.OVERLOADED)
        self._service.metrics.turned_away(ROUTE, time.perf_counter() - started)
        self._tally(client[0] if client else "unknown")
        return self._said(request_id({"headers": headers}))

    def _waited_for(self, now: float) -> int:
        """Places that requests which were let in a moment ago are about to ask for."""
        asked = self._service.pool.asked
        for _ in range(min(asked - self._asked, len(self._let_in))):
            self._let_in.popleft()
        self._asked = asked
        while self._let_in and self._let_in[0] < now - SOON_S:
            self._let_in.popleft()
        return len(self._let_in)

    def _said(self, number: str) -> bytes:
        body = self._before + orjson.dumps(number) + self._after
        own = f"x-request-id: {number}\r\ncontent-length: {len(body)}\r\n\r\n"
        return HEADERS + own.encode() + body

    def _tally(self, client: str) -> None:
        if not self._clients:
            asyncio.get_running_loop().call_later(LOG_EVERY_S, self._tell)
        self._clients[client] += 1

    def _tell(self) -> None:
        """Log those of the last second, and forget them."""
        log.warning(
            "frames_turned_away",
            route=ROUTE,
            status=503,
            code=ServiceCode.OVERLOADED.value,
            frames=self._clients.total(),
            clients=dict(self._clients.most_common(CLIENTS_LOGGED)),
        )
        self._clients.clear()
