"""POST /v1/inspect/batch: several images, each judged by itself; and what overload looks like over HTTP."""

import asyncio
import io
import threading
import time
from contextlib import asynccontextmanager
from dataclasses import replace

import httpx
import pytest
from PIL import Image
from structlog.testing import capture_logs

from app.schemas import BatchReply

pytestmark = pytest.mark.anyio

URL = "/v1/inspect/batch"
LEFT = "steelsight_dropped_total", {"reason": "client_left"}


def parts(*images: bytes, name: str = "image"):
    return [(name, (f"{number}.png", image, "image/png")) for number, image in enumerate(images)]


@pytest.fixture
def files(steel_frame, as_png) -> list[bytes]:
    return [as_png(steel_frame(64 + 8 * number, 96, seed=number, defects=number)) for number in range(5)]


async def test_each_image_gets_the_answer_that_it_gets_alone(http, post, files):
    answer = await http.post(URL, files=parts(*files), params={"camera_id": "c1"})
    assert answer.status_code == 200
    for result, file in zip(answer.json()["results"], files, strict=True):
        alone = (await post(file)).json()
        # Company changes a probability by rounding alone.
        assert result.pop("defect_probability") == pytest.approx(alone.pop("defect_probability"), abs=1e-6)
        assert len(result["events"]) == len(alone["events"])
        for changing in ("inspection_id", "timing_ms", "events"):
            assert type(result.pop(changing)) is type(alone.pop(changing))
        assert result == alone


async def test_a_bad_image_fails_alone_and_says_why(http, served, files):
    counted = served.service.metrics.registry.get_sample_value
    before = counted("steelsight_refusals_total", {"code": "image_corrupt"}) or 0
    with capture_logs() as lines:
        answer = await http.post(URL, files=parts(files[0], files[1][:100], b"", files[2]))
    reply = BatchReply.model_validate_json(answer.content)
    results = answer.json()["results"]
    assert [result.get("error", {}).get("code") for result in results] == [None, "image_corrupt", "body_empty", None]
    assert results[1]["error"]["status"] == 422
    assert results[1]["error"]["instance"] == answer.headers["x-request-id"]
    assert len(reply.results) == 4
    assert counted("steelsight_refusals_total", {"code": "image_corrupt"}) == before + 1
    assert [(line["status"], line["code"]) for line in lines] == [(200, None)]


async def test_a_fault_of_ours_is_one_image_s_error_and_in_the_log(start, tiny_models, files, monkeypatch):
    async with start(models=tiny_models) as running:
        await running.until_ready()

        def fail(*_: object) -> None:
            raise RuntimeError("the secret of line 7")

        monkeypatch.setattr(type(running.service.slot.require()), "inspect_all", fail)
        with capture_logs() as lines:
            answer = await running.http.post(URL, files=parts(*files[:2]))
    assert [result["error"]["code"] for result in answer.json()["results"]] == ["internal_error"] * 2
    assert "secret" not in answer.text
    (line,) = [line for line in lines if line["event"] == "request"]
    assert "secret" in str(line["exc_info"])


@pytest.mark.parametrize(
    ("body", "content_type", "status", "code"),
    [
        (b"", "multipart/form-data; boundary=b", 400, "body_empty"),
        (b"--b--\r\n", "multipart/form-data; boundary=b", 400, "multipart_invalid"),
        (b"x", "multipart/form-data", 400, "multipart_invalid"),
        (b"\x89PNG\r\n\x1a\n", "image/png", 415, "content_type_unsupported"),
        (bytes(64), "application/octet-stream", 415, "content_type_unsupported"),
    ],
)
async def test_another_body_than_a_form_of_images_is_refused(http, body, content_type, status, code):
    answer = await http.post(URL, content=body, headers={"content-type": content_type})
    assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_other_parts_are_refused(http, files):
    answer = await http.post(URL, files=[*parts(files[0]), *parts(files[1], name="mask")])
    assert (answer.status_code, answer.json()["code"]) == (400, "multipart_invalid")
    assert "'mask'" in answer.json()["detail"]


@pytest.mark.parametrize("query", [{"sequence": "1"}, {"width": "8"}, {"position_mm": "1"}, {"camera": "c1"}])
async def test_what_is_true_of_one_frame_only_is_no_parameter_of_a_batch(http, files, query):
    answer = await http.post(URL, files=parts(*files), params=query)
    assert (answer.status_code, answer.json()["code"]) == (422, "parameters_invalid")


async def test_a_batch_is_bounded(start, tiny_models, files):
    async with start(models=tiny_models, max_batch_images=2) as running:
        await running.until_ready()
        most = await running.http.post(URL, files=parts(*files[:2]))
        more = await running.http.post(URL, files=parts(*files[:3]))
    assert most.status_code == 200
    assert (more.status_code, more.json()["code"]) == (400, "multipart_invalid")
    assert "more than 2 parts" in more.json()["detail"]


async def test_a_batch_needs_a_place_for_each_image(start, tiny_models, files):
    async with start(models=tiny_models, max_in_flight=3) as running:
        await running.until_ready()
        with running.service.pool.place(2):
            refused = await running.http.post(URL, files=parts(*files[:2]))
            single = await running.http.post(URL, files=parts(files[0]))
        three = await running.http.post(URL, files=parts(*files[:3]))
        four = await running.http.post(URL, files=parts(*files[:4]))
        sample = running.service.metrics.registry.get_sample_value
        assert sample("steelsight_in_flight") == 0
    assert (refused.status_code, refused.json()["code"], refused.headers["retry-after"]) == (503, "overloaded", "1")
    assert (single.status_code, three.status_code) == (200, 200)
    # It could never have as many places as it has images: no use in trying again.
    assert (four.status_code, four.json()["code"]) == (400, "multipart_invalid")


@asynccontextmanager
async def stalling(start, models, **settings):
    """An application with one thread, and an engine that waits for `go_on`."""
    async with start(models=models, concurrency=1, **settings) as running:
        await running.until_ready()
        serving = running.service.slot.require()
        go_on, begun, logits = threading.Event(), threading.Event(), serving.engine.logits

        class Stalled:
            def __getattr__(self, name):
                return getattr(serving.engine, name)

            def logits(self, tiles):
                begun.set()
                assert go_on.wait(20)
                return logits(tiles)

        running.service.slot._serving = replace(serving, engine=Stalled(), shared=None)
        yield running, begun, go_on
        go_on.set()


@pytest.fixture
async def stalled(start, tiny_models):
    """As `stalling`, with a deadline of 150 ms."""
    async with stalling(start, tiny_models, deadline_ms=150, max_in_flight=3) as running:
        yield running


async def test_of_a_batch_whose_client_left_the_record_has_every_frame_once(start, tiny_models, steel_frame, png):
    """The first is so large that nothing is begun beside it; what waits behind it is dropped, and noted."""
    large = io.BytesIO()
    Image.fromarray(steel_frame(640, 1024)).save(large, "BMP")
    request = httpx.Request("POST", f"http://steelsight{URL}", files=parts(large.getvalue(), png, png))
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": URL,
        "query_string": b"coil_id=left",
        "headers": [(name.lower(), value) for name, value in request.headers.raw],
        "client": ("127.0.0.1", 1),
        "server": ("steelsight", 80),
    }
    bodies, sent = [request.read()], []

    async with asyncio.timeout(60), stalling(start, tiny_models) as (running, begun, go_on):

        async def receive():
            if bodies:
                return {"type": "http.request", "body": bodies.pop()}
            while not begun.is_set():
                await asyncio.sleep(0.01)
            return {"type": "http.disconnect"}

        async def send(message):
            sent.append(message)

        asked = asyncio.create_task(running.app(scope, receive, send))
        while running.service.metrics.registry.get_sample_value(*LEFT) != 2:
            await asyncio.sleep(0.01)
        go_on.set()
        await asked
        while (coil := (await running.http.get("/v1/coils/left")).json()).get("refused") != 2:
            await asyncio.sleep(0.05)
        assert (coil["frames"], sent) == (1, [])


async def test_a_full_server_refuses_at_once_and_drops_what_is_late(stalled, png, files):
    running, begun, go_on = stalled
    headers = {"content-type": "image/png"}

    def send() -> "asyncio.Task[httpx.Response]":
        return asyncio.create_task(running.http.post("/v1/inspect", content=png, headers=headers))

    first = send()
    while not begun.is_set():
        await asyncio.sleep(0.01)
    late = [send(), asyncio.create_task(running.http.post(URL, files=parts(files[0])))]
    await asyncio.sleep(0)
    while running.service.pool._free:
        await asyncio.sleep(0.005)
    refused = await send()
    answers = [await each for each in late]
    go_on.set()
    assert (await first).status_code == 200
    assert (refused.status_code, refused.json()["code"], refused.headers["retry-after"]) == (503, "overloaded", "1")
    assert (answers[0].status_code, answers[0].json()["code"]) == (504, "deadline_exceeded")
    assert answers[1].json()["code"] == "deadline_exceeded"
    again = await send()
    assert again.status_code == 200
    sample = running.service.metrics.registry.get_sample_value
    assert sample("steelsight_dropped_total", {"reason": "deadline"}) == 2
    assert sample("steelsight_dropped_total", {"reason": "overloaded"}) == 1
    assert sample("steelsight_refusals_total", {"code": "deadline_exceeded"}) == 2


async def test_the_arrival_of_the_body_counts(start, tiny_models):
    async def slow():
        yield b"\x89PNG"
        await asyncio.sleep(60)

    async with start(models=tiny_models, deadline_ms=100) as running:
        await running.until_ready()
        began = time.perf_counter()
        answer = await running.http.post("/v1/inspect", content=slow(), headers={"content-type": "image/png"})
    assert (answer.status_code, answer.json()["code"]) == (408, "body_timeout")
    assert time.perf_counter() - began < 30
