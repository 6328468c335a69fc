"""The application: every part is made and joined here, and nowhere else."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from fastapi import FastAPI

from app.errors import HANDLERS
from app.metrics import Metrics
from app.middleware import HeadMiddleware, RecordingMiddleware
from app.pool import InspectionPool
from app.routes import docs, health, inspect
from app.service import Service
from app.serving import ModelSlot
from app.settings import Settings

# Of the contract, not of the program: what the paths begin with.
API_VERSION = "1"


def create_app(settings: Settings) -> FastAPI:
    """One worker's application. It answers at once; the model is loaded when its lifespan begins."""
    metrics = Metrics()
    service = Service(settings, metrics, ModelSlot(settings, metrics), InspectionPool(settings, metrics))
    app = FastAPI(
        title="Steelsight",
        summary="Inspection of steel surfaces: a frame comes in, a verdict goes out.",
        version=API_VERSION,
        lifespan=lifespan,
        openapi_url=docs.OPENAPI_URL,
        docs_url=None,
        redoc_url=None,
        # A redirect would be a second request for a client that may not follow it; a wrong path is a 404.
        redirect_slashes=False,
        exception_handlers=HANDLERS,
    )
    app.state.service = service
    app.add_middleware(HeadMiddleware)
    # The outermost: its log line and counts see the request as the client sent it.
    app.add_middleware(RecordingMiddleware, metrics=metrics)
    for room in (inspect, health, docs):
        app.include_router(room.router)
    app.mount(docs.ASSETS_URL, docs.ASSETS)
    return app


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Follow the active model version for as long as the application runs."""
    service: Service = app.state.service
    watch = asyncio.create_task(service.slot.watch())
    try:
        yield
    finally:
        watch.cancel()
        with suppress(asyncio.CancelledError):
            await watch
        service.pool.close()
