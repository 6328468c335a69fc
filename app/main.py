"""The application: every part is made and joined here, and nowhere else."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

from fastapi import FastAPI
from sqlalchemy import Connection

from app import recording, tracing
from app.access.gate import Gate
from app.access.keys import Keys
from app.access.openid import provider_of
from app.access.rates import Rates
from app.access.sessions import Sessions
from app.access.sign_in import SignIn
from app.arriving import Arriving
from app.batching import BATCH_PIXELS, InspectionPool
from app.decoding import Decoding
from app.errors import HANDLERS
from app.explaining import Explaining
from app.housekeeping import Housekeeping
from app.live.feed import Feed
from app.live.previews import Previews
from app.metrics import Metrics
from app.middleware import HeadMiddleware, RecordingMiddleware
from app.protocol import AT_THE_HEAD
from app.rescoring import Rescoring
from app.routes import coils, docs, explain, health, inspect, live, model_report, models, records, reviews, v2
from app.routes import sessions as session_routes
from app.service import Service
from app.serving import ModelSlot
from app.settings import Settings
from app.shadow import Difference, Shadow
from app.stalls import Heartbeat
from app.store.record import Record
from app.turning_away import TurningAway

# Of the contract, not of the program: what the paths begin with.
API_VERSION = "1"
ROOMS = (inspect, coils, records, reviews, explain, live, models, model_report, session_routes, v2, health, docs)


def create_app(settings: Settings) -> FastAPI:
    """One worker's application. The model is loaded when its lifespan begins: a worker that has the port to itself
    answers meanwhile, one of several takes no connection before.
    """
    metrics, heartbeat = Metrics(), Heartbeat()
    slot, decoding = ModelSlot(settings, metrics), Decoding(settings, metrics, BATCH_PIXELS)
    pool = InspectionPool(settings, metrics, decoding)
    record = Record(settings, metrics) if settings.record == "on" else None

    sessions = Sessions(settings.home)

    def reading() -> AbstractContextManager[Connection]:
        return service.store.reading()

    service = Service(
        settings,
        metrics,
        # Every kind of token that the gate knows.
        Gate(settings.access, settings.host, [Keys(settings.home), sessions], Rates(settings.rate_per_minute)),
        SignIn(settings.home, sessions, provider_of(settings)),
        slot,
        Arriving(settings, metrics),
        pool,
        decoding,
        Shadow(slot.loader, metrics, pool.spare, told=partial(_keep, record) if record else None),
        record,
        Previews(settings.home / "live"),
        Feed(reading),
        Rescoring(slot),
        Explaining(settings),
    )
    app = FastAPI(
        title="Steelsight",
        summary="Inspection of steel surfaces: a frame comes in, a verdict goes out.",
        version=API_VERSION,
        lifespan=lifespan,
        # `routes/docs.py` serves it, as all pages: with what each route says of who may use it.
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        # A redirect would be a second request for a client that may not follow it; a wrong path is a 404.
        redirect_slashes=False,
        exception_handlers=HANDLERS,
        telemetry=tracing.FRAMEWORKS_OWN,
    )
    app.state.service, app.state.heartbeat = service, heartbeat
    app.add_middleware(HeadMiddleware)
    # Outermost but for traces: its log line and counts see the request as the client sent it.
    app.add_middleware(RecordingMiddleware, metrics=metrics, heartbeat=heartbeat)
    if tracing.configured(os.environ):
        app.add_middleware(tracing.TracingMiddleware, environ=os.environ)
    for room in ROOMS:
        app.include_router(room.router)
    app.mount(docs.ASSETS_URL, docs.ASSETS)
    return app


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    """Everything that runs beside the requests, for as long as the application does; what begins last ends first.

    It gives the protocol what answers frames that find no place; where traces are kept, these pass it as well.
    """
    service: Service = app.state.service
    async with AsyncExitStack() as running:
        await asyncio.to_thread(service.gate.refresh)
        service.decoding.open()
        running.callback(service.decoding.close)
        running.callback(service.slot.close)
        running.callback(service.explaining.close)
        running.callback(service.shadow.close)
        if record := service.record:
            await asyncio.to_thread(record.open, service.pool.recorded)
            running.push_async_callback(asyncio.to_thread, record.close)
        service.previews.open()
        running.callback(service.previews.close)
        running.callback(service.feed.close)
        offers = [service.shadow.offer, service.previews.offer]
        service.pool.open(offers, record)
        running.callback(service.pool.close)
        if service.settings.workers > 1:
            # A connection goes to any worker: whoever saw one of them ready must not meet another that still loads.
            await service.slot.refresh()
        beats: Heartbeat = app.state.heartbeat
        watches = [beats.run(), service.slot.watch(), service.shadow.watch(), service.gate.watch()]
        if record:
            watches.append(Housekeeping(service).run())
        for watch in watches:
            running.push_async_callback(_cancelled, asyncio.create_task(watch))
        yield {} if tracing.configured(os.environ) else {AT_THE_HEAD: TurningAway(service)}


async def _cancelled(task: "asyncio.Task[None]") -> None:
    task.cancel()
    # What it failed of, if it did, is no reason not to end the others.
    await asyncio.wait([task])


def _keep(record: Record, difference: Difference) -> None:
    record.note(partial(recording.difference, told=difference))
