"""A coil in the record, on both databases: opened, closed and listed; its frames as stretches; its events in pages."""

import random
from collections import Counter
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import insert, select, update

from app.coil.counting import Stretch, View
from app.coil.coverage import cover
from app.coil.examination import examine
from app.coil.strip_map import strip_map
from app.plant import Acceptance, Plant
from app.store import coils, runs, schema
from app.store.coils import EventPlace
from tests.app.store.rows import STARTED, add_coil, add_event, add_inspection

FRAME_MM = 64.0
# What frames of one tally have in common.
ALIKE = "camera_id", "side", "verdict", "version", "review"


def frame(connection, sequence, position_mm="by sequence", **values):
    """128 rows of 0.5 mm."""
    placed = {"position_mm": sequence * FRAME_MM if position_mm == "by sequence" else position_mm, "mm_per_pixel": 0.5}
    return add_inspection(connection, sequence=sequence, **(placed | values))


def read(database, coil_id="C1"):
    with database.reading() as connection:
        return coils.evidence(connection, coils.find(connection, coil_id), 1.0)


def notes(connection):
    rows = connection.execute(select(schema.outbox.c.kind, schema.outbox.c.body).order_by(schema.outbox.c.number))
    return [(kind, body["coil_id"]) for kind, body in rows]


class TestOpening:
    def test_it_is_opened_once(self, database):
        with database.writing() as connection:
            opened = coils.open_coil(connection, "C/1 ü", STARTED, length_mm=900.0)
            again = coils.open_coil(connection, "C/1 ü", STARTED + timedelta(hours=1), length_mm=128.0, width_mm=12.0)
            assert (opened, again) == ((True, {"length_mm": 900.0}), (False, {"width_mm": 12.0}))
            assert notes(connection) == [("coil_opened", "C/1 ü")]
            found = coils.find(connection, "C/1 ü")
        assert (found.opened_at, found.opened_by, found.length_mm, found.width_mm) == (STARTED, "api", 900.0, 12.0)
        assert found.closed_at is None

    def test_an_unknown_one_is_not_found(self, database):
        with database.reading() as connection:
            assert coils.find(connection, "nobody's") is None

    def test_closing_twice_changes_nothing(self, database):
        with database.writing() as connection:
            add_coil(connection)
            assert coils.close_coil(connection, "C1", STARTED)
            assert not coils.close_coil(connection, "C1", STARTED + timedelta(hours=1))
            found = coils.find(connection, "C1")
            assert (found.closed_at, found.closed_by) == (STARTED, "api")
            assert notes(connection) == [("coil_closed", "C1")]

    def test_idle_ones_are_closed_and_others_are_not(self, database):
        now = STARTED + timedelta(hours=1)
        with database.writing() as connection:
            add_coil(connection, "idle", last_frame_at=now - timedelta(minutes=11))
            add_coil(connection, "busy", last_frame_at=now - timedelta(minutes=9))
            add_coil(connection, "to come", opened_by="api", last_frame_at=None)
            add_coil(connection, "closed", last_frame_at=STARTED, closed_at=STARTED, closed_by="api")
            assert coils.close_idle(connection, timedelta(minutes=10), now) == ["idle"]
            assert coils.close_idle(connection, timedelta(minutes=10), now) == []
            assert coils.find(connection, "idle").closed_by == "idle"
            assert coils.find(connection, "closed").closed_by == "api"
            assert notes(connection) == [("coil_closed", "idle")]


class TestListing:
    def test_newest_first_in_pages_with_counts(self, database):
        with database.writing() as connection:
            for number in range(5):
                add_coil(connection, f"C{number}", closed_at=STARTED if number % 2 else None)
            number = add_inspection(connection, "C3")
            add_inspection(connection, "C3")
            add_event(connection, number)
        with database.reading() as connection:
            first = coils.page(connection, None, 2, None)
            assert [(each.coil.coil_id, each.frames, each.events) for each in first] == [("C4", 0, 0), ("C3", 2, 1)]
            rest = coils.page(connection, None, 9, first[-1].coil.number)
            assert [each.coil.coil_id for each in rest] == ["C2", "C1", "C0"]
            assert [each.coil.coil_id for each in coils.page(connection, "open", 9, None)] == ["C4", "C2", "C0"]
            assert [each.coil.coil_id for each in coils.page(connection, "closed", 9, None)] == ["C3", "C1"]


def figures(stretches):
    """All but the times: of two frames with one number, either may be the gap's neighbour."""
    told = cover(stretches, [], tolerance_mm=1.0, last_frame_at=None, closed=True)
    untimed = [[replace(gap, started_at=None, ended_at=None) for gap in camera.gaps] for camera in told.cameras]
    return replace(told, cameras=()), [replace(camera, gaps=()) for camera in told.cameras], untimed


class TestStretches:
    def test_a_whole_coil_is_one_stretch_for_each_camera(self, database):
        with database.writing() as connection:
            for sequence in range(20):
                frame(connection, sequence, camera_id="a")
                frame(connection, sequence, camera_id="b")
        stretches = read(database).stretches
        (seen, other) = stretches[View("a", "top")], stretches[View("b", "top")]
        assert (len(seen), len(other)) == (1, 1)
        assert seen[0][:5] == (20, 0, 19, 0.0, 20 * FRAME_MM)
        assert seen[0].first_at < seen[0].last_at

    @pytest.mark.parametrize(
        ("frames", "expected"),
        [
            ([(0, 0.0), (1, 64.0), (3, 192.0)], [(2, 0, 1, 0.0, 128.0), (1, 3, 3, 192.0, 256.0)]),
            ([(0, 0.0), (1, 300.0)], [(1, 0, 0, 0.0, 64.0), (1, 1, 1, 300.0, 364.0)]),
            ([(0, 0.0), (1, 64.9)], [(2, 0, 1, 0.0, 128.9)]),
            ([(0, 0.0), (1, 40.0)], [(2, 0, 1, 0.0, 104.0)]),
            ([(0, 0.0), (0, 0.0)], [(1, 0, 0, 0.0, 64.0), (1, 0, 0, 0.0, 64.0)]),
            ([(0, None), (1, None), (2, 128.0)], [(2, 0, 1, None, None), (1, 2, 2, 128.0, 192.0)]),
            ([(None, 0.0), (None, 64.0)], [(2, None, None, 0.0, 128.0)]),
            ([(None, None), (None, None), (5, None)], [(2, None, None, None, None), (1, 5, 5, None, None)]),
            ([(2**63 - 1, None), (0, None)], [(1, 2**63 - 1, 2**63 - 1, None, None), (1, 0, 0, None, None)]),
        ],
    )
    def test_a_break_begins_a_new_one(self, database, frames, expected):
        with database.writing() as connection:
            for sequence, position_mm in frames:
                frame(connection, sequence, position_mm)
        assert [tuple(each[:5]) for each in read(database).stretches[View("cam-1", "top")]] == expected

    def test_a_position_without_a_scale_is_none(self, database):
        with database.writing() as connection:
            frame(connection, 0, mm_per_pixel=None)
        assert read(database).stretches[View("cam-1", "top")][0].first_mm is None

    def test_frames_without_a_camera_are_one_camera(self, database):
        with database.writing() as connection:
            frame(connection, 0, camera_id=None)
            frame(connection, 1, camera_id=None)
        assert [each.frames for each in read(database).stretches[View(None, "top")]] == [2]

    def test_they_say_what_the_frames_one_by_one_would(self, database):
        """Lost, repeated, late and unplaced frames of two cameras, at random."""
        chance = random.Random(7)
        alone = {View("a", "top"): [], View("b", "top"): []}
        with database.writing() as connection:
            for (camera_id, _), seen in alone.items():
                sequence = 0
                for _ in range(150):
                    sequence += chance.choice([1, 1, 1, 1, 1, 1, 2, 4, 0, -1])
                    sequence = max(sequence, 0)
                    number = frame(connection, sequence, camera_id=camera_id)
                    at = connection.scalar(
                        select(schema.inspections.c.received_at).where(schema.inspections.c.number == number)
                    )
                    place = sequence * FRAME_MM
                    seen.append(Stretch(1, sequence, sequence, place, place + FRAME_MM, at, at))
        found = read(database).stretches
        assert sum(map(len, found.values())) < 250
        assert figures(found) == figures(alone)

    def test_frames_of_other_coils_are_not_among_them(self, database):
        with database.writing() as connection:
            frame(connection, 0)
            add_inspection(connection, "C2", sequence=1, position_mm=FRAME_MM, mm_per_pixel=0.5)
            add_inspection(connection, None, sequence=2)
        assert [each.frames for each in read(database).stretches[View("cam-1", "top")]] == [1]


class TestEvidence:
    def test_an_empty_coil(self, database):
        with database.writing() as connection:
            add_coil(connection)
        found = read(database)
        assert (found.frames, dict(found.stretches), len(found.events)) == (0, {}, 0)
        assert examine(found, Plant()).decision.verdict == "hold"

    def test_frames_are_counted_by_what_they_have_in_common(self, database):
        with database.writing() as connection:
            for verdict, version in (("ok", "m1"), ("ok", "m2"), ("defect", "m2"), ("ok", "m1")):
                add_inspection(connection, verdict=verdict, version=version, mm_per_pixel=0.5, width=1000)
        tallies = {(tally.verdict, tally.version): tally for tally in read(database).tallies}
        assert {key: tally.frames for key, tally in tallies.items()} == {
            ("ok", "m1"): 2,
            ("ok", "m2"): 1,
            ("defect", "m2"): 1,
        }
        assert tallies["ok", "m1"].width_mm == 500.0

    def test_every_frame_is_counted_once(self, database):
        """Also those that few indexes list: called, reviewed, of another version or side in the middle of a run."""
        chance = random.Random(3)
        expected = Counter()
        with database.writing() as connection:
            for sequence in range(150):
                camera_id, side = chance.choice(["a", "a", None]), chance.choice(["top", "top", "bottom", None])
                verdict = chance.choice(["ok", "ok", "review", "defect"])
                version, review = chance.choice(["m1", "m1", "m2"]), chance.choice([None, None, "ok", "defect"])
                told = {"camera_id": camera_id, "side": side, "verdict": verdict, "review": review}
                frame(connection, sequence, version=version, **told)
                add_inspection(connection, "C2", version=version, **told)
                expected[camera_id, side, verdict, version, review] += 1
        found = read(database)
        assert (
            Counter({tuple(getattr(tally, name) for name in ALIKE): tally.frames for tally in found.tallies})
            == expected
        )
        assert sum(stretch.frames for seen in found.stretches.values() for stretch in seen) == found.frames == 150

    def test_refused_frames_are_the_reasons_of_gaps(self, database):
        with database.writing() as connection:
            frame(connection, 0)
            frame(connection, 3)
            coil = add_coil(connection)
            for sequence, code in ((1, "overloaded"), (2, "deadline_exceeded")):
                row = {"at": STARTED, "code": code, "camera_id": "cam-1", "coil": coil, "sequence": sequence}
                connection.execute(insert(schema.refused_frames), row)
        (gap,) = examine(read(database), Plant()).coverage.cameras[0].gaps
        assert (gap.frames, gap.from_mm, gap.to_mm) == (2, FRAME_MM, 3 * FRAME_MM)
        assert {reason.code for reason in gap.reasons} == {"overloaded", "deadline_exceeded"}

    def test_a_request_id_tells_of_a_refused_frame_that_says_nothing_else_whether_it_was_inspected(self, database):
        with database.writing() as connection:
            frame(connection, None, None, request_id="again")
            add_inspection(connection, "C2", request_id="of another coil")
            coil = add_coil(connection)
            refusals = [
                ("again", "overloaded", None), ("again", "overloaded", 7), ("again", "request_id_reused", None),
                ("of another coil", "overloaded", None), ("never", "overloaded", None), (None, "overloaded", None),
            ]  # fmt: skip
            for request_id, code, sequence in refusals:
                row = {"at": STARTED, "code": code, "request_id": request_id, "coil": coil, "sequence": sequence}
                connection.execute(insert(schema.refused_frames), row)
        assert [each.inspected for each in read(database).refused] == [True, False, False, False, False, False]

    def test_a_camera_of_which_every_frame_was_refused_has_the_side_that_they_told(self, database):
        with database.writing() as connection:
            frame(connection, 0, camera_id="top-1")
            coil = add_coil(connection)
            row = {"at": STARTED, "code": "image_corrupt", "camera_id": "bottom-1", "coil": coil, "side": "bottom"}
            connection.execute(insert(schema.refused_frames), row | {"sequence": 0, "position_mm": 0.0})
        told = examine(read(database), Plant())
        assert [(each.camera_id, each.side) for each in told.coverage.cameras] == [
            ("bottom-1", "bottom"),
            ("top-1", "top"),
        ]
        assert told.decision.verdict == "hold"

    @pytest.mark.parametrize("camera_id", [None, "c1"])
    def test_each_side_that_a_camera_names_is_a_view_of_its_own(self, database, camera_id):
        """In turn, with numbers of their own: a frame of the bottom is lost, refused and found defective."""
        with database.writing() as connection:
            for sequence in range(10):
                # What says no side is of the one that the camera names most often.
                frame(connection, sequence, camera_id=camera_id, side=None if sequence == 5 else "top")
                if sequence not in (4, 7):
                    number = frame(connection, sequence, camera_id=camera_id, side="bottom")
            add_event(connection, number, position_mm=576.0, length_mm=64.0, across_mm=0.0, width_mm=64.0)
            row = {"at": STARTED, "code": "overloaded", "camera_id": camera_id, "coil": add_coil(connection)}
            connection.execute(insert(schema.refused_frames), row | {"side": "bottom", "sequence": 4})
        rule = Acceptance(side="bottom", hold_above=0)
        told = examine(read(database), Plant(acceptance=(rule,)))
        below, above = told.coverage.cameras
        assert [(each.side, each.frames, each.duplicates, each.lost) for each in (below, above)] == [
            ("bottom", 8, 0, 2),
            ("top", 10, 0, 0),
        ]
        assert [(gap.first_sequence, len(gap.reasons)) for gap in below.gaps] == [(4, 1), (7, 0)]
        assert (told.coverage.uninspected_mm, above.uninspected_mm) == (2 * FRAME_MM, 0.0)
        assert (told.events.side.tolist(), told.decision.decided_by.found) == (["bottom"], 1)
        assert [(side.side, len(side.gaps), len(side.events)) for side in strip_map(told).sides] == [
            ("bottom", 2, 1),
            ("top", 0, 0),
        ]

    def test_a_defect_that_a_person_found_is_one(self, database):
        with database.writing() as connection:
            whole = frame(connection, 10, review="defect")
            boxed = frame(connection, 20, review="defect")
            told = frame(connection, 30, review="defect", event_count=1)
            add_event(
                connection, told, defect_class="dent", position_mm=1920.0, length_mm=64.0, across_mm=0.0, width_mm=64.0
            )
            undone = {"undone_at": STARTED, "undone_by": "a"}
            says = {"at": STARTED, "reviewer": "a", "label": "defect"}
            box = {"x": 10, "y": 40, "width": 20, "height": 20}
            for row in (
                {"inspection": whole, "defect_class": "crack"},
                {"inspection": boxed, "defect_class": "crack", **box},
                {"inspection": boxed, "defect_class": "wrong", **undone},
                {"inspection": told, "defect_class": "scratch"},
            ):
                connection.execute(insert(schema.reviews), says | row)
        examination = examine(read(database), Plant())
        events = examination.events
        order = events.position_mm.argsort()
        assert events.defect_class[order].tolist() == ["crack", "crack", "scratch"]
        assert events.position_mm[order].tolist() == [640.0, 1300.0, 1920.0]
        assert [examination.severity(index) for index in order] == ["critical", "minor", "minor"]
        assert (events.number[order] < 0).tolist() == [True, True, False]

    def test_what_a_person_called_false_is_left_out(self, database):
        with database.writing() as connection:
            number = frame(connection, 0, verdict="defect", event_count=1)
            add_event(connection, number)
            connection.execute(update(schema.inspections).values(review="ok"))
        examination = examine(read(database), Plant())
        assert (len(examination.events), examination.false_calls) == (0, 1)


class TestEvents:
    def test_pages_go_along_the_strip_and_end_with_what_has_no_place(self, database):
        chance = random.Random(1)
        with database.writing() as connection:
            number = frame(connection, 0)
            places = [chance.choice([None, 0.1, 5.0, 7.3, chance.uniform(0, 100)]) for _ in range(40)]
            for place in places:
                add_event(connection, number, position_mm=place)
            other = add_inspection(connection, "C2")
            add_event(connection, other, position_mm=5.0)
        with database.reading() as connection:
            coil = coils.find(connection, "C1").number
            whole = coils.page_of_events(connection, coil, 100, None)
            paged, after = [], None
            while page := coils.page_of_events(connection, coil, 7, after):
                paged += page
                after = EventPlace(page[-1].position_mm, page[-1].number)
        assert paged == whole
        told = [event.position_mm for event in whole]
        known = sorted(place for place in places if place is not None)
        assert told == known + [None] * (len(places) - len(known))


class TestKeptRuns:
    @pytest.fixture
    def closed(self, database):
        """Two cameras, one with a hole in its numbers; the other's frames say nothing of themselves."""
        with database.writing() as connection:
            for sequence in (0, 1, 4, 5):
                frame(connection, sequence, camera_id="cam-1", width=256)
                add_inspection(connection, camera_id=None, side="top", mm_per_pixel=0.1)
            coils.close_coil(connection, "C1", STARTED)
            return add_coil(connection)

    def kept(self, database, tolerance_mm=1.0):
        """As housekeeping does it: how many coils' runs were."""
        with database.reading() as connection:
            unkept = runs.unkept(connection, tolerance_mm, 10)
            found = [(coil, runs.found(connection, coil.number, tolerance_mm)) for coil in unkept]
        with database.writing() as connection:
            for coil, each in found:
                runs.keep(connection, coil, tolerance_mm, each)
        return len(found)

    def test_they_are_what_is_found(self, database, closed):
        before = read(database)
        assert (self.kept(database), self.kept(database)) == (1, 0)
        with database.writing() as connection:
            assert runs.runs_of(connection, closed, 1.0) == runs.found(connection, closed, 1.0)
            # Nothing is left to be found: these are the kept ones.
            connection.execute(update(schema.inspections).values(sequence=None, side=None))
        after = read(database)
        assert (after.stretches, after.tallies) == (before.stretches, before.tallies)
        assert [each.frames for each in before.stretches[View("cam-1", "top")]] == [2, 2]

    def test_a_frame_after_the_end_is_seen_at_once_and_kept_anew(self, database, closed):
        self.kept(database)
        with database.writing() as connection:
            frame(connection, 6, camera_id="cam-1")
        assert read(database).frames == 9
        assert self.kept(database) == 0
        with database.writing() as connection:
            connection.execute(update(schema.coils).values(last_frame_at=STARTED + timedelta(seconds=1)))
        assert self.kept(database) == 1
        assert read(database).frames == 9

    def test_with_another_tolerance_they_are_others(self, database, closed):
        self.kept(database)
        with database.reading() as connection:
            assert runs.runs_of(connection, closed, 500.0) == runs.found(connection, closed, 500.0)
        assert self.kept(database, 500.0) == 1

    def test_those_of_an_open_coil_and_of_one_without_frames_are_not(self, database):
        with database.writing() as connection:
            frame(connection, 0)
            coils.open_coil(connection, "announced", STARTED)
            coils.close_coil(connection, "announced", STARTED)
        assert self.kept(database) == 0

    def test_two_workers_keep_the_same(self, database, closed):
        with database.reading() as connection:
            (coil,) = runs.unkept(connection, 1.0, 10)
            found = runs.found(connection, closed, 1.0)
        for _ in range(2):
            with database.writing() as connection:
                runs.keep(connection, coil, 1.0, found)
        assert self.kept(database) == 0
