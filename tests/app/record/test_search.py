"""Finding inspections: whatever combines, every one that is wanted, once, newest first, by an index."""

import itertools
import math
import random
from datetime import timedelta

import pytest
from sqlalchemy import event, insert, select, text

from app.store import queries, schema, search
from app.store.cursors import cursor_of, number_before
from app.store.numbers import first_number_at
from app.store.schema import UNTIMELY
from app.store.wanted import END, Wanted
from tests.app.store.rows import STARTED, add_coil, add_inspection

COUNT = 300
SECOND = timedelta(seconds=1)


@pytest.fixture
def filled(record):
    """300 inspections, one a second, of which many things are true in many combinations."""
    rng = random.Random(5)
    with record.writing() as connection:
        for number in range(COUNT):
            probability = round(rng.random(), 3)
            verdict = "ok" if probability < 0.3 else "review" if probability < 0.7 else "defect"
            add_inspection(
                connection,
                rng.choice(["C1", "C2", None]),
                received_at=STARTED + number * SECOND,
                camera_id=rng.choice(["cam-1", "cam-2", None]),
                verdict=verdict,
                defect_probability=probability,
                defect_class=None if verdict == "ok" else rng.choice(["pit", "scratch"]),
                review=rng.choice([None, None, "ok", "defect"]),
            )
    return record


def everything(connection):
    rows = schema.inspections.c
    columns = select(*rows, schema.coils.c.coil_id).outerjoin(schema.coils, rows.coil == schema.coils.c.number)
    return connection.execute(columns.order_by(rows.number.desc())).mappings().all()


def fulfils(row, wanted):
    """The definition of the filter, row by row."""
    return (
        wanted.coil_id in (None, row["coil_id"])
        and wanted.camera_id in (None, row["camera_id"])
        and wanted.verdict in (None, row["verdict"])
        and wanted.defect_class in (None, row["defect_class"])
        and (wanted.since is None or row["received_at"] >= wanted.since)
        and (wanted.until is None or row["received_at"] < wanted.until)
        and (wanted.least_probability is None or row["defect_probability"] >= wanted.least_probability)
        and (wanted.most_probability is None or row["defect_probability"] <= wanted.most_probability)
        and wanted.reviewed in (None, row["review"] is not None)
    )


def pages(connection, wanted, limit, patience_s):
    """All pages, and how many there were."""
    before, numbers, count = END, [], 0
    while before is not None:
        found = search.find(connection, wanted, limit, before, patience_s)
        assert len(found.numbers) <= limit
        assert found.before is None or found.before < before
        numbers, before, count = [*numbers, *found.numbers], found.before, count + 1
    return numbers, count


SINGLE = {
    "coil_id": ["C1", "C2", "no such coil"],
    "camera_id": ["cam-1", "no such camera"],
    "verdict": ["ok", "review", "defect"],
    "defect_class": ["pit", "no such class"],
    "since": [STARTED + 50 * SECOND, STARTED - timedelta(days=900), STARTED + timedelta(days=900)],
    "until": [STARTED + 200 * SECOND, STARTED - timedelta(days=900)],
    "least_probability": [0.0, 0.5, 0.999],
    "most_probability": [0.6, 0.001],
    "reviewed": [True, False],
}


def combinations(count):
    """Filters of one field each, and a draw of those of several."""
    yield from (Wanted(**{name: value}) for name, values in SINGLE.items() for value in values)
    rng = random.Random(7)
    for _ in range(count):
        names = rng.sample(list(SINGLE), rng.randint(2, 5))
        yield Wanted(**{name: rng.choice(SINGLE[name]) for name in names})


@pytest.mark.parametrize("way", ["short lists", "slices", "impatient slices"])
def test_all_that_is_wanted_is_found_once_newest_first(filled, monkeypatch, way):
    if way != "short lists":
        monkeypatch.setattr(search, "SHORT", 1)
        monkeypatch.setattr(search, "FIRST_SLICE", 7)
        monkeypatch.setattr(search, "LARGEST_SLICE", 40)
    patience_s = 0.0 if way == "impatient slices" else math.inf
    with filled.reading() as connection:
        rows = everything(connection)
        for wanted in [Wanted(), *combinations(60)]:
            expected = [row["number"] for row in rows if fulfils(row, wanted)]
            numbers, count = pages(connection, wanted, 25, patience_s)
            assert numbers == expected, wanted
            if patience_s:
                # Pages are full but for the last, and none is asked for in vain.
                assert count == max(1, -(-len(expected) // 25)), wanted


def test_an_impatient_page_says_where_to_go_on(filled, monkeypatch):
    monkeypatch.setattr(search, "SHORT", 1)
    monkeypatch.setattr(search, "FIRST_SLICE", 20)
    with filled.reading() as connection:
        oldest = everything(connection)[-1]
        wanted = Wanted(until=oldest["received_at"] + SECOND)
        with_reach = search.find(connection, wanted, 5, patience_s=0)
        assert with_reach.numbers == [oldest["number"]]
        assert with_reach.before is None
        # Of probabilities nobody knows where in time they lie: twenty rows are looked through, and then more.
        value = oldest["defect_probability"]
        rare = Wanted(least_probability=value, most_probability=value)
        first = search.find(connection, rare, 5, patience_s=0)
        assert first.before is not None
        assert set(first.numbers) <= {row["number"] for row in everything(connection)[:20]}
        assert oldest["number"] in pages(connection, rare, 5, patience_s=0)[0]


def test_pages_hold_still_while_frames_come_in(filled):
    wanted = Wanted(verdict="defect")
    with filled.reading() as connection:
        expected = [row["number"] for row in everything(connection) if fulfils(row, wanted)]
    taken, before, late = [], END, itertools.count(COUNT)
    while before is not None:
        with filled.reading() as connection:
            found = search.find(connection, wanted, 10, before)
        taken, before = [*taken, *found.numbers], found.before
        with filled.writing() as connection:
            for second in itertools.islice(late, 3):
                at = STARTED + second * SECOND
                add_inspection(connection, received_at=at, verdict="defect", defect_probability=0.9)
    assert taken == expected


def test_rows_of_a_clock_that_was_set_back_are_found_by_their_time(record):
    """The clock goes back an hour: numbers go on rising by one microsecond each, times begin anew."""
    with record.writing() as connection:
        for second in range(10):
            add_inspection(connection, received_at=STARTED + second * SECOND)
        last = connection.scalar(select(schema.inspections.c.number).order_by(schema.inspections.c.number.desc()))
        back = STARTED - timedelta(hours=1)
        odd = [
            add_inspection(connection, number=last + first_number_at(step), received_at=back + step * SECOND)
            for step in range(1, 6)
        ]
        # And a clock that went forth between a frame's number and its time.
        early = add_inspection(connection, number=first_number_at(5), received_at=STARTED + 3 * SECOND)
    with record.reading() as connection:
        assert set(connection.scalars(text(f"SELECT number FROM inspections WHERE {UNTIMELY}"))) == {*odd, early}
        rows = everything(connection)
        for since, until in itertools.product([None, back + 2 * SECOND, STARTED, STARTED + 4 * SECOND], repeat=2):
            wanted = Wanted(since=since, until=until)
            expected = [row["number"] for row in rows if fulfils(row, wanted)]
            assert search.find(connection, wanted, 50).numbers == expected, wanted


# Filter -> the index that must be gone by where its list is short, and where all lists are long.
PLANS = [
    (Wanted(), "PRIMARY KEY", "PRIMARY KEY"),
    (Wanted(coil_id="C1"), "ix_inspections_coil_number", "ix_inspections_coil_number"),
    (Wanted(camera_id="cam-1"), "ix_inspections_camera_id_number", "ix_inspections_camera_id_number"),
    (Wanted(coil_id="C1", camera_id="cam-1"), *["ix_inspections_coil_camera_id_number"] * 2),
    (Wanted(verdict="review"), "ix_inspections_called", "ix_inspections_called"),
    (Wanted(verdict="ok"), "PRIMARY KEY", "PRIMARY KEY"),
    (Wanted(defect_class="pit"), "ix_inspections_class", "ix_inspections_class"),
    (Wanted(reviewed=True), "ix_inspections_reviewed", "ix_inspections_reviewed"),
    (Wanted(least_probability=0.2, most_probability=0.3), "ix_inspections_defect_probability", "PRIMARY KEY"),
    (Wanted(since=STARTED, until=STARTED + 9 * SECOND), "PRIMARY KEY", "PRIMARY KEY"),
    (Wanted(camera_id="cam-1", defect_class="rare"), "ix_inspections_class", "ix_inspections_class"),
    (Wanted(coil_id="C1", least_probability=0.98), "ix_inspections_defect_probability", "ix_inspections_coil_number"),
]


@pytest.mark.parametrize(("wanted", "short", "long"), PLANS, ids=str)
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_every_filter_goes_by_an_index(filled, monkeypatch, wanted, short, long):
    def plans():
        found = []

        def explain(connection, _cursor, statement, parameters, *_):
            if statement.startswith(("SELECT", "WITH")):
                cursor = connection.connection.driver_connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
                found.append([row[3] for row in cursor.fetchall()])

        with filled.reading() as connection:
            event.listen(connection, "before_cursor_execute", explain)
            search.find(connection, wanted, 25)
        assert not any("SCAN inspections" in step for plan in found for step in plan), found
        return " ".join(found[-1])

    assert short in plans()
    monkeypatch.setattr(search, "SHORT", 1)
    if long is not None:
        assert long in plans()


def test_batches_read_everything_in_pieces(filled, monkeypatch):
    monkeypatch.setattr(queries, "BATCH", 40)
    wanted = Wanted(camera_id="cam-1")
    with filled.reading() as connection:
        expected = [row["number"] for row in everything(connection) if fulfils(row, wanted)]
    pieces = list(queries.batches(filled.reading, wanted))
    assert [row["number"] for piece in pieces for row in piece] == expected
    assert all(0 < len(piece) <= 40 for piece in pieces)


def test_an_empty_record_has_one_empty_page(record):
    with record.reading() as connection:
        for wanted in [Wanted(), *combinations(5)]:
            assert search.find(connection, wanted, 10) == ([], None)


@pytest.mark.parametrize("number", [0, 1, 2**62 + 12345, END])
def test_a_cursor_comes_back_as_it_was(number):
    assert number_before(cursor_of(number)) == number


def test_no_other_text_is_a_cursor():
    cursor = cursor_of(2**61 + 99)
    others = [cursor[:-1], cursor + "A", cursor[::-1], cursor.lower(), "", "é" * 16, "A" * 16, f" {cursor}", "=" * 16]
    swapped = [cursor[:at] + ("B" if cursor[at] != "B" else "C") + cursor[at + 1 :] for at in range(len(cursor))]
    for other in {*others, *swapped} - {cursor}:
        with pytest.raises(ValueError, match="not a cursor of ours"):
            number_before(other)


def test_a_coil_without_frames_has_none(record):
    with record.writing() as connection:
        add_coil(connection, "C9")
        connection.execute(insert(schema.coils), {"coil_id": "C8", "opened_at": STARTED, "opened_by": "api"})
        add_inspection(connection, "C1")
    with record.reading() as connection:
        assert search.find(connection, Wanted(coil_id="C8"), 10) == ([], None)
