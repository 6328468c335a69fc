"""The API as the desk calls it: answers, refusals in the API's own words, silence."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.dashboard.client import Api, ApiError, Events, path
from app.dashboard.feed import Feed

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


class Stranger(BaseHTTPRequestHandler):
    """Some other server that `--api` may name by mistake."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/v1/models" else 404)
        self.end_headers()
        self.wfile.write(b"<html>welcome</html>")

    def log_message(self, *_: object) -> None:
        """Nothing."""


class Faulty(BaseHTTPRequestHandler):
    """An API whose first event has a fault, and that breaks off after each."""

    told = 0

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        if self.path == "/v1/cameras":
            self.wfile.write(b'{"cameras": []}')
            return
        row = b'{"camera_id": "c1", "inspection_id": "01", "coil_id": null, "verdict": "ok"}'
        self.wfile.write(b"event: inspection\ndata: " + (row if Faulty.told else b'{"camera_id": "c1"}') + b"\n\n")
        Faulty.told += 1

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def listening(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def stranger() -> Iterator[str]:
    with listening(Stranger) as address:
        yield address


async def refusal(api: Api, name: str, *args: str) -> ApiError:
    try:
        with pytest.raises(ApiError) as raised:
            await getattr(api, name)(*args)
    finally:
        await api.close()
    return raised.value


async def test_a_problem_document_speaks_for_itself(bare):
    error = await refusal(Api(bare.server.url), "coil", "none such/7")
    assert (error.status, error.code, error.title) == (404, "not_found", "Not found")
    assert "none such/7" in error.detail
    assert not error.unreachable


async def test_nobody_there():
    error = await refusal(Api("http://127.0.0.1:9"), "cameras")
    assert error.unreachable
    assert "http://127.0.0.1:9" in error.detail
    assert "python -m app serve" in error.detail


async def test_somebody_else_there(stranger):
    assert (await refusal(Api(stranger), "models")).code == "not_understood"
    assert "--api" in (await refusal(Api(stranger), "models")).detail
    error = await refusal(Api(stranger), "model", "a/b")
    assert (error.code, error.status) == ("unexplained", 404)
    assert "/v1/models/a%2Fb" in error.detail or "/v1/models/a/b" in error.detail


async def test_whether_a_model_serves(bare):
    api = Api(bare.server.url)
    ready, said = await api.ready()
    await api.close()
    assert ready
    assert said["model"]["version"] == "tiny-classes"


@given(st.lists(st.integers(0, 400)), st.lists(st.text(max_size=20), max_size=5))
def test_events_are_the_same_however_the_stream_is_cut(cuts, texts):
    import orjson

    stream = b"retry: 1000\n\n" + b"".join(
        b"id: 1\r\nevent: note\r\ndata: " + orjson.dumps({"text": text}) + b"\r\n\r\n: alive\n\n" for text in texts
    )
    events, found, start = Events(), [], 0
    for end in [*sorted(min(cut, len(stream)) for cut in cuts), len(stream)]:
        found += events.feed(stream[start:end])
        start = end
    assert found == [("note", {"text": text}) for text in texts]


@given(st.text(min_size=1))
def test_a_part_of_a_path_stays_one(part):
    from urllib.parse import unquote

    try:
        part.encode()
    except UnicodeEncodeError:
        return
    quoted = path("v1", part)
    assert quoted.count("/") == 2
    assert unquote(quoted) == f"/v1/{part}"


def row(number: int, verdict: str = "ok", camera: str | None = "c1") -> dict:
    return {"inspection_id": f"{number:016x}", "camera_id": camera, "verdict": verdict, "coil_id": f"C-{number}"}


class TestFeed:
    """What is known of the line when the two ways of hearing overtake each other."""

    def test_a_list_older_than_the_feed_does_not_take_a_frame_back(self):
        feed = Feed(Api("http://127.0.0.1:9"))
        feed._judged(row(2))
        feed._listed([{"camera_id": "c1", "last": row(1), "seconds_since_last": 1.0, "gaps": 3}])
        assert feed.cameras["c1"].last == row(2)
        assert feed.cameras["c1"].entry["gaps"] == 3
        assert feed.cameras["c1"].entry["coil_id"] == "C-2"

    def test_a_newer_list_brings_what_the_feed_lost(self):
        feed = Feed(Api("http://127.0.0.1:9"))
        feed._judged(row(1))
        feed._listed([{"camera_id": "c1", "last": row(2, "defect"), "seconds_since_last": 0.0}])
        assert feed.cameras["c1"].last == row(2, "defect")
        assert feed.cameras["c1"].finding == row(2, "defect")

    def test_the_last_finding_stays(self):
        feed = Feed(Api("http://127.0.0.1:9"))
        for one in (row(1, "review"), row(2), row(3)):
            feed._judged(one)
        feed._listed([{"camera_id": "c1", "last": row(3), "seconds_since_last": 0.0}])
        assert feed.cameras["c1"].finding == row(1, "review")

    def test_a_frame_without_a_camera_is_on_no_card(self):
        feed = Feed(Api("http://127.0.0.1:9"))
        feed._judged(row(1, camera=None))
        assert feed.cameras == {}

    def test_a_watcher_that_left_is_not_told(self):
        feed = Feed(Api("http://127.0.0.1:9"))
        forget = feed.watch(lambda _: None)
        forget()
        forget()
        assert not feed._watchers

    async def test_a_fault_in_an_answer_does_not_end_it(self):
        with listening(Faulty) as address:
            feed = Feed(Api(address))
            heard = asyncio.Event()
            feed.watch(lambda now: heard.set() if "c1" in now.cameras else None)
            hearing = asyncio.create_task(feed.run())
            async with asyncio.timeout(15):
                await heard.wait()
            hearing.cancel()
            with suppress(asyncio.CancelledError):
                await hearing
            await feed.api.close()
        assert Faulty.told >= 2
