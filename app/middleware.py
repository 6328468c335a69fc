"""Around every request: an id, one log line, the counts, an answer if something broke; HEAD wherever there is GET."""

import asyncio
import time
from collections.abc import Iterable

import structlog
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.access.principal import ANYBODY
from app.errors import problem
from app.metrics import Metrics
from app.refusals import ServiceCode
from app.requests import STATUS_UNANSWERED, RequestRecord, request_id
from app.stalls import Heartbeat

# The route of a path that no endpoint has, so that no client can make up labels.
NO_ROUTE = "other"

# What a browser is told of every answer that says nothing of it itself: to take it for what it is called and nothing
# else, to keep no copy, to load nothing for it and to show it in no other page.
PROTECTION = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
)

log = structlog.get_logger("steelsight.request")


class RecordingMiddleware:
    """Keeps a `RequestRecord` for each request, under `request.state.record`."""

    def __init__(self, app: ASGIApp, metrics: Metrics, heartbeat: Heartbeat) -> None:
        self.app = app
        self.metrics = metrics
        self.heartbeat = heartbeat

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        record = RequestRecord(request_id(scope), self.heartbeat.arrival(time.perf_counter()))
        scope.setdefault("state", {})["record"] = record

        async def send_recorded(message: Message) -> None:
            if message["type"] == "http.response.start":
                record.status = message["status"]
                message["headers"] = [
                    *message["headers"],
                    *_missing(message["headers"]),
                    (b"x-request-id", record.request_id.encode()),
                ]
                if record.code and any(name == b"expect" for name, _ in scope["headers"]):
                    # The client has not sent its body yet; on this connection it would be taken for a request.
                    message["headers"].append((b"connection", b"close"))
            await send(message)

        try:
            await self.app(scope, receive, send_recorded)
        except ClientDisconnect:
            pass  # Nobody is left to answer, and nothing is wrong here.
        # Nothing but a stop that has waited long enough cancels a request.
        except asyncio.CancelledError:
            if record.status != STATUS_UNANSWERED:
                raise
            answer = problem(record, ServiceCode.SHUTTING_DOWN, "the server stops and could not wait for this request")
            await answer(scope, receive, send_recorded)
        # Whatever nobody foresaw: the client learns only that it was internal, the log gets it whole.
        except Exception as error:
            record.error = error
            if record.status != STATUS_UNANSWERED:
                raise
            answer = problem(record, ServiceCode.INTERNAL_ERROR, "an internal error occurred; it has been logged")
            await answer(scope, receive, send_recorded)
        finally:
            self._ended(scope, record)

    def _ended(self, scope: Scope, record: RequestRecord) -> None:
        route = getattr(scope.get("route"), "path", NO_ROUTE)
        self.metrics.request_ended(record, route)
        client = scope.get("client")
        write = log.error if record.error else log.info
        write(
            "request",
            request_id=record.request_id,
            method=scope["method"],
            route=route,
            status=record.status,
            duration_ms=round(record.elapsed_ms(), 3),
            verdict=record.verdict,
            version=record.version,
            code=record.code,
            principal=record.principal.actor if record.principal is not ANYBODY else None,
            client=client[0] if client else None,
            exc_info=record.error,
        )


def _missing(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    given = {name for name, _ in headers}
    if b"etag" in given:
        # A copy of it may be kept, and is asked about: the pages' own assets.
        given.add(b"cache-control")
    return [each for each in PROTECTION if each[0] not in given]


class HeadMiddleware:
    """Answers HEAD as GET without the body (RFC 9110, 9.3.2): load balancers ask so whether a server is up.

    The answer ends with its headers, and the route is left there: a body that nobody gets need not be made, and the
    live feed's has no end.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self.app(scope, receive, send)
            return

        async def send_head(message: Message) -> None:
            await send(message)
            await send({"type": "http.response.body"})
            raise _HeadSent

        # A copy: uvicorn reads the method in its own to know whether a body must follow the headers.
        got = {**scope, "method": "GET"}
        try:
            await self.app(got, receive, send_head)
        except _HeadSent:
            pass
        finally:
            # For the log line.
            scope["route"] = got.get("route")


class _HeadSent(Exception):
    """Leaves a route whose headers are sent."""
