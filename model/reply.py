"""How an inspection is told, in the words of the HTTP contract: the command line prints what the server answers.

What only a request has (its id, the place on the strip, times) is added by the server.
"""

from dataclasses import asdict
from typing import Any

from model.inspector import Inspection, Inspector


def told(inspector: Inspector, inspection: Inspection) -> dict[str, Any]:
    """The verdict on one frame, ready for JSON; see docs/api.md, The reply."""
    return {
        "verdict": inspection.verdict.value,
        "defect_probability": inspection.defect_probability,
        "thresholds": inspector.thresholds.model_dump(),
        "model": {"version": inspector.version, "engine": inspector.engine.name},
        "image": {
            "width": inspection.width,
            "height": inspection.height,
            "tiles": inspection.scores.size,
            "method": inspection.method,
        },
        "events": [asdict(event) for event in inspection.events],
        "quality": {"accepted": inspection.quality.accepted, "warnings": list(inspection.quality.warnings)},
    }
