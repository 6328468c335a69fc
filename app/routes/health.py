"""Is the process up, does it serve, and what has it done: for supervisors and Prometheus."""

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import Response

from app.access.declared import OPEN, READ, REFUSALS
from app.openapi import problems
from app.schemas import Health, ModelName, Readiness
from app.service import Current

router = APIRouter(tags=["health"])


@router.get("/healthz", dependencies=[OPEN], summary="The process is up")
async def healthz() -> Health:
    """Always 200: restart the process if this does not answer."""
    return Health()


@router.get("/readyz", dependencies=[OPEN], summary="A model is loaded and warmed", responses=problems(503))
async def readyz(service: Current) -> Readiness:
    """200 if frames can be inspected, else 503 with the reason: send frames only while this is 200."""
    inspector = service.slot.require()
    failure = service.slot.failure
    return Readiness(
        model=ModelName(version=inspector.version, engine=inspector.engine.name),
        failure=failure.message if failure else None,
    )


# Not async: with several workers this reads files, and FastAPI moves it to a thread.
@router.get("/metrics", dependencies=[READ], summary="Prometheus metrics", response_class=Response, responses=REFUSALS)
def metrics(service: Current) -> Response:
    """All workers' counts, in Prometheus' text format."""
    return Response(service.metrics.exposition(), media_type=CONTENT_TYPE_LATEST)
