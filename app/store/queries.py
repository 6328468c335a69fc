"""What stands in the record of inspections: rows of a list, one with all that belongs to it, and how much there is."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

from sqlalchemy import Connection, RowMapping, Select, func, select, text

from app.store.database import Database
from app.store.schema import coils, differences, events, images, inspections, models, reviews
from app.store.search import find
from app.store.wanted import END, Wanted

# Rows of a long walk that are in memory at a time; read in some 30 ms.
BATCH = 1_000


class Page(NamedTuple):
    """Rows as of `inspections_of`; what follows has numbers below `before`, nothing does if it is None."""

    rows: list[RowMapping]
    before: int | None


class Detail(NamedTuple):
    """One inspection with all that belongs to it: `row` as of `inspections_of`, the others as their tables are."""

    row: RowMapping
    events: Sequence[RowMapping]
    reviews: Sequence[RowMapping]
    differences: Sequence[RowMapping]


class Size(NamedTuple):
    """How much is kept. images, image_bytes: whose deletion is not decided."""

    inspections: int
    images: int
    image_bytes: int


def page(connection: Connection, wanted: Wanted, limit: int, before: int = END) -> Page:
    """At most `limit` of the newest inspections that are wanted; fewer may be followed by more, see `search`."""
    found = find(connection, wanted, limit, before)
    return Page(inspections_of(connection, found.numbers), found.before)


def batches(reading: Callable[[], AbstractContextManager[Connection]], wanted: Wanted) -> Iterator[list[RowMapping]]:
    """Everything that is wanted, newest first: each batch read for itself, so that no writer waits for a slow reader.

    What comes in meanwhile is newer than the first batch, and not in them.
    """
    before: int | None = END
    while before is not None:
        with reading() as connection:
            rows, before = page(connection, wanted, BATCH, before)
        if rows:
            yield rows


def inspections_of(connection: Connection, numbers: Sequence[int]) -> list[RowMapping]:
    """The rows of these numbers, greatest first.

    Columns of `inspections`, and `coil_id`, `version`, both thresholds, and of the image its `image_format`,
    `image_bytes`, `image_stored_at`, `image_deleted_at` and `image_deleted_why`.
    """
    if not numbers:
        return []
    of_these = _rows().where(inspections.c.number.in_(numbers)).order_by(inspections.c.number.desc())
    return list(connection.execute(of_these).mappings())


def inspection(connection: Connection, number: int) -> RowMapping | None:
    """One row as of `inspections_of`."""
    return next(iter(inspections_of(connection, [number])), None)


def detail(connection: Connection, number: int) -> Detail | None:
    """One inspection; None if there is none of that number."""
    row = inspection(connection, number)
    if row is None:
        return None
    its_events = select(events).where(events.c.inspection == number).order_by(events.c.number)
    its_reviews = select(reviews).where(reviews.c.inspection == number).order_by(reviews.c.number)
    others = select(differences).where(differences.c.inspection == number).order_by(differences.c.at)
    return Detail(row, *(connection.execute(each).mappings().all() for each in (its_events, its_reviews, others)))


def size(connection: Connection) -> Size:
    """Counted."""
    kept = select(func.count(), func.coalesce(func.sum(images.c.bytes), 0)).where(images.c.deleted_at.is_(None))
    counted = connection.execute(select(func.count()).select_from(inspections)).scalar_one()
    return Size(counted, *connection.execute(kept).one())


def database_bytes(database: Database, connection: Connection) -> int:
    """What the database takes on its disk, with what is not yet folded into its file."""
    if database.file is None:
        return int(connection.execute(text("SELECT pg_database_size(current_database())")).scalar_one())
    beside = [database.file.with_name(database.file.name + suffix) for suffix in ("", "-wal")]
    return sum(file.stat().st_size for file in beside if file.exists())


def _rows() -> Select[Any]:
    of_models = models.c.version, models.c.review_threshold, models.c.defect_threshold
    of_images = [
        images.c[name].label(f"image_{name}") for name in ("format", "bytes", "stored_at", "deleted_at", "deleted_why")
    ]
    return (
        select(*inspections.c, coils.c.coil_id, *of_models, *of_images)
        .join(models, inspections.c.model == models.c.number)
        .outerjoin(coils, inspections.c.coil == coils.c.number)
        .outerjoin(images, inspections.c.image == images.c.digest)
    )
