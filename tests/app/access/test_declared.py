"""Every route says who may use it, and asks for exactly that."""

from collections.abc import Iterator

import pytest
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute, Mount

from app.access.declared import Open, Requires
from app.access.keys import create_key
from app.access.principal import Scope
from app.main import create_app
from app.routes.docs import ASSETS
from app.settings import Settings

# Who may do more than look; all other GETs are `read`.
WRITERS = {
    "POST /v1/inspect": Scope.INSPECT,
    "POST /v1/inspect/batch": Scope.INSPECT,
    "POST /v2/models/{model}/infer": Scope.INSPECT,
    "POST /v2/models/{model}/versions/{version}/infer": Scope.INSPECT,
    "POST /v1/explain": Scope.READ,
    "POST /v1/coils": Scope.REVIEW,
    "POST /v1/coils/{coil_id}/close": Scope.REVIEW,
    "POST /v1/inspections/{inspection_id}/review": Scope.REVIEW,
    "DELETE /v1/inspections/{inspection_id}/review": Scope.REVIEW,
    "DELETE /v1/sessions": Scope.READ,
    "POST /v1/models/rollback": Scope.ADMIN,
    "POST /v1/models/{version}/activate": Scope.ADMIN,
    "POST /v1/models/{version}/shadow": Scope.ADMIN,
    "DELETE /v1/models/{version}/shadow": Scope.ADMIN,
}
FOR_EVERYBODY = {
    "GET /healthz",
    "GET /readyz",
    "GET /docs",
    "GET /redoc",
    "GET /openapi.json",
    "POST /v1/sessions",
    "POST /v1/sessions/oidc",
}
ELSE_UNKNOWN = "/v2/{rest}"


def routes(found: list[BaseRoute]) -> Iterator[BaseRoute]:
    """All of an application, also those that an included router has."""
    for route in found:
        inner = getattr(route, "original_router", None)
        yield from routes(inner.routes) if inner is not None else [route]


def declared(route: APIRoute) -> list[Requires | Open]:
    said = [each.dependency for each in route.dependencies]
    return [each for each in said if isinstance(each, Requires | Open)]


def wanted() -> dict[str, Scope | None]:
    """By method and path the scope, None for everybody."""
    found = {}
    for route in routes(create_app(Settings()).routes):
        if isinstance(route, Mount):
            # Files of the package, the same for everybody.
            assert route.app is ASSETS
            continue
        assert isinstance(route, APIRoute), route
        (says,) = declared(route)
        for method in route.methods:
            found[f"{method} {route.path_format}"] = says.scope if isinstance(says, Requires) else None
    return found


def test_every_route_declares_once_who_may_use_it():
    for route, scope in wanted().items():
        method, path = route.split(" ", 1)
        if path == ELSE_UNKNOWN or route in FOR_EVERYBODY:
            assert scope is None, route
        else:
            assert scope == WRITERS.get(route, Scope.READ if method == "GET" else None), route
            assert scope is not None, route


def test_the_description_names_the_scope_of_each_route():
    described = create_app(Settings()).openapi()
    assert described["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    scopes = wanted()
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            scope = scopes[f"{method.upper()} {path}"]
            assert operation.get("security", []) == ([] if scope is None else [{"key": [scope]}]), path
            assert ({"401", "403", "429"} <= set(operation["responses"])) == (scope is not None), path


@pytest.mark.anyio
async def test_every_route_asks_for_what_it_declares(tmp_path, tiny_models, start):
    tokens = {scope: create_key(tmp_path, scope, [scope])[1] for scope in Scope}
    async with start(home=tmp_path, models=tiny_models) as running:
        for route, scope in wanted().items():
            method, path = route.split(" ", 1)
            if path == ELSE_UNKNOWN:
                continue
            for offered, token in tokens.items():
                if path == "/v1/live" and offered == scope:
                    continue  # It would not end.
                answer = await running.http.request(method, path, headers={"x-api-key": token})
                code = answer.json().get("code") if "json" in answer.headers.get("content-type", "") else None
                refused = answer.status_code == 403 and "scope_missing" in answer.text
                assert refused == (scope is not None and offered != scope), (route, offered, code)
            answer = await running.http.request(method, path)
            assert (answer.status_code == 401) == (scope is not None), route
            assert answer.headers.get("www-authenticate") == (None if scope is None else "Bearer"), route
            assert answer.headers["x-content-type-options"] == "nosniff", route
            assert answer.headers["referrer-policy"] == "no-referrer", route
            assert answer.headers["cache-control"] == "no-store", route
            assert "frame-ancestors 'none'" in answer.headers["content-security-policy"], route
