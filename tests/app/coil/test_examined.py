"""An examination is kept as long as it is true."""

import pytest
from sqlalchemy import insert, update

from app.examined import KEPT, Examinations
from app.plant import Plant
from app.store import coils, schema
from tests.app.store.rows import STARTED, add_coil, add_event, add_inspection


@pytest.fixture
def examinations():
    return Examinations(Plant())


def look(database, examinations, coil_id="C1"):
    with database.reading() as connection:
        return examinations.of(connection, coils.find(connection, coil_id))


def test_nothing_new_is_the_same_examination(database, examinations):
    with database.writing() as connection:
        add_event(connection, add_inspection(connection))
    assert look(database, examinations) is look(database, examinations)


@pytest.mark.parametrize("change", ["frame", "refused", "review", "closed"])
def test_whatever_is_new_is_examined(database, examinations, change):
    with database.writing() as connection:
        number = add_inspection(connection, verdict="defect")
        add_event(connection, number)
    before = look(database, examinations)
    with database.writing() as connection:
        if change == "frame":
            add_event(connection, add_inspection(connection))
        elif change == "refused":
            coil = add_coil(connection)
            row = {"at": STARTED, "code": "overloaded", "camera_id": "cam-1", "coil": coil, "sequence": 7}
            connection.execute(insert(schema.refused_frames), row)
        elif change == "review":
            connection.execute(update(schema.inspections).values(review="ok"))
            connection.execute(insert(schema.outbox), {"at": STARTED, "kind": "review", "body": {}})
        else:
            coils.close_coil(connection, "C1", STARTED)
    after = look(database, examinations)
    assert after is not before
    if change == "frame":
        assert len(after.events) == len(before.events) + 1
    elif change == "review":
        assert len(after.events) == 0


def test_only_the_latest_are_kept(database, examinations):
    with database.writing() as connection:
        for number in range(KEPT + 1):
            add_inspection(connection, coil_id=f"C{number}")
    first = look(database, examinations, "C0")
    for number in range(1, KEPT + 1):
        look(database, examinations, f"C{number}")
    assert look(database, examinations, "C0") is not first
