"""The runs of closed coils."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """A table more; a server fills it."""
    op.create_table(
        "coil_runs",
        sa.Column("coil", NUMBER, nullable=False),
        sa.Column("tolerance_mm", sa.Double(), nullable=False),
        sa.Column("last_frame_at", sa.BigInteger(), nullable=False),
        sa.Column("runs", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["coil"], ["coils.number"], name=op.f("fk_coil_runs_coil")),
        sa.PrimaryKeyConstraint("coil", name=op.f("pk_coil_runs")),
    )
