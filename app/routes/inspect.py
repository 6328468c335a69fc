"""A frame comes in, a verdict goes out."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from starlette.requests import Request

from app.bodies import read_body
from app.openapi import INSPECT_BODY, problems
from app.parameters import InspectQuery, no_repeats
from app.pool import Inspected
from app.requests import RequestRecord
from app.schemas import InspectionReply, TimingReply
from app.service import Current
from model.inspector import Inspector
from model.reply import told

router = APIRouter(prefix="/v1", tags=["inspection"])


@router.post(
    "/inspect",
    summary="Inspect one frame",
    openapi_extra={"requestBody": INSPECT_BODY},
    responses=problems(400, 408, 413, 415, 422, 503),
    dependencies=[Depends(no_repeats)],
)
async def inspect(request: Request, query: Annotated[InspectQuery, Query()], service: Current) -> InspectionReply:
    """Judge one frame: a tile, an image or a block of strip.

    Results are not stored yet: `request_id` is checked, and a repeat is inspected again.
    """
    record = RequestRecord.of(request)
    with service.pool.place():
        inspector = service.slot.require()
        body = await read_body(request, query, service.settings)
        inspected = await service.pool.inspect(inspector, body)
    service.metrics.frame_inspected(inspected.inspection, inspected.stages_ms)
    record.verdict, record.version = inspected.inspection.verdict.value, inspector.version
    return reply(inspector, inspected, query, record.elapsed_ms())


def reply(inspector: Inspector, inspected: Inspected, query: InspectQuery, total_ms: float) -> InspectionReply:
    """The wire format of one inspection."""
    answer = told(inspector, inspected.inspection)
    events = [event | {"position_mm": query.strip_position_mm(event["y"])} for event in answer.pop("events")]
    timing = {"store": 0.0, "total": total_ms} | inspected.stages_ms
    return InspectionReply(
        inspection_id=inspected.inspection_id,
        events=events,
        timing_ms=TimingReply(**{stage: round(milliseconds, 3) for stage, milliseconds in timing.items()}),
        **answer,
    )
