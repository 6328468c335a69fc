"""Ids of clients in paths, whatever they are made of."""

from urllib.parse import unquote

from fastapi.routing import APIRoute
from starlette.routing import Match
from starlette.types import Scope


class IdRoute(APIRoute):
    """A route in whose path an id may hold any character: `%2F` in it is a letter of the id and divides nothing.

    The server decodes a path before it is matched, and `C/map` would be the map of `C`. So the path is matched as it
    was sent, and what stands in its places is decoded then. What is not UTF-8 stays half a character, which is refused
    as no text; the server's own mark for it would make one id of several.
    """

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Whether the request is for this route."""
        sent = scope.get("raw_path")
        if not sent:
            return super().matches(scope)
        found, child = super().matches({**scope, "path": sent.decode("latin-1")})
        if found is not Match.NONE:
            before = scope.get("path_params", {})
            child["path_params"] = {
                name: value if name in before else unquote(value, errors="surrogateescape")
                for name, value in child["path_params"].items()
            }
        return found, child
