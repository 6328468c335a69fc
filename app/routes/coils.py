"""The coils: announced, closed, listed; and of each what was seen, what was found, and whether it may go on."""

import re
import time
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import Field
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from app.access.declared import READ, REFUSALS, REVIEW, principal_of
from app.coil import replies
from app.coil.acceptance import severities
from app.coil.events import Events
from app.coil.examination import CoilRow, Examination
from app.coil.map_png import png
from app.coil.map_svg import svg
from app.coil.replies import AnnounceRequest, CoilReply, CoilsReply, EventsReply, MapReply, SummaryReply
from app.coil.report import report
from app.coil.scene import scene
from app.coil.strip_map import strip_map
from app.complaints import echo
from app.json_body import read_json
from app.openapi import problems, schema_of
from app.parameters import INTEGER, SOUND_QUERY, Name, StrictQuery
from app.paths import IdRoute
from app.refusals import Refusal, ServiceCode
from app.service import Current, Service
from app.store import audit, coils
from app.store.coils import EventPlace, Summary
from app.store.schema import EPOCH

# A coil's id at its longest, and room for a client that formats.
MAX_ANNOUNCEMENT_BYTES = 4096
# Whoever opens a drawing or a page by itself runs nothing and loads nothing, whatever a name in it may say.
SAFE = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"}
PLACED = re.compile(r"(-?[0-9.e+-]+)?:(-?[0-9]{1,18})")

router = APIRouter(prefix="/v1/coils", tags=["coils"], route_class=IdRoute, responses=REFUSALS)

CoilId = Annotated[Name, Path(description="As frames name it; `/` in it is written `%2F`.")]
Limit = Annotated[int, Field(ge=1, le=500, description="Most rows of one page."), INTEGER]
Cursor = Annotated[str | None, Field(max_length=100, description="`next` of the page before.")]


class MapFormat(StrEnum):
    """The three forms of a map."""

    JSON = "json"
    SVG = "svg"
    PNG = "png"


class CoilsQuery(StrictQuery):
    """Which coils, and which part of them."""

    state: replies.State | None = Field(None, description="Open or closed ones alone.")
    limit: Limit = 50
    cursor: Cursor = None


class EventsQuery(StrictQuery):
    """Which part of a coil's events."""

    limit: Limit = 100
    cursor: Cursor = None


class MapQuery(StrictQuery):
    """How a map is wanted."""

    format: MapFormat = Field(MapFormat.JSON, description="`json`, `svg` or `png`.")


def now() -> datetime:
    """UTC, to the microsecond."""
    return EPOCH + timedelta(microseconds=time.time_ns() // 1000)


@router.post(
    "",
    dependencies=[REVIEW],
    summary="Announce a coil",
    status_code=201,
    responses={
        200: {"model": SummaryReply, "description": "It was known already."},
        **problems(400, 408, 413, 415, 422, 503),
    },
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": schema_of(AnnounceRequest)}},
        }
    },
)
async def announce(request: Request, response: Response, service: Current) -> SummaryReply:
    """Open a coil before its first frame, which would open it too, and say how long and wide it is.

    Announcing it again adds what was not told before, and changes nothing else: the reply has what stands.
    """
    told = await _announcement(request, service.settings.body_seconds)
    actor = principal_of(request).actor

    def opened(connection: Connection) -> tuple[bool, SummaryReply]:
        new, added = coils.open_coil(connection, told.coil_id, now(), told.length_mm, told.width_mm)
        if new:
            audit.append(connection, actor, "coil.open", told.coil_id, told.model_dump(exclude={"coil_id"}))
        elif added:
            audit.append(connection, actor, "coil.announce", told.coil_id, added)
        return new, _summary(connection, told.coil_id)

    new, summary = await service.store.write(opened)
    response.status_code = 201 if new else 200
    return summary


@router.post("/{coil_id}/close", dependencies=[REVIEW], summary="Close a coil", responses=problems(404, 422, 503))
async def close(coil_id: CoilId, request: Request, service: Current) -> SummaryReply:
    """No more of it is to come. Closing it twice changes nothing; a frame that comes late is a part of it still."""
    actor = principal_of(request).actor

    def closed(connection: Connection) -> SummaryReply:
        if coils.close_coil(connection, coil_id, now()):
            audit.append(connection, actor, "coil.close", coil_id)
        return _summary(connection, coil_id)

    return await service.store.write(closed)


@router.get("", dependencies=[READ, SOUND_QUERY], summary="Coils", responses=problems(422, 503))
def listed(service: Current, query: Annotated[CoilsQuery, Query()]) -> CoilsReply:
    """Those that were opened last first."""
    before = None if query.cursor is None else _number(query.cursor)
    with service.store.reading() as connection:
        # One more than is shown tells whether there is another page.
        found = coils.page(connection, query.state, query.limit + 1, before)
    shown = found[: query.limit]
    more = str(shown[-1].coil.number) if len(found) > len(shown) else None
    return CoilsReply(coils=[_told(each) for each in shown], next=more)


@router.get("/{coil_id}", dependencies=[READ], summary="One coil", responses=problems(404, 422, 503))
def one(coil_id: CoilId, service: Current) -> CoilReply:
    """What was seen of it and what was not, what was found, whether it may go on, and what repeats."""
    return replies.detail(_examined(service, coil_id))


@router.get(
    "/{coil_id}/events", dependencies=[READ, SOUND_QUERY], summary="Events of a coil", responses=problems(404, 422, 503)
)
def events(coil_id: CoilId, service: Current, query: Annotated[EventsQuery, Query()]) -> EventsReply:
    """All that the network told of, along the strip."""
    after = None if query.cursor is None else _place(query.cursor)
    with service.store.reading() as connection:
        coil = _found(connection, coil_id)
        found = coils.page_of_events(connection, coil.number, query.limit + 1, after)
    steps = service.store.plant.severities
    shown = found[: query.limit]
    grades = severities(Events.of(shown).size_mm, steps)
    told = [replies.event(row, steps[grade].name) for row, grade in zip(shown, grades.tolist(), strict=True)]
    return EventsReply(events=told, next=_cursor(shown[-1]) if len(found) > query.limit else None)


@router.get(
    "/{coil_id}/map",
    dependencies=[READ, SOUND_QUERY],
    summary="Map of a coil",
    response_model=MapReply,
    responses={
        200: {"content": {"image/svg+xml": {}, "image/png": {}}, "description": "In the form that was asked for."},
        **problems(404, 422, 503),
    },
)
def strip(coil_id: CoilId, service: Current, query: Annotated[MapQuery, Query()]) -> Response:
    """Events by class and gaps, along the strip to scale: as data, or as a picture of them."""
    layout = strip_map(_examined(service, coil_id))
    if query.format is MapFormat.JSON:
        return Response(replies.mapped(layout).model_dump_json(), media_type="application/json")
    drawn = scene(layout)
    if query.format is MapFormat.SVG:
        return Response(svg(drawn), media_type="image/svg+xml", headers=SAFE)
    return Response(png(drawn), media_type="image/png")


@router.get(
    "/{coil_id}/report",
    dependencies=[READ],
    summary="Report of a coil",
    response_class=HTMLResponse,
    responses=problems(404, 422, 503),
)
def printed(coil_id: CoilId, service: Current) -> HTMLResponse:
    """One page to print and to hand on: the verdict, why, and on what it stands."""
    return HTMLResponse(report(_examined(service, coil_id), now()), headers=SAFE)


def _examined(service: Service, coil_id: str) -> Examination:
    with service.store.reading() as connection:
        return service.store.examinations.of(connection, _found(connection, coil_id))


def _found(connection: Connection, coil_id: str) -> CoilRow:
    coil = coils.find(connection, coil_id)
    if coil is None:
        raise Refusal(
            ServiceCode.NOT_FOUND,
            f"there is no coil {echo(coil_id)}; a coil is there from its first frame or from POST /v1/coils on, and "
            "GET /v1/coils lists all",
        )
    return coil


def _summary(connection: Connection, coil_id: str) -> SummaryReply:
    (found,) = coils.summaries(connection, [_found(connection, coil_id)])
    return _told(found)


def _told(found: Summary) -> SummaryReply:
    return replies.summary(found.coil, found.frames, found.events)


async def _announcement(request: Request, seconds: float) -> AnnounceRequest:
    """The body, read by hand: FastAPI would read one of any length."""
    example = '{"coil_id": "C1", "length_mm": 900000.0}'
    told = await read_json(request, AnnounceRequest, MAX_ANNOUNCEMENT_BYTES, seconds, example)
    if not told.coil_id.isprintable():
        raise Refusal(
            ServiceCode.PARAMETERS_INVALID,
            f"coil_id: received {echo(told.coil_id)}; expected printable characters only",
        )
    return told


def _number(cursor: str) -> int:
    if not re.fullmatch(r"[0-9]{1,18}", cursor):
        raise _not_a_cursor(cursor)
    return int(cursor)


def _cursor(row: Any) -> str:
    return f"{'' if row.position_mm is None else repr(row.position_mm)}:{row.number}"


def _place(cursor: str) -> EventPlace:
    found = PLACED.fullmatch(cursor)
    try:
        if found is None:
            raise ValueError
        return EventPlace(float(found[1]) if found[1] else None, int(found[2]))
    except ValueError:
        raise _not_a_cursor(cursor) from None


def _not_a_cursor(cursor: str) -> Refusal:
    return Refusal(
        ServiceCode.PARAMETERS_INVALID, f"cursor: received {echo(cursor)}; expected `next` of the page before"
    )
