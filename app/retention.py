"""Which archived images go, and when: by age and by size for each verdict. What went is on record.

An image is deleted in two steps, each a transaction: first its row says so, then the file goes and the row says that
too. A crash between leaves a file that the next pass removes, never a row that promises what is not there.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, exists, func, select, update

from app.archive import Archive
from app.settings import Settings
from app.store.schema import Moment, images, inspections

# Rows changed in one transaction: inspections wait for it.
STEP = 200
# Files removed in one transaction: of S3 each takes a while.
PURGE_STEP = 20


@dataclass(frozen=True)
class Policy:
    """What is kept of one verdict's images: for how long, and how many bytes. None: no bound."""

    verdict: str
    age: timedelta | None
    most_bytes: int | None


def policies(settings: Settings) -> list[Policy]:
    """As the settings have them; there, 0 is no bound."""
    kept = {
        "ok": (settings.keep_ok_days, settings.keep_ok_bytes),
        "review": (settings.keep_review_days, settings.keep_review_bytes),
        "defect": (settings.keep_defect_days, settings.keep_defect_bytes),
    }
    return [
        Policy(verdict, timedelta(days=days) if days else None, most or None) for verdict, (days, most) in kept.items()
    ]


class Expired(NamedTuple):
    """An image that is to go, and why."""

    digest: str
    stored_at: datetime
    why: str


def expired(connection: Connection, policy: Policy, at: datetime) -> list[Expired]:
    """Images that the policy does not keep at that moment, oldest first; at most `STEP`. It only reads.

    What a person has looked at stays: the label is worth more than the bytes.
    """
    reviewed = exists().where(inspections.c.image == images.c.digest, inspections.c.review.is_not(None))
    of_verdict = (images.c.verdict == policy.verdict) & images.c.deleted_at.is_(None) & ~reviewed
    oldest_first = select(images).where(of_verdict).order_by(images.c.stored_at, images.c.digest).limit(STEP)
    found: list[Expired] = []
    if policy.age is not None:
        too_old = oldest_first.where(images.c.stored_at < at - policy.age)
        why = f"older than {policy.age / timedelta(days=1):g} days"
        found = [Expired(row.digest, row.stored_at, why) for row in connection.execute(too_old)]
    if policy.most_bytes is not None and not found:
        used = int(connection.scalar(select(func.sum(images.c.bytes)).where(of_verdict)) or 0)
        why = f"more than {policy.most_bytes} bytes of {policy.verdict} frames"
        excess = used - policy.most_bytes
        found = [Expired(row.digest, row.stored_at, why) for row in _beyond(connection.execute(oldest_first), excess)]
    return found


def mark(connection: Connection, chosen: Sequence[Expired], at: datetime) -> None:
    """Put the deletion of images on record; one that was kept again since it was chosen stays."""
    if not chosen:
        return
    its = (images.c.digest == bindparam("chosen")) & (images.c.stored_at == bindparam("then", type_=Moment()))
    marking = update(images).where(its).values(deleted_at=at, deleted_why=bindparam("why"))
    connection.execute(
        marking, [{"chosen": each.digest, "then": each.stored_at, "why": each.why} for each in sorted(chosen)]
    )


def purge(connection: Connection, archive: Archive, at: datetime) -> int:
    """Remove files whose deletion is on record; how many bytes that freed.

    It runs within the writer's lock: nobody can take an image up again between the look and the deletion.
    Raises `ArchiveError`.
    """
    due = images.c.deleted_at.is_not(None) & images.c.purged_at.is_(None)
    rows = connection.execute(
        select(images).where(due).order_by(images.c.digest).limit(PURGE_STEP).with_for_update()
    ).all()
    for row in rows:
        archive.delete(row.digest, row.format)
    connection.execute(update(images).where(images.c.digest.in_([row.digest for row in rows])).values(purged_at=at))
    return sum(row.bytes for row in rows)


def used_bytes(connection: Connection) -> int:
    """Of all images whose files are there."""
    return int(connection.scalar(select(func.sum(images.c.bytes)).where(images.c.purged_at.is_(None))) or 0)


def _beyond(rows: Iterable[Any], excess: int) -> Iterator[Any]:
    for row in rows:
        if excess <= 0:
            return
        excess -= row.bytes
        yield row
