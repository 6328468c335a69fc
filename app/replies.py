"""An inspection -> the bytes of its reply. Made in a thread: the event loop only sends them.

`app.schemas.InspectionReply` documents what is made here.
"""

from typing import Any, NamedTuple

import orjson

from app.parameters import InspectQuery
from model.heatmap import grid_map
from model.inspector import Inspection, Inspector
from model.reply import told


class Stages(NamedTuple):
    """Seconds of one frame: waiting for a thread and for company, decoding, its batch in the engine, and in all.

    store: until the row is committed, 0 where no record is kept.
    """

    queue: float
    decode: float
    inference: float
    store: float
    total: float


def answered(number: str, inspector: Inspector, inspection: Inspection, query: InspectQuery) -> dict[str, Any]:
    """What one inspection is answered but for its times; number: the inspection's id."""
    said: dict[str, Any] = {"inspection_id": number, **told(inspector, inspection)}
    for event in said["events"]:
        event["position_mm"] = query.strip_position_mm(event["y"])
    return said


def heat_map(inspection: Inspection, query: InspectQuery) -> dict[str, Any]:
    """What is added to the answer of a request that asked for it."""
    return {"heatmap": grid_map(inspection.grid, inspection.scores)} if query.heatmap else {}


def reply(said: dict[str, Any], stages: Stages, more: dict[str, Any]) -> bytes:
    """The JSON of one inspection."""
    times = {
        "decode": round(stages.decode * 1000, 3),
        "queue": round(stages.queue * 1000, 3),
        "inference": round(stages.inference * 1000, 3),
        "store": round(stages.store * 1000, 3),
        "total": round(stages.total * 1000, 3),
    }
    return orjson.dumps({**said, "timing_ms": times, **more})


def batch_reply(results: list[bytes]) -> bytes:
    """The JSON of several inspections, in order: each a reply, or its problem under `error`.

    >>> batch_reply([b'{"verdict":"ok"}', b'{"error":{}}'])
    b'{"results":[{"verdict":"ok"},{"error":{}}]}'
    """
    return b'{"results":[' + b",".join(results) + b"]}"
