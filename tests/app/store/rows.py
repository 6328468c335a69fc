"""Rows as the server would write them, for tests of what reads them."""

import itertools
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, insert, select

from app.store import schema
from app.store.numbers import first_number_at

STARTED = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
_COUNT = itertools.count(1)


def add_model(connection: Connection, version: str = "m1", **values: Any) -> int:
    """The number of a version; added if it is not there."""
    models = schema.models
    number = connection.scalar(select(models.c.number).where(models.c.version == version))
    if number is not None:
        return int(number)
    row = {"version": version, "first_served_at": STARTED, "review_threshold": 0.3, "defect_threshold": 0.7} | values
    return _inserted(connection, models, row)


def add_coil(connection: Connection, coil_id: str = "C1", **values: Any) -> int:
    """The number of a coil; added, open, if it is not there."""
    coils = schema.coils
    number = connection.scalar(select(coils.c.number).where(coils.c.coil_id == coil_id))
    if number is not None:
        return int(number)
    row = {"coil_id": coil_id, "opened_at": STARTED, "opened_by": "frame", "last_frame_at": STARTED} | values
    return _inserted(connection, coils, row)


def add_inspection(connection: Connection, coil_id: str | None = "C1", version: str = "m1", **values: Any) -> int:
    """The number of a new inspection, received a second after the one before; `values` are columns."""
    count = next(_COUNT)
    received_at = values.get("received_at", STARTED + timedelta(seconds=count))
    microseconds = (received_at - schema.EPOCH) // schema.MICROSECOND
    row = {
        "number": first_number_at(microseconds) + count % 2048,
        "received_at": received_at,
        "camera_id": "cam-1",
        "coil": None if coil_id is None else add_coil(connection, coil_id),
        "side": "top",
        "overlap_rows": 0,
        "width": 256,
        "height": 128,
        "tiles": 2,
        "method": "tiles",
        "verdict": "ok",
        "defect_probability": 0.01,
        "event_count": 0,
        "model": add_model(connection, version),
        "engine": "onnx",
        "quality_accepted": True,
        "sampled": False,
    } | values
    connection.execute(insert(schema.inspections), row)
    return int(row["number"])


def add_event(connection: Connection, inspection: int, **values: Any) -> int:
    """The number of a new event on an inspection, of whose coil it is; `values` are columns."""
    inspections = schema.inspections
    coil = connection.scalar(select(inspections.c.coil).where(inspections.c.number == inspection))
    row = {
        "inspection": inspection, "coil": coil, "x": 10, "y": 20, "width": 30, "height": 40,
        "defect_probability": 0.9, "continued": False,
    } | values  # fmt: skip
    return _inserted(connection, schema.events, row)


def add_image(connection: Connection, digest: str, **values: Any) -> str:
    """The digest of a new archived image; `values` are columns."""
    row = {"digest": digest, "format": "png", "bytes": 1000, "verdict": "defect", "stored_at": STARTED} | values
    connection.execute(insert(schema.images), row)
    return digest


def now() -> datetime:
    """To the microsecond that the record keeps."""
    return schema.EPOCH + timedelta(microseconds=time.time_ns() // 1000)


def _inserted(connection: Connection, table: Any, row: dict[str, Any]) -> int:
    return int(connection.execute(insert(table), row).inserted_primary_key[0])
