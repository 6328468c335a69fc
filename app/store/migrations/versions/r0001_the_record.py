"""The record as it was first released."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

# SQLite counts rows itself, but only in a column of this very type.
NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """From nothing."""
    op.create_table(
        "audit",
        sa.Column("number", NUMBER, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.Column("previous", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_audit")),
        sa.UniqueConstraint("digest", name=op.f("uq_audit_digest")),
    )
    op.create_table(
        "coils",
        sa.Column("number", NUMBER, nullable=False),
        sa.Column("coil_id", sa.Text(), nullable=False),
        sa.Column("opened_at", sa.BigInteger(), nullable=False),
        sa.Column("opened_by", sa.Text(), nullable=False),
        sa.Column("last_frame_at", sa.BigInteger(), nullable=True),
        sa.Column("closed_at", sa.BigInteger(), nullable=True),
        sa.Column("closed_by", sa.Text(), nullable=True),
        sa.Column("length_mm", sa.Double(), nullable=True),
        sa.Column("width_mm", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_coils")),
        sa.UniqueConstraint("coil_id", name=op.f("uq_coils_coil_id")),
    )
    op.create_table(
        "images",
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("format", sa.Text(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("stored_at", sa.BigInteger(), nullable=False),
        sa.Column("deleted_at", sa.BigInteger(), nullable=True),
        sa.Column("deleted_why", sa.Text(), nullable=True),
        sa.Column("purged_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_images")),
    )
    op.create_index(op.f("ix_images_verdict_stored_at"), "images", ["verdict", "stored_at"], unique=False)
    op.create_table(
        "models",
        sa.Column("number", NUMBER, nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("first_served_at", sa.BigInteger(), nullable=False),
        sa.Column("review_threshold", sa.Double(), nullable=False),
        sa.Column("defect_threshold", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_models")),
        sa.UniqueConstraint("version", name=op.f("uq_models_version")),
    )
    op.create_table(
        "outbox",
        sa.Column("number", NUMBER, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_outbox")),
    )
    op.create_table(
        "inspections",
        sa.Column("number", NUMBER, autoincrement=False, nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("captured_at", sa.BigInteger(), nullable=True),
        sa.Column("request_id", sa.Text(), nullable=True),
        sa.Column("body_digest", sa.LargeBinary(length=32), nullable=True),
        sa.Column("camera_id", sa.Text(), nullable=True),
        sa.Column("coil", NUMBER, nullable=True),
        sa.Column("side", sa.Text(), nullable=True),
        sa.Column("sequence", sa.BigInteger(), nullable=True),
        sa.Column("position_mm", sa.Double(), nullable=True),
        sa.Column("mm_per_pixel", sa.Double(), nullable=True),
        sa.Column("overlap_rows", sa.Integer(), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("tiles", sa.Integer(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("defect_probability", sa.Double(), nullable=False),
        sa.Column("defect_class", sa.Text(), nullable=True),
        sa.Column("event_count", sa.Integer(), nullable=False),
        sa.Column("model", NUMBER, nullable=False),
        sa.Column("engine", sa.Text(), nullable=False),
        sa.Column("quality_accepted", sa.Boolean(), nullable=False),
        sa.Column("quality_warnings", sa.Text(), nullable=True),
        sa.Column("image", sa.Text(), nullable=True),
        sa.Column("image_missing", sa.Text(), nullable=True),
        sa.Column("sampled", sa.Boolean(), nullable=False),
        sa.Column("review", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["coil"], ["coils.number"], name=op.f("fk_inspections_coil")),
        sa.ForeignKeyConstraint(["image"], ["images.digest"], name=op.f("fk_inspections_image")),
        sa.ForeignKeyConstraint(["model"], ["models.number"], name=op.f("fk_inspections_model")),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_inspections")),
        sa.UniqueConstraint("request_id", name=op.f("uq_inspections_request_id")),
    )
    op.create_index(
        "ix_inspections_called",
        "inspections",
        ["verdict", "number"],
        unique=False,
        sqlite_where=sa.text("verdict != 'ok'"),
        postgresql_where=sa.text("verdict != 'ok'"),
    )
    op.create_index(op.f("ix_inspections_camera_id_number"), "inspections", ["camera_id", "number"], unique=False)
    op.create_index(
        "ix_inspections_class",
        "inspections",
        ["defect_class", "number"],
        unique=False,
        sqlite_where=sa.text("defect_class IS NOT NULL"),
        postgresql_where=sa.text("defect_class IS NOT NULL"),
    )
    op.create_index(
        op.f("ix_inspections_coil_camera_id_number"), "inspections", ["coil", "camera_id", "number"], unique=False
    )
    op.create_index(op.f("ix_inspections_coil_number"), "inspections", ["coil", "number"], unique=False)
    op.create_index(op.f("ix_inspections_defect_probability"), "inspections", ["defect_probability"], unique=False)
    op.create_index(
        "ix_inspections_image",
        "inspections",
        ["image"],
        unique=False,
        sqlite_where=sa.text("image IS NOT NULL"),
        postgresql_where=sa.text("image IS NOT NULL"),
    )
    op.create_index("ix_inspections_model_verdict", "inspections", ["model", "verdict"], unique=False)
    op.create_index(
        "ix_inspections_reviewed",
        "inspections",
        ["number"],
        unique=False,
        sqlite_where=sa.text("review IS NOT NULL"),
        postgresql_where=sa.text("review IS NOT NULL"),
    )
    op.create_index(
        "ix_inspections_sampled",
        "inspections",
        ["model", "verdict", "review", "number"],
        unique=False,
        sqlite_where=sa.text("sampled"),
        postgresql_where=sa.text("sampled"),
    )
    op.create_index(
        "ix_inspections_untimely",
        "inspections",
        ["received_at", "number"],
        unique=False,
        sqlite_where=sa.text("(number >> 11) - received_at NOT BETWEEN -10000000 AND 10000000"),
        postgresql_where=sa.text("(number >> 11) - received_at NOT BETWEEN -10000000 AND 10000000"),
    )
    op.create_table(
        "refused_frames",
        sa.Column("number", NUMBER, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=True),
        sa.Column("camera_id", sa.Text(), nullable=True),
        sa.Column("coil", NUMBER, nullable=True),
        sa.Column("side", sa.Text(), nullable=True),
        sa.Column("sequence", sa.BigInteger(), nullable=True),
        sa.Column("position_mm", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["coil"], ["coils.number"], name=op.f("fk_refused_frames_coil")),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_refused_frames")),
    )
    op.create_index(
        op.f("ix_refused_frames_coil_camera_id_sequence"),
        "refused_frames",
        ["coil", "camera_id", "sequence"],
        unique=False,
    )
    op.create_table(
        "differences",
        sa.Column("inspection", NUMBER, nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("defect_probability", sa.Double(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["inspection"], ["inspections.number"], name=op.f("fk_differences_inspection")),
        sa.PrimaryKeyConstraint("inspection", "version", name=op.f("pk_differences")),
    )
    op.create_table(
        "events",
        sa.Column("number", NUMBER, nullable=False),
        sa.Column("inspection", NUMBER, nullable=False),
        sa.Column("coil", NUMBER, nullable=True),
        sa.Column("x", sa.Integer(), nullable=False),
        sa.Column("y", sa.Integer(), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("defect_probability", sa.Double(), nullable=False),
        sa.Column("defect_class", sa.Text(), nullable=True),
        sa.Column("continued", sa.Boolean(), nullable=False),
        sa.Column("position_mm", sa.Double(), nullable=True),
        sa.Column("length_mm", sa.Double(), nullable=True),
        sa.Column("across_mm", sa.Double(), nullable=True),
        sa.Column("width_mm", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["coil"], ["coils.number"], name=op.f("fk_events_coil")),
        sa.ForeignKeyConstraint(["inspection"], ["inspections.number"], name=op.f("fk_events_inspection")),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_events")),
    )
    op.create_index(op.f("ix_events_coil_position_mm"), "events", ["coil", "position_mm"], unique=False)
    op.create_index(op.f("ix_events_inspection"), "events", ["inspection"], unique=False)
    op.create_table(
        "reviews",
        sa.Column("number", NUMBER, nullable=False),
        sa.Column("inspection", NUMBER, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("reviewer", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("defect_class", sa.Text(), nullable=True),
        sa.Column("x", sa.Integer(), nullable=True),
        sa.Column("y", sa.Integer(), nullable=True),
        sa.Column("width", sa.Integer(), nullable=True),
        sa.Column("height", sa.Integer(), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("undone_at", sa.BigInteger(), nullable=True),
        sa.Column("undone_by", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["inspection"], ["inspections.number"], name=op.f("fk_reviews_inspection")),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_reviews")),
    )
    op.create_index(op.f("ix_reviews_inspection"), "reviews", ["inspection"], unique=False)
