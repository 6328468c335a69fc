"""The line as it is now: a feed of everything that is committed, and the cameras with their last pictures."""

import os
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Depends, Header, Path
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from app.access.declared import READ, REFUSALS
from app.access.principal import Scope
from app.complaints import echo
from app.conditional import answered, unchanged
from app.live.feed import Listener, Position
from app.openapi import BINARY, problems
from app.parameters import Name
from app.paths import IdRoute
from app.refusals import Refusal, ServiceCode
from app.schemas_record import CameraReply, CamerasReply, InspectionRow
from app.service import Current, Service
from app.store.cameras import Camera, cameras
from app.store.inserting import now

# FastAPI has a response of its own for this, which takes every event through two queues and a task: a busy line has a
# thousand a second for each listener. Here one part goes out for all that a look has found.
EVENTS = "text/event-stream"
# Proxies that hold a reply back until it is whole would hold this one back for ever.
UNBUFFERED = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}

router = APIRouter(prefix="/v1", tags=["live"], route_class=IdRoute, dependencies=[READ], responses=REFUSALS)


async def _listening(
    service: Current,
    last_event_id: Annotated[
        str | None, Header(max_length=64, description="Where a client that was connected before goes on.")
    ] = None,
) -> AsyncIterator[Listener]:
    """For as long as the response lasts, however it ends."""
    # The feed reads the record: where none is kept, this says so.
    _ = service.store
    after = None if last_event_id is None else Position.of(last_event_id)
    async with service.feed.listening(after) as listener:
        yield listener


@router.get(
    "/live",
    summary="Follow the line",
    response_class=StreamingResponse,
    responses={200: {"content": {EVENTS: {"schema": {"type": "string"}}}}, **problems(422, 503)},
)
async def live(
    request: Request, service: Current, listener: Annotated[Listener, Depends(_listening)]
) -> StreamingResponse:
    """Server-sent events of all workers: `inspection`, a row of the list; `note`, what happened beside (its `kind`);
    `lost`, how many events a client that reads too slowly was not told.
    """
    # A stream has no end of its own: a server that stops calls this, and does not wait for it.
    request.state.on_stop = listener.end

    async def admitted() -> AsyncIterator[bytes]:
        """As long as whoever listens may: a key that is revoked meanwhile hears no more."""
        async for part in listener.stream():
            if not service.gate.still_admits(request.scope["headers"], Scope.READ):
                return
            yield part

    return StreamingResponse(admitted(), media_type=EVENTS, headers=UNBUFFERED)


@router.get("/cameras", summary="The cameras", responses=problems(503))
def seen_cameras(service: Current) -> CamerasReply:
    """Those that sent a frame within a day: the last one of each, how fast and how late they send, and their gaps."""
    at = now()
    with service.store.reading() as connection:
        found = cameras(connection, at)
    return CamerasReply(cameras=[_told(service, camera, at) for camera in found])


@router.get(
    # A camera's id may have a slash in it.
    "/cameras/{camera_id:path}/frame.png",
    summary="A camera's last picture",
    response_class=Response,
    responses={200: {"content": {"image/png": {"schema": BINARY}}}, **problems(404, 422)},
)
def picture(request: Request, service: Current, camera_id: Annotated[Name, Path()]) -> Response:
    """Its last frame under its heat map, small; drawn anew twice a second at most, and in the end of the last frame."""
    path = service.previews.path_of(camera_id)
    try:
        with path.open("rb") as file:
            tag = f"{os.fstat(file.fileno()).st_mtime_ns:x}"
            body = None if unchanged(request, tag) else file.read()
    except FileNotFoundError:
        raise Refusal(
            ServiceCode.NOT_FOUND,
            f"there is no picture of camera {echo(camera_id)}: it has sent no frame that named it; see GET /v1/cameras",
        ) from None
    return answered(tag, "private, no-cache", body, None if body is None else "image/png")


def _told(service: Service, camera: Camera, at: datetime) -> CameraReply:
    row = camera.last
    name: str = row["camera_id"]
    captured_at, received_at = row["captured_at"], row["received_at"]
    has_picture = service.previews.path_of(name).exists()
    return CameraReply(
        camera_id=name,
        side=row["side"],
        coil_id=row["coil_id"],
        last=InspectionRow.of(row),
        frames_per_second=camera.frames_per_second,
        megapixels_per_second=camera.megapixels_per_second,
        lag_ms=None if captured_at is None else (received_at - captured_at).total_seconds() * 1000,
        gaps=camera.gaps,
        seconds_since_last=max(0.0, (at - received_at).total_seconds()),
        picture=f"/v1/cameras/{quote(name, safe='')}/frame.png" if has_picture else None,
    )
