"""The schema's steps: each leads from every release to this one with the rows kept, or changes nothing."""

import shutil

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, select, text

from app.store import schema
from app.store.database import DatabaseError, open_database, sqlite_url
from app.store.migrate import SCRIPTS, migrate
from tests.app import databases
from tests.app.store.rows import add_coil, add_event, add_image, add_inspection

FAILS = '''
"""A step that fails after it has begun."""

import sqlalchemy as sa
from alembic import op

revision, down_revision = "9999", "{head}"


def upgrade() -> None:
    op.create_table("begun", sa.Column("number", sa.Integer, primary_key=True))
    op.execute("UPDATE coils SET coil_id = 'changed'")
    op.execute("INSERT INTO nowhere VALUES (1)")
'''


def steps() -> list[str]:
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))
    config.set_main_option("path_separator", "newline")
    return [step.revision for step in ScriptDirectory.from_config(config).walk_revisions()]


@pytest.fixture(params=["sqlite", "postgresql"])
def empty(request, tmp_path):
    """A database without tables."""
    if request.param == "sqlite":
        database = open_database(sqlite_url(tmp_path / "record.db"))
        yield database
        database.close()
    else:
        with databases.postgresql(request.getfixturevalue("postgresql_server"), "template0") as database:
            yield database


# What stood in the record of each release, as its own statements: this program's rows have other columns one day.
RELEASED = {
    "0001": (
        "INSERT INTO coils (coil_id, opened_at, opened_by) VALUES ('C1', 1000000, 'frame')",
        "INSERT INTO models (version, first_served_at, review_threshold, defect_threshold)"
        " VALUES ('m1', 1000000, 0.3, 0.7)",
        "INSERT INTO inspections (number, received_at, coil, overlap_rows, width, height, tiles, method, verdict,"
        " defect_probability, event_count, model, engine, quality_accepted, sampled)"
        " VALUES (42, 1000000, 1, 0, 256, 128, 2, 'tiles', 'defect', 0.9, 1, 1, 'onnx', {true}, {true})",
        "INSERT INTO events (inspection, coil, x, y, width, height, defect_probability, continued)"
        " VALUES (42, 1, 1, 2, 3, 4, 0.9, {false})",
    )
}
RELEASED["0002"] = (
    *RELEASED["0001"],
    "INSERT INTO coil_runs (coil, tolerance_mm, last_frame_at, runs) VALUES (1, 1.0, 1000000, '[]')",
)


def test_every_release_is_known():
    assert set(steps()) == set(RELEASED)


@pytest.mark.parametrize("release", RELEASED)
def test_from_every_release_with_its_rows(empty, release):
    migrate(empty, release)
    with empty.writing() as connection:
        for statement in RELEASED[release]:
            connection.execute(text(statement.format(true="TRUE", false="FALSE")))
    migrate(empty)
    with empty.writing() as connection:
        row = connection.execute(select(schema.inspections)).one()
        assert (row.number, row.verdict, row.received_at) == (
            42,
            "defect",
            schema.EPOCH + 1_000_000 * schema.MICROSECOND,
        )
        # And it goes on: new rows beside the old ones.
        add_event(connection, add_inspection(connection, image=add_image(connection, "d" * 64)))
        assert connection.scalar(select(schema.coils.c.number).where(schema.coils.c.coil_id == "C1")) == 1


def test_the_steps_make_what_the_program_expects(database):
    with database.reading() as connection:
        assert compare_metadata(MigrationContext.configure(connection), schema.metadata) == []
        if database.is_sqlite:
            made = dict(connection.execute(text("SELECT name, sql FROM sqlite_master")).all())
            assert "WHERE verdict != 'ok'" in made["ix_inspections_called"]


def test_twice_changes_nothing(database):
    with database.writing() as connection:
        add_coil(connection)
    migrate(database)
    with database.reading() as connection:
        assert connection.scalar(select(schema.coils.c.coil_id)) == "C1"


def test_a_step_that_fails_leaves_everything_as_it_was(database, tmp_path):
    scripts = tmp_path / "scripts"
    shutil.copytree(SCRIPTS, scripts)
    (scripts / "versions" / "r9999_fails.py").write_text(FAILS.format(head=steps()[0]))
    with database.writing() as connection:
        add_coil(connection)
    with pytest.raises(DatabaseError, match="nowhere"):
        migrate(database, scripts=scripts)
    with database.reading() as connection:
        assert connection.scalar(select(schema.coils.c.coil_id)) == "C1"
        assert not inspect(connection).has_table("begun")
        assert MigrationContext.configure(connection).get_current_revision() == steps()[0]
    migrate(database)


def test_a_newer_release_s_database_is_left_alone(database):
    with database.writing() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(DatabaseError, match="newer release"):
        migrate(database)
