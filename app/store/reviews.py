"""What persons say of frames: written, taken back, queued for, and counted.

The statements name indexes' conditions as literals: SQLite takes an index of a part of a table only where it finds its
very condition in the query.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import Any, NamedTuple

from sqlalchemy import Connection, RowMapping, Select, func, insert, select, text, update

from app.store.numbers import inspection_id
from app.store.schema import coils, differences, events, images, inspections, models, outbox, reviews

PASSED_VERDICTS = ("ok",)
CALLED_VERDICTS = ("review", "defect")

CALLED = text("inspections.verdict != 'ok'")
SAMPLED = text("inspections.sampled")
# What a reviewer can be shown at all.
REVIEWABLE = inspections.c.review.is_(None), images.c.deleted_at.is_(None)

# Rows looked at for the queue, the newest: what was not reviewed before these came will not be.
LATEST_CALLED = 1_000
LATEST_DIFFERENCES = 1_000
LATEST_SAMPLES = 2_000
# Reviews among which defect classes are looked for.
LATEST_REVIEWS = 20_000


class FrameSize(NamedTuple):
    """In pixels."""

    width: int
    height: int


def frame_of(connection: Connection, number: int) -> FrameSize | None:
    """The size of an inspection's frame, whose row then waits for nobody else's review; None if there is none.

    For a transaction that writes: two reviewers at once are one after the other, on every database.
    """
    found = select(inspections.c.width, inspections.c.height).where(inspections.c.number == number)
    row = connection.execute(found.with_for_update()).one_or_none()
    return None if row is None else FrameSize(*row)


def add(connection: Connection, number: int, at: datetime, review: dict[str, Any]) -> RowMapping:
    """A review of an inspection that is there; from here on it counts. review: columns but for inspection and at."""
    row = {"inspection": number, "at": at, **review}
    key = connection.execute(insert(reviews), row).inserted_primary_key
    assert key is not None
    _settle(connection, number, review["label"])
    _tell(connection, number, at, {name: review.get(name) for name in ("reviewer", "label", "defect_class")}, False)
    return connection.execute(select(reviews).where(reviews.c.number == key[0])).mappings().one()


def undo(connection: Connection, number: int, at: datetime, reviewer: str, *, own: bool = False) -> RowMapping | None:
    """Take the review that counts back; the one that counts now, or None. own: only if it is the reviewer's.

    Raises `LookupError`, which says in words why there is nothing to take back.
    """
    taken = counting(connection, number)
    if taken is None:
        raise LookupError("no review of it counts")
    if own and taken["reviewer"] != reviewer:
        raise LookupError(f"the review of it that counts is by {taken['reviewer']}")
    undone = update(reviews).where(reviews.c.number == taken["number"]).values(undone_at=at, undone_by=reviewer)
    connection.execute(undone)
    now_counts = counting(connection, number)
    label, defect_class = (now_counts["label"], now_counts["defect_class"]) if now_counts else (None, None)
    _settle(connection, number, label)
    _tell(connection, number, at, {"reviewer": reviewer, "label": label, "defect_class": defect_class}, True)
    return now_counts


def counting(connection: Connection, number: int) -> RowMapping | None:
    """The latest review of an inspection that is not undone."""
    found = select(reviews).where(reviews.c.inspection == number, reviews.c.undone_at.is_(None))
    return connection.execute(found.order_by(reviews.c.number.desc()).limit(1)).mappings().one_or_none()


def _settle(connection: Connection, number: int, label: str | None) -> None:
    connection.execute(update(inspections).where(inspections.c.number == number).values(review=label))


def _tell(connection: Connection, number: int, at: datetime, said: dict[str, Any], undone: bool) -> None:
    coil = select(coils.c.coil_id).join(inspections, inspections.c.coil == coils.c.number)
    coil_id = connection.scalar(coil.where(inspections.c.number == number))
    body = {"inspection_id": inspection_id(number), "coil_id": coil_id, **said, "undone": undone}
    connection.execute(insert(outbox), {"at": at, "kind": "review", "body": body})


def latest_number(connection: Connection) -> int:
    """Of all reviews; 0 before the first one."""
    return connection.scalar(select(func.max(reviews.c.number))) or 0


@dataclass(frozen=True)
class Waiting:
    """Inspections that nobody has reviewed and whose image is kept, by why they may be worth a look.

    called: number, defect_probability and the thresholds it was judged by. differing: number, verdict and
    defect_probability, and the shadow's. passed_samples, called_samples: numbers by version, the latest version first.
    """

    called: Sequence[RowMapping]
    differing: Sequence[RowMapping]
    passed_samples: Sequence[Sequence[int]]
    called_samples: Sequence[Sequence[int]]

    @property
    def count(self) -> int:
        """How many inspections these are."""
        listed = (row["number"] for row in chain(self.called, self.differing))
        return len(set(chain(listed, *self.passed_samples, *self.called_samples)))


def waiting(connection: Connection) -> Waiting:
    """Everything that the queue is made of. However long the record is, only the newest `LATEST_...` are looked at."""
    versions = connection.scalars(select(models.c.number).order_by(models.c.number.desc())).all()
    return Waiting(
        _called(connection),
        _differing(connection),
        _samples(connection, versions, PASSED_VERDICTS),
        _samples(connection, versions, CALLED_VERDICTS),
    )


def _called(connection: Connection) -> list[RowMapping]:
    rows: list[RowMapping] = []
    for verdict in CALLED_VERDICTS:
        # Walked along the index of the called; what is reviewed counts too, else the walk could be a long one.
        latest = (
            select(inspections.c.number)
            .where(CALLED, inspections.c.verdict == verdict)
            .order_by(inspections.c.number.desc())
            .limit(LATEST_CALLED)
            .subquery()
        )
        columns = inspections.c.number, inspections.c.defect_probability
        rows += connection.execute(
            select(*columns, models.c.review_threshold, models.c.defect_threshold)
            .select_from(latest)
            .join(inspections, inspections.c.number == latest.c.number)
            .join(images, images.c.digest == inspections.c.image)
            .join(models, models.c.number == inspections.c.model)
            .where(*REVIEWABLE, inspections.c.sampled.is_(False))
        ).mappings()
    return rows


def _differing(connection: Connection) -> Sequence[RowMapping]:
    shadows = (
        differences.c.verdict.label("shadow_verdict"),
        differences.c.defect_probability.label("shadow_probability"),
    )
    latest = (
        select(differences.c.inspection, *shadows)
        .order_by(differences.c.inspection.desc())
        .limit(LATEST_DIFFERENCES)
        .subquery()
    )
    columns = inspections.c.number, inspections.c.verdict, inspections.c.defect_probability
    found = (
        select(*columns, latest.c.shadow_verdict, latest.c.shadow_probability)
        .select_from(latest)
        .join(inspections, inspections.c.number == latest.c.inspection)
        .join(images, images.c.digest == inspections.c.image)
        .where(*REVIEWABLE, inspections.c.sampled.is_(False))
    )
    return connection.execute(found).mappings().all()


def _samples(connection: Connection, versions: Sequence[int], verdicts: Sequence[str]) -> list[list[int]]:
    """Of the latest version, and of the ones before as far as `LATEST_SAMPLES` reach.

    Only the newest are read, which has nothing to do with what they show.
    """
    lists, left = [], LATEST_SAMPLES
    for model in versions:
        numbers: list[int] = []
        for verdict in verdicts:
            latest = (
                select(inspections.c.number)
                .where(SAMPLED, inspections.c.model == model, inspections.c.verdict == verdict)
                .where(inspections.c.review.is_(None))
                .order_by(inspections.c.number.desc())
                .limit(left)
                .subquery()
            )
            numbers += connection.scalars(
                select(inspections.c.number)
                .select_from(latest)
                .join(inspections, inspections.c.number == latest.c.number)
                .join(images, images.c.digest == inspections.c.image)
                .where(*REVIEWABLE)
            )
        lists.append(numbers)
        left -= len(numbers)
        if left <= 0:
            break
    return lists


class Count(NamedTuple):
    """How many frames of a version got a verdict; of the samples among them also by what a review says."""

    version: str
    verdict: str
    frames: int
    review: str | None = None


def frame_counts(connection: Connection) -> list[Count]:
    """All frames, of every version that has inspected any; the version that began last first."""
    per = inspections.c.model, inspections.c.verdict
    return _counts(connection, select(*per, func.count().label("frames")).group_by(*per))


def sample_counts(connection: Connection) -> list[Count]:
    """The frames drawn at random."""
    per = inspections.c.model, inspections.c.verdict, inspections.c.review
    return _counts(connection, select(*per, func.count().label("frames")).where(SAMPLED).group_by(*per))


def _counts(connection: Connection, counted: Select[Any]) -> list[Count]:
    each = counted.subquery()
    named = select(models.c.version, *(column for column in each.c if column.name != "model"))
    ordered = named.join(models, models.c.number == each.c.model).order_by(models.c.number.desc())
    return [Count(**row) for row in connection.execute(ordered).mappings()]


def defect_classes(connection: Connection) -> list[str]:
    """Those that the latest reviews name, in order of name."""
    latest = (
        select(reviews.c.defect_class, reviews.c.undone_at)
        .order_by(reviews.c.number.desc())
        .limit(LATEST_REVIEWS)
        .subquery()
    )
    named = select(latest.c.defect_class).distinct()
    found = named.where(latest.c.defect_class.is_not(None), latest.c.undone_at.is_(None))
    return sorted(connection.scalars(found))


class Reviewed(NamedTuple):
    """A frame with the review that counts, what the model saw in it, and its file if one is on record.

    boxes: the review's own, or else the events'. deleted: its file was, by the rules of retention.
    """

    number: int
    review: int
    label: str
    defect_class: str | None
    received_at: datetime
    coil_id: str | None
    camera_id: str | None
    width: int
    height: int
    digest: str | None
    file_format: str | None
    deleted: bool
    boxes: tuple[tuple[int, int, int, int], ...]


def reviewed(connection: Connection, after: int, most: int) -> list[Reviewed]:
    """The next `most` inspections with a review that counts and a number above `after`, in order of number."""
    frames = connection.execute(_reviewed_frames(after, most)).mappings().all()
    numbers = [frame["number"] for frame in frames]
    said: dict[int, RowMapping] = {}
    of_these = reviews.c.inspection.in_(numbers)
    counts = select(reviews).where(of_these, reviews.c.undone_at.is_(None)).order_by(reviews.c.number)
    for row in connection.execute(counts).mappings():
        said[row["inspection"]] = row
    seen: dict[int, list[tuple[int, int, int, int]]] = defaultdict(list)
    boxes = events.c.inspection, events.c.x, events.c.y, events.c.width, events.c.height
    for inspection, *box in connection.execute(select(*boxes).where(events.c.inspection.in_(numbers))):
        seen[inspection].append((box[0], box[1], box[2], box[3]))
    return [_reviewed(frame, said[frame["number"]], seen[frame["number"]]) for frame in frames]


def _reviewed_frames(after: int, most: int) -> Select[Any]:
    names = "number", "received_at", "camera_id", "width", "height"
    columns = [inspections.c[name] for name in names]
    return (
        select(*columns, coils.c.coil_id, images.c.digest, images.c.format, images.c.deleted_at)
        .outerjoin(coils, coils.c.number == inspections.c.coil)
        .outerjoin(images, images.c.digest == inspections.c.image)
        .where(inspections.c.review.is_not(None), inspections.c.number > after)
        .order_by(inspections.c.number)
        .limit(most)
    )


def _reviewed(frame: RowMapping, said: RowMapping, seen: Iterable[tuple[int, int, int, int]]) -> Reviewed:
    drawn = None if said["x"] is None else (said["x"], said["y"], said["width"], said["height"])
    return Reviewed(
        number=frame["number"],
        review=said["number"],
        label=said["label"],
        defect_class=said["defect_class"],
        received_at=frame["received_at"],
        coil_id=frame["coil_id"],
        camera_id=frame["camera_id"],
        width=frame["width"],
        height=frame["height"],
        digest=frame["digest"],
        file_format=frame["format"],
        deleted=frame["deleted_at"] is not None,
        boxes=tuple(seen) if drawn is None else (drawn,),
    )
