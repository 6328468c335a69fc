"""app.turning_away: frames without a place, answered by the protocol, on a real socket."""

import asyncio
import json
import socket
from contextlib import asynccontextmanager

import httpx
import pytest
import uvicorn
from sqlalchemy import select

from app.main import create_app
from app.protocol import BoundedProtocol
from app.settings import load
from app.store.schema import refused_frames
from app.turning_away import LOG_EVERY_S
from tests.app.conftest import Running

pytestmark = pytest.mark.anyio

URL = "/v1/inspect?camera_id=top-1&coil_id=K1&sequence=7"
PNG = {"content-type": "image/png"}


@asynccontextmanager
async def listening(**fields):
    """An application behind a socket, as `app.process` serves it."""
    app = create_app(load({}, fields))
    config = uvicorn.Config(app, http=BoundedProtocol, lifespan="on", log_config=None, ws="none", access_log=False)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = asyncio.create_task(server._serve([listener]))
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}") as http:
            running = Running(app, http)
            while not server.started:
                await asyncio.sleep(0.01)
            await running.until_ready()
            yield running
        server.should_exit = True
        await serving


@pytest.fixture(scope="module")
async def small(tiny_models, tmp_path_factory):
    """A server of two places."""
    home = tmp_path_factory.mktemp("home")
    async with listening(home=str(home), models=str(tiny_models), max_in_flight=2) as running:
        yield running


def sample(running, name, **labels):
    return running.service.metrics.registry.get_sample_value(name, labels) or 0


async def test_the_answer_is_the_one_that_the_route_gives(small, png):
    with small.service.pool.place(2):
        ours = await small.http.post(URL, content=png, headers=PNG | {"x-request-id": 'a"\\b'})
        # In another spelling it is the route that answers.
        routes = await small.http.post(URL.replace("inspect", "%69nspect"), content=png, headers=PNG)
    assert ours.status_code == routes.status_code == 503
    assert ours.json()["instance"] == ours.headers["x-request-id"] == 'a"\\b'
    same = [{**answer.json(), "instance": None} for answer in (ours, routes)]
    assert same[0] == same[1]
    own = {"x-request-id", "content-length", "date"}
    assert {name: value for name, value in ours.headers.items() if name not in own} == {
        name: value for name, value in routes.headers.items() if name not in own
    }
    assert (await small.http.post(URL, content=png, headers=PNG)).status_code == 200


async def test_each_is_counted_and_in_the_record(small, png):
    before = sample(small, "steelsight_dropped_total", reason="overloaded")
    requests = sample(small, "steelsight_requests_total", route="/v1/inspect", status="503")
    url = URL.replace("K1", "K-counted")
    with small.service.pool.place(2):
        answers = await asyncio.gather(*(small.http.post(url, content=png, headers=PNG) for _ in range(20)))
    assert {answer.status_code for answer in answers} == {503}
    assert sample(small, "steelsight_dropped_total", reason="overloaded") == before + 20
    assert sample(small, "steelsight_requests_total", route="/v1/inspect", status="503") == requests + 20
    noted = select(refused_frames.c.code, refused_frames.c.sequence)
    async with asyncio.timeout(10):
        while True:
            with small.service.store.reading() as connection:
                rows = connection.execute(noted).all()
            if len(rows) >= 20:
                break
            await asyncio.sleep(0.05)
    assert set(rows) == {("overloaded", 7)}


async def test_a_second_of_them_is_one_line(small, png, capsys):
    with small.service.pool.place(2):
        for _ in range(5):
            await small.http.post(URL, content=png, headers=PNG)
    await asyncio.sleep(LOG_EVERY_S + 0.1)
    lines = [line for line in capsys.readouterr().out.splitlines() if "frames_turned_away" in line]
    assert len(lines) in (1, 2)
    assert "127.0.0.1" in lines[-1]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/inspect?camera=x", 422),
        ("/v1/inspect?sequence=1&sequence=2", 422),
        ("/v1/inspected", 404),
        ("/v1/inspect/", 404),
    ],
)
async def test_what_is_wrong_otherwise_is_said_so(small, png, path, status):
    with small.service.pool.place(2):
        assert (await small.http.post(path, content=png, headers=PNG)).status_code == status
        assert (await small.http.get("/v1/inspect")).status_code == 405
        assert (await small.http.get("/healthz")).status_code == 200


async def test_the_body_is_dropped_and_the_connection_goes_on(small):
    body = bytes(3_000_000)
    head = b"POST /v1/inspect?camera_id=c HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", small.http.base_url.port)
    with small.service.pool.place(2):
        for _ in range(3):
            writer.write(head + b"Content-Length: %d\r\n\r\n" % len(body))
            # Decided from the head: no byte of the body was sent yet.
            answer = await reader.readuntil(b"\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 503 ")
            length = int(answer.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            assert json.loads(await reader.readexactly(length))["code"] == "overloaded"
            writer.write(body)
            await writer.drain()
        # One after the other without waiting, and one that wants to be let go.
        writer.write(
            2 * (head + b"Content-Length: 1\r\n\r\nx") + head + b"Connection: close\r\nContent-Length: 0\r\n\r\n"
        )
        rest = await reader.read()
    writer.close()
    assert rest.count(b"HTTP/1.1 503 ") == 3
    assert b"connection: close" in rest.lower()


async def test_a_client_that_waits_to_send_its_body_is_hung_up_on(small):
    """It has not sent it: on this connection the body would be taken for a request."""
    reader, writer = await asyncio.open_connection("127.0.0.1", small.http.base_url.port)
    with small.service.pool.place(2):
        writer.write(b"POST /v1/inspect HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"connection: close" in answer.lower()


async def test_a_key_is_asked_for_first(tiny_models, tmp_path, png):
    async with listening(home=str(tmp_path), models=str(tiny_models), max_in_flight=1, access="keys") as running_one:
        with running_one.service.pool.place():
            answer = await running_one.http.post(URL, content=png, headers=PNG)
    assert (answer.status_code, answer.json()["code"]) == (401, "key_missing")


@pytest.mark.parametrize(("soon_s", "status"), [(60.0, 503), (0.0, 200)])
async def test_a_place_is_spoken_for_while_its_body_is_about_to_come_and_no_longer(
    small, png, monkeypatch, soon_s, status
):
    monkeypatch.setattr("app.turning_away.SOON_S", soon_s)
    address = small.http.base_url
    head = f"POST {URL} HTTP/1.1\r\nhost: x\r\ncontent-type: image/png\r\ncontent-length: {len(png)}\r\n\r\n".encode()
    waiting = [await asyncio.open_connection(address.host, address.port) for _ in range(2)]
    before = sample(small, "steelsight_arriving")
    for _, writer in waiting:
        writer.write(head)
    while sample(small, "steelsight_arriving") < before + 2:
        await asyncio.sleep(0.01)
    assert (await small.http.post(URL, content=png, headers=PNG)).status_code == status
    for reader, writer in waiting:
        writer.write(png)
        assert b" 200 " in await reader.readline()
        writer.close()
    # Who has asked for a place is not waited for any more.
    assert (await small.http.post(URL, content=png, headers=PNG)).status_code == 200
