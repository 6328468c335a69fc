"""The cameras as the record knows them: which of them send, how fast, how late, and what they left out."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

from sqlalchemy import Connection, RowMapping, func, select

from app.store.numbers import first_number_at
from app.store.queries import inspections_of
from app.store.schema import EPOCH, MICROSECOND, inspections
from app.store.wanted import Aside

# A camera that was silent for longer is no longer one of the line.
SEEN_WITHIN = timedelta(hours=24)
RATE_OVER = timedelta(seconds=10)
# Of each camera's latest frames the sequence numbers are looked at.
FRAMES = 1000
# Names are the clients' own; one that makes them up must not make the page slow.
MAX_CAMERAS = 256


@dataclass(frozen=True)
class Camera:
    """What one camera did. last: its last row, as of `queries.inspections_of`; rates over `RATE_OVER`.

    gaps: how often its numbers left some out within its last `FRAMES` frames.
    """

    last: RowMapping
    frames_per_second: float
    megapixels_per_second: float
    gaps: int


def cameras(connection: Connection, now: datetime) -> list[Camera]:
    """Those that sent a frame within `SEEN_WITHIN`, by name."""
    rates = _rates(connection, now)
    rows = inspections_of(connection, _last_numbers(connection))
    lately = [row for row in rows if row["received_at"] >= now - SEEN_WITHIN]
    return [
        Camera(row, *rates.get(row["camera_id"], (0.0, 0.0)), gaps(_numbered(connection, row["camera_id"])))
        for row in sorted(lately, key=lambda row: str(row["camera_id"]))
    ]


def gaps(frames: Sequence[tuple[int | None, int]]) -> int:
    """How often numbers are left out: coil and number of each frame of one camera, in the order in which they came.

    A frame that came late fills its place. A number far below those before, or one not above them on a coil that was
    not seen before, is a camera's new beginning, not a gap.

    >>> gaps([(1, 7), (1, 8), (1, 10), (1, 9), (1, 11)])
    0
    >>> gaps([(1, 7), (1, 8), (1, 12), (2, 13), (2, 20)])
    2
    >>> gaps([(None, 90_000), (None, 90_001), (None, 0), (None, 1), (None, 3)])
    1
    >>> gaps([(1, 0), (1, 2), (2, 0), (2, 1), (2, 2), (1, 3)])
    1
    """
    return sum(later > earlier + 1 for numbers in map(sorted, _parts(frames)) for earlier, later in pairwise(numbers))


def _parts(frames: Sequence[tuple[int | None, int]]) -> list[list[int]]:
    """The numbers of each part in which the camera counted on; a coil's late frames go to its own."""
    parts: list[list[int]] = [[]]
    highest = [-1]
    part_of: dict[int, int] = {}
    for coil, sequence in frames:
        part = len(parts) - 1 if coil is None else part_of.get(coil, len(parts) - 1)
        new_coil = coil is not None and coil not in part_of
        if sequence < highest[part] - FRAMES or (new_coil and sequence <= highest[part]):
            part = len(parts)
            parts.append([])
            highest.append(-1)
        if coil is not None:
            part_of[coil] = part
        parts[part].append(sequence)
        highest[part] = max(highest[part], sequence)
    return parts


def _last_numbers(connection: Connection) -> list[int]:
    """Of each camera: from name to name along the index, however many rows lie between."""
    rows = inspections.c
    names = select(func.min(rows.camera_id).label("camera_id")).cte("cameras", recursive=True)
    following = select(func.min(rows.camera_id)).where(rows.camera_id > names.c.camera_id).scalar_subquery()
    names = names.union_all(select(following).select_from(names).where(names.c.camera_id.is_not(None)))
    last = select(func.max(rows.number)).where(rows.camera_id == names.c.camera_id).scalar_subquery()
    found = select(last).select_from(names).where(names.c.camera_id.is_not(None)).limit(MAX_CAMERAS)
    return list(connection.scalars(found))


def _rates(connection: Connection, now: datetime) -> dict[str, tuple[float, float]]:
    """Frames and megapixels a second, by camera."""
    rows, since = inspections.c, now - RATE_OVER
    # Not by camera from the first frame on: by number, of which there are few since then.
    camera = Aside(rows.camera_id)
    judged_since = rows.number >= first_number_at((since - EPOCH) // MICROSECOND)
    pixels = func.sum(rows.width * 1.0 * rows.height)
    counted = (
        select(camera, func.count(), pixels)
        .where(judged_since, rows.received_at >= since, camera.is_not(None))
        .group_by(camera)
    )
    seconds = RATE_OVER.total_seconds()
    return {camera: (frames / seconds, area / 1e6 / seconds) for camera, frames, area in connection.execute(counted)}


def _numbered(connection: Connection, camera_id: str) -> list[tuple[int | None, int]]:
    """Coil and number of the camera's last frames, as they came."""
    rows = inspections.c
    latest = (
        select(rows.coil, rows.sequence).where(rows.camera_id == camera_id).order_by(rows.number.desc()).limit(FRAMES)
    )
    found = connection.execute(latest).all()
    return [(coil, sequence) for coil, sequence in reversed(found) if sequence is not None]
