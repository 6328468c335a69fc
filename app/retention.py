"""Which archived images go, and when: by age and by size for each verdict. What went is on record.

An image is deleted in two steps, each a transaction: first its row says so, then the file goes and the row says that
too. A crash between leaves a file that the next pass removes, never a row that promises what is not there.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, exists, func, select, update

from app.archive import Archive
from app.settings import Settings
from app.store.schema import images, inspections

# Rows changed in one transaction: inspections wait for it.
STEP = 200


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


def expired(connection: Connection, policy: Policy, at: datetime) -> list[tuple[str, str]]:
    """Digests of images that the policy does not keep at that moment, oldest first, and why; at most `STEP`.

    What a person has looked at stays: the label is worth more than the bytes.
    """
    reviewed = exists().where(inspections.c.image == images.c.digest, inspections.c.review.is_not(None))
    of_verdict = (images.c.verdict == policy.verdict) & images.c.deleted_at.is_(None) & ~reviewed
    oldest_first = select(images).where(of_verdict).order_by(images.c.stored_at, images.c.digest).limit(STEP)
    found: list[tuple[str, str]] = []
    if policy.age is not None:
        too_old = oldest_first.where(images.c.stored_at < at - policy.age)
        why = f"older than {policy.age / timedelta(days=1):g} days"
        found = [(row.digest, why) for row in connection.execute(too_old)]
    if policy.most_bytes is not None and not found:
        used = int(connection.scalar(select(func.sum(images.c.bytes)).where(of_verdict)) or 0)
        why = f"more than {policy.most_bytes} bytes of {policy.verdict} frames"
        excess = used - policy.most_bytes
        found = [(digest, why) for digest in _beyond(connection.execute(oldest_first), excess)]
    return found


def decide(connection: Connection, policy: Policy, at: datetime) -> int:
    """Mark what the policy does not keep; how many images that were."""
    chosen = expired(connection, policy, at)
    for why in {why for _, why in chosen}:
        digests = [digest for digest, its in chosen if its == why]
        marked = update(images).where(images.c.digest.in_(digests)).values(deleted_at=at, deleted_why=why)
        connection.execute(marked)
    return len(chosen)


def purge(connection: Connection, archive: Archive, at: datetime) -> int:
    """Remove files whose deletion is on record; how many bytes that freed.

    It runs within the writer's lock: nobody can take an image up again between the look and the deletion.
    Raises `ArchiveError`.
    """
    due = images.c.deleted_at.is_not(None) & images.c.purged_at.is_(None)
    rows = connection.execute(select(images).where(due).with_for_update().limit(STEP)).all()
    for row in rows:
        archive.delete(row.digest, row.format)
    connection.execute(update(images).where(images.c.digest.in_([row.digest for row in rows])).values(purged_at=at))
    return sum(row.bytes for row in rows)


def used_bytes(connection: Connection) -> int:
    """Of all images whose files are there."""
    return int(connection.scalar(select(func.sum(images.c.bytes)).where(images.c.purged_at.is_(None))) or 0)


def _beyond(rows: Iterable[Any], excess: int) -> Iterator[str]:
    for row in rows:
        if excess <= 0:
            return
        excess -= row.bytes
        yield row.digest
