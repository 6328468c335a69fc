"""What the network saw: of a frame on record, or of an image that comes with the request."""

import time
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from fastapi.concurrency import run_in_threadpool
from pydantic import Field
from sqlalchemy import RowMapping
from starlette.requests import Request
from starlette.responses import Response

from app.access.declared import READ, REFUSALS
from app.bodies import Body, RawPixels, read_frame
from app.explain.messages import Of, Part, Question
from app.explain.schemas import Explanation
from app.kept import Number, archived, kept
from app.openapi import INSPECT_BODY, problems
from app.parameters import INTEGER, SOUND_QUERY, InspectQuery, Name, Pixels, StrictQuery
from app.service import Current, Service
from app.store.numbers import inspection_id
from model.errors import ErrorCode, SteelsightError
from model.image import Frame, PixelFormat

router = APIRouter(prefix="/v1", tags=["explanations"], dependencies=[READ, SOUND_QUERY], responses=REFUSALS)

LayerName = Annotated[str, Path(max_length=100, description="A stage's `name`.")]
PNG: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/png": {"schema": {"type": "string", "format": "binary"}}}}
}


class PartQuery(StrictQuery):
    """Which picture of a layer."""

    of: Of = Field("maps", description="`maps`, `before` (the activation) or `filters`.")
    number: Annotated[int, Field(ge=0, le=2**31), INTEGER] = Field(0, description="Which one, from 0.")


class ExplainQuery(StrictQuery):
    """What a request may say of the image that it brings."""

    version: Name | None = Field(None, description="A published version; the one that serves unless given.")
    width: Pixels | None = Field(None, description="Raw pixels only: pixels in a row.")
    height: Pixels | None = Field(None, description="Raw pixels only: rows.")
    pixel_format: PixelFormat | None = Field(
        None, description="Raw pixels only: GenICam name; unpacked, 16-bit words little-endian."
    )


@router.get(
    "/inspections/{inspection_id}/explain",
    summary="What the network saw in a frame on record",
    response_model=Explanation,
    responses=problems(404, 409, 422, 503, 504),
)
async def explain_inspection(number: Number, service: Current) -> Response:
    """The worst tile from pixels to prediction, by the version that judged it: every layer with its maps, the sums, and
    where in the tile and the frame the answer comes from. Computed anew; the first one takes seconds longer.
    """
    return Response(await _of_record(service, number), media_type="application/json")


@router.get(
    "/inspections/{inspection_id}/explain/{layer}.png",
    summary="One map or filter of it, large",
    response_class=Response,
    responses=PNG | problems(404, 409, 422, 503, 504),
)
async def explain_part(
    number: Number, layer: LayerName, query: Annotated[PartQuery, Query()], service: Current
) -> Response:
    """One map of a layer; or one filter, as its weights for each map that comes in."""
    wanted = Part(layer=layer, of=query.of, number=query.number)
    return Response(await _of_record(service, number, wanted), media_type="image/png")


@router.post(
    "/explain",
    summary="What the network sees in an image",
    response_model=Explanation,
    openapi_extra={"requestBody": INSPECT_BODY},
    responses=problems(400, 404, 408, 409, 413, 415, 422, 503, 504),
)
async def explain_image(request: Request, query: Annotated[ExplainQuery, Query()], service: Current) -> Response:
    """As for a frame on record; nothing is recorded."""
    service.explaining.require_place()
    version = query.version or service.slot.require().version
    about = InspectQuery.model_construct(**query.model_dump(exclude={"version"}))
    body = await read_frame(request, about, service.arriving, time.perf_counter() + service.settings.body_seconds)
    with service.explaining.place():
        frame = await run_in_threadpool(_frame_in, body, service)
        question = _question(service, frame, version=version)
        return Response(await service.explaining.ask(question, frame), media_type="application/json")


async def _of_record(service: Service, number: int, part: Part | None = None) -> bytes:
    with service.explaining.place():
        row, frame = await run_in_threadpool(_frame, service, number)
        question = _question(
            service,
            frame,
            version=row["version"],
            overlap_rows=row["overlap_rows"],
            part=part,
            inspection_id=inspection_id(number),
            recorded={name: row[name] for name in ("verdict", "defect_probability", "engine")},
        )
        try:
            return await service.explaining.ask(question, frame)
        except SteelsightError as error:
            if error.code is not ErrorCode.MODEL_UNKNOWN:
                raise
            raise SteelsightError(
                error.code,
                f"the frame was judged by version {row['version']}, which is no longer in the folder of models: put it "
                "back there, or send the image to POST /v1/explain for another version's view",
            ) from error


def _question(service: Service, frame: Frame, **asked: Any) -> Question:
    height, width = frame.shape
    return Question(height=height, width=width, stride=service.settings.stride, **asked)


def _frame(service: Service, number: int) -> tuple[RowMapping, Frame]:
    """A frame on record and its pixels; work for a thread. Raises `Refusal` (not_found, record_unavailable)."""
    row = kept(service.store, number)
    return row, service.decoding.one(archived(service.store, row))


def _frame_in(body: Body, service: Service) -> Frame:
    """Of an upload; work for a thread. Raises `SteelsightError` and `Refusal`."""
    if isinstance(body, RawPixels):
        return body.frame(service.settings.limits)
    return service.decoding.one(body.file())
