"""Wire formats of the record: a row of the list of inspections, one with all that belongs to it, the cameras."""

from datetime import datetime
from typing import Any, Literal, Self

from pydantic import BaseModel, Field
from sqlalchemy import RowMapping

from app.schemas import ImageSize, ModelName, QualityReply
from app.store.cursors import cursor_of
from app.store.numbers import inspection_id
from app.store.queries import Detail, Page
from model.verdict import Thresholds, Verdict

Label = Literal["ok", "defect"]
DELETED = "deleted"


class InspectionRow(BaseModel):
    """One inspection, as it stands in lists and in the live feed."""

    inspection_id: str
    received_at: datetime
    captured_at: datetime | None
    request_id: str | None
    camera_id: str | None
    coil_id: str | None
    side: str | None
    sequence: int | None
    position_mm: float | None
    mm_per_pixel: float | None
    width: int
    height: int
    verdict: Verdict
    defect_probability: float
    defect_class: str | None = Field(description="Of its most probable event.")
    event_count: int
    version: str
    engine: str
    sampled: bool = Field(description="Drawn at random, for the rates of live operation.")
    review: Label | None = Field(description="The label of the review that counts.")
    has_image: bool
    image_missing: str | None = Field(
        description="Why there is no image though there should be one, or was: `archive_full`, `archive_failed`, "
        "`deleted`."
    )

    @classmethod
    def of(cls, row: RowMapping) -> Self:
        """A row of `app.store.queries`."""
        return cls(**told(row))


# The columns of a table of inspections, in order.
COLUMNS = tuple(InspectionRow.model_fields)
_AS_IT_IS = tuple(name for name in COLUMNS if name not in ("inspection_id", "has_image", "image_missing"))


def told(row: RowMapping) -> dict[str, Any]:
    """A row of `app.store.queries` in the words of `InspectionRow`, and no more of it."""
    said = {name: row[name] for name in _AS_IT_IS}
    deleted = row["image_deleted_at"] is not None
    said["inspection_id"] = inspection_id(row["number"])
    said["has_image"] = row["image"] is not None and not deleted
    said["image_missing"] = DELETED if deleted else row["image_missing"]
    return said


class InspectionsReply(BaseModel):
    """A page of inspections, newest first."""

    inspections: list[InspectionRow]
    next: str | None = Field(
        description="The `cursor` of the next page; null on the last one. A page that has one may be shorter than "
        "`limit`, even empty: what was looked through for it is bounded."
    )

    @classmethod
    def of(cls, page: Page) -> Self:
        """A page of `app.store.queries`."""
        following = None if page.before is None else cursor_of(page.before)
        return cls(inspections=[InspectionRow.of(row) for row in page.rows], next=following)


class ArchivedImage(ImageSize):
    """The frame, and its file in the archive: the last five are null where none was kept."""

    digest: str | None = Field(description="sha256 of the file.")
    format: str | None
    bytes: int | None
    deleted_at: datetime | None
    deleted_why: str | None


class RecordedEvent(BaseModel):
    """One connected defect indication: in pixels of the frame, and in mm of the strip where the request said how."""

    event: int
    x: int
    y: int
    width: int
    height: int
    defect_probability: float
    defect_class: str | None
    continued: bool
    position_mm: float | None
    length_mm: float | None
    across_mm: float | None
    width_mm: float | None


class Box(BaseModel):
    """In pixels of the frame."""

    x: int
    y: int
    width: int
    height: int


class RecordedReview(BaseModel):
    """What a person said of a frame; the latest that is not undone counts."""

    review: int
    at: datetime
    reviewer: str
    label: Label
    defect_class: str | None
    box: Box | None
    note: str | None
    undone_at: datetime | None
    undone_by: str | None


class ShadowVerdict(BaseModel):
    """What another version said of the frame, where it differed."""

    version: str
    verdict: Verdict
    defect_probability: float


class InspectionDetail(InspectionRow):
    """One inspection with all that belongs to it."""

    thresholds: Thresholds
    model: ModelName
    image: ArchivedImage
    quality: QualityReply
    events: list[RecordedEvent]
    reviews: list[RecordedReview] = Field(description="Oldest first, with those that were undone.")
    shadow: list[ShadowVerdict]

    @classmethod
    def whole(cls, detail: Detail) -> Self:
        """Of `app.store.queries`."""
        row = detail.row
        warnings = row["quality_warnings"].split(",") if row["quality_warnings"] else []
        return cls(
            **told(row),
            thresholds=Thresholds(review=row["review_threshold"], defect=row["defect_threshold"]),
            model=ModelName(version=row["version"], engine=row["engine"]),
            image=_image(row),
            quality=QualityReply(accepted=row["quality_accepted"], warnings=warnings),
            events=[RecordedEvent(event=event["number"], **_without_number(event)) for event in detail.events],
            reviews=[
                RecordedReview(review=review["number"], box=_box(review), **_without_number(review))
                for review in detail.reviews
            ],
            shadow=[ShadowVerdict(**difference) for difference in detail.differences],
        )


class DatabaseReply(BaseModel):
    """The database of the record."""

    kind: str = Field(description="`sqlite` or `postgresql`.")
    bytes: int
    inspections: int


class ArchiveReply(BaseModel):
    """The archive of images."""

    kind: str = Field(description="`folder` or `s3`.")
    images: int
    bytes: int
    full: bool
    free_bytes: int | None = Field(description="Null where nobody knows.")


class WriterReply(BaseModel):
    """What is not committed yet in the worker that answers."""

    waiting: int


class RecordReply(BaseModel):
    """How much is kept, and where."""

    database: DatabaseReply
    archive: ArchiveReply
    writer: WriterReply


class CameraReply(BaseModel):
    """One camera, as of its last frame."""

    camera_id: str
    side: str | None
    coil_id: str | None
    last: InspectionRow
    frames_per_second: float = Field(description="Over the last ten seconds.")
    megapixels_per_second: float
    lag_ms: float | None = Field(description="Of the last frame, from its capture to its receipt.")
    gaps: int = Field(description="How often sequence numbers are left out in its last thousand frames.")
    seconds_since_last: float
    picture: str | None = Field(description="Path of its last picture.")


class CamerasReply(BaseModel):
    """The cameras that sent a frame within a day, by name."""

    cameras: list[CameraReply]


def _without_number(row: RowMapping) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "number"}


def _box(review: RowMapping) -> Box | None:
    return None if review["x"] is None else Box(**{name: review[name] for name in Box.model_fields})


def _image(row: RowMapping) -> ArchivedImage:
    return ArchivedImage(
        **{name: row[name] for name in ImageSize.model_fields},
        digest=row["image"],
        format=row["image_format"],
        bytes=row["image_bytes"],
        deleted_at=row["image_deleted_at"],
        deleted_why=row["image_deleted_why"],
    )
