"""The Open Inference Protocol v2: health, metadata and inference for clients of other inference servers.

One model, `steelsight`, whose only served version is the active one. Refusals have the protocol's own shape,
`{"error": "<code>: <what is wrong>"}`.
"""

import re
from collections.abc import Callable, Coroutine
from functools import partial
from http import HTTPMethod
from typing import Annotated, Any, Literal, cast

import orjson
from fastapi import APIRouter, Path
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from app import tensors
from app.access.declared import INSPECT, OPEN, READ
from app.access.gate import require_camera
from app.complaints import complaints, echo
from app.errors import STATUS, allowed, problem
from app.openapi import schema_of
from app.refusals import Code, Refusal, ServiceCode
from app.requests import RequestRecord
from app.service import Current, Service
from model.errors import ErrorCode, SteelsightError
from model.image import Frame
from model.inspector import Inspector

SERVER, MODEL = "steelsight", "steelsight"
# The version of the contract, as in app.main.
SERVER_VERSION = "1"
HEAD_LENGTH = "Inference-Header-Content-Length"
KEPT_HEADERS = ("retry-after", "connection", "www-authenticate")


class ErrorReply(BaseModel):
    """Every refusal under /v2."""

    error: str = Field(description="A code of docs/api.md, a colon, and what was received and expected.")


class Live(BaseModel):
    """The process is up."""

    live: Literal[True] = True


class Ready(BaseModel):
    """A model serves."""

    ready: Literal[True] = True


class ModelReady(BaseModel):
    """A model by name that serves."""

    name: str
    ready: Literal[True] = True


class ServerMetadata(BaseModel):
    """What this server is."""

    name: str = SERVER
    version: str = SERVER_VERSION
    extensions: list[str] = ["binary_tensor_data"]


class TensorMetadata(BaseModel):
    """A tensor; -1 is any length."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(BaseModel):
    """The model's tensors. `versions` can be asked for by name: the active one alone."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class V2Route(APIRoute):
    """A route whose refusals have the protocol's shape."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's handler, and the refusals of what it runs."""
        handle = super().get_route_handler()

        async def refusing(request: Request) -> Response:
            try:
                return await handle(request)
            except SteelsightError as error:
                return refused(request, error.code, error.message)
            except Refusal as error:
                return refused(request, error.code, error.message, error.retry_after_s)
            except RequestValidationError as error:
                return refused(request, ServiceCode.PARAMETERS_INVALID, complaints(error.errors()))

        return refusing


def refused(request: Request, code: Code, message: str, retry_after_s: int | None = None) -> Response:
    """A refusal with the status and headers that its code has everywhere, and the protocol's body."""
    response = problem(RequestRecord.of(request), code, message, retry_after_s=retry_after_s)
    kept = {name: value for name, value in response.headers.items() if name in KEPT_HEADERS}
    return _json({"error": f"{code}: {message}"}, response.status_code, kept)


def _refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    codes = {status: [code for code in STATUS if STATUS[code] == status] for status in statuses}
    return {status: {"model": ErrorReply, "description": ", ".join(codes[status])} for status in statuses}


router = APIRouter(
    prefix="/v2", tags=["open inference protocol"], route_class=V2Route, responses=_refusals(401, 403, 429)
)

Name = Annotated[str, Path(alias="model", description="`steelsight`.")]
Version = Annotated[str, Path(description="The active version: no other is loaded.")]

INFER_BODY: dict[str, Any] = {
    "required": True,
    "description": "JSON; with the header `Inference-Header-Content-Length`, JSON of that many bytes and the tensor's.",
    "content": {
        "application/json": {"schema": schema_of(tensors.Head)},
        "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
    },
}


@router.get("/health/live", dependencies=[READ], summary="The process is up")
async def live() -> Live:
    """Always 200."""
    return Live()


@router.get("/health/ready", dependencies=[READ], summary="A model serves", responses=_refusals(503))
async def ready(service: Current) -> Ready:
    """As `/readyz`."""
    service.slot.require()
    return Ready()


@router.get("", dependencies=[READ], summary="What this server is")
async def server_metadata() -> ServerMetadata:
    """Name, version and the extensions it knows."""
    return ServerMetadata()


@router.get("/models/{model}", dependencies=[READ], summary="The model's tensors", responses=_refusals(404, 503))
async def model_metadata(name: Name, service: Current) -> ModelMetadata:
    """Of the version that serves."""
    return _metadata(_served(service, name))


@router.get(
    "/models/{model}/versions/{version}",
    dependencies=[READ],
    summary="A version's tensors",
    responses=_refusals(404, 503),
)
async def version_metadata(name: Name, version: Version, service: Current) -> ModelMetadata:
    """Of the named version, which must be the one that serves."""
    return _metadata(_served(service, name, version))


@router.get("/models/{model}/ready", dependencies=[READ], summary="The model serves", responses=_refusals(404, 503))
async def model_ready(name: Name, service: Current) -> ModelReady:
    """As `/readyz`."""
    _served(service, name)
    return ModelReady(name=name)


@router.get(
    "/models/{model}/versions/{version}/ready",
    dependencies=[READ],
    summary="A version serves",
    responses=_refusals(404, 503),
)
async def version_ready(name: Name, version: Version, service: Current) -> ModelReady:
    """Whether the named version is the one that serves."""
    _served(service, name, version)
    return ModelReady(name=name)


@router.post(
    "/models/{model}/infer",
    dependencies=[INSPECT],
    summary="Score tiles",
    responses=_refusals(400, 404, 408, 413, 415, 422, 503, 504),
    openapi_extra={"requestBody": INFER_BODY},
)
async def infer(name: Name, request: Request, service: Current) -> Response:
    """Calibrated defect probability of each tile, by the version that serves."""
    return await _infer(request, service, partial(_served, service, name))


@router.post(
    "/models/{model}/versions/{version}/infer",
    dependencies=[INSPECT],
    summary="Score tiles with the named version",
    responses=_refusals(400, 404, 408, 413, 415, 422, 503, 504),
    openapi_extra={"requestBody": INFER_BODY},
)
async def infer_version(name: Name, version: Version, request: Request, service: Current) -> Response:
    """The same, if the named version is the one that serves."""
    return await _infer(request, service, partial(_served, service, name, version))


@router.api_route("/{rest:path}", dependencies=[OPEN], methods=list(HTTPMethod), include_in_schema=False)
async def unknown(request: Request) -> Response:
    """What no other path here is, refused as the protocol wants it."""
    others = [route for route in router.routes if isinstance(route, APIRoute) and route.endpoint is not unknown]
    if methods := allowed(others, request.scope):
        response = refused(request, ServiceCode.METHOD_NOT_ALLOWED, f"{request.method} is none of {methods}")
        response.headers["Allow"] = ", ".join(methods)
        return response
    return refused(request, ServiceCode.NOT_FOUND, f"there is no {echo(request.url.path)}; see /docs")


def _served(service: Service, name: str, version: str | None = None) -> Inspector:
    """What serves, if it was asked for. Raises `SteelsightError` (model_unknown), and as `ModelSlot.require`."""
    if name != MODEL:
        raise SteelsightError(ErrorCode.MODEL_UNKNOWN, f"there is no model {echo(name)}; there is one: {MODEL}")
    inspector = service.slot.require()
    if version not in (None, inspector.version):
        raise SteelsightError(
            ErrorCode.MODEL_UNKNOWN,
            f"version {echo(version)} does not serve; {inspector.version} does. Leave the version out to take "
            "whichever serves",
        )
    return inspector


def _metadata(inspector: Inspector) -> ModelMetadata:
    tile = inspector.fitting.tile
    return ModelMetadata(
        name=MODEL,
        versions=[inspector.version],
        platform=f"steelsight_{inspector.engine.name}",
        inputs=[TensorMetadata(name=tensors.INPUT, datatype="UINT8", shape=[-1, tile, tile, 1])],
        outputs=[TensorMetadata(name=tensors.OUTPUT, datatype="FP32", shape=[-1, 1])],
    )


async def _infer(request: Request, service: Service, served: Callable[[], Inspector]) -> Response:
    record = RequestRecord.of(request)
    require_camera(record.principal, None)
    service.pool.require_place()
    inspector = served()
    head_bytes = _head_bytes(request)
    most = tensors.MAX_JSON_BYTES if head_bytes is None else None
    order = service.pool.order(record.started, request.receive)
    body = await service.arriving.read(request, order.deadline, "an inference request as JSON", most)
    with service.pool.place():
        work = partial(_score, inspector, body, head_bytes, service.settings.max_pixels)
        (reply, reply_head_bytes), tiles = await service.pool.run(order, work)
    record.version = inspector.version
    service.metrics.tiles.inc(tiles)
    if reply_head_bytes is None:
        return Response(reply, media_type="application/json")
    return Response(reply, media_type="application/octet-stream", headers={HEAD_LENGTH: str(reply_head_bytes)})


def _score(
    inspector: Inspector, body: bytes, head_bytes: int | None, max_pixels: int
) -> tuple[tuple[bytes, int | None], int]:
    """A request's reply, as `tensors.answer` makes it, and how many tiles it asked for."""
    asked = tensors.parse(body, head_bytes, inspector.fitting.tile, max_pixels)
    # Every engine takes floats where it takes bytes: both become the network's float32.
    probabilities = inspector.probabilities(cast(Frame, asked.tiles))
    return tensors.answer(asked, MODEL, inspector.version, probabilities), len(asked.tiles)


def _head_bytes(request: Request) -> int | None:
    """How much of the body is JSON; None: all of it. Raises `Refusal` (request_invalid)."""
    given = request.headers.get(HEAD_LENGTH)
    if given is None:
        return None
    if not re.fullmatch(r"[0-9]{1,10}", given):
        message = f"{HEAD_LENGTH}: received {echo(given)}; expected how many bytes of the body are JSON"
        raise Refusal(ServiceCode.REQUEST_INVALID, message)
    return int(given)


def _json(content: object, status: int, headers: dict[str, str]) -> Response:
    return Response(orjson.dumps(content), status, headers, "application/json")
