"""The shadow: a second version scores live frames, and no reply shows it but in what is kept and counted."""

import json
import threading
from pathlib import Path

import numpy as np
import pytest

from app.loading import Loader
from app.metrics import Metrics
from app.parameters import InspectQuery
from app.settings import load
from app.shadow import QUEUE_FRAMES, QUEUE_PIXELS, Shadow
from model import shadow
from model.engine import OnnxEngine
from model.registry import POINTER, Registry
from model.shadow import SHADOW
from tests.app.waiting import until

pytestmark = pytest.mark.anyio
KEPT = 5
NOTHING = InspectQuery()


@pytest.fixture
async def running(start, own_models):
    async with start(models=own_models, concurrency=2) as one:
        await one.until_ready()
        yield one


@pytest.fixture
def versions(own_models: Path) -> list[str]:
    return Registry(own_models).versions()


@pytest.fixture
async def alone(own_models, versions):
    """A shadow with no server round it; `gate` says whether there is capacity to spare."""
    settings = load({}, {"models": own_models})
    gate = threading.Event()
    loader = Loader(settings)
    one = Shadow(loader, Metrics(), gate.is_set, KEPT)
    one.gate, one.live = gate, await loader.run(loader.open, versions[0])
    yield one
    gate.set()
    one.close()
    loader.close()


def sample(metrics: Metrics, name: str, **labels: str) -> float:
    return metrics.registry.get_sample_value(f"steelsight_shadow_{name}", labels) or 0.0


async def post(running, body: bytes) -> dict:
    answer = await running.http.post("/v1/inspect", content=body, headers={"content-type": "image/png"})
    assert answer.status_code == 200
    return answer.json()


async def test_differences_are_counted_by_verdicts_and_kept(running, versions, steel_tiles, as_png):
    frames = list(steel_tiles(24, 64))
    bodies = [as_png(frame) for frame in frames]
    loader = running.service.slot.loader
    judges = [await loader.run(loader.open, version) for version in versions]
    expected = [tuple(judge.inspect(frame).verdict for judge in judges) for frame in frames]
    assert len(set(expected)) > 2
    begun = await running.http.post(f"/v1/models/{versions[1]}/shadow", json={"share": 1.0})
    assert begun.status_code == 200
    assert begun.json() == {
        "version": versions[1],
        "share": 1.0,
        "frames": 0,
        "differing": 0,
        "verdicts": [],
        "dropped": 0,
        "failed": 0,
    }
    replies = []
    for number, body in enumerate(bodies, start=1):
        replies.append(await post(running, body))
        await until(lambda number=number: sum(running.service.shadow.running.pairs.values()) == number)
    assert [reply["model"]["version"] for reply in replies] == [versions[0]] * len(frames)
    assert [reply["verdict"] for reply in replies] == [live for live, _ in expected]

    told = (await running.http.get("/v1/models")).json()["shadow"]
    pairs = {(each["live"], each["shadow"]): each["frames"] for each in told["verdicts"]}
    assert pairs == {pair: expected.count(pair) for pair in set(expected)}
    differing = [number for number, (live, other) in enumerate(expected) if live != other]
    assert (told["frames"], told["differing"]) == (len(frames), len(differing))
    for (live, other), count in pairs.items():
        assert sample(running.service.metrics, "verdicts_total", live=live, shadow=other) == count

    kept = (await running.http.get("/v1/models/shadow/differences")).json()["differences"][::-1]
    assert [each["inspection_id"] for each in kept] == [replies[number]["inspection_id"] for number in differing]
    for each, number in zip(kept, differing, strict=True):
        assert [each["live"]["version"], each["shadow"]["version"]] == versions
        assert (each["live"]["verdict"], each["shadow"]["verdict"]) == expected[number]
        assert each["live"]["defect_probability"] == replies[number]["defect_probability"]


async def test_a_shadow_is_shared_by_its_file_and_ended_by_it(running, own_models, versions, png):
    registry, its = Registry(own_models), running.service.shadow
    shadow.choose(registry, versions[1], 0.5)
    await its.refresh()
    assert (its.running.choice.version, its.running.choice.share) == (versions[1], 0.5)
    assert sample(running.service.metrics, "share", version=versions[1]) == 0.5
    opened = its.running.inspector
    shadow.choose(registry, versions[1], 1.0)
    await its.refresh()
    assert its.running.inspector is opened, "loaded again for another share"
    assert its.running.choice.share == 1.0
    shadow.stop(registry)
    await its.refresh()
    assert its.running is None
    assert sample(running.service.metrics, "share", version=versions[1]) == 0
    await post(running, png)


async def test_asking_writes_the_file_and_ending_removes_it(running, own_models, versions):
    await running.http.post(f"/v1/models/{versions[1]}/shadow", json={"share": 0.25})
    assert json.loads((own_models / SHADOW).read_text()) == {"version": versions[1], "share": 0.25}
    other = await running.http.delete(f"/v1/models/{versions[0]}/shadow")
    assert (other.status_code, other.json()["code"]) == (404, "not_found")
    ended = await running.http.delete(f"/v1/models/{versions[1]}/shadow")
    assert (ended.status_code, ended.content) == (204, b"")
    assert not (own_models / SHADOW).exists()
    assert (await running.http.get("/v1/models")).json()["shadow"] is None


async def test_a_version_does_not_shadow_itself(running, versions, png):
    await running.http.post(f"/v1/models/{versions[1]}/shadow", json={"share": 1})
    await running.http.post(f"/v1/models/{versions[1]}/activate")
    await post(running, png)
    await running.http.post("/v1/models/rollback")
    await post(running, png)
    await until(lambda: sum(running.service.shadow.running.pairs.values()) == 1)


async def test_a_version_that_cannot_be_loaded_does_not_shadow(running, own_models, versions, png):
    (own_models / versions[1] / OnnxEngine.file).write_bytes(b"not a network")
    answer = await running.http.post(f"/v1/models/{versions[1]}/shadow", json={"share": 1})
    assert (answer.status_code, answer.json()["code"]) == (409, "artifact_invalid")
    assert not (own_models / SHADOW).exists()
    (own_models / SHADOW).write_text(json.dumps({"version": versions[1], "share": 1}))
    await running.service.shadow.refresh()
    listed = (await running.http.get("/v1/models")).json()
    assert listed["shadow"] is None
    assert OnnxEngine.file in listed["shadow_failure"]
    await post(running, png)
    (own_models / SHADOW).write_text("{")
    await running.service.shadow.refresh()
    assert SHADOW in (await running.http.get("/v1/models")).json()["shadow_failure"]
    (own_models / SHADOW).unlink()
    await running.service.shadow.refresh()
    assert (await running.http.get("/v1/models")).json()["shadow_failure"] is None


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b"[]", b"nan", b'{"share": 0}', b'{"share": 1.1}', b'{"share": NaN}', b'{"share": "x"}', b"\xff",
     b'{"share": true}', b'{"share": "0.5"}',
     b'{"share": 0.1, "more": 1}', b'{"share": 1e999}', b"[" * 1000, b" " * 2000, b'{"share": true, "\\ud800": 1}'],
)  # fmt: skip
async def test_a_share_that_is_none_is_refused(running, own_models, versions, body):
    answer = await running.http.post(f"/v1/models/{versions[1]}/shadow", content=body)
    assert answer.status_code in (400, 413, 422), answer.text
    assert len(answer.json()["detail"]) > 10
    assert not (own_models / SHADOW).exists()


async def test_what_finds_no_room_is_dropped_and_counted(alone, versions, steel_frame):
    frame = steel_frame(64, 64)
    judged = alone.live.inspect(frame)
    await alone.start(versions[1], 1.0)
    for number in range(QUEUE_FRAMES + 5):
        alone.offer(alone.live, frame, NOTHING, str(number), judged)
    assert alone.running.lost["dropped"] == 5
    alone.gate.set()
    await until(lambda: sum(alone.running.pairs.values()) == QUEUE_FRAMES)


async def test_large_frames_wait_one_at_a_time(alone, versions):
    frame = np.zeros((QUEUE_PIXELS // 4096 + 1, 4096), np.uint8)
    judged = alone.live.inspect(frame[:64, :64])
    await alone.start(versions[1], 1.0)
    for number in range(3):
        alone.offer(alone.live, frame, NOTHING, str(number), judged)
    assert alone.running.lost["dropped"] == 2


async def test_a_share_is_a_share(alone, versions, steel_frame):
    frame = steel_frame(64, 64)
    judged = alone.live.inspect(frame)
    await alone.start(versions[1], 0.3)
    for number in range(4000):
        alone.offer(alone.live, frame, NOTHING, str(number), judged)
    taken = QUEUE_FRAMES + alone.running.lost["dropped"]
    # Four thousand draws stray further than six standard deviations in one of a billion runs.
    assert abs(taken - 1200) < 6 * (4000 * 0.3 * 0.7) ** 0.5


async def test_a_shadow_that_breaks_harms_nothing(alone, versions, steel_frame):
    frame = steel_frame(64, 64)
    judged = alone.live.inspect(frame)
    await alone.start(versions[1], 1.0)
    alone.gate.set()
    # No inspector can judge what is no frame.
    alone.offer(alone.live, np.zeros((0, 0), np.uint8), NOTHING, "broken", judged)
    alone.offer(alone.live, frame, NOTHING, "whole", judged)
    await until(lambda: sum(alone.running.pairs.values()) == 1)
    assert alone.running.lost["failed"] == 1


async def test_only_the_latest_differences_are_kept(alone, versions, steel_tiles):
    await alone.start(versions[1], 1.0)
    shadowing = alone.running.inspector
    frame, judged = next(
        (frame, live)
        for frame in steel_tiles(24, 64)
        if (live := alone.live.inspect(frame)).verdict is not shadowing.inspect(frame).verdict
    )
    alone.gate.set()
    for number in range(KEPT + 3):
        alone.offer(alone.live, frame, NOTHING, str(number), judged)
    await until(lambda: sum(alone.running.pairs.values()) == KEPT + 3)
    assert [each.inspection_id for each in alone.differences()] == ["7", "6", "5", "4", "3"]


async def test_without_a_shadow_nothing_is_kept_of_a_frame(alone, steel_frame):
    frame = steel_frame(64, 64)
    alone.offer(alone.live, frame, NOTHING, "1", alone.live.inspect(frame))
    assert alone.differences() == []
    assert alone.running is None


async def test_the_pointer_and_the_shadow_do_not_touch(running, own_models, versions):
    before = (own_models / POINTER).read_bytes()
    await running.http.post(f"/v1/models/{versions[1]}/shadow", json={"share": 1})
    assert (own_models / POINTER).read_bytes() == before
    assert Registry(own_models).versions() == versions
