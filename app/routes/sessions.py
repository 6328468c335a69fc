"""Sessions of people: signing in and out, and who one is."""

from datetime import datetime
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from app.access.declared import OPEN, READ, REFUSALS, principal_of
from app.access.passwords import LONGEST
from app.access.principal import Scope
from app.access.sessions import PREFIX, Session
from app.access.watched import AccessError
from app.arriving import read_bytes
from app.json_body import strict
from app.openapi import problems, schema_of
from app.parameters import SOUND_QUERY, StrictQuery
from app.refusals import Refusal, ServiceCode
from app.service import Current, Service

# An ID token with hundreds of groups, and room to spare.
MAX_BYTES = 64 * 1024

router = APIRouter(prefix="/v1", tags=["sessions"])


class PasswordSignIn(BaseModel):
    """Who wants to sign in."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)

    name: str = Field(min_length=1, max_length=128)
    password: str = Field(min_length=1, max_length=4 * LONGEST)
    address: str | None = Field(
        None, max_length=64, description="From where the person comes; believed of a caller with a key of its own."
    )


class ProviderSignIn(BaseModel):
    """What an OpenID provider has said."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)

    id_token: str = Field(min_length=1)
    nonce: str = Field(min_length=16, max_length=256, description="With which the sign-in was begun.")
    address: str | None = Field(None, max_length=64)


class SessionReply(BaseModel):
    """A session that has begun."""

    token: str = Field(description="To be sent as `Authorization: Bearer ss_...`.")


class WhoReply(BaseModel):
    """Who asks."""

    name: str
    kind: Literal["key", "person", "open"]
    role: str | None = Field(description="Of a person: viewer, reviewer or admin.")
    scopes: list[Scope]
    expires_at: datetime | None = Field(description="When a person's session ends by itself.")


class EndQuery(StrictQuery):
    """How much is to end."""

    everywhere: bool = Field(False, description="All sessions of the person.")


Body = TypeVar("Body", PasswordSignIn, ProviderSignIn)


def _body(model: type[BaseModel]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema_of(model)}}}}


@router.post(
    "/sessions",
    dependencies=[OPEN],
    status_code=201,
    summary="Sign in with a password",
    responses=problems(400, 401, 408, 413, 415, 422, 429, 503),
    openapi_extra=_body(PasswordSignIn),
)
async def begin(request: Request, service: Current) -> SessionReply:
    """The token of a session, for twelve hours at most. After ten failures in a minute a name or an address waits."""
    said = await _said(request, service, PasswordSignIn, '{"name": "...", "password": "..."}')
    token = await service.sign_in.with_password(said.name, said.password, _address(request, service, said.address))
    return SessionReply(token=token)


@router.post(
    "/sessions/oidc",
    dependencies=[OPEN],
    status_code=201,
    summary="Sign in with an ID token",
    responses=problems(400, 401, 403, 404, 408, 413, 415, 422, 503),
    openapi_extra=_body(ProviderSignIn),
)
async def begin_vouched(request: Request, service: Current) -> SessionReply:
    """The token of a session for whoever the configured OpenID provider has named in the last ten minutes."""
    said = await _said(request, service, ProviderSignIn, '{"id_token": "...", "nonce": "..."}')
    token = await service.sign_in.with_id_token(said.id_token, said.nonce, _address(request, service, said.address))
    return SessionReply(token=token)


@router.get("/sessions", dependencies=[READ], summary="Who asks", responses=REFUSALS)
async def who(request: Request, service: Current) -> WhoReply:
    """The person or key of this request; on an open server nobody in particular, who may do everything."""
    principal = principal_of(request)
    session = _session(request, service) if principal.kind == "person" else None
    return WhoReply(
        name=principal.name,
        kind=principal.kind,
        role=session.person.role if session else None,
        scopes=sorted(principal.scopes),
        expires_at=session.expires_at if session else None,
    )


@router.delete(
    "/sessions",
    dependencies=[READ, SOUND_QUERY],
    status_code=204,
    # Not FastAPI's own, which calls the nothing that it sends JSON.
    response_class=Response,
    summary="Sign out",
    responses={**REFUSALS, **problems(422, 503)},
)
async def end(request: Request, query: Annotated[EndQuery, Query()], service: Current) -> None:
    """The session of this request ends; a key has none."""
    if principal_of(request).kind != "person":
        return
    ended = service.sign_in.sessions.end_all if query.everywhere else service.sign_in.sessions.end
    try:
        await run_in_threadpool(ended, _session(request, service))
    except AccessError as error:
        raise Refusal(ServiceCode.KEYS_UNAVAILABLE, f"the session cannot be ended: {error}") from error


def _session(request: Request, service: Service) -> Session:
    """Of a request that the gate has let in as a person's."""
    offered = [
        *request.headers.getlist("x-api-key"),
        *(each.partition(" ")[2] for each in request.headers.getlist("authorization")),
    ]
    tokens = (each.strip(" ").encode("latin-1") for each in offered)
    return service.sign_in.sessions.session(next(each for each in tokens if each.startswith(PREFIX)))


async def _said(request: Request, service: Service, model: type[Body], expected: str) -> Body:
    """The body. What stands in it is never repeated: it is secret."""
    body = await read_bytes(request, MAX_BYTES, service.settings.body_seconds, expected)
    try:
        return model.model_validate_json(strict(body))
    except ValidationError as error:
        wrong = ", ".join(sorted({str(each["loc"][0]) if each["loc"] else "body" for each in error.errors()}))
        raise Refusal(
            ServiceCode.PARAMETERS_INVALID,
            f"the body is not as expected in: {wrong.encode('ascii', 'backslashreplace').decode()[:80]}; "
            f"expected JSON such as {expected}",
        ) from None


def _address(request: Request, service: Service, said: str | None) -> str:
    """From where a person comes: the desk asks for many, and says it of each, with its own key."""
    if said is not None and not service.gate.open:
        try:
            service.gate.admit(request.scope["headers"], Scope.READ)
            return said
        except Refusal:
            pass
    return request.client.host if request.client else "unknown"
