"""What a route says of who may use it, where it is defined: `dependencies=[READ]`.

Every route has exactly one of these, its own or its router's; a test walks them all.
"""

from typing import Any

from fastapi import Depends, Security
from fastapi.openapi.models import HTTPBearer
from fastapi.security.base import SecurityBase
from starlette.requests import Request

from app.access.principal import Principal, Scope
from app.openapi import problems
from app.requests import RequestRecord
from app.service import service_of

# For the `responses` of a router or route that asks for a key.
REFUSALS: dict[int | str, dict[str, Any]] = problems(401, 403, 429)


class Requires(SecurityBase):
    """A dependency: the request comes from somebody who has the scope. Raises as `Gate.admit`."""

    model = HTTPBearer(description="A key, `sk_...`. The header `X-API-Key` carries one just as well.")
    scheme_name = "key"

    def __init__(self, scope: Scope) -> None:
        self.scope = scope

    async def __call__(self, request: Request) -> Principal:
        """Who asks; `principal_of` knows it from here on."""
        return self.admit(request)

    def admit(self, request: Request) -> Principal:
        """The same for a route that runs no dependencies."""
        gate = service_of(request).gate
        principal = gate.principal(request.scope["headers"], self.scope)
        RequestRecord.of(request).principal = principal
        gate.count(principal)
        return principal


class Open:
    """A dependency that asks for nothing: the route is for everybody, also where the server asks for keys."""

    async def __call__(self) -> None:
        """Nothing to do."""


INSPECT, READ, REVIEW, ADMIN = (
    Security(Requires(scope), scopes=[scope.value]) for scope in (Scope.INSPECT, Scope.READ, Scope.REVIEW, Scope.ADMIN)
)
OPEN = Depends(Open())


def principal_of(request: Request) -> Principal:
    """Who asks, on a route that requires somebody."""
    return RequestRecord.of(request).principal
