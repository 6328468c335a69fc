"""Reviews in the record, on both databases: what counts, what waits, what is counted."""

import random
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import event, insert, select, text, update

from app.review import loop
from app.review.queue import by_lot
from app.store import reviews, schema
from app.store.numbers import inspection_id
from tests.app.store.rows import add_event, add_image, add_inspection, add_model

AT = datetime(2026, 3, 3, 9, 0, tzinfo=UTC)
OK = {"label": "ok", "reviewer": "ana"}
DEFECT = {"label": "defect", "defect_class": "pit", "reviewer": "ben", "x": 1, "y": 2, "width": 3, "height": 4}


def add_shown(connection, **values):
    """An inspection whose image is in the archive."""
    number = add_inspection(connection, **values)
    digest = add_image(connection, f"{number:064x}")
    connection.execute(update(schema.inspections).where(schema.inspections.c.number == number).values(image=digest))
    return number


def label_of(connection, number):
    return connection.scalar(select(schema.inspections.c.review).where(schema.inspections.c.number == number))


def queued(database, most=200):
    with database.reading() as connection:
        reply = loop.review_queue(connection, most)
    return reply, [(int(row.inspection_id, 16), row.why.value) for row in reply.queue]


class TestWhatCounts:
    def test_the_latest_does_and_undo_brings_back_the_one_before(self, database):
        with database.writing() as connection:
            number = add_inspection(connection)
            first = reviews.add(connection, number, AT, OK)
            second = reviews.add(connection, number, AT, DEFECT)
            assert label_of(connection, number) == "defect"
            again = reviews.undo(connection, number, AT, "cho")
            assert again["number"] == first["number"]
            assert label_of(connection, number) == "ok"
            assert reviews.undo(connection, number, AT, "cho") is None
            assert label_of(connection, number) is None
            with pytest.raises(LookupError):
                reviews.undo(connection, number, AT, "cho")
            row = connection.execute(select(schema.reviews).where(schema.reviews.c.number == second["number"])).one()
            assert (row.undone_at, row.undone_by, row.defect_class, row.height) == (AT, "cho", "pit", 4)

    def test_whatever_is_done_in_whatever_order(self, database):
        """`inspections.review` is the label of the latest review that is not undone, after every step."""
        chance = random.Random(3)
        with database.writing() as connection:
            numbers = [add_inspection(connection) for _ in range(3)]
            said = {number: [] for number in numbers}
            for _ in range(60):
                number = chance.choice(numbers)
                if said[number] and chance.random() < 0.45:
                    reviews.undo(connection, number, AT, "cho")
                    said[number].pop()
                else:
                    review = chance.choice([OK, DEFECT])
                    reviews.add(connection, number, AT, review)
                    said[number].append(review["label"])
                for each in numbers:
                    assert label_of(connection, each) == (said[each][-1] if said[each] else None)

    def test_two_reviewers_at_once_leave_one_truth(self, database):
        with database.writing() as connection:
            number = add_inspection(connection)

        def say(turn):
            with database.writing() as connection:
                reviews.frame_of(connection, number)
                reviews.add(connection, number, AT, OK if turn % 2 else DEFECT)

        with ThreadPoolExecutor(4) as reviewers:
            list(reviewers.map(say, range(24)))
        with database.reading() as connection:
            assert label_of(connection, number) == reviews.counting(connection, number)["label"]

    def test_everything_is_told(self, database):
        with database.writing() as connection:
            number = add_inspection(connection, coil_id="C7")
            reviews.add(connection, number, AT, DEFECT)
            reviews.undo(connection, number, AT, "cho")
            told = connection.execute(select(schema.outbox).order_by(schema.outbox.c.number)).mappings().all()
        common = {"inspection_id": inspection_id(number), "coil_id": "C7"}
        assert [(row["kind"], row["at"]) for row in told] == [("review", AT)] * 2
        assert [row["body"] for row in told] == [
            common | {"reviewer": "ben", "label": "defect", "defect_class": "pit", "undone": False},
            common | {"reviewer": "cho", "label": None, "defect_class": None, "undone": True},
        ]

    def test_a_frame_that_is_not_there_has_no_size(self, database):
        with database.writing() as connection:
            number = add_inspection(connection)
            assert reviews.frame_of(connection, number) == (256, 128)
            assert reviews.frame_of(connection, number + 1) is None


class TestQueue:
    def test_shows_what_can_be_shown_and_is_not_reviewed(self, database):
        with database.writing() as connection:
            called = {"verdict": "review", "defect_probability": 0.4}
            shown = add_shown(connection, **called)
            add_inspection(connection, **called, image_missing="archive_full")
            done = add_shown(connection, **called)
            reviews.add(connection, done, AT, OK)
            deleted = add_shown(connection, **called)
            gone = update(schema.images).where(schema.images.c.digest == f"{deleted:064x}").values(deleted_at=AT)
            connection.execute(gone)
            add_inspection(connection)
        reply, order = queued(database)
        assert order == [(shown, "near_threshold")]
        assert reply.waiting == 1
        assert reply.queue[0].has_image

    def test_is_empty_where_nothing_is(self, database):
        reply, order = queued(database)
        assert (reply.waiting, order) == (0, [])

    def test_what_was_taken_back_waits_again(self, database):
        with database.writing() as connection:
            number = add_shown(connection, verdict="defect", defect_probability=0.9)
            reviews.add(connection, number, AT, OK)
            reviews.undo(connection, number, AT, "ana")
        assert queued(database)[1] == [(number, "near_threshold")]

    def test_nearest_to_a_threshold_of_its_own_model_first(self, database):
        with database.writing() as connection:
            add_model(connection, "strict", review_threshold=0.01, defect_threshold=0.02)
            wanted = [
                add_shown(connection, verdict="review", defect_probability=0.31),
                add_shown(connection, verdict="defect", defect_probability=0.021, version="strict"),
                add_shown(connection, verdict="review", defect_probability=0.5),
                add_shown(connection, verdict="defect", defect_probability=0.999),
            ]
        assert [number for number, _ in queued(database)[1]] == wanted

    def test_the_graver_disagreement_first(self, database):
        with database.writing() as connection:
            one, two, three = (add_shown(connection, verdict="ok", defect_probability=0.1) for _ in range(3))
            shadow = {"version": "next", "at": AT}
            connection.execute(
                insert(schema.differences),
                [
                    {"inspection": one, "verdict": "review", "defect_probability": 0.31, **shadow},
                    {"inspection": two, "verdict": "defect", "defect_probability": 0.8, **shadow},
                    {"inspection": three, "verdict": "review", "defect_probability": 0.6, **shadow},
                ],
            )
        assert queued(database)[1] == [(two, "shadow"), (three, "shadow"), (one, "shadow")]

    def test_samples_come_by_lot_and_for_no_other_reason(self, database):
        """Review and defect verdicts are one lot: the called. The latest version's come first."""
        with database.writing() as connection:
            old = [add_shown(connection, sampled=True) for _ in range(5)]
            called = [
                add_shown(connection, sampled=True, version="m2", verdict=verdict, defect_probability=0.3)
                for verdict in ("review", "defect") * 6
            ]
            passed = [add_shown(connection, sampled=True, version="m2") for _ in range(12)]
            shadow = {"version": "m3", "verdict": "defect", "defect_probability": 0.8, "at": AT}
            connection.execute(insert(schema.differences), [{"inspection": each, **shadow} for each in passed])
        order = queued(database)[1]
        assert {why for _, why in order} == {"sample"}
        assert [number for number, _ in order if number in called] == by_lot(called)
        assert [number for number, _ in order if number not in called] == by_lot(passed) + by_lot(old)
        # Neither waits for the other to end.
        assert sum(number in called for number, _ in order[:10]) == 5

    def test_is_bounded_and_the_same_until_something_happens(self, database):
        with database.writing() as connection:
            for each in range(30):
                add_shown(connection, verdict="review", defect_probability=0.3 + each / 100)
            for _ in range(30):
                add_shown(connection, sampled=True)
        reply, order = queued(database, 10)
        assert (reply.waiting, len(order)) == (60, 10)
        assert queued(database, 20)[1][:10] == order
        with database.writing() as connection:
            reviews.add(connection, order[0][0], AT, OK)
        assert queued(database, 9)[1] == order[1:]

    def test_a_long_record_is_not_read_through(self, database, monkeypatch):
        """Only the newest of each kind are considered, and every reason keeps its place."""
        for name in ("LATEST_CALLED", "LATEST_DIFFERENCES", "LATEST_SAMPLES"):
            monkeypatch.setattr(reviews, name, 3)
        with database.writing() as connection:
            for _ in range(5):
                add_shown(connection, sampled=True)
            called = [add_shown(connection, verdict="review", defect_probability=0.3) for _ in range(5)]
        reply, order = queued(database)
        assert reply.waiting == 6
        assert {number for number, why in order if why == "near_threshold"} == set(called[-3:])

    # PostgreSQL reads a table of a page whole, whatever its indexes.
    @pytest.mark.parametrize("database", ["sqlite"], indirect=True)
    def test_walks_along_the_indexes(self, database):
        """SQLite says how it goes about it: nowhere through all inspections, and in the indexes made for this."""
        statements = []
        with database.reading() as connection:
            event.listen(connection, "before_cursor_execute", lambda *a: statements.append((a[2], a[3])))
            with database.writing() as writing:
                add_model(writing)
            reviews.waiting(connection)
            reviews.sample_counts(connection)
            asked = [each for each in statements if "FROM inspections" in each[0]]
            plans = [
                [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", values)]
                for sql, values in asked
            ]
        assert len(plans) >= 5
        for plan in plans:
            walked = [step for step in plan if " inspections" in step]
            assert any("ix_inspections_called" in step or "ix_inspections_sampled" in step for step in walked), plan
            assert not any(step == "SCAN inspections" for step in walked), plan


class TestRates:
    def test_count_the_samples_and_nothing_else(self, database):
        with database.writing() as connection:
            for sampled, verdict, label in [
                *[(True, "ok", "ok")] * 3, (True, "ok", "defect"), (True, "ok", None), *[(False, "ok", None)] * 4,
                (False, "ok", "defect"),
                (True, "review", "ok"), (True, "defect", "defect"), (True, "defect", "defect"),
                (False, "defect", "defect"), (False, "review", None),
            ]:  # fmt: skip
                number = add_inspection(connection, sampled=sampled, verdict=verdict)
                if label:
                    reviews.add(connection, number, AT, OK | {"label": label})
            add_inspection(connection, version="m2")
        with database.reading() as connection:
            later, rates = loop.live_rates(connection).versions
        assert (later.version, later.frames, later.escape) == ("m2", 1, None)
        assert "STEELSIGHT_SAMPLE_OK" in later.sentence
        counts = rates.model_dump(exclude={"version", "escape", "overkill", "sentence"})
        assert counts == {
            "frames": 15, "ok": 10, "called": 5, "sampled_ok": 5, "reviewed_ok": 4, "defects_in_ok": 1,
            "sampled_called": 3, "reviewed_called": 3, "defects_in_called": 2,
        }  # fmt: skip
        # A quarter of 10 and two thirds of 5.
        assert rates.escape.value == pytest.approx(2.5 / (2.5 + 10 / 3))
        assert rates.overkill.value == pytest.approx((5 / 3) / (5 / 3 + 7.5))

    def test_there_are_none_without_inspections(self, database):
        with database.reading() as connection:
            assert loop.live_rates(connection).versions == []


class TestReviewed:
    def test_tells_what_counts_with_its_boxes(self, database):
        with database.writing() as connection:
            plain = add_shown(connection)
            reviews.add(connection, plain, AT, DEFECT)
            reviews.add(connection, plain, AT, {"label": "defect", "reviewer": "ana"})
            add_event(connection, plain, x=5, y=6, width=7, height=8)
            add_event(connection, plain, x=50, y=60, width=7, height=8)
            boxed = add_inspection(connection, coil_id=None, received_at=AT + timedelta(seconds=1))
            add_event(connection, boxed)
            reviews.add(connection, boxed, AT, DEFECT)
            taken_back = add_shown(connection)
            reviews.add(connection, taken_back, AT, OK)
            reviews.undo(connection, taken_back, AT, "ana")
            add_shown(connection)
        with database.reading() as connection:
            one, two = reviews.reviewed(connection, 0, 10)
            assert reviews.reviewed(connection, 0, 1) == [one]
            assert reviews.reviewed(connection, one.number, 10) == [two]
            assert reviews.reviewed(connection, two.number, 10) == []
        assert (one.number, one.boxes, one.coil_id, one.defect_class) == (
            plain, ((5, 6, 7, 8), (50, 60, 7, 8)), "C1", None,
        )  # fmt: skip
        assert (two.number, two.boxes, two.coil_id, two.digest) == (boxed, ((1, 2, 3, 4),), None, None)

    def test_classes_are_those_that_count(self, database):
        with database.writing() as connection:
            number = add_inspection(connection)
            for name in ("pit", "scratch", "pit", "typo"):
                reviews.add(connection, number, AT, DEFECT | {"defect_class": name})
            reviews.undo(connection, number, AT, "ana")
            assert reviews.defect_classes(connection) == ["pit", "scratch"]


def test_literals_are_columns(database):
    """The conditions that are written as text name columns that are there."""
    with database.reading() as connection:
        for condition in (reviews.CALLED, reviews.SAMPLED):
            connection.execute(select(text("1")).select_from(schema.inspections).where(condition))
