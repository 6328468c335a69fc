"""Frames of many requests in shared batches: whose answer is whose, who fails, who waits, and who is dropped."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from starlette.requests import ClientDisconnect

from app import batching
from app.batching import BATCH_FRAMES, BATCH_PIXELS, InspectionPool, Order
from app.bodies import ImageFile, RawPixels
from app.decoding import Decoding
from app.metrics import Metrics
from app.parameters import InspectQuery
from app.refusals import Refusal
from app.settings import load
from model.errors import SteelsightError
from model.image import PixelFormat
from model.inspector import Inspector
from model.registry import Registry
from model.tiling import Fit
from tests.app.waiting import WITHIN_S, until

pytestmark = pytest.mark.anyio

NOTHING = InspectQuery()


class Slow:
    """An engine that waits until it may go on, and notes how many tiles it is given at a time."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self.go_on = threading.Event()
        self.begun = threading.Event()
        self.batches: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def logits(self, tiles: Any) -> Any:
        self.batches.append(len(tiles))
        self.begun.set()
        assert self.go_on.wait(WITHIN_S)
        return self._engine.logits(tiles)


class Failing(Slow):
    """An engine that fails on tiles of nothing but white, as no engine should."""

    def logits(self, tiles: Any) -> Any:
        if (tiles == 255).all(axis=(1, 2)).any():
            raise SystemExit("the secret of line 7")
        return self._engine.logits(tiles)


class Bench:
    """A pool without a server around it."""

    def __init__(self, pool: InspectionPool, metrics: Metrics) -> None:
        self.pool, self.metrics = pool, metrics
        self.offered: list[str] = []

    def order(self, receive: Any = None) -> Order:
        return self.pool.order(time.perf_counter(), receive or asyncio.Event().wait)

    async def inspect(self, inspector: Inspector, body: Any, query: InspectQuery = NOTHING) -> dict[str, Any]:
        return orjson.loads((await self.pool.inspect(self.order(), inspector, body, query)).reply)

    def count(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0


@pytest.fixture
async def bench(request) -> AsyncIterator[Bench]:
    """With settings from the test's parameter `settings`, if it has one."""
    metrics = Metrics()
    settings = load({}, getattr(request, "param", {}))
    decoding = Decoding(settings, metrics, BATCH_PIXELS)
    pool = InspectionPool(settings, metrics, decoding)
    made = Bench(pool, metrics)
    pool.open([lambda *told: made.offered.append(told[3])], None)
    yield made
    pool.close()
    decoding.close()


def with_settings(**settings: Any) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("bench", [settings], indirect=True, ids=[""])


@pytest.fixture(scope="module")
def inspector(tiny_models: Path) -> Inspector:
    registry = Registry(tiny_models)
    return Inspector.load(registry, registry.require_active(), "onnx", threads=1)


@pytest.fixture
def slow(inspector: Inspector):
    """`inspector` with an engine that waits; it goes on when the test has ended, whatever became of it."""
    made = replace(inspector, engine=Slow(inspector.engine))
    yield made
    made.engine.go_on.set()


def raw(frame: np.ndarray) -> RawPixels:
    height, width = frame.shape
    return RawPixels(frame.tobytes(), width, height, PixelFormat.MONO8)


def noise(count: int, seed: int = 0) -> np.ndarray:
    """Tiles of many brightnesses and contrasts: uint8 (count, 64, 64)."""
    rng = np.random.default_rng(seed)
    mean, spread = rng.uniform(40, 210, (count, 1, 1)), rng.uniform(1, 60, (count, 1, 1))
    return (mean + spread * rng.standard_normal((count, 64, 64))).clip(0, 255).astype(np.uint8)


async def occupy(bench: Bench, slow: Inspector, threads: int) -> list[asyncio.Task[Any]]:
    """Give every thread a frame that it does not come to the end of."""
    tasks = []
    for number in range(threads):
        tasks.append(asyncio.create_task(bench.inspect(slow, raw(noise(1)[0]))))
        await until(lambda many=number + 1: len(slow.engine.batches) == many)
    return tasks


async def test_answers_never_cross(bench, tiny_models, inspector):
    registry = Registry(tiny_models)
    other = Inspector.load(registry, registry.versions()[1], "onnx", threads=1)
    frames = noise(3000)
    models = [(inspector, other)[number % 2] for number in range(len(frames))]
    own = np.where(np.arange(len(frames)) % 2, *(each.probabilities(frames) for each in (other, inspector)))
    # A mix-up of two answers would be seen: hardly any two frames have the same one.
    assert len(np.unique(own.round(5))) > 0.9 * len(frames)

    answers = await asyncio.gather(
        *(bench.inspect(model, raw(frame)) for model, frame in zip(models, frames, strict=True))
    )
    np.testing.assert_allclose([answer["defect_probability"] for answer in answers], own, atol=1e-6)
    assert [answer["model"]["version"] for answer in answers] == [model.version for model in models]
    assert len({answer["inspection_id"] for answer in answers}) == len(frames)
    assert sorted(bench.offered) == sorted(answer["inspection_id"] for answer in answers)
    assert bench.count("steelsight_frames_total") == len(frames)
    assert bench.count("steelsight_batch_frames_count") < len(frames) / 2
    assert bench.count("steelsight_queue_depth") == 0


@with_settings(concurrency=1)
async def test_what_came_meanwhile_is_one_batch(bench, slow):
    (first,) = await occupy(bench, slow, 1)
    rest = [asyncio.create_task(bench.inspect(slow, raw(frame))) for frame in noise(BATCH_FRAMES + 3)]
    await until(lambda: bench.count("steelsight_queue_depth") == len(rest))
    slow.engine.go_on.set()
    await asyncio.gather(first, *rest)
    assert slow.engine.batches == [1, BATCH_FRAMES, 3]


@with_settings(concurrency=2)
async def test_a_frame_does_not_wait_for_another_thread_s_batch(bench, slow, inspector):
    (first,) = await occupy(bench, slow, 1)
    assert (await bench.inspect(inspector, raw(noise(1)[0])))["verdict"]
    slow.engine.go_on.set()
    await first


@with_settings(concurrency=2)
async def test_large_frames_are_shared_among_the_threads(bench, slow):
    side = int(BATCH_PIXELS**0.5) + 1
    frame = RawPixels(bytes(side * side), side, side, PixelFormat.MONO8)
    resized = replace(slow, fitting=slow.fitting.model_copy(update={"fit": Fit.RESIZE}))
    tasks = [asyncio.create_task(bench.inspect(resized, frame)) for _ in range(4)]
    await until(lambda: len(slow.engine.batches) == 2)
    assert bench.count("steelsight_queue_depth") == 2
    slow.engine.go_on.set()
    await asyncio.gather(*tasks)
    assert slow.engine.batches == [1] * 4


@with_settings(concurrency=1)
async def test_one_bad_image_in_a_batch_fails_alone(bench, slow, as_png):
    frames = noise(4)
    (first,) = await occupy(bench, slow, 1)
    bodies = [ImageFile(as_png(frame)) for frame in frames]
    bodies[1] = ImageFile(bodies[1].data[:-40])
    rest = [asyncio.create_task(bench.inspect(slow, body)) for body in bodies]
    rest.append(asyncio.create_task(bench.inspect(slow, bodies[0], InspectQuery(overlap_rows=64))))
    await until(lambda: bench.count("steelsight_queue_depth") == len(rest))
    slow.engine.go_on.set()
    await first
    answers = await asyncio.gather(*rest, return_exceptions=True)
    assert [getattr(answer, "code", "ok") for answer in answers] == [
        "ok",
        "image_corrupt",
        "ok",
        "ok",
        "parameters_invalid",
    ]
    own = slow.probabilities(frames[[0, 2, 3]])
    np.testing.assert_allclose([answers[number]["defect_probability"] for number in (0, 2, 3)], own, atol=1e-6)
    assert isinstance(answers[1], SteelsightError)


@with_settings(concurrency=1)
async def test_a_fault_of_ours_fails_the_frame_at_fault_and_the_thread_goes_on(bench, inspector, slow):
    failing = replace(inspector, engine=Failing(inspector.engine))
    (first,) = await occupy(bench, slow, 1)
    frames = noise(3)
    frames[1] = 255
    rest = [asyncio.create_task(bench.inspect(failing, raw(frame))) for frame in frames]
    await until(lambda: bench.count("steelsight_queue_depth") == len(rest))
    slow.engine.go_on.set()
    await first
    answers = await asyncio.gather(*rest, return_exceptions=True)
    assert isinstance(answers[1], RuntimeError)
    assert isinstance(answers[1].__cause__, SystemExit)
    np.testing.assert_allclose(
        [answers[number]["defect_probability"] for number in (0, 2)], inspector.probabilities(frames[[0, 2]]), atol=1e-6
    )
    assert (await bench.inspect(failing, raw(frames[0])))["verdict"]


@with_settings(concurrency=1)
async def test_a_fault_beside_the_inspection_is_answered_too(bench, inspector):
    def fail(*_: object) -> None:
        raise MemoryError

    bench.pool._offers = [fail]
    with pytest.raises(MemoryError):
        await bench.inspect(inspector, raw(noise(1)[0]))
    bench.pool._offers = []
    assert (await bench.inspect(inspector, raw(noise(1)[0])))["verdict"]


@with_settings(concurrency=1, deadline_ms=100)
async def test_what_is_not_begun_by_its_deadline_is_dropped(bench, slow):
    (first,) = await occupy(bench, slow, 1)
    waiting = [asyncio.create_task(bench.inspect(slow, raw(frame))) for frame in noise(3)]
    # Answered while the only thread is still busy.
    refusals = await asyncio.gather(*waiting, return_exceptions=True)
    assert [refusal.code for refusal in refusals] == ["deadline_exceeded"] * 3
    assert bench.count("steelsight_dropped_total", reason="deadline") == 3
    slow.engine.go_on.set()
    assert (await first)["verdict"]
    assert slow.engine.batches == [1]


@with_settings(concurrency=1, deadline_ms=1)
async def test_a_request_that_took_too_long_to_arrive_is_not_begun(bench, slow):
    order = bench.order()
    order.deadline = time.perf_counter()
    with pytest.raises(Refusal, match="not begun within 1 ms"):
        await bench.pool.inspect(order, slow, raw(noise(1)[0]), NOTHING)
    assert not slow.engine.batches


@with_settings(concurrency=1)
async def test_of_a_client_that_left_nothing_is_begun(bench, slow):
    (first,) = await occupy(bench, slow, 1)
    left = asyncio.Event()

    async def receive() -> dict[str, str]:
        await left.wait()
        return {"type": "http.disconnect"}

    order = bench.order(receive)
    several = bench.pool.inspect_each(order, slow, map(raw, noise(3)), NOTHING)
    waiting = [
        asyncio.create_task(several),
        asyncio.create_task(bench.pool.inspect(order, slow, raw(noise(1)[0]), NOTHING)),
    ]
    await until(lambda: order.watcher)
    left.set()
    each, alone = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(answer) for answer in (*each, alone)] == [ClientDisconnect] * 4
    assert bench.count("steelsight_dropped_total", reason="client_left") == 4
    slow.engine.go_on.set()
    await first
    assert slow.engine.batches == [1]


@with_settings(deadline_ms=100)
@pytest.mark.parametrize("several", [False, True])
async def test_a_verdict_that_was_held_up_on_its_way_is_not_given(bench, inspector, monkeypatch, several):
    settle = bench.pool._settle

    def stands_still(settled):
        time.sleep(0.2)
        settle(settled)

    monkeypatch.setattr(bench.pool, "_settle", stands_still)
    monkeypatch.setattr(batching, "ANSWERED_WITHIN_S", 0.0)
    with pytest.raises(Refusal, match="was inspected, but only 0 s after") as caught:
        if several:
            (answer,) = await bench.pool.inspect_each(bench.order(), inspector, [raw(noise(1)[0])], NOTHING)
            raise answer
        await bench.inspect(inspector, raw(noise(1)[0]))
    assert caught.value.code == "deadline_exceeded"


@with_settings(concurrency=1)
async def test_of_a_request_that_was_cancelled_nothing_is_begun(bench, slow):
    (first,) = await occupy(bench, slow, 1)
    waiting = asyncio.create_task(bench.pool.inspect_each(bench.order(), slow, map(raw, noise(3)), NOTHING))
    await until(lambda: bench.count("steelsight_queue_depth") == 3)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert bench.count("steelsight_queue_depth") == 0
    slow.engine.go_on.set()
    await first
    assert slow.engine.batches == [1]


@with_settings(concurrency=1)
async def test_a_stop_answers_what_waits_and_what_comes(bench, slow):
    (first,) = await occupy(bench, slow, 1)
    waiting = asyncio.create_task(bench.inspect(slow, raw(noise(1)[0])))
    await until(lambda: bench.count("steelsight_queue_depth") == 1)
    bench.pool.close()
    for late in (waiting, bench.inspect(slow, raw(noise(1)[0]))):
        with pytest.raises(Refusal) as caught:
            await late
        assert caught.value.code == "shutting_down"
    slow.engine.go_on.set()
    assert (await first)["verdict"]


@with_settings(concurrency=1)
async def test_an_idle_thread_holds_no_model(bench, inspector):
    import gc
    import weakref

    copy = replace(inspector)
    gone = weakref.ref(copy)
    await bench.inspect(copy, raw(noise(1)[0]))
    del copy
    await until(lambda: gc.collect() is None or gone() is None)


@with_settings(max_in_flight=2)
async def test_places_come_back_however_a_request_ends(bench):
    with bench.pool.place(), bench.pool.place():
        with pytest.raises(Refusal, match="2 of the 2"), bench.pool.place():
            pass
        assert bench.count("steelsight_dropped_total", reason="overloaded") == 1
    with pytest.raises(ZeroDivisionError), bench.pool.place(2):
        raise ZeroDivisionError
    with bench.pool.place(2):
        assert bench.count("steelsight_in_flight") == 2


async def test_other_work_is_done_by_the_same_threads(bench):
    name = await bench.pool.run(bench.order(), lambda: threading.current_thread().name)
    assert name.startswith("inspect-")
    with pytest.raises(ZeroDivisionError):
        await bench.pool.run(bench.order(), lambda: 1 // 0)
