"""HEAD on a connection that stays open: the head of GET's answer, and then the next answer."""

import asyncio
import logging
from collections.abc import AsyncIterator
from functools import partial

import pytest
import uvicorn
from structlog.testing import capture_logs
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from app.live.feed import MAX_LISTENERS
from app.protocol import BoundedProtocol

pytestmark = pytest.mark.anyio

# Of every kind: whole, refused, unrouted, a file, and two whose length nobody knows, the second without an end.
ASKED = {
    "/healthz": 200,
    "/readyz": 503,
    "/v1/inspect": 405,
    "/nope": 404,
    "/docs/assets/swagger-ui.css": 200,
    "/v1/inspections/export": 200,
    "/v1/live": 200,
}


class Connection:
    """Requests one after the other on one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def head_of(self, method: str, path: str) -> tuple[int, dict[str, str]]:
        """Status and headers of the answer, whose body is still to be read."""
        self.writer.write(f"{method} {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 20)
        status, *headers = head.decode().strip().split("\r\n")
        return int(status.removeprefix("HTTP/1.1 ")[:3]), dict(line.split(": ", 1) for line in headers)


@pytest.fixture(params=[BoundedProtocol, H11Protocol])
async def connection(request, start, tmp_path) -> AsyncIterator[Connection]:
    """To an application without a model, by our protocol and by uvicorn's other one."""
    async with start(models=tmp_path) as running:
        await running.service.slot.refresh()
        config = uvicorn.Config(running.app, http=request.param, lifespan="off", log_config=None, ws="none")
        config.load()
        speak = partial(request.param, config=config, server_state=ServerState(), app_state={})
        async with await asyncio.get_running_loop().create_server(speak, "127.0.0.1", 0) as server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            yield Connection(reader, writer)
            writer.close()


async def test_the_connection_goes_on_after_each_head(connection, caplog):
    with caplog.at_level(logging.WARNING), capture_logs() as lines:
        for path, status in [*ASKED.items()] * 2:
            answered, headers = await connection.head_of("HEAD", path)
            assert (answered, headers.get("connection")) == (status, None), path
        status, headers = await connection.head_of("GET", "/healthz")
        body = await connection.reader.readexactly(int(headers["content-length"]))
    assert (status, body[:1]) == (200, b"{")
    assert not caplog.records
    assert {line["log_level"] for line in lines} == {"info"}


async def test_who_asks_for_the_head_of_the_feed_takes_no_place_in_it(connection):
    asked = [await connection.head_of("HEAD", "/v1/live") for _ in range(MAX_LISTENERS + 1)]
    assert {status for status, _ in asked} == {200}
    assert (await connection.head_of("GET", "/v1/live"))[0] == 200
