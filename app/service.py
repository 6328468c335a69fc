"""What the routes work with. `app.main` builds it; a route asks for it as a parameter of type `Current`."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends
from starlette.requests import Request

from app.batching import InspectionPool
from app.metrics import Metrics
from app.serving import ModelSlot
from app.settings import Settings
from app.shadow import Shadow


@dataclass(frozen=True)
class Service:
    """One worker's parts."""

    settings: Settings
    metrics: Metrics
    slot: ModelSlot
    pool: InspectionPool
    shadow: Shadow


def service_of(request: Request) -> Service:
    """The parts of the worker that a request came to."""
    service = request.app.state.service
    assert isinstance(service, Service)
    return service


async def _current(request: Request) -> Service:
    return service_of(request)


Current = Annotated[Service, Depends(_current)]
