"""The writer: what it says is committed is in the database and the archive, and nothing else is."""

import asyncio
import hashlib
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, text

from app.archive import Archive, Picture, open_archive
from app.metrics import Metrics
from app.refusals import Refusal, ServiceCode
from app.store import inserting, schema
from app.store.database import Database
from app.store.entries import Committed, Entry, Model, RefusedFrame, Repeat
from app.store.numbers import Numbers, inspection_id
from app.store.writer import Writer
from tests.app import databases
from tests.app.store.rows import now

pytestmark = pytest.mark.anyio
WITHIN_S = 30
MODEL = Model("m1", 0.3, 0.7)


class Desk:
    """A writer, and what it told of each entry."""

    def __init__(self, database: Database, archive: Archive, **settings: Any) -> None:
        self.database, self.archive, self.metrics = database, archive, Metrics()
        self.numbers = Numbers()
        self.writer = Writer(database, archive, self.metrics, **({"refuse_without_image": False} | settings))
        self.told: dict[int, Any] = {}
        self._tell = threading.Condition()

    def settle(self, settled) -> None:
        with self._tell:
            self.told.update({entry.number: outcome for entry, outcome in settled})
            self._tell.notify()

    def outcomes(self, entries: list[Entry]) -> list[Any]:
        """Submit entries at once, and wait for what became of each."""
        self.writer.submit(entries)
        with self._tell:
            assert self._tell.wait_for(lambda: all(entry.number in self.told for entry in entries), WITHIN_S)
        return [self.told[entry.number] for entry in entries]

    def entry(self, **values: Any) -> Entry:
        coil_id, picture = values.pop("coil_id", "C1"), values.pop("picture", None)
        events, model = values.pop("events", []), values.pop("model", MODEL)
        row = {
            "number": self.numbers.draw(), "received_at": now(), "captured_at": None, "request_id": None,
            "body_digest": None, "camera_id": "cam-1", "side": "top", "sequence": 1, "position_mm": 0.5,
            "mm_per_pixel": 0.5, "overlap_rows": 0, "width": 256, "height": 128, "tiles": 2, "method": "tiles",
            "verdict": "ok", "defect_probability": 0.123456789, "defect_class": None, "event_count": len(events),
            "engine": "onnx", "quality_accepted": True, "quality_warnings": None, "sampled": False,
        } | values  # fmt: skip
        return Entry(row, events, coil_id, model, picture, None)

    def rows(self, table) -> list[Any]:
        with self.database.reading() as connection:
            return connection.execute(select(table).order_by(table.primary_key.columns[0])).all()


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return open_archive(str(tmp_path / "archive"))


@pytest.fixture
def make(database: Database, archive: Archive) -> Iterator[Callable[..., Desk]]:
    """`make(refuse_without_image=True)`: an open desk."""
    made: list[Desk] = []

    def build(**settings: Any) -> Desk:
        desk = Desk(settings.pop("database", database), settings.pop("archive", archive), **settings)
        desk.writer.open(desk.settle)
        made.append(desk)
        return desk

    yield build
    for desk in made:
        desk.writer.close()
    archive.close()


@pytest.fixture
def desk(make) -> Desk:
    return make()


def asked(desk: Desk, request_id: str, body: bytes = b"frame", **values: Any) -> Entry:
    return desk.entry(request_id=request_id, body_digest=hashlib.sha256(body).digest(), **values)


def event(**values: Any) -> dict[str, Any]:
    return {
        "x": 1, "y": 2, "width": 3, "height": 4, "defect_probability": 0.9, "defect_class": "pit", "continued": False,
        "position_mm": 1.5, "length_mm": 2.0, "across_mm": 0.5, "width_mm": 1.5,
    } | values  # fmt: skip


def test_what_is_told_committed_is_there(desk):
    picture = Picture(b"BM pixels", "bmp")
    entries = [desk.entry(sequence=n, events=[event(x=n)] * (n % 3)) for n in range(40)]
    entries.append(desk.entry(picture=picture, verdict="defect", sequence=40))
    assert desk.outcomes(entries) == [Committed()] * 41
    rows = desk.rows(schema.inspections)
    assert [row.number for row in rows] == [entry.number for entry in entries]
    assert [row.sequence for row in rows] == list(range(41))
    assert [row.image for row in rows] == [None] * 40 + [picture.digest]
    assert desk.archive.get(picture.digest, "bmp") == b"BM pixels"
    assert [row.x for row in desk.rows(schema.events)] == [n for n in range(40) for _ in range(n % 3)]
    (coil,) = desk.rows(schema.coils)
    assert (coil.coil_id, coil.opened_by, coil.last_frame_at) == ("C1", "frame", entries[-1].row["received_at"])
    assert [(row.kind, row.body) for row in desk.rows(schema.outbox)] == [("coil_opened", {"coil_id": "C1"})]
    assert [row.version for row in desk.rows(schema.models)] == ["m1"]


def test_a_group_names_several_coils_and_models(desk):
    entries = [
        desk.entry(coil_id=coil, model=Model(version, 0.2, 0.6))
        for coil, version in itertools.product(["A", "B", None], ["m1", "m2"])
    ]
    desk.outcomes(entries[:3])
    desk.outcomes(entries[3:])
    with desk.database.reading() as connection:
        joined = schema.inspections.outerjoin(schema.coils).join(schema.models)
        found = select(schema.coils.c.coil_id, schema.models.c.version).select_from(joined)
        rows = connection.execute(found.order_by(schema.inspections.c.number)).all()
    assert [tuple(row) for row in rows] == list(itertools.product(["A", "B", None], ["m1", "m2"]))


def test_a_repeat_is_told_the_first_answer(desk):
    first = asked(desk, "r1", events=[event(), event(x=7)], verdict="defect", quality_warnings="constant,saturated")
    assert desk.outcomes([first]) == [Committed()]
    (repeat,) = desk.outcomes([asked(desk, "r1", verdict="ok")])
    assert isinstance(repeat, Repeat)
    assert repeat.said["inspection_id"] == inspection_id(first.number)
    assert repeat.said["verdict"] == "defect"
    assert repeat.said["defect_probability"] == 0.123456789
    assert repeat.said["thresholds"] == {"review": 0.3, "defect": 0.7}
    assert [each["x"] for each in repeat.said["events"]] == [1, 7]
    assert repeat.said["quality"]["warnings"] == ["constant", "saturated"]
    assert len(desk.rows(schema.inspections)) == 1


def test_repeats_within_one_group(desk):
    first, second, other = asked(desk, "r1"), asked(desk, "r1"), asked(desk, "r2")
    hold = threading.Event()
    # The writer is busy with something else, so that all three are one group.
    blocking = asyncio.run(_held(desk, hold, [first, second, other]))
    assert blocking == [Committed(), Repeat, Committed()]
    assert desk.told[second.number].said["inspection_id"] == inspection_id(first.number)
    assert len(desk.rows(schema.inspections)) == 2


async def _held(desk: Desk, hold: threading.Event, entries: list[Entry]) -> list[Any]:
    busy = asyncio.create_task(desk.writer.write(lambda connection: hold.wait(WITHIN_S)))
    while desk.writer.waiting or not busy:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)
    waiting = asyncio.create_task(asyncio.to_thread(desk.outcomes, entries))
    while desk.writer.waiting < len(entries):
        await asyncio.sleep(0.01)
    hold.set()
    await busy
    return [type(each) if isinstance(each, Repeat) else each for each in await waiting]


def test_another_frame_under_the_same_request_id_is_refused(desk):
    desk.outcomes([asked(desk, "r1", b"frame")])
    (outcome,) = desk.outcomes([asked(desk, "r1", b"another")])
    assert isinstance(outcome, Refusal)
    assert outcome.code is ServiceCode.REQUEST_ID_REUSED
    assert len(desk.rows(schema.inspections)) == 1


def test_two_processes_answer_one_request_once(make):
    desks = [make(), make()]
    for round_number in range(20):
        entries = [asked(desk, f"r{round_number}", coil_id=f"C{round_number}") for desk in desks]
        outcomes: list[Any] = []

        def answer(desk: Desk, entry: Entry, told: list[Any] = outcomes) -> None:
            told.extend(desk.outcomes([entry]))

        threads = [threading.Thread(target=answer, args=each) for each in zip(desks, entries, strict=True)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(type(each).__name__ for each in outcomes) == ["Committed", "Repeat"]
    assert len(desks[0].rows(schema.inspections)) == len(desks[0].rows(schema.coils)) == 20


def test_only_the_entry_at_fault_fails(desk):
    sound = [desk.entry() for _ in range(3)]
    broken = desk.entry(verdict=None)
    outcomes = desk.outcomes([sound[0], broken, *sound[1:]])
    assert [isinstance(each, Committed) for each in outcomes] == [True, False, True, True]
    assert len(desk.rows(schema.inspections)) == 3


async def test_a_change_is_done_when_it_is_told(desk):
    def add(connection):
        connection.execute(text("UPDATE coils SET length_mm = 7"))
        return "done"

    desk.outcomes([desk.entry()])
    assert await desk.writer.write(add) == "done"
    assert [row.length_mm for row in desk.rows(schema.coils)] == [7]


async def test_a_change_that_fails_undoes_itself_alone(desk):
    def fail(connection):
        connection.execute(text("UPDATE coils SET length_mm = 7"))
        raise ValueError("no")

    await asyncio.to_thread(desk.outcomes, [desk.entry()])
    other = desk.entry()
    results = await asyncio.gather(
        desk.writer.write(fail), asyncio.to_thread(desk.outcomes, [other]), return_exceptions=True
    )
    assert isinstance(results[0], ValueError)
    assert results[1] == [Committed()]
    assert [row.length_mm for row in desk.rows(schema.coils)] == [None]


def test_refused_frames_are_noted(desk):
    row = {"at": now(), "code": "overloaded", "request_id": None, "camera_id": "c", "side": None, "sequence": 5,
           "position_mm": None}  # fmt: skip
    desk.writer.refused(RefusedFrame(row, "C9"))
    desk.outcomes([desk.entry()])
    (noted,) = desk.rows(schema.refused_frames)
    assert (noted.code, noted.sequence) == ("overloaded", 5)
    assert {coil.coil_id for coil in desk.rows(schema.coils)} == {"C1", "C9"}


def test_refused_frames_go_together_and_soon(desk):
    """A commit for each would cost an overloaded server what it lacks."""
    row = {"at": now(), "code": "overloaded", "request_id": None, "camera_id": "c", "side": None, "position_mm": None}
    deadline = time.monotonic() + WITHIN_S
    for sequence in range(60):
        desk.writer.refused(RefusedFrame(row | {"sequence": sequence}, "C9"))
        time.sleep(0.002)
    while desk.writer.waiting and time.monotonic() < deadline:
        time.sleep(0.01)
    while len(desk.rows(schema.refused_frames)) < 60 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert [noted.sequence for noted in desk.rows(schema.refused_frames)] == list(range(60))
    assert desk.metrics.registry.get_sample_value("steelsight_record_group_count") <= 10


def test_what_waits_at_the_end_is_committed(make, database):
    desk = make()
    desk.writer.submit([desk.entry() for _ in range(1000)])
    desk.writer.close()
    with database.reading() as connection:
        assert connection.scalar(select(func.count()).select_from(schema.inspections)) == 1000
    assert len(desk.told) == 1000


@pytest.mark.parametrize("refuse", [False, True])
def test_a_full_archive(make, tmp_path, refuse):
    full = open_archive(str(tmp_path / "small"), max_bytes=10)
    desk = make(archive=full, refuse_without_image=refuse)
    fits, fits_not = Picture(b"BM 9 bytes"[:9], "bmp"), Picture(b"BM and more", "bmp")
    kept, refused, plain = desk.outcomes([
        desk.entry(picture=fits, verdict="defect"), desk.entry(picture=fits_not, verdict="defect"), desk.entry()
    ])  # fmt: skip
    assert kept == plain == Committed()
    rows = desk.rows(schema.inspections)
    if refuse:
        assert refused.code is ServiceCode.ARCHIVE_FULL
        assert [row.image for row in rows] == [fits.digest, None]
    else:
        assert refused == Committed()
        assert [(row.image, row.image_missing) for row in rows] == [
            (fits.digest, None), (None, "archive_full"), (None, None)
        ]  # fmt: skip
    assert [row.digest for row in desk.rows(schema.images)] == [fits.digest]
    assert desk.metrics.registry.get_sample_value("steelsight_images_not_kept_total") == 1
    full.close()


def test_the_same_bytes_are_one_image_of_the_gravest_verdict(desk):
    picture = Picture(b"BM same", "bmp")
    desk.outcomes([desk.entry(picture=picture, verdict="review")])
    desk.outcomes([desk.entry(picture=picture, verdict=verdict) for verdict in ("ok", "defect", "review")])
    desk.outcomes([desk.entry(picture=picture, verdict="ok")])
    (image,) = desk.rows(schema.images)
    assert (image.digest, image.verdict, image.bytes) == (picture.digest, "defect", 7)


def test_a_database_that_went_away_is_said_and_met_again(archive, postgresql_server):
    with databases.postgresql(postgresql_server) as database:
        desk = Desk(database, archive)
        desk.writer.open(desk.settle)
        assert desk.outcomes([desk.entry()]) == [Committed()]
        postgresql_server.stop("fast")
        (outcome,) = desk.outcomes([desk.entry()])
        assert outcome.code is ServiceCode.RECORD_UNAVAILABLE
        postgresql_server.start()
        assert desk.outcomes([desk.entry()]) == [Committed()]
        desk.writer.close()


def test_processes_that_name_the_same_coils_in_other_orders_do_not_stop_each_other(make):
    desks = [make(), make()]
    outcomes: list[list[Any]] = [[], []]

    def send(desk: Desk, order: int, told: list[Any]) -> None:
        for turn in range(40):
            picture = Picture(b"BM %d" % (turn % 3), "bmp")
            names = [f"{turn % 5}{letter}" for letter in "ABCD"][::order]
            told += desk.outcomes([desk.entry(coil_id=name, picture=picture, verdict="defect") for name in names])

    threads = [threading.Thread(target=send, args=each) for each in zip(desks, (1, -1), outcomes, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes == [[Committed()] * 160] * 2
    assert len(desks[0].rows(schema.inspections)) == 320
    assert len(desks[0].rows(schema.coils)) == 20


def test_refused_frames_never_stand_before_an_inspection(make, sqlite_template, tmp_path, archive):
    row = {"at": now(), "code": "overloaded", "request_id": None, "camera_id": "c", "side": None, "sequence": 5,
           "position_mm": None}  # fmt: skip
    with databases.sqlite(sqlite_template, tmp_path / "own.db") as database:
        desk = Desk(database, archive)
        for _ in range(5000):
            desk.writer.refused(RefusedFrame(row, "C9"))
        entry = desk.entry()
        desk.writer.submit([entry])
        assert [type(item) for item in desk.writer._next()][:2] == [Entry, RefusedFrame]


def test_a_repeat_is_told_the_first_answer_though_the_archive_is_full(make, tmp_path):
    small = open_archive(str(tmp_path / "small"), max_bytes=10)
    desk = make(archive=small, refuse_without_image=True)
    first = asked(desk, "r1", picture=Picture(b"BM 9 bytes"[:9], "bmp"), verdict="defect")
    assert desk.outcomes([first]) == [Committed()]
    again, new = desk.outcomes([
        asked(desk, "r1", picture=Picture(b"BM and more", "bmp"), verdict="defect"),
        asked(desk, "r2", picture=Picture(b"BM and more", "bmp"), verdict="defect"),
    ])  # fmt: skip
    assert isinstance(again, Repeat)
    assert new.code is ServiceCode.ARCHIVE_FULL
    small.close()


def test_an_image_whose_file_went_is_written_again(desk, database):
    picture = Picture(b"BM again", "bmp")
    desk.outcomes([desk.entry(picture=picture, verdict="defect")])
    entry = desk.entry(picture=picture, verdict="review")
    with database.writing() as connection:
        connection.execute(schema.images.update().values(deleted_at=now(), deleted_why="age", purged_at=now()))
    # The file goes after it was put and before its row is written.
    entry.put = desk.archive.put(picture)
    assert entry.put.result() is None
    desk.archive.delete(picture.digest, "bmp")
    with database.writing() as connection:
        assert desk.writer._inserting.group(connection, [entry], {}) == [Committed()]
    assert desk.archive.get(picture.digest, "bmp") == b"BM again"
    assert [row.deleted_at for row in desk.rows(schema.images)] == [None]


def test_a_database_that_only_reads_is_unavailable(archive, postgresql_server):
    with databases.postgresql(postgresql_server) as database:
        with database.writing() as connection:
            name = connection.scalar(text("SELECT current_database()"))
            connection.execute(text(f"ALTER DATABASE {name} SET default_transaction_read_only = on"))
        database.close()
        desk = Desk(database, archive)
        desk.writer.open(desk.settle)
        (outcome,) = desk.outcomes([desk.entry()])
        assert outcome.code is ServiceCode.RECORD_UNAVAILABLE
        desk.writer.close()


def test_an_archive_that_hangs_is_not_waited_for_for_ever(monkeypatch):
    monkeypatch.setattr(inserting, "PUT_WITHIN_S", 1)
    hangs: Future[None] = Future()
    assert "did not take it within 1 s" in str(inserting.put_within(hangs))


def test_of_a_pause_of_the_whole_process_one_second_counts():
    # As it looks from within: the clock has moved past any patience, and the answer is there a moment later.
    class Paused(Future[None]):
        pauses = 1

        def result(self, timeout=None):
            if self.pauses:
                self.pauses = 0
                raise TimeoutError
            return super().result(timeout)

    put = Paused()
    put.set_result(None)
    assert inserting.put_within(put) is None
