"""An application in this process, and what to send it."""

import asyncio
import io
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from PIL import Image

from app.main import create_app
from app.service import Service
from app.settings import load
from app.store.database import Database
from model.image import Frame
from tests.app import databases, postgresql

# TensorFlow alone takes some of it on a machine that has other work.
READY_WITHIN_S = 60


@dataclass
class Running:
    """An application with its lifespan begun, and a client that reaches it without a socket."""

    app: FastAPI
    http: httpx.AsyncClient

    @property
    def service(self) -> Service:
        service = self.app.state.service
        assert isinstance(service, Service)
        return service

    async def until_ready(self, version: str | None = None) -> None:
        """Wait until a model serves: any, or the named one."""
        async with asyncio.timeout(READY_WITHIN_S):
            while True:
                answer = await self.http.get("/readyz")
                if answer.status_code == 200 and version in (None, answer.json()["model"]["version"]):
                    return
                await asyncio.sleep(0.02)


Start = Callable[..., AbstractAsyncContextManager[Running]]


@asynccontextmanager
async def running(**fields: Any) -> AsyncIterator[Running]:
    """An application with these settings, all others default but for a data root of its own."""
    with tempfile.TemporaryDirectory(prefix="steelsight-") as home:
        async with _running({"home": home} | fields) as one:
            yield one


@asynccontextmanager
async def _running(fields: dict[str, Any]) -> AsyncIterator[Running]:
    app = create_app(load({}, fields))
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://steelsight") as http,
    ):
        yield Running(app, http)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file with the record's tables, empty."""
    return databases.migrated_file(tmp_path_factory.mktemp("sqlite"))


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[postgresql.Server]:
    """A running PostgreSQL with an empty record as template."""
    postgresql.skip_without_postgresql()
    with postgresql.server() as server:
        databases.migrated_template(server)
        yield server


@pytest.fixture
def empty_postgresql(postgresql_server: postgresql.Server) -> Iterator[str]:
    """The URL of a database without tables."""
    with databases.postgresql(postgresql_server, "template0") as database:
        yield database.url.set(drivername="postgresql").render_as_string(hide_password=False)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty record, of each kind in turn."""
    if request.param == "sqlite":
        opened = databases.sqlite(request.getfixturevalue("sqlite_template"), tmp_path / "record.db")
    else:
        opened = databases.postgresql(request.getfixturevalue("postgresql_server"))
    with opened as one:
        yield one


@pytest.fixture(scope="session")
def start() -> Start:
    """To be used as `async with start(models=..., max_in_flight=1) as running:`."""
    return running


@pytest.fixture(scope="module")
async def served(tiny_models: Path) -> AsyncIterator[Running]:
    """One ready application on `tiny_models` for a whole module."""
    async with running(models=tiny_models) as one:
        await one.until_ready()
        yield one


@pytest.fixture(scope="module")
def http(served: Running) -> httpx.AsyncClient:
    """Client of `served`."""
    return served.http


def png_of(frame: Frame) -> bytes:
    """The frame as a PNG file."""
    target = io.BytesIO()
    Image.fromarray(frame).save(target, "PNG")
    return target.getvalue()


@pytest.fixture(scope="session")
def as_png() -> Callable[[Frame], bytes]:
    """`as_png(frame)`: the bytes of a PNG file."""
    return png_of


@pytest.fixture(scope="session")
def png(steel_frame: Callable[..., Frame]) -> bytes:
    """A PNG of one frame, 200 x 100 px."""
    return png_of(steel_frame(100, 200, seed=1, defects=2))


@pytest.fixture
def post(http: httpx.AsyncClient) -> Callable[..., Awaitable[httpx.Response]]:
    """To be used as `await post(body, content_type, **query)`: POST /v1/inspect."""

    async def send(body: bytes, content_type: str | None = "image/png", **query: Any) -> httpx.Response:
        headers = {} if content_type is None else {"content-type": content_type}
        return await http.post("/v1/inspect", content=body, headers=headers, params=query)

    return send


@pytest.fixture(scope="session")
def as_raw() -> Callable[[np.ndarray, str], bytes]:
    """`as_raw(frame, "Mono12")`: 8-bit pixels as the high bits of unpacked little-endian words."""

    def encode(frame: np.ndarray, pixel_format: str) -> bytes:
        bits = int(pixel_format.removeprefix("Mono"))
        return frame.tobytes() if bits == 8 else (frame.astype("<u2") << (bits - 8)).tobytes()

    return encode
