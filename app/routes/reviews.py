"""Reviews: what a person says of a frame, which frames to look at next, and what all of it tells of the model."""

from typing import Annotated

from fastapi import APIRouter, Path, Query
from sqlalchemy import Connection
from starlette.requests import Request

from app.access.declared import READ, REFUSALS, REVIEW, principal_of
from app.complaints import echo
from app.json_body import read_json
from app.openapi import problems, schema_of
from app.parameters import SOUND_QUERY
from app.refusals import Refusal, ServiceCode
from app.review import loop
from app.review.schemas import (
    Box,
    ClassesReply,
    NewReview,
    QueueQuery,
    QueueReply,
    RatesReply,
    ReviewReply,
    UndoQuery,
)
from app.service import Current
from app.store import audit, reviews
from app.store.inserting import now
from app.store.numbers import number_of
from model.errors import SteelsightError

# A note of the longest kind in whatever escapes a client writes it, and room to spare.
MAX_REVIEW_BYTES = 64 * 1024

router = APIRouter(prefix="/v1", tags=["reviews"], responses=REFUSALS)

InspectionId = Annotated[str, Path(max_length=100, description="Of the inspection, as its reply said.")]


@router.post(
    "/inspections/{inspection_id}/review",
    dependencies=[REVIEW],
    summary="Review a frame",
    responses=problems(400, 404, 408, 413, 415, 422, 503),
    openapi_extra={
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema_of(NewReview)}}}
    },
)
async def review(inspection_id: InspectionId, request: Request, service: Current) -> ReviewReply:
    """From here on this review counts; those before stay on record. Saying the same twice is two reviews."""
    said = await _said(request, service.settings.body_seconds)
    _require_own_name(request, said.reviewer)
    number = _number(inspection_id)

    def added(connection: Connection) -> ReviewReply:
        frame = reviews.frame_of(connection, number)
        if frame is None:
            raise _unknown(inspection_id)
        box = said.box
        if box is not None:
            _require_inside(box, frame)
        row = {**said.model_dump(exclude={"box"}), **(box.model_dump() if box else {})}
        return ReviewReply.of(reviews.add(connection, number, now(), row))

    return await service.store.write(added)


@router.delete(
    "/inspections/{inspection_id}/review",
    dependencies=[REVIEW, SOUND_QUERY],
    summary="Take a review back",
    responses=problems(404, 422, 503),
)
async def undo(
    inspection_id: InspectionId, query: Annotated[UndoQuery, Query()], request: Request, service: Current
) -> ReviewReply | None:
    """The one that counts; the reply is the one before it, which counts again, or null."""
    _require_own_name(request, query.reviewer)
    number, actor = _number(inspection_id), principal_of(request).actor

    def undone(connection: Connection) -> ReviewReply | None:
        if reviews.frame_of(connection, number) is None:
            raise _unknown(inspection_id)
        try:
            counts = reviews.undo(connection, number, now(), query.reviewer, own=query.own)
        except LookupError as reason:
            raise Refusal(
                ServiceCode.NOT_FOUND, f"inspection {inspection_id}: {reason}, so that none can be taken back"
            ) from None
        audit.append(connection, actor, "review.undo", inspection_id, {"reviewer": query.reviewer})
        return None if counts is None else ReviewReply.of(counts)

    return await service.store.write(undone)


@router.get(
    "/reviews/queue", dependencies=[READ, SOUND_QUERY], summary="Frames to review next", responses=problems(422, 503)
)
def review_queue(query: Annotated[QueueQuery, Query()], service: Current) -> QueueReply:
    """Those near a threshold, random samples, and those that a shadow judged otherwise, by turns.

    Only frames that nobody has reviewed and whose image is kept. Until something is reviewed or comes in, the order
    stays as it is.
    """
    with service.store.reading() as connection:
        return loop.review_queue(connection, query.limit)


@router.get(
    "/reviews/rates", dependencies=[READ], summary="Escapes and overkill of live operation", responses=problems(503)
)
def rates(service: Current) -> RatesReply:
    """Of each model version, estimated from the reviewed random samples alone; see docs/review.md."""
    with service.store.reading() as connection:
        return loop.live_rates(connection)


@router.get("/reviews/classes", dependencies=[READ], summary="Defect classes to choose from", responses=problems(503))
def classes(service: Current) -> ClassesReply:
    """Those of the active model, in its order, then others that reviews have named."""
    with service.store.reading() as connection:
        named = reviews.defect_classes(connection)
    return ClassesReply(defect_classes=list(dict.fromkeys([*_classes_of_active(service), *named])))


def _classes_of_active(service: Current) -> tuple[str, ...]:
    """None where no model is active, or its manifest is damaged: then persons name classes all the same."""
    registry = service.slot.loader.registry
    try:
        manifest = registry.manifest(registry.require_active())
    except SteelsightError:
        return ()
    # A network with one output tells good surface from the rest, and knows no class of it.
    return manifest.classes[1:] if manifest.network.outputs > 1 else ()


async def _said(request: Request, seconds: float) -> NewReview:
    """The body, read by hand: FastAPI would read one of any length."""
    return await read_json(request, NewReview, MAX_REVIEW_BYTES, seconds, '{"label": "ok", "reviewer": "..."}')


def _require_own_name(request: Request, reviewer: str) -> None:
    """A person who has signed in speaks for nobody else; a key may be a system that many people use."""
    principal = principal_of(request)
    if principal.kind == "person" and reviewer != principal.name:
        raise Refusal(
            ServiceCode.PARAMETERS_INVALID,
            f"reviewer: received {echo(reviewer)}; {echo(principal.name)} is signed in, and reviews under that name",
        )


def _number(inspection_id: str) -> int:
    try:
        return number_of(inspection_id)
    except ValueError:
        raise _unknown(inspection_id) from None


def _unknown(inspection_id: str) -> Refusal:
    return Refusal(ServiceCode.NOT_FOUND, f"there is no inspection {echo(inspection_id)}; see GET /v1/inspections")


def _require_inside(box: Box, frame: reviews.FrameSize) -> None:
    if box.x + box.width > frame.width or box.y + box.height > frame.height:
        raise Refusal(
            ServiceCode.PARAMETERS_INVALID,
            f"box: received {box.width} x {box.height} px at x={box.x}, y={box.y}; it must lie inside the frame, which "
            f"is {frame.width} x {frame.height} px",
        )
