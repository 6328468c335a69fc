"""The desk as one application: the only place where its parts are put together."""

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from importlib import import_module
from pathlib import Path

from fastapi import FastAPI
from nicegui import app as pages
from nicegui import ui
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.dashboard import pictures
from app.dashboard.client import Api
from app.dashboard.feed import Feed

STATIC = Path(__file__).parent / "static"
PAGES = ("line", "coil", "review", "models", "network", "health")
ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><circle cx="16" cy="16" r="15" fill="#15557f"/>'
    '<circle cx="16" cy="16" r="10" fill="none" stroke="#fff" stroke-width="2.5"/>'
    '<circle cx="16" cy="16" r="5" fill="none" stroke="#fff" stroke-width="2.5"/></svg>'
)
# The browser itself then keeps every request on this machine's address. Vue compiles templates: unsafe-eval.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; frame-ancestors 'self'; "
    "object-src 'none'; base-uri 'self'; form-action 'self'"
)
HEADERS: Mapping[str, str] = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}


class Guarded:
    """Adds `HEADERS` to every answer that does not bring its own."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *((name.encode(), value.encode()) for name, value in HEADERS.items() if name.encode() not in given),
                ]
            await send(message)

        await self.app(scope, receive, guarded)


def create_desk(api_url: str) -> FastAPI:
    """The desk on one API. One in a process: NiceGUI keeps its pages in module state."""
    # A line for each question to the API and for each browser that comes and goes tells nobody anything.
    for name in ("httpx", "uvicorn.error"):
        logging.getLogger(name).setLevel(logging.WARNING)
    desk = FastAPI(lifespan=_lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    pages.state.api_url = api_url
    desk.add_middleware(Guarded)
    desk.include_router(pictures.router)
    desk.add_api_route("/", lambda: RedirectResponse("/line"), include_in_schema=False)
    pages.add_static_files("/static", STATIC)
    # By content, so that a browser never shows a new page in an old dress.
    for name, tag in (("desk.css", '<link rel="stylesheet" href="{}">'), ("theme.js", '<script src="{}"></script>')):
        digest = hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]
        ui.add_head_html(tag.format(f"/static/{name}?{digest}"), shared=True)
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
