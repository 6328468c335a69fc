"""The head of a request: how long it may be, and how long it may take."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import uvicorn
from uvicorn.server import ServerState

from app.protocol import MAX_HEAD_BYTES, BoundedProtocol

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
async def connected(
    protocol: type[BoundedProtocol],
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to a server that speaks this protocol."""
    config = uvicorn.Config(hello, http=protocol, interface="asgi3", log_config=None, ws="none")
    config.load()
    loop = asyncio.get_running_loop()

    def factory() -> BoundedProtocol:
        return protocol(config=config, server_state=ServerState(), app_state={})

    server = await loop.create_server(factory, "127.0.0.1", 0)
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
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
