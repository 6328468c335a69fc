"""The application: every part is made and joined here, and nowhere else."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from fastapi import FastAPI

from app import tracing
from app.batching import InspectionPool
from app.errors import HANDLERS
from app.metrics import Metrics
from app.middleware import HeadMiddleware, RecordingMiddleware
from app.routes import docs, health, inspect, models, v2
from app.service import Service
from app.serving import ModelSlot
from app.settings import Settings
from app.shadow import Shadow

# Of the contract, not of the program: what the paths begin with.
API_VERSION = "1"


def create_app(settings: Settings) -> FastAPI:
    """One worker's application. It answers at once; the model is loaded when its lifespan begins."""
    metrics = Metrics()
    slot, pool = ModelSlot(settings, metrics), InspectionPool(settings, metrics)
    service = Service(settings, metrics, slot, pool, Shadow(slot.loader, metrics, pool.spare))
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
        telemetry=tracing.FRAMEWORKS_OWN,
    )
    app.state.service = service
    app.add_middleware(HeadMiddleware)
    # Outermost but for traces: its log line and counts see the request as the client sent it.
    app.add_middleware(RecordingMiddleware, metrics=metrics)
    if tracing.configured(os.environ):
        app.add_middleware(tracing.TracingMiddleware, environ=os.environ)
    for room in (inspect, models, v2, health, docs):
        app.include_router(room.router)
    app.mount(docs.ASSETS_URL, docs.ASSETS)
    return app


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Follow the active model version, and the one that shadows it, for as long as the application runs."""
    service: Service = app.state.service
    service.pool.open(service.shadow.offer)
    watches = [asyncio.create_task(room.watch()) for room in (service.slot, service.shadow)]
    try:
        yield
    finally:
        for watch in watches:
            watch.cancel()
            with suppress(asyncio.CancelledError):
                await watch
        service.pool.close()
        service.shadow.close()
        service.slot.close()
