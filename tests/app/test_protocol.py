"""The head of a request: how long it may be, and how long it may take."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from app.connections import UNBOUNDED, Bounds
from app.protocol import MAX_HEAD_BYTES, MAX_HEADERS, MAX_PIPELINED, BoundedProtocol

pytestmark = pytest.mark.anyio

HANG_UP_S = 0.2


class Impatient(BoundedProtocol):
    head_s = HANG_UP_S


async def hello(_scope, receive, send) -> None:
    """An application that answers when the body is there."""
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"hi"})


@asynccontextmanager
async def serving(
    protocol: type[BoundedProtocol], app: Any = hello, bounds: Bounds = UNBOUNDED, keep_alive_s: int = 5
) -> AsyncIterator[tuple[str, int]]:
    """The address of a server that speaks this protocol."""
    config = uvicorn.Config(
        app, http=protocol, interface="asgi3", log_config=None, ws="none", timeout_keep_alive=keep_alive_s
    )
    config.load()
    loop = asyncio.get_running_loop()
    state = ServerState()

    def factory() -> BoundedProtocol:
        return protocol(config=config, server_state=state, app_state={}, bounds=bounds)

    server = await loop.create_server(factory, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()


@asynccontextmanager
async def connected(
    protocol: type[BoundedProtocol], **serving_with: Any
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to a server that speaks this protocol."""
    async with serving(protocol, **serving_with) as address:
        reader, writer = await asyncio.open_connection(*address)
        try:
            yield reader, writer
        finally:
            writer.close()


@pytest.mark.parametrize(
    "endless",
    [
        b"GET /" + b"a" * 1_000_000,
        b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 200_000,
        b"GET / HTTP/1.1\r\nX: " + b"a" * 1_000_000,
    ],
    ids=["path", "headers", "header"],
)
async def test_a_head_without_end_is_cut_off(endless):
    async with connected(BoundedProtocol) as (reader, writer):
        writer.write(endless)
        try:
            answer = await reader.read()
        except ConnectionResetError:
            return  # Hung up on while still talking: as good.
        assert answer.startswith(b"HTTP/1.1 400 ")


async def test_a_long_body_is_no_head():
    body = bytes(10 * MAX_HEAD_BYTES)
    async with connected(BoundedProtocol) as (reader, writer):
        for _ in range(3):
            writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            assert (await reader.readuntil(b"hi")).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("begun", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HT"])
async def test_a_head_that_does_not_come_is_hung_up_on(begun):
    async with connected(Impatient) as (reader, writer):
        writer.write(begun)
        async with asyncio.timeout(20 * HANG_UP_S):
            answers = await reader.read()
    assert answers.count(b"200 OK") == begun.count(b"\r\n\r\n")


async def test_a_body_and_a_pause_between_requests_may_take_longer():
    async with connected(Impatient) as (reader, writer):
        for _ in range(2):
            writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\na")
            await asyncio.sleep(2 * HANG_UP_S)
            writer.write(b"b")
            assert (await reader.readuntil(b"hi")).startswith(b"HTTP/1.1 200 ")
            await asyncio.sleep(2 * HANG_UP_S)


@pytest.mark.parametrize("header", [b"Upgrade: h2c", b"UPGRADE: h2c", b"upgrade:websocket"])
async def test_an_offer_of_another_protocol_is_ignored_and_the_body_is_read(header):
    """Clients of some languages offer HTTP/2 with every request; the parser would lose the body to it."""
    head = (
        b"POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\n%s\r\nContent-Length: 4\r\n\r\n" % header
    )
    async with connected(BoundedProtocol) as (reader, writer):
        for _ in range(2):
            writer.write(head + b"body")
            answer = await asyncio.wait_for(reader.readuntil(b"hi"), 5)
            assert answer.startswith(b"HTTP/1.1 200")


async def deaf(_scope, _receive, send) -> None:
    """An application that answers and never looks at the body."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"hi"})


async def large(_scope, _receive, send) -> None:
    """An application with more to say than any buffer between takes."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(500):
        await send({"type": "http.response.body", "body": bytes(100_000), "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def test_a_head_has_so_many_fields():
    for count, status in ((MAX_HEADERS, 200), (MAX_HEADERS + 1, 431)):
        async with connected(BoundedProtocol) as (reader, writer):
            writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n" + b"A: b\r\n" * (count - 1) + b"\r\n")
            assert (await reader.readline()).startswith(b"HTTP/1.1 %d " % status)


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a, b c\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: \xfc\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 400),
        (b"GET /\r\n\r\n", 400),
        (b"GET /#a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.0\r\n\r\n", 200),
        (b"GET / HTTP/1.1\r\nHost:\r\n\r\n", 200),
        (b"GET / HTTP/1.1\r\nHost: line_1.plant:8000\r\n\r\n", 200),
        (b"GET / HTTP/1.1\r\nHost: [fe80::1%25eth0]:8000\r\n\r\n", 200),
        (b"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 200),
    ],
)
async def test_a_head_that_proxies_read_in_different_ways_is_refused(head, status):
    async with connected(BoundedProtocol) as (reader, writer):
        writer.write(head)
        assert (await asyncio.wait_for(reader.readline(), 5)).startswith(b"HTTP/1.1 %d " % status)
        if status == 400:
            answer = await asyncio.wait_for(reader.read(), 5)
            assert b"connection: close" in answer
            assert not re.search(rb"HTTP/1.1 \d{3} ", answer), "a second answer"


async def test_a_refusal_is_never_taken_for_the_answer_of_an_earlier_request():
    async def slow(scope, receive, send) -> None:
        await asyncio.sleep(0.2)
        await hello(scope, receive, send)

    async with connected(BoundedProtocol, app=slow) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\n\r\n")
        with suppress(ConnectionResetError):
            assert await asyncio.wait_for(reader.read(), 5) == b""


async def test_requests_ahead_of_their_answers_are_few():
    one = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\na"
    async with connected(BoundedProtocol) as (reader, writer):
        writer.write(one * (MAX_PIPELINED + 1))
        for _ in range(MAX_PIPELINED + 1):
            assert (await asyncio.wait_for(reader.readuntil(b"hi"), 5)).startswith(b"HTTP/1.1 200")
    async with connected(BoundedProtocol) as (reader, writer):
        writer.write(one * 1000)
        with suppress(ConnectionResetError):
            assert (await asyncio.wait_for(reader.read(), 5)).count(b"200 OK") <= MAX_PIPELINED + 1


@pytest.mark.parametrize(
    ("head", "drip"),
    [
        # The rest of a body that nobody waits for any more, and line ends before a request that never comes.
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n", b"a"),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"\r\n"),
    ],
)
async def test_dripping_after_an_answer_holds_no_connection(head, drip):
    async with connected(BoundedProtocol, app=deaf, keep_alive_s=1) as (reader, writer):
        writer.write(head)
        await reader.readuntil(b"hi")
        async with asyncio.timeout(5):
            while not reader.at_eof():
                writer.write(drip)
                with suppress(TimeoutError, ConnectionError):
                    await asyncio.wait_for(reader.read(1), 0.2)


@pytest.mark.parametrize("head", [b"", b"Connection: close\r\n"])
async def test_who_does_not_read_the_answer_is_hung_up_on(head):
    served = asyncio.Event()

    async def noted(scope, receive, send) -> None:
        try:
            await large(scope, receive, send)
        finally:
            served.set()

    # Longer than a busy machine keeps this reader waiting.
    bounds = Bounds(look_s=0.1, slowest_s=2)
    async with connected(BoundedProtocol, app=noted, bounds=bounds) as (_, writer):
        writer.transport.pause_reading()
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n" + head + b"\r\n")
        await asyncio.wait_for(served.wait(), 10)
    # Whoever reads, if slowly, gets all of it.
    async with connected(BoundedProtocol, app=large, bounds=bounds) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        size = 0
        while data := await reader.read(500_000):
            size += len(data)
            await asyncio.sleep(0.01)
        assert size > 500 * 100_000


@pytest.mark.parametrize("bounds", [Bounds(connections=3), Bounds(for_each_address=3)])
async def test_one_connection_too_many_is_refused_until_another_ends(bounds):
    async with serving(BoundedProtocol, bounds=bounds) as address:
        held = [await asyncio.open_connection(*address) for _ in range(3)]
        reader, writer = await asyncio.open_connection(*address)
        answer = await asyncio.wait_for(reader.read(), 5)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after" in answer
        writer.close()
        held.pop()[1].close()
        await asyncio.sleep(0.05)
        reader, writer = await asyncio.open_connection(*address)
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await asyncio.wait_for(reader.readuntil(b"hi"), 5)).startswith(b"HTTP/1.1 200 ")
        for _, each in [*held, (reader, writer)]:
            each.close()
