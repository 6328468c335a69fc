"""What the routes work with. `app.main` builds it; a route asks for it as a parameter of type `Current`."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any

import structlog
from fastapi import Depends
from starlette.requests import ClientDisconnect, Request

from app import recording
from app.access.gate import Gate
from app.access.sign_in import SignIn
from app.arriving import Arriving
from app.batching import InspectionPool
from app.decoding import Decoding
from app.explaining import Explaining
from app.live.feed import Feed
from app.live.previews import Previews
from app.metrics import Drop, Metrics
from app.parameters import BatchQuery
from app.refusals import Code, Refusal, ServiceCode
from app.requests import RequestRecord
from app.rescoring import Rescoring
from app.serving import ModelSlot
from app.settings import Settings
from app.shadow import Shadow
from app.store.audit import append
from app.store.record import Record
from model.errors import SteelsightError

log = structlog.get_logger("steelsight.audit")


@dataclass(slots=True)
class Asked:
    """How many frames a request asks about: one, as long as nobody knows of more."""

    frames: int = 1


@dataclass(frozen=True)
class Service:
    """One worker's parts. record: None where none is kept."""

    settings: Settings
    metrics: Metrics
    gate: Gate
    sign_in: SignIn
    slot: ModelSlot
    arriving: Arriving
    pool: InspectionPool
    decoding: Decoding
    shadow: Shadow
    record: Record | None
    previews: Previews
    feed: Feed
    rescoring: Rescoring
    explaining: Explaining

    @property
    def store(self) -> Record:
        """The record. Raises `Refusal` (record_unavailable) where none is kept."""
        if self.record is None:
            raise Refusal(
                ServiceCode.RECORD_UNAVAILABLE,
                "this server keeps no record (STEELSIGHT_RECORD=off); ask the system that does",
            )
        return self.record

    @contextmanager
    def noting(self, query: BatchQuery) -> Iterator[Asked]:
        """Whatever a request is refused for is noted in the record: the gap that its frames leave has a reason."""
        asked = Asked()
        try:
            yield asked
        except Exception as error:
            self.note(query, why(error), asked.frames)
            raise

    async def audit(self, request: Request, action: str, subject: str, detail: Mapping[str, Any] | None = None) -> None:
        """An act on files that a request has done. What the record cannot take in stands in the log at least."""
        if self.record is None:
            return
        actor = RequestRecord.of(request).principal.actor
        try:
            await self.record.write(lambda connection: append(connection, actor, action, subject, detail))
        except Refusal as error:
            log.error(
                "act_not_audited", actor=actor, action=action, subject=subject, detail=detail, reason=error.message
            )

    def note(self, query: BatchQuery, code: Code | Drop, frames: int = 1) -> None:
        """Frames of one request that were not inspected."""
        if self.record is not None and (frame := recording.refused(query, code.value)):
            for _ in range(frames):
                self.record.refused(frame)


def why(error: BaseException) -> Code | Drop:
    """What the record says of a frame that failed of this."""
    if isinstance(error, Refusal | SteelsightError):
        return error.code
    return Drop.CLIENT_LEFT if isinstance(error, ClientDisconnect) else ServiceCode.INTERNAL_ERROR


def service_of(request: Request) -> Service:
    """The parts of the worker that a request came to."""
    service = request.app.state.service
    assert isinstance(service, Service)
    return service


async def _current(request: Request) -> Service:
    return service_of(request)


Current = Annotated[Service, Depends(_current)]
