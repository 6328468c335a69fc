"""The audit log: a whole chain, whoever writes it, and the first line that was tampered with."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import delete, insert, select, text, update

from app.store import audit
from app.store.schema import audit as table


def add(database, count=5):
    with database.writing() as connection:
        for number in range(count):
            audit.append(connection, "os:root", "key.create", f"key-{number}", {"scopes": ["read"], "number": number})


def verified(database):
    with database.reading() as connection:
        return audit.verify(connection)


def test_what_was_appended_is_there_in_order_and_whole(database):
    assert verified(database) is None
    add(database)
    with database.reading() as connection:
        found = list(audit.lines(connection))
    assert [line.subject for line in found] == [f"key-{number}" for number in range(5)]
    assert found[0].previous == audit.BEGINNING
    assert [line.previous for line in found[1:]] == [line.digest for line in found[:-1]]
    assert verified(database) is None


TAMPERING = {
    "an actor": lambda number: update(table).where(table.c.number == number).values(actor="os:other"),
    "an action": lambda number: update(table).where(table.c.number == number).values(action="key.revoke"),
    "a subject": lambda number: update(table).where(table.c.number == number).values(subject="key-9"),
    "a detail": lambda number: update(table).where(table.c.number == number).values(detail={"number": 9}),
    "a time": lambda number: text(f"UPDATE audit SET at = at + 1 WHERE number = {number}"),
    "a digest": lambda number: update(table).where(table.c.number == number).values(digest="0" * 64),
    "the line before": lambda number: delete(table).where(table.c.number == number - 1),
}


@pytest.mark.parametrize("tampering", TAMPERING.values(), ids=TAMPERING)
def test_the_first_line_that_was_tampered_with_is_found(database, tampering):
    add(database)
    with database.writing() as connection:
        third = connection.scalars(select(table.c.number).order_by(table.c.number)).all()[2]
        connection.execute(tampering(third))
    assert verified(database).number == third


def test_a_line_that_was_put_in_is_found(database):
    add(database)
    with database.writing() as connection:
        last = connection.execute(select(table).order_by(table.c.number.desc()).limit(1)).one()
        forged = last._asdict() | {"number": last.number + 1, "digest": "1" * 64, "subject": "forged"}
        connection.execute(insert(table), forged)
    assert verified(database).number == last.number + 1


def test_writers_at_once_make_one_chain(database):
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: add(database, 5), range(8)))
    with database.reading() as connection:
        assert len(list(audit.lines(connection))) == 40
    assert verified(database) is None


def test_more_lines_than_are_read_at_a_time(database, monkeypatch):
    monkeypatch.setattr(audit, "LINES", 3)
    add(database, 7)
    with database.reading() as connection:
        assert len(list(audit.lines(connection))) == 7
    assert verified(database) is None


def test_an_act_that_is_undone_leaves_no_line(database):
    add(database)
    with pytest.raises(RuntimeError), database.writing() as connection:
        audit.append(connection, "os:root", "key.create", "undone")
        raise RuntimeError
    with database.reading() as connection:
        assert len(list(audit.lines(connection))) == 5
    add(database, 1)
    assert verified(database) is None


def test_texts_that_no_database_takes_are_taken(database):
    hostile = "\0 \ud800 \udfff ' \" \\ \n \u2028 \U0001f9ea"
    with database.writing() as connection:
        audit.append(connection, hostile, "coil.close", hostile, {hostile: [hostile, {"a": hostile}], "x": 0.1})
    assert verified(database) is None


def test_a_number_that_is_none_is_refused(database):
    with pytest.raises(ValueError, match="JSON"), database.writing() as connection:
        audit.append(connection, "os:root", "coil.close", "C1", {"length_mm": float("nan")})
