"""HTTP as uvicorn speaks it, with bounds on the head of a request: uvicorn itself waits and stores without end.

What the application can answer from a head alone, if its state has something under `at_the_head`, is answered here.
"""

import asyncio
import re
from collections.abc import Sequence
from typing import Any, Protocol

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from app.connections import UNBOUNDED, Bounds, connections_of

# Our longest sensible request line has a few hundred bytes; browsers and proxies stay below 16 KiB of headers.
MAX_HEAD_BYTES = 65_536
# From the connection, or from the first byte of a further request, to the end of its headers.
HEAD_S = 10.0
# A browser behind two proxies sends forty.
MAX_HEADERS = 200
# Requests sent before the first is answered. Nobody but a hostile client sends many: each is held in memory.
MAX_PIPELINED = 16
# The name of an Upgrade header. RFC 9110 lets a server ignore the offer, and clients of some languages make it with
# every request (to HTTP/2); the parser below would take the request's body for the other protocol's first bytes.
UPGRADE = re.compile(rb"(?i)(?<=\r\n)upgrade(?=:)")
HEAD_END = b"\r\n\r\n"
# A name or an address and a port, by the characters of RFC 3986, 3.2; empty where the target names none.
HOST = re.compile(rb"[\w.~%!$&'()*+,;=:\[\]-]*")


AT_THE_HEAD = "at_the_head"


class AtTheHead(Protocol):
    """Decides from a request's head whether it is answered 503 at once: `app.turning_away`."""

    def answer(self, method: bytes, url: bytes, headers: Sequence[tuple[bytes, bytes]], client: Any) -> bytes | None:
        """The answer but for its first line; None to serve the request."""


class _Answered:
    """In place of uvicorn's cycle of a request that was answered at its head: whatever of its body comes is dropped."""

    response_complete = True
    # uvicorn sets it when the connection ends; nobody waits for it.
    message_event = asyncio.Event()


class BoundedProtocol(HttpToolsProtocol):
    """One connection. A head that is too long is answered 400, one that does not come is hung up on."""

    head_s = HEAD_S

    _head_bytes = 0
    _deadline: asyncio.TimerHandle | None = None
    _idle: asyncio.TimerHandle | None = None

    def __init__(self, *args: Any, bounds: Bounds = UNBOUNDED, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._others = connections_of(self.server_state, bounds)

    def connection_made(self, transport: Any) -> None:  # uvloop's transports are none of asyncio's classes
        """Wait for the first head, if there is room for one more connection."""
        super().connection_made(transport)
        self._head_begins()
        if reason := self._others.enter(transport, self._address):
            self._refuse(503, reason, b"retry-after: 5\r\n")

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        self._head_ends()
        self._idle_ends()
        self._others.leave(self.transport, self._address)
        super().connection_lost(exc)

    @property
    def _address(self) -> str | None:
        return self.client[0] if self.client else None

    def data_received(self, data: bytes) -> None:
        """Count what belongs to a head, and ignore offers of another protocol in it."""
        if self._deadline is not None:
            head, end, rest = data.partition(HEAD_END)
            data = UPGRADE.sub(b"x-ignored", head) + end + rest
        super().data_received(data)
        if self._deadline is not None:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._head_ends()
                self.send_400_response(f"The head of the request has more than {MAX_HEAD_BYTES} bytes.")

    def on_message_begin(self) -> None:
        """Wait for the head of this request."""
        self._idle_ends()
        super().on_message_begin()
        self._head_begins()

    def on_headers_complete(self) -> None:
        """The head is there: from here on the application sets the bounds."""
        self._head_ends()
        # The parser goes on with what it was given, also if nobody is to hear of it.
        if self.transport.is_closing():
            self.cycle = _Answered()  # type: ignore[assignment]
        elif len(self.headers) > MAX_HEADERS:
            self._refuse_head(431, f"The head of the request has more than {MAX_HEADERS} fields.")
        elif fault := self._fault():
            self._refuse_head(400, fault)
        elif len(self.pipeline) >= MAX_PIPELINED:
            # No answer would be in its turn.
            self.cycle = _Answered()  # type: ignore[assignment]
            self.transport.abort()
        elif not self._answered_at_the_head():
            super().on_headers_complete()

    def on_response_complete(self) -> None:
        """Wait for the next request, and not for ever: whatever else comes, be it one byte at a time, is none."""
        super().on_response_complete()
        self._idle_ends()
        if not self.pipeline and not self.transport.is_closing():
            self._idle = self.loop.call_later(self.timeout_keep_alive, self.transport.close)

    def _fault(self) -> str | None:
        """What makes the head no request of HTTP/1.1 or 1.0 though the parser took it, if anything does.

        RFC 9112, 2.3, 3.2 and 3.2.1: servers and proxies that each make something else of such a head can be set on
        one another.
        """
        version, hosts = self.parser.get_http_version(), [value for name, value in self.headers if name == b"host"]
        if version not in {"1.1", "1.0"}:
            return "The version is neither HTTP/1.1 nor HTTP/1.0."
        if len(hosts) > 1 or (version == "1.1" and not hosts):
            return f"The head of the request has {len(hosts)} Host fields; expected one."
        if hosts and not HOST.fullmatch(hosts[0]):
            return "The Host field is none: it holds more than a name or an address, and a port."
        if b"#" in self.url:
            return "The target of the request has a fragment."
        return None

    def _answered_at_the_head(self) -> bool:
        """Whether the request was answered already; never one that waits for another's answer, or for word to go on."""
        door: AtTheHead | None = self.app_state.get(AT_THE_HEAD)
        if door is None or not self._idles() or self.expect_100_continue or not self.parser.should_keep_alive():
            return False
        answer = door.answer(self.parser.get_method(), self.url, self.headers, self.client)
        if answer is None:
            return False
        own = [part for name, value in self.server_state.default_headers for part in (name, b": ", value, b"\r\n")]
        self.transport.write(b"".join((STATUS_LINE[503], *own, answer)))
        self.cycle = _Answered()  # type: ignore[assignment]
        self.on_response_complete()
        return True

    def shutdown(self) -> None:
        """The server stops: a response without an end of its own ends now."""
        super().shutdown()
        if self.scope is not None and (stop := self.scope["state"].get("on_stop")):
            stop()

    def _idles(self) -> bool:
        """Whether no earlier request waits for its answer."""
        return self.cycle is None or self.cycle.response_complete

    def _refuse_head(self, status: int, message: str) -> None:
        """In place of a request's answer; none where it would be taken for that of an earlier request."""
        idles = self._idles()
        self.cycle = _Answered()  # type: ignore[assignment]
        if idles:
            self._refuse(status, message)
        else:
            self.transport.abort()

    def _refuse(self, status: int, message: str, more: bytes = b"") -> None:
        """Answer without a request, or instead of one, and hang up."""
        body = message.encode("ascii")
        head = b"content-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\nconnection: close\r\n" % len(body)
        self.transport.write(STATUS_LINE[status] + head + more + b"\r\n" + body)
        self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """What the parser cannot read; after a refusal nobody is told again."""
        if not self.transport.is_closing():
            super().send_400_response(msg)

    def _idle_ends(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None

    def _head_begins(self) -> None:
        self._head_ends()
        self._head_bytes = 0
        self._deadline = self.loop.call_later(self.head_s, self.transport.close)

    def _head_ends(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
