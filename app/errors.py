"""Refusals as HTTP: the single code -> status map, RFC 9457 problem documents, exception handlers."""

from collections.abc import Callable, Coroutine, Iterable, Mapping
from http import HTTPStatus
from typing import Any

import structlog
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from sqlalchemy.exc import DBAPIError, TimeoutError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Route
from starlette.types import Scope

from app.complaints import complaints, echo
from app.refusals import Code, Refusal, ServiceCode
from app.requests import RequestRecord
from app.schemas import Problem
from model.errors import ErrorCode, SteelsightError

PROBLEM_JSON = "application/problem+json"

log = structlog.get_logger("steelsight.refusals")

STATUS: Mapping[Code, HTTPStatus] = {
    ErrorCode.BODY_EMPTY: HTTPStatus.BAD_REQUEST,
    ErrorCode.IMAGE_FORMAT_UNSUPPORTED: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    ErrorCode.IMAGE_PIXEL_TYPE_UNSUPPORTED: HTTPStatus.UNPROCESSABLE_ENTITY,
    ErrorCode.IMAGE_CORRUPT: HTTPStatus.UNPROCESSABLE_ENTITY,
    ErrorCode.IMAGE_MULTI_FRAME: HTTPStatus.UNPROCESSABLE_ENTITY,
    ErrorCode.IMAGE_TOO_LARGE: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    ErrorCode.IMAGE_TOO_SMALL: HTTPStatus.UNPROCESSABLE_ENTITY,
    ErrorCode.RAW_FRAME_INVALID: HTTPStatus.UNPROCESSABLE_ENTITY,
    ErrorCode.NETWORK_INVALID: HTTPStatus.UNPROCESSABLE_ENTITY,
    ErrorCode.ARTIFACT_INVALID: HTTPStatus.CONFLICT,
    ErrorCode.SIGNING_KEY_INVALID: HTTPStatus.SERVICE_UNAVAILABLE,
    ErrorCode.ENGINE_UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    ErrorCode.EXPORT_DISAGREES: HTTPStatus.CONFLICT,
    ErrorCode.MODEL_UNKNOWN: HTTPStatus.NOT_FOUND,
    ErrorCode.NO_ACTIVE_MODEL: HTTPStatus.SERVICE_UNAVAILABLE,
    ErrorCode.NO_PREVIOUS_MODEL: HTTPStatus.CONFLICT,
    ServiceCode.BODY_TOO_LARGE: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    ServiceCode.BODY_TIMEOUT: HTTPStatus.REQUEST_TIMEOUT,
    ServiceCode.CONTENT_TYPE_UNSUPPORTED: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    ServiceCode.MULTIPART_INVALID: HTTPStatus.BAD_REQUEST,
    ServiceCode.PARAMETERS_INVALID: HTTPStatus.UNPROCESSABLE_ENTITY,
    ServiceCode.NOT_FOUND: HTTPStatus.NOT_FOUND,
    ServiceCode.METHOD_NOT_ALLOWED: HTTPStatus.METHOD_NOT_ALLOWED,
    ServiceCode.REQUEST_INVALID: HTTPStatus.BAD_REQUEST,
    ServiceCode.IMAGE_UNDECODABLE: HTTPStatus.UNPROCESSABLE_ENTITY,
    ServiceCode.DECODER_UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    ServiceCode.OVERLOADED: HTTPStatus.SERVICE_UNAVAILABLE,
    ServiceCode.DEADLINE_EXCEEDED: HTTPStatus.GATEWAY_TIMEOUT,
    ServiceCode.MODEL_LOADING: HTTPStatus.SERVICE_UNAVAILABLE,
    ServiceCode.MODEL_UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    ServiceCode.SHUTTING_DOWN: HTTPStatus.SERVICE_UNAVAILABLE,
    ServiceCode.RECORD_UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    ServiceCode.REQUEST_ID_REUSED: HTTPStatus.UNPROCESSABLE_ENTITY,
    ServiceCode.ARCHIVE_FULL: HTTPStatus.SERVICE_UNAVAILABLE,
    ServiceCode.EXPLAIN_UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    ServiceCode.KEY_MISSING: HTTPStatus.UNAUTHORIZED,
    ServiceCode.KEY_INVALID: HTTPStatus.UNAUTHORIZED,
    ServiceCode.SCOPE_MISSING: HTTPStatus.FORBIDDEN,
    ServiceCode.CAMERA_FORBIDDEN: HTTPStatus.FORBIDDEN,
    ServiceCode.CROSS_SITE: HTTPStatus.FORBIDDEN,
    ServiceCode.RATE_LIMITED: HTTPStatus.TOO_MANY_REQUESTS,
    ServiceCode.KEYS_UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    ServiceCode.SIGN_IN_FAILED: HTTPStatus.UNAUTHORIZED,
    ServiceCode.ROLE_MISSING: HTTPStatus.FORBIDDEN,
    ServiceCode.PROVIDER_UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    ServiceCode.INTERNAL_ERROR: HTTPStatus.INTERNAL_SERVER_ERROR,
}

# A full server is free again within a frame or two; a model is loaded or chosen in seconds.
RETRY_AFTER_S: Mapping[Code, int] = {ServiceCode.OVERLOADED: 1, ServiceCode.MODEL_LOADING: 1}
RETRY_AFTER_DEFAULT_S = 5

# RFC 6750, 3.1: a request without a key is told of no error.
CHALLENGE: Mapping[Code, str] = {ServiceCode.KEY_INVALID: 'Bearer error="invalid_token"'}

ExceptionHandler = Callable[[Request, Any], Coroutine[Any, Any, Response]]

FRAMEWORK_CODES = {
    HTTPStatus.NOT_FOUND: ServiceCode.NOT_FOUND,
    HTTPStatus.METHOD_NOT_ALLOWED: ServiceCode.METHOD_NOT_ALLOWED,
}


def problem_document(record: RequestRecord, code: Code, detail: str, status: int | None = None) -> Problem:
    """What a problem document says; see `problem`."""
    return Problem(
        type=f"urn:steelsight:problem:{code}",
        title=code.replace("_", " ").capitalize(),
        status=status or STATUS[code],
        detail=detail,
        code=code,
        instance=record.request_id,
    )


def problem(
    record: RequestRecord, code: Code, detail: str, status: int | None = None, retry_after_s: int | None = None
) -> Response:
    """The problem document of one refusal; its code goes into the request's record.

    status: what to answer if not the code's own. retry_after_s: when to ask again, if not when the code says.
    """
    record.code = code
    answered = status or STATUS[code]
    document = problem_document(record, code, detail, answered)
    headers = {}
    if answered in (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS):
        headers["Retry-After"] = str(retry_after_s or RETRY_AFTER_S.get(code, RETRY_AFTER_DEFAULT_S))
    if answered == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = CHALLENGE.get(code, "Bearer")
    if code in (ServiceCode.BODY_TOO_LARGE, ServiceCode.BODY_TIMEOUT):
        # The rest of the body may still come, at whatever pace and length: RFC 9110, 15.5.9 and 15.5.14.
        headers["Connection"] = "close"
    return Response(document.model_dump_json(), answered, headers, PROBLEM_JSON)


async def refused(request: Request, error: Exception) -> Response:
    """A refusal of the domain or of the service."""
    assert isinstance(error, SteelsightError | Refusal)
    later = error.retry_after_s if isinstance(error, Refusal) else None
    return problem(RequestRecord.of(request), error.code, error.message, retry_after_s=later)


async def parameters_invalid(request: Request, error: Exception) -> Response:
    """What FastAPI finds wrong with the parameters, before a route is entered."""
    assert isinstance(error, RequestValidationError)
    return problem(RequestRecord.of(request), ServiceCode.PARAMETERS_INVALID, complaints(error.errors()))


async def framework_refused(request: Request, error: Exception) -> Response:
    """Whatever Starlette refuses: no such path, no such method."""
    assert isinstance(error, HTTPException)
    code = FRAMEWORK_CODES.get(HTTPStatus(error.status_code), ServiceCode.REQUEST_INVALID)
    detail = f"{error.detail}: {request.method} {echo(request.url.path)}; the API is described at /docs"
    response = problem(RequestRecord.of(request), code, detail, error.status_code)
    response.headers.update(error.headers or {})
    if code is ServiceCode.METHOD_NOT_ALLOWED:
        routes = (each.original_route for each in iter_route_contexts(request.app.routes))
        # What no route of ours refuses are files.
        response.headers["Allow"] = ", ".join(allowed(routes, request.scope) or ["GET", "HEAD"])
    return response


def allowed(routes: Iterable[BaseRoute], scope: Scope) -> list[str]:
    """The methods of a path, for `Allow`: each of its routes knows its own alone, and none knows of HEAD.

    A name that stands in a route's path is no value for another's: `rollback` is no version to be had.
    """
    matching = [route for route in routes if isinstance(route, Route) and route.matches(scope)[0] is not Match.NONE]
    places = min((len(route.param_convertors) for route in matching), default=0)
    own = (route for route in matching if len(route.param_convertors) == places)
    found = {method for route in own for method in route.methods or ()}
    return sorted(found | {"HEAD"} if "GET" in found else found)


async def record_unavailable(request: Request, error: Exception) -> Response:
    """What a route met that reads the record while its database does not answer."""
    assert isinstance(error, DBAPIError | TimeoutError)
    log.error("record_unavailable", exc_info=error)
    message = "the record cannot be read now; try again in a moment"
    return problem(RequestRecord.of(request), ServiceCode.RECORD_UNAVAILABLE, message)


HANDLERS: dict[int | type[Exception], ExceptionHandler] = {
    SteelsightError: refused,
    Refusal: refused,
    RequestValidationError: parameters_invalid,
    HTTPException: framework_refused,
    DBAPIError: record_unavailable,
    TimeoutError: record_unavailable,
}
