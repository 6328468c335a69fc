"""The record, the archive and the model against every verdict that a camera was given."""

from pathlib import Path

import numpy as np
from sqlalchemy import select, text

from app.archive import Archive, open_archive
from app.store import schema
from app.store.database import Database
from app.store.numbers import inspection_id
from model.image import decode
from model.inspector import Inspector
from model.registry import Registry
from tests.faults.line import TILE, Line

# Verdicts at a time: the engine's own batches are smaller.
TOGETHER = 256
# The server's engine and this process's may be other ones, and a batch of another size adds in another order.
CLOSE = 1e-4


def check(line: Line, database: Database, archive: Path, models: Path, lacking: frozenset[str] = frozenset()) -> None:
    """No acknowledged inspection lost, changed, doubled or orphaned, and no wrong answer.

    lacking: why an image may be missing, by `image_missing`.
    """
    sound(database)
    with database.reading() as connection:
        rows = connection.execute(select(schema.inspections)).all()
        images = {row.digest: row for row in connection.execute(select(schema.images))}
        seen = {row.inspection for row in connection.execute(select(schema.events.c.inspection))}
    by_request = {row.request_id: row for row in rows}
    assert len(by_request) == len(rows), "an inspection is in the record twice"
    assert seen <= {row.number for row in rows}, "events of no inspection"
    lost = [each for each in line.answers if each not in by_request]
    assert not lost, f"{len(lost)} acknowledged inspections are lost: {lost[:5]}"
    opened = open_archive(str(archive))
    for request_id, told in line.answers.items():
        row, said = by_request[request_id], told.said
        assert inspection_id(row.number) == said["inspection_id"], request_id
        assert (row.verdict, row.defect_probability) == (said["verdict"], said["defect_probability"]), request_id
        assert row.event_count == len(said["events"])
        if row.image is None:
            assert row.image_missing in lacking, f"{request_id}: no image ({row.image_missing})"
        else:
            _image_is(request_id, opened, row.image, images[row.image].format)
    opened.close()
    right(line, models)


def sound(database: Database) -> None:
    """The database finds nothing wrong with itself."""
    if database.is_sqlite:
        with database.reading() as connection:
            assert connection.execute(text("PRAGMA integrity_check")).scalars().all() == ["ok"]
            assert not connection.execute(text("PRAGMA foreign_key_check")).all(), "a row names one that is not there"


def right(line: Line, models: Path) -> None:
    """Every verdict is the model's own for exactly this frame."""
    registry = Registry(models)
    by_version: dict[str, list[str]] = {}
    for request_id, told in line.answers.items():
        by_version.setdefault(told.said["model"]["version"], []).append(request_id)
    for version, requests in by_version.items():
        inspector = Inspector.load(registry, version, engine="onnx", threads=1)
        for start in range(0, len(requests), TOGETHER):
            some = requests[start : start + TOGETHER]
            frames = [np.frombuffer(line.body(each), np.uint8).reshape(TILE, TILE) for each in some]
            for each, inspection in zip(some, inspector.inspect_all(frames), strict=True):
                said = line.answers[each].said
                assert abs(said["defect_probability"] - inspection.defect_probability) < CLOSE, each
                thresholds = said["thresholds"]
                if min(abs(said["defect_probability"] - each_is) for each_is in thresholds.values()) > CLOSE:
                    assert said["verdict"] == inspection.verdict.value, each


def _image_is(request_id: str, archive: Archive, digest: str, file_format: str) -> None:
    frame = decode(archive.get(digest, file_format))
    assert frame.shape == (TILE, TILE)
    assert np.array_equal(frame.ravel(), np.frombuffer(Line.body(request_id), np.uint8)), request_id
