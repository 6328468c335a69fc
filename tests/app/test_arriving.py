"""Bodies on their way: they keep no inspection out, and hold no more memory together than they may."""

import asyncio

import pytest
from sqlalchemy import select

from app.arriving import LARGEST, Arriving
from app.metrics import Metrics
from app.refusals import Refusal
from app.settings import load
from app.store.schema import refused_frames
from tests.app.waiting import until

pytestmark = pytest.mark.anyio

MOST = 10_000
RAW = {"content-type": "application/octet-stream"}
TILE = {"width": 64, "height": 64, "pixel_format": "Mono8"}
ALL = LARGEST * MOST


class Sender:
    """A body that comes piece by piece, when it is told to."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = pieces
        self.go_on = asyncio.Event()
        self.sent = 0

    async def body(self):
        for piece in self._pieces:
            yield piece
            self.sent += len(piece)
            await self.go_on.wait()


@pytest.fixture
async def small(start, tiny_models):
    async with start(models=tiny_models, max_in_flight=2, max_body_bytes=MOST) as running:
        await running.until_ready()
        yield running


def sending(running, sender: Sender, path: str = "/v1/inspect", **query) -> asyncio.Task:
    return asyncio.create_task(running.http.post(path, params=TILE | query, headers=RAW, content=sender.body()))


@pytest.mark.parametrize("path", ["/v1/inspect", "/v1/inspect/batch", "/v2/models/steelsight/infer", "/v1/explain"])
async def test_bodies_that_drip_keep_no_inspection_out(small, path):
    form = {"content-type": "multipart/form-data; boundary=b"} if "batch" in path else RAW
    query = {} if "batch" in path or "v2" in path else TILE
    drips = [Sender(b"x", b"y") for _ in range(20)]
    tasks = [
        asyncio.create_task(small.http.post(path, params=query, headers=form, content=drip.body())) for drip in drips
    ]
    try:
        await until(lambda: small.service.arriving.room == ALL - len(drips))
        assert small.service.pool.free == 2
        assert small.service.metrics.registry.get_sample_value("steelsight_arriving") == len(drips)
        answer = await small.http.post("/v1/inspect", params=TILE, headers=RAW, content=bytes(64 * 64))
        assert answer.status_code == 200
    finally:
        for drip in drips:
            drip.go_on.set()
        await asyncio.gather(*tasks)
    assert small.service.arriving.room == ALL
    assert small.service.pool.free == 2


async def test_past_what_they_may_hold_the_oldest_is_given_up(small):
    piece = bytes(MOST - 64 * 64)
    slow = [Sender(piece, bytes(64)) for _ in range(8)]
    tasks = []
    for number, each in enumerate(slow):
        tasks.append(sending(small, each, coil_id="K1", sequence=number))
        await until(lambda each=each: each.sent == len(piece))
    given_up = [task for task in tasks if task.done()]
    assert given_up == tasks[: len(given_up)]
    assert 8 - len(given_up) == ALL // len(piece)
    for task in given_up:
        answer = task.result()
        assert (answer.status_code, answer.json()["code"]) == (503, "overloaded")
        assert "for longest" in answer.json()["detail"]
        assert answer.headers["retry-after"]
    dropped = small.service.metrics.registry.get_sample_value("steelsight_dropped_total", {"reason": "overloaded"})
    assert dropped == len(given_up)
    # What was not given up is read on: these are not as many bytes as their size says.
    for each, task in zip(slow, tasks, strict=True):
        each.go_on.set()
        assert (await task).json()["code"] == ("overloaded" if task in given_up else "raw_frame_invalid")
    assert small.service.arriving.room == ALL

    def noted() -> list[str]:
        with small.service.store.reading() as connection:
            codes = select(refused_frames.c.code).order_by(refused_frames.c.sequence)
            return list(connection.execute(codes).scalars())

    await until(lambda: len(noted()) == 8)
    assert noted()[: len(given_up)] == ["overloaded"] * len(given_up)


async def test_a_body_that_is_whole_when_no_place_is_left_is_refused(small):
    sender = Sender(bytes(64 * 64))
    task = sending(small, sender)
    await until(lambda: sender.sent)
    with small.service.pool.place(2):
        sender.go_on.set()
        answer = await task
    assert (answer.status_code, answer.json()["code"]) == (503, "overloaded")
    assert small.service.arriving.room == ALL


async def test_one_that_ends_at_the_moment_it_is_given_up_is_not_half_a_frame():
    arriving = Arriving(load({}, {"max_body_bytes": MOST}), Metrics())
    request = Request([bytes(MOST - 1), b"x"])
    reading = asyncio.create_task(arriving.read(request, float("inf"), "a frame"))
    await until(lambda: arriving.room == ALL - MOST + 1)
    others = [Request([bytes(MOST)], last=False) for _ in range(LARGEST)]
    tasks = [asyncio.create_task(arriving.read(other, float("inf"), "a frame")) for other in others]
    # All in one step of the loop: the others need its memory, and its last piece is there.
    for each in [*others, request]:
        each.go_on.set()
    with pytest.raises(Refusal, match="for longest"):
        await reading
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert arriving.room == ALL


class Request:
    """Of a request what a body is read with."""

    def __init__(self, pieces: list[bytes], last: bool = True) -> None:
        self.headers: dict[str, str] = {}
        self._pieces, self._last = pieces, last
        self.go_on = asyncio.Event()

    async def receive(self):
        piece = self._pieces.pop(0) if self._pieces else await asyncio.Event().wait()
        more = bool(self._pieces) or not self._last
        if not more or not self._last:
            await self.go_on.wait()
        return {"type": "http.request", "body": piece, "more_body": more}
