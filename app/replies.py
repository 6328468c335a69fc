"""An inspection -> the bytes of its reply. Made in the thread that inspected, so that the event loop only sends them.

`app.schemas.InspectionReply` documents what is made here.
"""

from typing import Any, NamedTuple

import orjson

from app.parameters import InspectQuery
from model.heatmap import grid_map
from model.inspector import Inspection, Inspector
from model.reply import told


class Stages(NamedTuple):
    """Seconds of one frame: waiting for a thread and for company, decoding, its batch in the engine, and in all."""

    queue: float
    decode: float
    inference: float
    total: float


def reply(
    inspection_id: str, inspector: Inspector, inspection: Inspection, query: InspectQuery, stages: Stages
) -> bytes:
    """The JSON of one inspection."""
    answer: dict[str, Any] = {"inspection_id": inspection_id, **told(inspector, inspection)}
    for event in answer["events"]:
        event["position_mm"] = query.strip_position_mm(event["y"])
    answer["timing_ms"] = {
        "decode": round(stages.decode * 1000, 3),
        "queue": round(stages.queue * 1000, 3),
        "inference": round(stages.inference * 1000, 3),
        "store": 0.0,
        "total": round(stages.total * 1000, 3),
    }
    if query.heatmap:
        answer["heatmap"] = grid_map(inspection.grid, inspection.scores)
    return orjson.dumps(answer)


def batch_reply(results: list[bytes]) -> bytes:
    """The JSON of several inspections, in order: each a reply, or its problem under `error`.

    >>> batch_reply([b'{"verdict":"ok"}', b'{"error":{}}'])
    b'{"results":[{"verdict":"ok"},{"error":{}}]}'
    """
    return b'{"results":[' + b",".join(results) + b"]}"
