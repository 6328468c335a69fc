"""The live feed: what any process commits is told to every listener, once, soon, in order, and nobody slows it down."""

import asyncio
import json
import threading
import time
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta

import pytest
from sqlalchemy import insert
from sqlalchemy.exc import OperationalError

from app.live import feed as feeds
from app.live import tail
from app.live.feed import Feed, Listener, Position
from app.refusals import Refusal
from app.store import schema
from app.store.numbers import first_number_at, inspection_id
from tests.app.store.rows import STARTED, add_coil, add_inspection, add_model, now

pytestmark = pytest.mark.anyio
WITHIN_S = 10


def parsed(data):
    """Server-sent events: (kind, body, id)."""
    found = []
    for block in data.decode().split("\n\n"):
        fields = dict(line.partition(": ")[::2] for line in block.split("\n") if line)
        if "event" in fields:
            found.append((fields["event"], json.loads(fields["data"]), fields.get("id")))
    return found


class Heard:
    """What a listener is told, as it comes."""

    def __init__(self, listener):
        self.events = []
        self.parts = []
        self._stream = listener.stream()

    async def until(self, enough):
        async with asyncio.timeout(WITHIN_S):
            while not enough(self.events):
                part = await anext(self._stream)
                self.parts.append(part)
                self.events += parsed(part)
        return self.events

    def ids(self, kind="inspection"):
        return [body["inspection_id"] for each, body, _ in self.events if each == kind]


@pytest.fixture
async def feed(record, monkeypatch):
    monkeypatch.setattr(feeds, "LOOK_S", 0.02)
    monkeypatch.setattr(feeds, "RETRY_S", 0.05)
    return Feed(record.reading)


def add(record, **values):
    with record.writing() as connection:
        return inspection_id(add_inspection(connection, **values))


def note(record, kind, **body):
    with record.writing() as connection:
        row = {"at": now(), "kind": kind, "body": body}
        return connection.execute(insert(schema.outbox), row).inserted_primary_key[0]


async def test_what_is_committed_from_here_on_is_told_once(record, feed):
    add(record)
    note(record, "coil_opened", coil_id="C0")
    async with feed.listening() as listener:
        heard = Heard(listener)
        first = add(record, sequence=1)
        await heard.until(lambda events: len(events) == 1)
        note(record, "coil_closed", coil_id="C1")
        second, third = add(record, sequence=2), add(record, sequence=3)
        await heard.until(lambda events: len(events) == 4)
        # Nothing of it comes again, though each look goes back a little.
        last = add(record, sequence=4)
        await heard.until(lambda events: len(events) >= 5)
    assert heard.ids() == [first, second, third, last]
    ((_, body, _),) = [event for event in heard.events if event[0] == "note"]
    assert (body["kind"], body["coil_id"]) == ("coil_closed", "C1")
    assert body["at"].endswith("Z")
    assert {kind for kind, _, _ in heard.events} == {"inspection", "note"}


async def test_a_row_is_told_as_it_stands_in_the_list(record, feed):
    async with feed.listening() as listener:
        heard = Heard(listener)
        add(record, coil_id="C5", camera_id="n\no", sequence=9, captured_at=STARTED, verdict="defect")
        ((kind, body, _),) = await heard.until(bool)
    assert kind == "inspection"
    assert (body["coil_id"], body["camera_id"], body["sequence"], body["verdict"]) == ("C5", "n\no", 9, "defect")
    assert body["captured_at"] == "2026-03-02T08:00:00Z"


async def test_rows_of_another_process_that_commit_late_are_told_too(record, feed):
    """A number is given out before its row is committed: 11 may be there before 10."""
    at = now()
    async with feed.listening() as listener:
        heard = Heard(listener)
        later = add(record, received_at=at + timedelta(seconds=1))
        await heard.until(bool)
        earlier = add(record, received_at=at)
        await heard.until(lambda events: len(events) == 2)
    assert heard.ids() == [later, earlier]
    # Who comes back after this has seen both.
    assert heard.events[1][2] == heard.events[0][2]


async def test_a_client_that_comes_back_is_told_what_it_missed(record, feed):
    async with feed.listening() as listener:
        heard = Heard(listener)
        add(record)
        ((_, _, seen),) = await heard.until(bool)
    missed = [add(record), add(record)]
    note(record, "review")
    # Also where another listener is there already, and the feed has gone on meanwhile.
    async with feed.listening() as other:
        bystander = Heard(other)
        missed.append(add(record))
        await bystander.until(bool)
        async with feed.listening(Position.of(seen)) as listener:
            heard = Heard(listener)
            await heard.until(lambda events: len(events) == 4)
            missed.append(add(record))
            await heard.until(lambda events: len(events) == 5)
            await bystander.until(lambda events: len(events) == 2)
    assert heard.ids() == missed
    assert bystander.ids() == missed[2:]
    positions = [Position.of(each) for _, _, each in heard.events]
    assert positions == sorted(positions)
    assert positions[-1].note > 0


async def test_a_client_that_was_away_for_long_is_told_how_much_it_lost(record, feed, monkeypatch):
    monkeypatch.setattr(feeds, "MOST_WAITING", 5)
    first = add(record)
    rows = [add(record) for _ in range(12)]
    async with feed.listening(Position(int(first, 16), 0)) as listener:
        heard = Heard(listener)
        await heard.until(lambda events: len(events) == 6)
    assert heard.events[0][:2] == ("lost", {"events": 7})
    assert heard.ids() == rows[-5:]


async def test_a_slow_listener_loses_the_oldest_and_is_told_how_many(record, feed, monkeypatch):
    monkeypatch.setattr(feeds, "MOST_WAITING", 4)
    async with feed.listening() as slow, feed.listening() as quick:
        heard = Heard(quick)
        rows = []
        for count in range(1, 11):
            rows.append(add(record))
            await heard.until(lambda events, count=count: len(events) == count)
        late = Heard(slow)
        await late.until(lambda events: len(events) == 5)
    assert heard.ids() == rows
    assert late.events[0][:2] == ("lost", {"events": 6})
    assert late.ids() == rows[-4:]


async def test_more_rows_than_one_look_reads_are_counted(record, feed, monkeypatch):
    monkeypatch.setattr(tail, "MOST", 3)
    async with feed.listening() as listener:
        heard = Heard(listener)
        with record.writing() as connection:
            numbers = [inspection_id(add_inspection(connection)) for _ in range(10)]
        await heard.until(lambda events: len(events) == 4)
    assert heard.events[0][:2] == ("lost", {"events": 7})
    assert heard.ids() == numbers[-3:]


async def test_a_clock_that_was_set_back_hides_nothing(record, feed):
    """Numbers then rise by a microsecond each, and a look goes back by all of them: still each is told once."""
    start = first_number_at(1_800_000_000_000_000)
    add(record, number=start)
    async with feed.listening() as listener:
        heard = Heard(listener)
        added = []
        for step in range(1, 6):
            added.append(add(record, number=start + first_number_at(step)))
            await heard.until(lambda events, step=step: len(events) == step)
    assert heard.ids() == added


async def test_the_record_is_read_only_while_somebody_listens(record, monkeypatch):
    monkeypatch.setattr(feeds, "LOOK_S", 0.01)
    reads = []

    @contextmanager
    def counted():
        reads.append(threading.current_thread())
        with record.reading() as connection:
            yield connection

    feed = Feed(counted)
    assert not reads
    async with feed.listening() as listener, feed.listening():
        heard = Heard(listener)
        add(record)
        await heard.until(bool)
        assert feed.listeners == 2
        assert threading.current_thread() not in reads
    assert feed.listeners == 0
    # Whatever look was under way ends; no other begins.
    await asyncio.sleep(0.05)
    count = len(reads)
    await asyncio.sleep(0.1)
    assert len(reads) == count
    async with feed.listening() as listener:
        heard = Heard(listener)
        add(record)
        assert len(await heard.until(bool)) == 1


async def test_a_record_that_cannot_be_read_for_a_while_ends_no_stream(record, monkeypatch):
    monkeypatch.setattr(feeds, "LOOK_S", 0.01)
    monkeypatch.setattr(feeds, "RETRY_S", 0.01)
    broken = threading.Event()
    failed = threading.Event()

    @contextmanager
    def reading():
        with record.reading() as connection:
            yield connection
            # At the end: what was read of it must be read again.
            if broken.is_set():
                failed.set()
                raise OperationalError("SELECT", {}, Exception("gone"))

    feed = Feed(reading)
    async with feed.listening() as listener:
        heard = Heard(listener)
        broken.set()
        row = add(record)
        await asyncio.to_thread(failed.wait, WITHIN_S)
        broken.clear()
        await heard.until(bool)
        assert heard.ids() == [row]
    broken.set()
    with pytest.raises(Refusal, match="cannot be read"):
        async with feed.listening():
            pass
    assert feed.listeners == 0


async def test_listeners_are_bounded(record, feed, monkeypatch):
    monkeypatch.setattr(feeds, "MAX_LISTENERS", 2)
    async with feed.listening(), feed.listening():
        with pytest.raises(Refusal) as refused:
            async with feed.listening():
                pass
        assert refused.value.code == "overloaded"
        assert feed.listeners == 2
    async with feed.listening():
        assert feed.listeners == 1


async def test_a_quiet_line_is_kept_alive_and_a_stop_ends_the_stream():
    listener = Listener()
    stream = listener.stream(keep_alive_s=0.01)
    assert (await anext(stream)).startswith(b"retry: ")
    assert await anext(stream) == b": ping\n\n"
    listener.tell([b"one", b"two"])
    listener.end()
    assert [part async for part in stream] == [b"onetwo"]


@pytest.mark.parametrize("written", ["", "x", "5", "0" * 16, "0" * 16 + ".", "f" * 16 + ".1", "0" * 16 + ".1\n"])
def test_no_other_text_is_a_position(written):
    with pytest.raises(Refusal) as refused:
        Position.of(written)
    assert refused.value.code == "parameters_invalid"


class Client:
    """A client of an application that reads the reply as it comes, which httpx in one process cannot."""

    def __init__(self, app, path, headers=()):
        self.messages = asyncio.Queue()
        self.left = asyncio.Event()
        self.asked = False
        scope = {
            "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": "GET",
            "scheme": "http", "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "",
            "headers": list(headers), "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2), "state": {},
        }  # fmt: skip
        self.scope = scope
        self.task = asyncio.create_task(app(scope, self.receive, self.messages.put))

    async def receive(self):
        if not self.asked:
            self.asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def next(self):
        async with asyncio.timeout(WITHIN_S):
            return await self.messages.get()


@asynccontextmanager
async def connected(app, **options):
    client = Client(app, "/v1/live", **options)
    yield client
    client.left.set()
    async with asyncio.timeout(WITHIN_S):
        await client.task


async def test_a_frame_is_told_within_a_second_of_its_post(reading, png):
    async with connected(reading.app) as client:
        start = await client.next()
        headers = dict(start["headers"])
        assert start["status"] == 200
        assert headers[b"content-type"].startswith(b"text/event-stream")
        assert headers[b"cache-control"] == b"no-cache"
        assert b"retry" in (await client.next())["body"]
        posted = time.monotonic()
        answer = await reading.http.post("/v1/inspect", content=png, headers={"content-type": "image/png"})
        replied = time.monotonic()
        told = []
        while not told:
            told = [event for event in parsed((await client.next())["body"]) if event[0] == "inspection"]
        assert time.monotonic() - replied < 1, f"posted {posted}, answered {replied}"
        assert told[0][1]["inspection_id"] == answer.json()["inspection_id"]
        listed = (await reading.http.get("/v1/inspections?limit=1")).json()["inspections"]
        assert told[0][1] == listed[0]
    # And one that left is forgotten.
    assert reading.service.feed.listeners == 0


async def test_a_server_that_stops_ends_the_streams(reading):
    async with connected(reading.app) as client:
        await client.next()
        client.scope["state"]["on_stop"]()
        while (await client.next()).get("more_body", True):
            pass
    assert reading.service.feed.listeners == 0


async def test_the_header_of_a_client_that_comes_back_is_checked(reading):
    answer = await reading.http.get("/v1/live", headers={"last-event-id": "7"})
    assert (answer.status_code, answer.json()["code"]) == (422, "parameters_invalid")
    with reading.service.store.database.writing() as connection:
        add_model(connection)
        add_coil(connection)
    rows = [add(reading.service.store.database), add(reading.service.store.database)]
    header = (b"last-event-id", f"{rows[0]}.0".encode())
    async with connected(reading.app, headers=[header]) as client:
        told = []
        while not any(kind == "inspection" for kind, _, _ in told):
            told += parsed((await client.next()).get("body", b""))
    assert rows[1] in [body.get("inspection_id") for _, body, _ in told]
    assert rows[0] not in [body.get("inspection_id") for _, body, _ in told]
