"""The record of inspections: found by what they were, one by one with its picture, and as a file."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from app.access.declared import READ, REFUSALS
from app.archive import MEDIA_TYPES
from app.conditional import answered, unchanged
from app.export.csv import MEDIA_TYPE as CSV
from app.export.csv import as_csv
from app.export.parquet import MEDIA_TYPE as PARQUET
from app.export.parquet import as_parquet
from app.kept import Number, archived, kept, unknown
from app.openapi import BINARY, problems
from app.originals import as_png
from app.parameters import SOUND_QUERY
from app.record_query import ExportQuery, FrameQuery, PageQuery, TableFormat
from app.schemas_record import (
    ArchiveReply,
    DatabaseReply,
    InspectionDetail,
    InspectionsReply,
    RecordReply,
    WriterReply,
)
from app.service import Current
from app.store import queries
from model import heatmap
from model.inspector import Inspector

# A picture of a digest never changes. Private: it shows the plant's product.
FOR_EVER = "private, max-age=31536000, immutable"
# Drawn anew each time: a browser that has it asks whether it still holds.
ASK_AGAIN = "private, no-cache"

IMAGES = {media: {"schema": BINARY} for media in MEDIA_TYPES.values()}
EXPORTS = {TableFormat.CSV: (as_csv, CSV), TableFormat.PARQUET: (as_parquet, PARQUET)}

router = APIRouter(prefix="/v1", tags=["record"], dependencies=[READ, SOUND_QUERY], responses=REFUSALS)


# Not async, as all that read the record: FastAPI moves them to a thread.
@router.get("/inspections", summary="Find inspections", responses=problems(422, 503))
def inspections(service: Current, query: Annotated[PageQuery, Query()]) -> InspectionsReply:
    """The newest first. All filters combine.

    Pages hold still while frames come in: what was there when the first was asked for is on one of them, once.
    """
    with service.store.reading() as connection:
        return InspectionsReply.of(queries.page(connection, query.wanted(), query.limit, query.before))


@router.get(
    "/inspections/export",
    summary="Inspections as a file",
    response_class=StreamingResponse,
    responses={200: {"content": {media: {"schema": BINARY} for _, media in EXPORTS.values()}}, **problems(422, 503)},
)
def export(service: Current, query: Annotated[ExportQuery, Query()]) -> StreamingResponse:
    """All that fulfil the filters, the newest first, with the columns of a row of the list.

    In CSV a text that a spreadsheet would take for a formula has a `'` before it.
    """
    written, media_type = EXPORTS[query.format]
    parts = written(queries.batches(service.store.reading, query.wanted()))
    name = f'attachment; filename="inspections.{query.format.value}"'
    return StreamingResponse(parts, media_type=media_type, headers={"Content-Disposition": name})


@router.get("/inspections/{inspection_id}", summary="One inspection", responses=problems(404, 422, 503))
def inspection(service: Current, number: Number) -> InspectionDetail:
    """With its events, its reviews, and the verdicts of shadows that differed."""
    with service.store.reading() as connection:
        detail = queries.detail(connection, number)
    if detail is None:
        raise unknown()
    return InspectionDetail.whole(detail)


@router.get(
    "/inspections/{inspection_id}/image",
    summary="The frame of an inspection",
    response_class=Response,
    responses={200: {"content": IMAGES}, **problems(404, 422, 503)},
)
def frame(
    request: Request,
    service: Current,
    number: Number,
    query: Annotated[FrameQuery, Query()],
) -> Response:
    """The image file as it came; raw pixels as a PNG that has all of them."""
    row = kept(service.store, number)
    tag = row["image"] if query.format is None else f"{row['image']}-{query.format}"
    if unchanged(request, tag):
        return answered(tag, FOR_EVER)
    if query.format is not None:
        pixels = service.decoding.one(archived(service.store, row))
        return answered(tag, FOR_EVER, as_png(pixels), "image/png")
    name = f'inline; filename="{number:016x}.{row["image_format"]}"'
    data = archived(service.store, row)
    # The file is a client's own: it is shown as the kind of image that it was decoded as, or not at all.
    headers = {"Content-Disposition": name, "X-Content-Type-Options": "nosniff"}
    return answered(tag, FOR_EVER, data, MEDIA_TYPES[row["image_format"]], headers)


@router.get(
    "/inspections/{inspection_id}/heatmap.png",
    summary="The frame under its heat map",
    response_class=Response,
    responses={200: {"content": {"image/png": {"schema": BINARY}}}, **problems(404, 409, 422, 503)},
)
async def heat_map(request: Request, service: Current, number: Number) -> Response:
    """Scored anew by the version that judged it: every pixel coloured by its highest probability, events framed."""
    row = await asyncio.to_thread(kept, service.store, number)
    # Of one frame there may be several: by version, and by how much of it the frame before had shown.
    tag = f"{number:016x}-{row['version']}"
    if unchanged(request, tag):
        return answered(tag, ASK_AGAIN)

    def drawn(inspector: Inspector) -> bytes:
        pixels = service.decoding.one(archived(service.store, row))
        return heatmap.picture(inspector.inspect(pixels, row["overlap_rows"]), pixels)

    return answered(tag, ASK_AGAIN, await service.rescoring.run(row["version"], drawn), "image/png")


@router.get("/record", summary="How much is kept", responses=problems(422, 503))
def record(service: Current) -> RecordReply:
    """What the database and the archive hold, and what waits to be committed in the worker that answers."""
    store = service.store
    with store.reading() as connection:
        size = queries.size(connection)
        taken = queries.database_bytes(store.database, connection)
    free = store.archive.free_bytes()
    return RecordReply(
        database=DatabaseReply(kind=store.database.kind, bytes=taken, inspections=size.inspections),
        archive=ArchiveReply(
            kind=store.archive.kind, images=size.images, bytes=size.image_bytes, full=free == 0, free_bytes=free
        ),
        writer=WriterReply(waiting=store.waiting),
    )
