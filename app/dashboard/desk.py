"""The desk as one application: the only place where its parts are put together."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from importlib import import_module

from fastapi import FastAPI
from nicegui import app as pages
from nicegui import ui
from starlette.responses import RedirectResponse

from app.dashboard import assets, pictures, policy
from app.dashboard.client import Api
from app.dashboard.feed import Feed

PAGES = ("line", "coil", "review", "models", "network", "health")
ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><circle cx="16" cy="16" r="15" fill="#15557f"/>'
    '<circle cx="16" cy="16" r="10" fill="none" stroke="#fff" stroke-width="2.5"/>'
    '<circle cx="16" cy="16" r="5" fill="none" stroke="#fff" stroke-width="2.5"/></svg>'
)


def create_desk(api_url: str) -> FastAPI:
    """The desk on one API. One in a process: NiceGUI keeps its pages in module state."""
    # A line for each question to the API and for each browser that comes and goes tells nobody anything.
    for name in ("httpx", "uvicorn.error"):
        logging.getLogger(name).setLevel(logging.WARNING)
    desk = FastAPI(lifespan=_lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    pages.state.api_url = api_url
    policy.give_nonces()
    desk.add_middleware(policy.Guarded)
    desk.include_router(pictures.router)
    desk.add_api_route("/", lambda: RedirectResponse("/line"), include_in_schema=False)
    pages.add_static_files("/static", assets.STATIC)
    assets.style("desk.css", everywhere=True)
    assets.script("theme.js")
    # Before anything is drawn, so that a dark page never flashes white.
    pages.config.vue_config_script += "\nsteelsight.showTheme();\nVue.nextTick(() => steelsight.showTheme());"
    for name in PAGES:
        import_module(f"app.dashboard.pages.{name}")
    ui.run_with(
        desk, title="Steelsight", favicon=ICON, dark=None, language="en-GB", tailwind=False, reconnect_timeout=10
    )
    return desk


@asynccontextmanager
async def _lifespan(_: FastAPI) -> AsyncIterator[None]:
    pages.state.api = Api(pages.state.api_url)
    pages.state.feed = Feed(pages.state.api)
    hearing = asyncio.create_task(pages.state.feed.run())
    try:
        yield
    finally:
        hearing.cancel()
        with suppress(asyncio.CancelledError):
            await hearing
        await pages.state.api.close()
