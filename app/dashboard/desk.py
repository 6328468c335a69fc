"""The desk as one application: the only place where its parts are put together."""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from importlib import import_module

from fastapi import FastAPI
from nicegui import app as pages
from nicegui import ui
from starlette.responses import PlainTextResponse, RedirectResponse

from app.dashboard import assets, pictures, policy
from app.dashboard.client import Api
from app.dashboard.door import Door
from app.dashboard.feed import Feed
from app.dashboard.gate import UP, Gate, Origin
from app.dashboard.openid import OpenId
from app.dashboard.signing import Signing

PAGES = ("line", "coil", "review", "models", "network", "health")
ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><circle cx="16" cy="16" r="15" fill="#15557f"/>'
    '<circle cx="16" cy="16" r="10" fill="none" stroke="#fff" stroke-width="2.5"/>'
    '<circle cx="16" cy="16" r="5" fill="none" stroke="#fff" stroke-width="2.5"/></svg>'
)


@dataclass(frozen=True)
class Setup:
    """What a desk is told. alone: it listens on loopback. key: of the API, for what the desk asks by itself.

    public: the address that browsers use, where it is not the desk's own. sealed: the desk itself speaks TLS.
    verify: whom it believes to be the API.
    """

    api_url: str
    alone: bool = True
    key: str | None = field(default=None, repr=False)
    public: str | None = None
    sealed: bool = False
    openid: OpenId | None = None
    verify: ssl.SSLContext | bool = True


def create_desk(setup: Setup) -> FastAPI:
    """The desk on one API. One in a process: NiceGUI keeps its pages in module state."""
    # A line for each question to the API and for each browser that comes and goes tells nobody anything.
    for name in ("httpx", "uvicorn.error"):
        logging.getLogger(name).setLevel(logging.WARNING)
    desk = FastAPI(lifespan=_lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    pages.state.api = Api(setup.api_url, key=setup.key, verify=setup.verify)
    pages.state.door = door = Door(pages.state.api, alone=setup.alone, keyed=setup.key is not None)
    pages.state.origin = origin = Origin(setup.public, alone=setup.alone, sealed=setup.sealed)
    policy.give_nonces()
    desk.add_middleware(Gate, door=door, origin=origin)
    # Outermost: what the gate answers gets the headers too.
    desk.add_middleware(policy.Guarded)
    desk.include_router(Signing(pages.state.api, door, origin, setup.openid).router)
    desk.include_router(pictures.router)
    desk.add_api_route(UP, _up, include_in_schema=False)
    desk.add_api_route("/", lambda: RedirectResponse("/line"), include_in_schema=False)
    pages.add_static_files("/static", assets.STATIC)
    assets.style("desk.css", everywhere=True)
    assets.script("theme.js")
    assets.script("clock.js")
    # Before anything is drawn, so that a dark page never flashes white.
    pages.config.vue_config_script += "\nsteelsight.showTheme();\nVue.nextTick(() => steelsight.showTheme());"
    for name in PAGES:
        import_module(f"app.dashboard.pages.{name}")
    ui.run_with(
        desk, title="Steelsight", favicon=ICON, dark=None, language="en-GB", tailwind=False, reconnect_timeout=10
    )
    return desk


# Not a thread's work: it says that the one loop of all pages turns.
async def _up() -> PlainTextResponse:
    return PlainTextResponse("up")


@asynccontextmanager
async def _lifespan(_: FastAPI) -> AsyncIterator[None]:
    pages.state.feed = Feed(pages.state.api)
    running = [asyncio.create_task(work) for work in (pages.state.feed.run(), pages.state.door.watch())]
    try:
        yield
    finally:
        for each in running:
            each.cancel()
            with suppress(asyncio.CancelledError):
                await each
        await pages.state.api.close()
