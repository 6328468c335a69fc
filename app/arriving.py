"""A request's body, as it comes: how long it may take, and how much memory all that are on their way may hold.

A body holds no place of an inspection before it is whole, so that whoever drips one keeps nobody out. What bounds the
memory then is their sum: past it the body that has been on its way for longest is given up, for a fast one is there
soon.
"""

import asyncio
import time
from dataclasses import dataclass, field

from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive

from app.complaints import echo
from app.metrics import Drop, Metrics
from app.refusals import Refusal, ServiceCode
from app.settings import Settings
from model.errors import ErrorCode, SteelsightError

# Of the largest that are accepted, so many may be on their way into a worker at a time; of usual ones some hundreds.
LARGEST = 4


@dataclass(eq=False, slots=True)
class _Body:
    """What of a body is there. patience: ends its task's waiting."""

    patience: asyncio.Timeout = field(default_factory=lambda: asyncio.timeout(None))
    chunks: list[bytes] = field(default_factory=list)
    size: int = 0
    given_up: bool = False


class Arriving:
    """The bodies on their way into one worker. For the event loop's thread."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._most = settings.max_body_bytes
        self._seconds = settings.body_seconds
        self._metrics = metrics
        # Bytes that more of them may have.
        self.room = LARGEST * settings.max_body_bytes
        # The one that came first stands first.
        self._bodies: dict[_Body, None] = {}

    async def read(self, request: Request, deadline: float, accepted: str, most: int | None = None) -> bytes:
        """As `read_bytes`. Raises also `Refusal` (overloaded): others needed the memory.

        deadline: `time.perf_counter()` by which it must be there, whatever the settings would still allow. most: bytes,
        unless the settings say it.
        """
        seconds = max(0.0, min(self._seconds, deadline - time.perf_counter()))
        self._metrics.arriving.inc()
        try:
            return await read_bytes(request, self._most if most is None else most, seconds, accepted, self)
        finally:
            self._metrics.arriving.dec()

    def grown(self, body: _Body, chunk: bytes) -> None:
        """One more piece of a body. Raises `Refusal` (overloaded)."""
        self._bodies.setdefault(body)
        body.chunks.append(chunk)
        body.size += len(chunk)
        self.room -= len(chunk)
        while self.room < 0:
            self._give_up(next(iter(self._bodies)))
        if body.given_up:
            raise _given_up()

    def left(self, body: _Body) -> None:
        """A body is whole, or was given up."""
        if body in self._bodies:
            del self._bodies[body]
            self.room += body.size

    def _give_up(self, body: _Body) -> None:
        self.left(body)
        body.given_up = True
        body.chunks.clear()
        body.patience.reschedule(asyncio.get_running_loop().time())
        self._metrics.dropped(Drop.OVERLOADED)


async def read_bytes(
    request: Request, most: int, seconds: float, accepted: str, arriving: Arriving | None = None
) -> bytes:
    """The whole body, not empty. Its length is counted as it comes: Content-Length may be absent, or lie.

    most: bytes. seconds: in which it must be there. accepted: what to send, for whoever sent nothing. arriving: the
    others that it shares memory with; None for one so small that it does not count.
    Raises `Refusal` (content_type_unsupported, body_too_large, body_timeout, overloaded), `SteelsightError`
    (body_empty), and ClientDisconnect.
    """
    # Whoever may send compressed bodies may send one that fills the memory.
    if (encoding := request.headers.get("content-encoding", "identity").lower()) != "identity":
        message = f"received the Content-Encoding {echo(encoding)}; send the body as it is"
        raise Refusal(ServiceCode.CONTENT_TYPE_UNSUPPORTED, message)
    if int(request.headers.get("content-length", 0)) > most:
        raise _too_large(most)
    body = _Body()
    try:
        async with asyncio.timeout(seconds) as body.patience:
            await _collect(request.receive, body, most, arriving)
    except TimeoutError as error:
        if body.given_up:
            raise _given_up() from None
        message = f"{body.size} bytes came within {seconds:g} s; the whole body must arrive in that time"
        raise Refusal(ServiceCode.BODY_TIMEOUT, message) from error
    finally:
        if arriving is not None:
            arriving.left(body)
    whole = body.chunks[0] if len(body.chunks) == 1 else b"".join(body.chunks)
    if not whole:
        raise SteelsightError(ErrorCode.BODY_EMPTY, f"the body is empty; send {accepted}")
    return whole


async def _collect(receive: Receive, body: _Body, most: int, arriving: Arriving | None) -> None:
    """Into `body`, so that what came in time is known if it is not all."""
    while True:
        message = await receive()
        # Given up while this message was already there.
        if body.given_up:
            raise _given_up()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk = message.get("body", b"")
        if body.size + len(chunk) > most:
            raise _too_large(most)
        if arriving is None:
            body.chunks.append(chunk)
            body.size += len(chunk)
        else:
            arriving.grown(body, chunk)
        if not message.get("more_body", False):
            return


def _too_large(most: int) -> Refusal:
    return Refusal(ServiceCode.BODY_TOO_LARGE, f"at most {most} bytes are accepted; send shorter frames")


def _given_up() -> Refusal:
    return Refusal(
        ServiceCode.OVERLOADED,
        "more bodies are on their way than this server has memory for, and this one has been for longest; send it "
        "again",
    )
