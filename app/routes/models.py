"""The versions: which there are, which one serves, and which one shadows it."""

import dataclasses
from typing import Annotated

from fastapi import APIRouter, Path
from starlette.requests import Request

from app import catalogue
from app.access.declared import ADMIN, READ, REFUSALS
from app.catalogue import (
    ChangeReply,
    DifferencesReply,
    ModelsReply,
    RollbackReply,
    ShadowReply,
    ShareRequest,
    VersionDetails,
)
from app.json_body import read_json
from app.openapi import problems, schema_of
from app.service import Current

# `{"share": 0.1}`, and room for a client that formats it.
MAX_SHARE_BYTES = 1024

router = APIRouter(prefix="/v1/models", tags=["models"], responses=REFUSALS)

Version = Annotated[str, Path(max_length=100, description="A published version's name.")]


# Not async: manifests are files, and FastAPI moves it to a thread.
@router.get("", dependencies=[READ], summary="All versions")
def models(service: Current) -> ModelsReply:
    """Every published version with its figures, the active one, and what the worker that answers has loaded."""
    return catalogue.models(service.slot.loader.registry, service.slot, service.shadow)


@router.post(
    "/rollback", dependencies=[ADMIN], summary="Return to the version before", responses=problems(404, 409, 503)
)
async def rollback(request: Request, service: Current) -> RollbackReply:
    """As activating it; a second rollback goes one further back. Versions whose folders are gone are passed over."""
    change = await service.slot.rollback()
    skipped = {"skipped": change.skipped} if change.skipped else {}
    await service.audit(request, "model.rollback", change.active, {"before": change.before} | skipped)
    return RollbackReply(active=change.active, previous=change.before, skipped=change.skipped)


@router.get("/shadow/differences", dependencies=[READ], summary="Frames that the shadow judged differently")
async def differences(service: Current) -> DifferencesReply:
    """The latest ones that the worker that answers has seen: at most 1000, and none from before its start."""
    return DifferencesReply.model_validate(
        {"differences": [dataclasses.asdict(each) for each in service.shadow.differences()]}
    )


@router.get("/{version}", dependencies=[READ], summary="One version", responses=problems(404, 409, 422))
def version_details(version: Version, service: Current) -> VersionDetails:
    """What its manifest says."""
    return catalogue.version_details(service.slot.loader.registry, version)


@router.post(
    "/{version}/activate", dependencies=[ADMIN], summary="Serve a version", responses=problems(404, 409, 422, 503)
)
async def activate(version: Version, request: Request, service: Current) -> ChangeReply:
    """Verify, load and warm it beside the one that serves, swap, and make it the active one for all workers.

    The reply comes when the worker that answers serves it; the others follow within a second or two. A version that
    cannot be served changes nothing.
    """
    change = await service.slot.activate(version)
    await service.audit(request, "model.activate", change.active, {"before": change.before})
    return ChangeReply(active=change.active, previous=change.before)


@router.post(
    "/{version}/shadow",
    dependencies=[ADMIN],
    summary="Let a version shadow the active one",
    responses=problems(400, 404, 408, 409, 413, 415, 422, 503),
    openapi_extra={
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema_of(ShareRequest)}}}
    },
)
async def start_shadow(version: Version, request: Request, service: Current) -> ShadowReply:
    """It scores a share of the live frames after their replies, in all workers; nothing it says is answered.

    It takes the place of any other shadow. Naming the one that shadows already changes its share.
    """
    wanted = await _share(request, service.settings.body_seconds)
    await service.shadow.start(version, wanted.share)
    await service.audit(request, "shadow.start", version, {"share": wanted.share})
    running = catalogue.shadowing(service.shadow)
    assert running is not None
    return running


@router.delete(
    "/{version}/shadow",
    dependencies=[ADMIN],
    summary="End a shadow",
    responses=problems(404, 422, 503),
    status_code=204,
)
async def stop_shadow(version: Version, request: Request, service: Current) -> None:
    """In all workers; its memory returns. The differences that were found stay readable."""
    await service.shadow.stop(version)
    await service.audit(request, "shadow.stop", version)


async def _share(request: Request, seconds: float) -> ShareRequest:
    """The body, read by hand: FastAPI would read one of any length."""
    return await read_json(request, ShareRequest, MAX_SHARE_BYTES, seconds, '{"share": 0.1}')
