"""What a client has already is not sent again: entity tags (RFC 9110, 8.8.3 and 13.1.2)."""

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response


def unchanged(request: Request, tag: str) -> bool:
    """Whether the client says that it has what `tag` names."""
    offered = [each.strip().removeprefix("W/") for each in request.headers.get("if-none-match", "").split(",")]
    return f'"{tag}"' in offered or "*" in offered


def answered(
    tag: str,
    cache_control: str,
    body: bytes | None = None,
    media_type: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """What `tag` names; 304 and nothing more if `body` is None, for the client has it."""
    told = {"ETag": f'"{tag}"', "Cache-Control": cache_control, **(headers or {})}
    return Response(body, 304 if body is None else 200, told, media_type)
