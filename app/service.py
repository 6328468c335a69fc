"""What the routes work with. `app.main` builds it; a route asks for it as a parameter of type `Current`."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends
from starlette.requests import Request

from app.metrics import Metrics
from app.pool import InspectionPool
from app.serving import ModelSlot
from app.settings import Settings


@dataclass(frozen=True)
class Service:
    """One worker's parts."""

    settings: Settings
    metrics: Metrics
    slot: ModelSlot
    pool: InspectionPool


async def _current(request: Request) -> Service:
    service = request.app.state.service
    assert isinstance(service, Service)
    return service


Current = Annotated[Service, Depends(_current)]
