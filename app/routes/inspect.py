"""A frame comes in, a verdict goes out; or several frames in one request."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import ClientDisconnect, Request

from app.access.declared import INSPECT, REFUSALS
from app.access.gate import require_camera
from app.batching import Inspected
from app.bodies import images, read_batch, read_frame
from app.errors import problem_document
from app.openapi import BATCH_BODY, INSPECT_BODY, problems
from app.parameters import BatchQuery, InspectQuery
from app.refusals import Code, Refusal, ServiceCode
from app.replies import batch_reply
from app.requests import RequestRecord
from app.routing import BareRoute
from app.schemas import BatchReply, FailedInspection, InspectionReply
from app.service import Service, service_of, why
from model.errors import SteelsightError

router = APIRouter(prefix="/v1", tags=["inspection"], route_class=BareRoute, dependencies=[INSPECT], responses=REFUSALS)


@router.post(
    "/inspect",
    summary="Inspect one frame",
    response_model=InspectionReply,
    openapi_extra={"requestBody": INSPECT_BODY},
    responses=problems(400, 408, 413, 415, 422, 503, 504),
)
async def inspect(request: Request, query: Annotated[InspectQuery, Query()]) -> bytes:
    """Judge one frame: a tile, an image or a block of strip. The reply leaves once the inspection is in the record.

    A repeat of a `request_id` with the same body is answered as it was the first time.
    """
    service, record = service_of(request), RequestRecord.of(request)
    require_camera(record.principal, query.camera_id)
    pool = service.pool
    with service.noting(query):
        pool.require_place()
        inspector = service.slot.require()
        order = pool.order(record.started, request.receive)
        body = await read_frame(request, query, service.arriving, order.deadline)
        with pool.place():
            inspected = await pool.inspect(order, inspector, body, query)
    record.verdict, record.version, record.stages = inspected.verdict, inspector.version, inspected.stages
    return inspected.reply


@router.post(
    "/inspect/batch",
    summary="Inspect several images",
    response_model=BatchReply,
    openapi_extra={"requestBody": BATCH_BODY},
    responses=problems(400, 408, 413, 415, 422, 503, 504),
)
async def inspect_batch(request: Request, query: Annotated[BatchQuery, Query()]) -> bytes:
    """Judge several images, each by itself: `results` has a reply for each in order, or the problem with it as `error`.

    The status is 200 also if images failed; a request that is itself refused inspects none.
    """
    service, record = service_of(request), RequestRecord.of(request)
    require_camera(record.principal, query.camera_id)
    pool = service.pool
    with service.noting(query) as asked:
        pool.require_place()
        inspector = service.slot.require()
        order = pool.order(record.started, request.receive)
        form = await read_batch(request, service.arriving, order.deadline)
        with pool.place():
            files = await pool.run(order, partial(images, form, service.settings))
            asked.frames = len(files)
            # The first image has the place in which the form was taken apart.
            with pool.place(len(files) - 1):
                about_each = InspectQuery.model_construct(**dict(query))
                answers = await pool.inspect_each(order, inspector, files, about_each)
    record.version = inspector.version
    # From here on each frame has its own answer, and is noted by itself.
    failed = [answer for answer in answers if not isinstance(answer, Inspected)]
    for error in failed:
        service.note(query, why(error))
    if left := next((error for error in failed if isinstance(error, ClientDisconnect)), None):
        raise left
    return batch_reply([_result(answer, service, record) for answer in answers])


def _result(answer: Inspected | BaseException, service: Service, record: RequestRecord) -> bytes:
    if isinstance(answer, Inspected):
        return answer.reply
    if isinstance(answer, SteelsightError | Refusal):
        code: Code = answer.code
        message = answer.message
    else:
        # Answered as if it had been the only one; the log line of the request has it whole.
        record.error = answer
        code, message = ServiceCode.INTERNAL_ERROR, "an internal error occurred; it has been logged"
    service.metrics.refusals.labels(code).inc()
    return FailedInspection(error=problem_document(record, code, message)).model_dump_json().encode()
