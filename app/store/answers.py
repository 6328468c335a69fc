"""What the record says of an inspection, in the words that its request was answered with."""

from typing import Any

from sqlalchemy import Connection, RowMapping, select

from app.store.numbers import inspection_id
from app.store.schema import events, inspections, models


def first_answer(connection: Connection, number: int) -> dict[str, Any]:
    """The reply to the request of an inspection but for its times; see `app.replies`."""
    columns = *inspections.c, models.c.version, models.c.review_threshold, models.c.defect_threshold
    found = select(*columns).join(models).where(inspections.c.number == number)
    of_it = select(events).where(events.c.inspection == number).order_by(events.c.number)
    row = connection.execute(found).mappings().one()
    return said(row, [event_said(event) for event in connection.execute(of_it).mappings()])


def said(row: RowMapping, its_events: list[dict[str, Any]]) -> dict[str, Any]:
    """A row of `inspections` with its model's columns, and its events."""
    return {
        "inspection_id": inspection_id(row["number"]),
        "verdict": row["verdict"],
        "defect_probability": row["defect_probability"],
        "thresholds": {"review": row["review_threshold"], "defect": row["defect_threshold"]},
        "model": {"version": row["version"], "engine": row["engine"]},
        "image": {"width": row["width"], "height": row["height"], "tiles": row["tiles"], "method": row["method"]},
        "events": its_events,
        "quality": {
            "accepted": row["quality_accepted"],
            "warnings": row["quality_warnings"].split(",") if row["quality_warnings"] else [],
        },
    }


def event_said(row: RowMapping) -> dict[str, Any]:
    """A row of `events`, in pixels of its frame."""
    names = "x", "y", "width", "height", "defect_probability", "defect_class", "continued", "position_mm"
    return {name: row[name] for name in names}
