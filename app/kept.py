"""Frames whose images are kept: found by their inspection, and where there is none, why."""

from datetime import UTC
from typing import Annotated

from fastapi import Depends, Path
from sqlalchemy import RowMapping

from app.archive import ArchiveError
from app.refusals import Refusal, ServiceCode
from app.store import queries
from app.store.numbers import WRITTEN, number_of
from app.store.record import Record

PATTERN = {"pattern": f"^{WRITTEN.pattern}$"}


def _number(
    inspection_id: Annotated[str, Path(description="As in the reply to the inspection.", json_schema_extra=PATTERN)],
) -> int:
    try:
        return number_of(inspection_id)
    except ValueError as error:
        raise Refusal(ServiceCode.PARAMETERS_INVALID, f"inspection_id: {error}") from None


# The inspection that a route's path names. Raises `Refusal` (parameters_invalid).
Number = Annotated[int, Depends(_number)]


def kept(store: Record, number: int) -> RowMapping:
    """An inspection with its model and its image. Raises `Refusal` (not_found), which says why if there is none."""
    with store.reading() as connection:
        row = queries.inspection(connection, number)
    if row is None:
        raise unknown()
    if reason := _why_not(row):
        raise Refusal(ServiceCode.NOT_FOUND, reason)
    return row


def archived(store: Record, row: RowMapping) -> bytes:
    """The image file of a row that was `kept` a moment ago. Raises `Refusal` (not_found, record_unavailable)."""
    try:
        return store.archive.get(row["image"], row["image_format"])
    except ArchiveError as error:
        # It may have been deleted since the row was read: then that is the reason.
        kept(store, row["number"])
        raise Refusal(ServiceCode.RECORD_UNAVAILABLE, f"the image is on record, but {error}") from error


def unknown() -> Refusal:
    """There is no such inspection."""
    return Refusal(ServiceCode.NOT_FOUND, "there is no such inspection in the record; see GET /v1/inspections")


def _why_not(row: RowMapping) -> str | None:
    if row["image_deleted_at"] is not None:
        at = row["image_deleted_at"].astimezone(UTC).isoformat(" ", "seconds").replace("+00:00", " UTC")
        return f"the image was deleted on {at}, as the rules for keeping images say ({row['image_deleted_why']})"
    if row["image"] is not None:
        return None
    if row["image_missing"] == "archive_full":
        return "no image was kept: the archive was full when the frame was inspected"
    if row["image_missing"] is not None:
        return "no image was kept: the archive could not be written when the frame was inspected"
    return (
        f"no image was kept: the verdict was {row['verdict']}, and of frames that are ok only a share drawn at random "
        "is kept (STEELSIGHT_SAMPLE_OK), to which this one does not belong"
    )
