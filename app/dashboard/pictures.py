"""Pictures and reports of the API under the desk's own address: a browser needs to reach the desk alone.

What may be asked is a closed list. A browser names a picture, never an address, and nothing it says of itself (cookies,
keys, hosts) is handed on.
"""

import re
from collections.abc import AsyncIterator

import httpx
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from app.dashboard.client import ApiError
from app.dashboard.door import ANYBODY, VISITOR
from app.dashboard.shell import api_for

# One part of a path that carries an id, quoted; `.` and `..` are none, for they would climb.
PART = r"(?!\.{1,2}/)[^/?#]+"
INSPECTION = r"/v1/inspections/[0-9a-f]{16}"
LAST_FRAME = rf"/v1/cameras/{PART}/frame\.png"
PICTURES = re.compile(
    rf"{LAST_FRAME}"
    rf"|{INSPECTION}/(image|heatmap\.png)"
    rf"|{INSPECTION}/explain/[\w.-]+(/[\w.-]+)*\.png"
    rf"|/v1/coils/{PART}/map"
)
REPORTS = re.compile(rf"/v1/(coils|models)/{PART}/report")
# What may be asked for beside the path, as the API takes it. `v` only makes an address new, for the browser's store.
PARAMETERS = frozenset({"format"})
# An uploaded frame is whatever a client sent; the browser is to take it for a picture or for nothing.
SHOWN = frozenset({"image/png", "image/jpeg", "image/webp", "image/bmp", "image/tiff", "image/svg+xml"})
HANDED_ON = ("content-length", "etag", "last-modified")
SEALED = "default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'self'"

router = APIRouter()


@router.get("/picture/{path:path}", include_in_schema=False)
async def picture(request: Request) -> Response:
    """A picture of the API; 404 for anything that is none. 204 for a camera's last frame while it is still drawn: the
    feed tells of a verdict before that, and to ask early is no error that a browser should complain of.
    """
    return await _handed_on(request, "/picture", PICTURES, SHOWN)


@router.get("/report/{path:path}", include_in_schema=False)
async def report(request: Request) -> Response:
    """The report of a coil or of a model version: a page that stands alone, and may run nothing."""
    return await _handed_on(request, "/report", REPORTS, frozenset({"text/html"}))


async def _handed_on(request: Request, prefix: str, allowed: re.Pattern[str], types: frozenset[str]) -> Response:
    # The path as it was sent: decoded, a quoted slash inside an id would be one that parts.
    path = request.scope["raw_path"].decode("ascii", "replace").partition("?")[0].removeprefix(prefix)
    if not allowed.fullmatch(path):
        return PlainTextResponse(f"The desk has nothing at {prefix}{path}.", 404)
    query = httpx.QueryParams({name: value for name, value in request.query_params.items() if name in PARAMETERS})
    wanted = {"if-none-match": request.headers["if-none-match"]} if "if-none-match" in request.headers else {}
    try:
        answer = await api_for(request.scope.get(VISITOR, ANYBODY)).open(f"{path}?{query}" if query else path, wanted)
    except ApiError as error:
        return PlainTextResponse(error.detail, 502)
    media_type = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    if answer.status_code == 404 and re.fullmatch(LAST_FRAME, path):
        await answer.aclose()
        return Response(status_code=204, headers={"cache-control": "no-store"})
    if answer.status_code == 304:
        await answer.aclose()
        return Response(status_code=304, headers=_named(answer))
    if answer.is_error or media_type not in types:
        await answer.aread()
        reason = answer.text if answer.is_error else f"The API answered with {media_type or 'no type'}."
        return PlainTextResponse(reason, answer.status_code if answer.is_error else 502)
    return StreamingResponse(_parts(answer), media_type=answer.headers["content-type"], headers=_named(answer))


def _named(answer: httpx.Response) -> dict[str, str]:
    # The body is handed on decoded; its length is then known only where it was not encoded.
    names = HANDED_ON if "content-encoding" not in answer.headers else HANDED_ON[1:]
    kept = {name: answer.headers[name] for name in names if name in answer.headers}
    # An archived image never changes, a camera's last frame does; the API knows which is which.
    caching = answer.headers.get("cache-control", "no-cache")
    return kept | {"cache-control": caching, "content-security-policy": SEALED}


async def _parts(answer: httpx.Response) -> AsyncIterator[bytes]:
    try:
        async for part in answer.aiter_bytes():
            yield part
    finally:
        await answer.aclose()
