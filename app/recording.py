"""An inspection -> its entry in the record; a refusal -> its line there."""

import random
from typing import Any

from sqlalchemy import Connection, insert, literal, select

from app.bodies import Body
from app.originals import fingerprint, original
from app.parameters import BatchQuery, InspectQuery
from app.settings import Settings
from app.shadow import Difference
from app.store.entries import Entry, Model, RefusedFrame, Row
from app.store.inserting import now
from app.store.numbers import number_of
from app.store.schema import Moment, differences, inspections
from model.inspector import Inspection, Inspector
from model.tiling import Event
from model.verdict import Verdict


class Sampling:
    """Which frames are drawn at random, to be looked at by a person whatever the model said."""

    def __init__(self, settings: Settings) -> None:
        self._shares = {
            Verdict.OK: settings.sample_ok,
            Verdict.REVIEW: settings.sample_called,
            Verdict.DEFECT: settings.sample_called,
        }

    def draws(self, verdict: Verdict) -> bool:
        """By the verdict alone, and independently for each frame."""
        return random.random() < self._shares[verdict]  # noqa: S311 - a sample of frames, not a secret


def entry(
    number: int,
    inspector: Inspector,
    inspection: Inspection,
    body: Body,
    query: InspectQuery,
    *,
    sampled: bool,
    token: Any,
) -> Entry:
    """What the record keeps of an inspection that was just made."""
    # Drawn or not, whatever was called is looked at by somebody.
    keep = sampled or inspection.verdict is not Verdict.OK
    worst = max(inspection.events, key=lambda event: event.defect_probability, default=None)
    row: Row = {
        "number": number,
        "received_at": now(),
        "captured_at": query.captured_at,
        "request_id": query.request_id,
        "body_digest": None if query.request_id is None else fingerprint(body),
        "camera_id": query.camera_id,
        "side": query.side,
        "sequence": query.sequence,
        "position_mm": query.position_mm,
        "mm_per_pixel": query.mm_per_pixel,
        "overlap_rows": query.overlap_rows,
        "width": inspection.width,
        "height": inspection.height,
        "tiles": inspection.scores.size,
        "method": inspection.method,
        "verdict": inspection.verdict.value,
        "defect_probability": inspection.defect_probability,
        "defect_class": worst.defect_class if worst else None,
        "event_count": len(inspection.events),
        "engine": inspector.engine.name,
        "quality_accepted": inspection.quality.accepted,
        "quality_warnings": ",".join(inspection.quality.warnings) or None,
        "sampled": sampled,
    }
    thresholds = inspector.thresholds
    return Entry(
        row=row,
        events=[_event(event, query) for event in inspection.events],
        coil_id=query.coil_id,
        model=Model(inspector.version, thresholds.review, thresholds.defect),
        picture=original(body) if keep else None,
        token=token,
    )


def refused(query: BatchQuery, code: str) -> RefusedFrame | None:
    """A frame that was not inspected, and the code of why; None if its request does not say whose it was."""
    if query.coil_id is None and query.camera_id is None:
        return None
    about: Row = {name: getattr(query, name, None) for name in ("request_id", "sequence", "position_mm")}
    row = {"at": now(), "code": code, "camera_id": query.camera_id, "side": query.side, **about}
    return RefusedFrame(row, query.coil_id)


def difference(connection: Connection, told: Difference) -> None:
    """A shadow's other verdict on an inspection; one that is not in the record (a repeat) has none."""
    shadow = told.shadow
    values = literal(shadow.version), literal(shadow.verdict.value), literal(shadow.defect_probability)
    number = inspections.c.number
    its_row = select(number, *values, literal(told.at, Moment)).where(number == number_of(told.inspection_id))
    connection.execute(insert(differences).from_select([*differences.c.keys()], its_row))


def _event(event: Event, query: InspectQuery) -> Row:
    size = query.mm_per_pixel
    return {
        "x": event.x,
        "y": event.y,
        "width": event.width,
        "height": event.height,
        "defect_probability": event.defect_probability,
        "defect_class": event.defect_class,
        "continued": event.continued,
        "position_mm": query.strip_position_mm(event.y),
        "length_mm": None if size is None else event.height * size,
        "across_mm": None if size is None else event.x * size,
        "width_mm": None if size is None else event.width * size,
    }
