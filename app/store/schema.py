"""The tables of the record, the same in SQLite and PostgreSQL.

An inspection's number is its id and its place in time at once (see `app.store.numbers`): a page of the newest is a
walk along the primary key. What a frame's row needs often is in it; what few frames have (events, images, reviews) is
in tables of its own.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    text,
)

from app.store.numbers import TAG_BITS

# An inspection's number tells the moment that its row calls received_at, unless the clock was set back since a greater
# one was given out (see `app.store.numbers`), or forth in between. Microseconds by which they may differ until the row
# is in an index of its own, of few rows or none. Of a wider band every query for a time would read more than it wants.
BAND = 10_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


class Moment(TypeDecorator[datetime]):
    """A time in UTC to the microsecond, as an integer: the two databases would else keep it in two ways."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> int | None:
        """Microseconds since 1970."""
        return None if value is None else (value - EPOCH) // MICROSECOND

    def process_result_value(self, value: int | None, dialect: Any) -> datetime | None:
        """Aware, in UTC."""
        return None if value is None else EPOCH + value * MICROSECOND


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite counts rows itself, but only in a column of this very type.
COUNTED = BigInteger().with_variant(Integer, "sqlite")

# A coil's row is there from its first frame on, or from `POST /v1/coils`. closed_by: "api" or "idle".
coils = Table(
    "coils",
    metadata,
    Column("number", COUNTED, primary_key=True),
    Column("coil_id", Text, nullable=False, unique=True),
    Column("opened_at", Moment, nullable=False),
    Column("opened_by", Text, nullable=False),
    Column("last_frame_at", Moment),
    Column("closed_at", Moment),
    Column("closed_by", Text),
    Column("length_mm", Double),
    Column("width_mm", Double),
)

# A version never changes: its thresholds stand here once, not in every inspection.
models = Table(
    "models",
    metadata,
    Column("number", COUNTED, primary_key=True),
    Column("version", Text, nullable=False, unique=True),
    Column("first_served_at", Moment, nullable=False),
    Column("review_threshold", Double, nullable=False),
    Column("defect_threshold", Double, nullable=False),
)

# An archived image file, named by the sha256 of its bytes; verdict: the gravest of the frames that it shows.
# deleted_at: its deletion is decided, and on record; purged_at: and done.
images = Table(
    "images",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("format", Text, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("verdict", Text, nullable=False),
    Column("stored_at", Moment, nullable=False),
    Column("deleted_at", Moment),
    Column("deleted_why", Text),
    Column("purged_at", Moment),
    Index(None, "verdict", "stored_at"),
)

inspections = Table(
    "inspections",
    metadata,
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("received_at", Moment, nullable=False),
    Column("captured_at", Moment),
    # The client's own id, and the sha256 of the body it came with: a repeat is told from another frame by it.
    Column("request_id", Text, unique=True),
    Column("body_digest", LargeBinary(32)),
    Column("camera_id", Text),
    Column("coil", ForeignKey("coils.number")),
    Column("side", Text),
    Column("sequence", BigInteger),
    Column("position_mm", Double),
    Column("mm_per_pixel", Double),
    Column("overlap_rows", Integer, nullable=False),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("tiles", Integer, nullable=False),
    Column("method", Text, nullable=False),
    Column("verdict", Text, nullable=False),
    Column("defect_probability", Double, nullable=False),
    # Of the event with the highest probability, where the network tells classes apart.
    Column("defect_class", Text),
    Column("event_count", Integer, nullable=False),
    Column("model", ForeignKey("models.number"), nullable=False),
    Column("engine", Text, nullable=False),
    Column("quality_accepted", Boolean, nullable=False),
    # Joined by commas; None: there were none.
    Column("quality_warnings", Text),
    Column("image", ForeignKey("images.digest")),
    # Why there is no image though there should be one: "archive_full".
    Column("image_missing", Text),
    # Drawn at random whatever the verdict's worth: rates of live operation are estimated from these alone.
    Column("sampled", Boolean, nullable=False),
    # The label of the review that counts ("ok", "defect"), None where there is none: see `reviews`.
    Column("review", Text),
    Index(None, "camera_id", "number"),
    Index(None, "coil", "number"),
    Index(None, "coil", "camera_id", "number"),
    Index(None, "defect_probability"),
)
Index("ix_inspections_called", inspections.c.verdict, inspections.c.number,
      sqlite_where=inspections.c.verdict != "ok", postgresql_where=inspections.c.verdict != "ok")  # fmt: skip
Index("ix_inspections_class", inspections.c.defect_class, inspections.c.number,
      sqlite_where=inspections.c.defect_class.is_not(None),
      postgresql_where=inspections.c.defect_class.is_not(None))  # fmt: skip
Index("ix_inspections_reviewed", inspections.c.number,
      sqlite_where=inspections.c.review.is_not(None), postgresql_where=inspections.c.review.is_not(None))  # fmt: skip
Index("ix_inspections_image", inspections.c.image,
      sqlite_where=inspections.c.image.is_not(None), postgresql_where=inspections.c.image.is_not(None))  # fmt: skip
Index("ix_inspections_model_verdict", inspections.c.model, inspections.c.verdict)
# A query must say `sampled` in the same words to use it: `text("sampled")`, for SQLite is given `sampled = 1` else.
Index("ix_inspections_sampled", inspections.c.model, inspections.c.verdict, inspections.c.review, inspections.c.number,
      sqlite_where=inspections.c.sampled, postgresql_where=inspections.c.sampled)  # fmt: skip

# A query must say it in these words to use the index.
UNTIMELY = text(f"(number >> {TAG_BITS}) - received_at NOT BETWEEN -{BAND} AND {BAND}")
Index("ix_inspections_untimely", inspections.c.received_at, inspections.c.number,
      sqlite_where=UNTIMELY, postgresql_where=UNTIMELY)  # fmt: skip

# In pixels of the frame, and where the request said how, in mm of the strip: position_mm and length_mm along it,
# across_mm (of the camera's first column) and width_mm across. coil repeats the inspection's.
events = Table(
    "events",
    metadata,
    Column("number", COUNTED, primary_key=True),
    Column("inspection", ForeignKey("inspections.number"), nullable=False, index=True),
    Column("coil", ForeignKey("coils.number")),
    Column("x", Integer, nullable=False),
    Column("y", Integer, nullable=False),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("defect_probability", Double, nullable=False),
    Column("defect_class", Text),
    Column("continued", Boolean, nullable=False),
    Column("position_mm", Double),
    Column("length_mm", Double),
    Column("across_mm", Double),
    Column("width_mm", Double),
    Index(None, "coil", "position_mm"),
)

# A frame that was refused, or not begun in time, and by its camera's words would have been a part of a coil.
refused_frames = Table(
    "refused_frames",
    metadata,
    Column("number", COUNTED, primary_key=True),
    Column("at", Moment, nullable=False),
    Column("code", Text, nullable=False),
    Column("request_id", Text),
    Column("camera_id", Text),
    Column("coil", ForeignKey("coils.number")),
    Column("side", Text),
    Column("sequence", BigInteger),
    Column("position_mm", Double),
    Index(None, "coil", "camera_id", "sequence"),
)

# What a closed coil's frames come down to, so that nobody who looks at it need read them all; `app.store.runs`.
coil_runs = Table(
    "coil_runs",
    metadata,
    Column("coil", ForeignKey("coils.number"), primary_key=True),
    Column("tolerance_mm", Double, nullable=False),
    Column("last_frame_at", Moment, nullable=False),
    Column("runs", JSON, nullable=False),
)

# What a person said; the latest that is not undone counts. A box in pixels of the frame.
reviews = Table(
    "reviews",
    metadata,
    Column("number", COUNTED, primary_key=True),
    Column("inspection", ForeignKey("inspections.number"), nullable=False, index=True),
    Column("at", Moment, nullable=False),
    Column("reviewer", Text, nullable=False),
    Column("label", Text, nullable=False),
    Column("defect_class", Text),
    Column("x", Integer),
    Column("y", Integer),
    Column("width", Integer),
    Column("height", Integer),
    Column("note", Text),
    Column("undone_at", Moment),
    Column("undone_by", Text),
)

# A frame that a shadow judged otherwise.
differences = Table(
    "differences",
    metadata,
    Column("inspection", ForeignKey("inspections.number"), primary_key=True),
    Column("version", Text, primary_key=True),
    Column("verdict", Text, nullable=False),
    Column("defect_probability", Double, nullable=False),
    Column("at", Moment, nullable=False),
)

# What happened beside inspections, in order, for whoever listens: the live feed today, the plant's own systems later.
outbox = Table(
    "outbox",
    metadata,
    Column("number", COUNTED, primary_key=True),
    Column("at", Moment, nullable=False),
    Column("kind", Text, nullable=False),
    Column("body", JSON, nullable=False),
)

# Every administrative act; each line's digest covers the one before it.
audit = Table(
    "audit",
    metadata,
    Column("number", COUNTED, primary_key=True),
    Column("at", Moment, nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("detail", JSON, nullable=False),
    Column("previous", Text, nullable=False),
    Column("digest", Text, nullable=False, unique=True),
)
