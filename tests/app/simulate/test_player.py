"""The cameras at work, against a server that is full, silent, gone, or slow."""

import asyncio
import time
from collections import Counter
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import httpx
import pytest

from app.simulate.line import Body
from app.simulate.plan import Plan, Stop, Take, name_cameras
from app.simulate.player import Pace, Player, PlayFault
from tests.app.simulate.conftest import OK, Answer, Asked

pytestmark = pytest.mark.anyio

FULL = Answer(503, {"code": "overloaded"}, {"retry-after": "0"})


class Numbered:
    """A line whose frames carry their own number."""

    def body(self, take: Take) -> Body:
        return Body(f"{take.camera.camera_id}/{take.sequence}".encode(), "image/png", 1000)


def planned(frames: int = 6, cameras: int = 2, speed_mm_s: float = 10_000.0, **more: Any) -> Plan:
    """Frames of 100 mm."""
    return Plan(name_cameras(cameras, ["top", "bottom"][:cameras], [[100] * frames] * cameras), 1.0, speed_mm_s, **more)


async def play(url: str, plan: Plan, **pace: Any) -> Player:
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=2) as http:
        player = Player(http, Numbered(), plan, "C1", Pace(**{"faster": True, "patience_s": 5.0} | pace))
        await player.open(200.0)
        await player.play()
        await player.close()
    return player


async def test_every_frame_says_where_and_when_it_was_taken(scripted_server):
    plan = planned(stops=(Stop("top-1", 0.02, 0.02),))
    async with scripted_server(lambda asked: OK) as server:
        player = await play(server.url, plan)
    assert (server.asked[0].path, server.asked[-1].path) == ("/v1/coils", "/v1/coils/C1/close")
    by_camera = {
        name: [each for each in server.frames if each.query["camera_id"] == name] for name in ("top-1", "bottom-1")
    }
    assert [int(each.query["sequence"]) for each in sorted(by_camera["top-1"], key=sequence_of)] == [0, 1, 4, 5]
    assert len(by_camera["bottom-1"]) == 6
    first = captured_at(min(by_camera["bottom-1"], key=sequence_of))
    for each in server.frames:
        number = sequence_of(each)
        assert each.body == f"{each.query['camera_id']}/{number}".encode()
        assert float(each.query["position_mm"]) == 100 * number
        assert captured_at(each) - first == timedelta(seconds=0.01 * number)
        assert (each.query["coil_id"], each.query["side"]) == ("C1", each.query["camera_id"].split("-")[0])
    assert len({each.request_id for each in server.frames}) == 10
    assert (player.tally.sent, player.tally.verdicts, player.tally.answered) == (10, Counter(ok=10), True)


def sequence_of(asked: Asked) -> int:
    return int(asked.query["sequence"])


def captured_at(asked: Asked) -> datetime:
    return datetime.fromisoformat(asked.query["captured_at"])


async def test_a_full_server_and_a_lost_connection_are_tried_again_with_the_same_id(scripted_server):
    seen: Counter[str] = Counter()

    def twice_in_vain(asked: Asked) -> Answer | None:
        seen[asked.request_id] += 1
        return (FULL, None, OK)[seen[asked.request_id] - 1]

    async with scripted_server(twice_in_vain) as server:
        player = await play(server.url, planned(frames=3))
    assert set(seen.values()) == {3}
    assert len(seen) == 6
    bodies = {asked.request_id: asked.body for asked in server.frames}
    assert all(bodies[asked.request_id] == asked.body for asked in server.frames)
    assert (player.tally.sent, player.tally.verdicts["ok"], player.tally.retries) == (6, 6, 12)


async def test_it_waits_as_long_as_the_server_asks(scripted_server):
    at: list[float] = []

    def later(asked: Asked) -> Answer:
        at.append(time.monotonic())
        return OK if len(at) > 1 else Answer(429, {}, {"retry-after": "1"})

    async with scripted_server(later) as server:
        await play(server.url, planned(frames=1, cameras=1))
    assert 1 <= at[1] - at[0] < 3


async def test_what_is_refused_for_good_is_not_sent_again(scripted_server):
    async with scripted_server(lambda asked: Answer(422, {"code": "image_too_small"})) as server:
        player = await play(server.url, planned())
    assert len(server.frames) == 12
    assert player.tally.refused == Counter(image_too_small=12)
    assert not player.tally.answered


async def test_an_answer_that_is_no_verdict_is_none(scripted_server):
    async with scripted_server(lambda asked: Answer(200, {"hello": "from a proxy"})) as server:
        player = await play(server.url, planned(frames=1))
    assert player.tally.refused == Counter({"200": 2})


async def test_patience_ends_and_the_frame_is_told_as_lost(scripted_server):
    def never_the_second(asked: Asked) -> Answer | None:
        return None if sequence_of(asked) == 1 else OK

    async with scripted_server(never_the_second) as server:
        player = await play(server.url, planned(frames=4, cameras=1), patience_s=0.5)
    assert [take.sequence for take in player.tally.given_up] == [1]
    assert (player.tally.verdicts["ok"], player.tally.sent, player.tally.answered) == (3, 4, False)


async def test_no_more_frames_of_a_camera_are_under_way_than_allowed(scripted_server):
    under_way: Counter[str] = Counter()
    most: Counter[str] = Counter()

    class Counting(Numbered):
        def body(self, take: Take) -> Body:
            under_way[take.camera.camera_id] += 1
            most[take.camera.camera_id] = max(most[take.camera.camera_id], under_way[take.camera.camera_id])
            return super().body(take)

    def answered(asked: Asked) -> Answer:
        under_way[asked.query["camera_id"]] -= 1
        return OK

    async with scripted_server(answered) as server, httpx.AsyncClient(base_url=server.url, trust_env=False) as http:
        player = Player(http, Counting(), planned(frames=50), "C1", Pace(faster=True, in_flight=3))
        await player.play()
    assert player.tally.verdicts["ok"] == 100
    assert set(most) == {"top-1", "bottom-1"}
    assert max(most.values()) <= 3


async def test_frames_come_in_time_and_not_before(scripted_server):
    at: dict[int, float] = {}

    def noted(asked: Asked) -> Answer:
        at[sequence_of(asked)] = time.monotonic()
        return OK

    begun = time.monotonic()
    async with scripted_server(noted) as server:
        player = await play(server.url, planned(frames=5, cameras=1, speed_mm_s=1000.0), faster=False)
    assert all(at[number] - begun >= 0.1 * (number + 1) for number in range(5))
    assert [later > earlier for earlier, later in pairwise(at.values())] == [True] * 4
    assert player.tally.longest_lag_s < 1


async def test_a_line_that_cannot_keep_up_says_so_and_sends_every_frame():
    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(0.02 if scope["path"] == "/v1/inspect" else 0)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b'{"verdict": "defect", "coil_id": "C1"}'})

    transport = httpx.ASGITransport(slow)
    async with httpx.AsyncClient(base_url="http://slow", transport=transport) as http:
        player = Player(http, Numbered(), planned(frames=20, cameras=1), "C1", Pace(in_flight=1))
        await player.play()
    # Twenty frames of 20 ms each, for which the strip left 200 ms.
    assert player.tally.verdicts == Counter(defect=20)
    assert player.tally.longest_lag_s > 0.1


async def test_a_coil_that_cannot_be_opened_ends_it():
    async def refusing(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 422, "headers": []})
        await send({"type": "http.response.body", "body": b'{"detail": "coil_id: too long"}'})

    async with httpx.AsyncClient(base_url="http://x", transport=httpx.ASGITransport(refusing)) as http:
        player = Player(http, Numbered(), planned(), "C1", Pace())
        with pytest.raises(PlayFault, match=r"did not open coil C1: 422, coil_id: too long"):
            await player.open(None)


async def test_nobody_there_is_told_in_one_line():
    async with httpx.AsyncClient(base_url="http://127.0.0.1:9", trust_env=False) as http:
        with pytest.raises(PlayFault, match=r"no answer from http://127\.0\.0\.1:9.*app serve"):
            await Player(http, Numbered(), planned(), "C1", Pace()).open(None)


async def test_a_file_that_vanishes_is_told_and_not_raised(scripted_server):
    class Gone(Numbered):
        def body(self, take: Take) -> Body:
            raise FileNotFoundError(2, "No such file or directory", "frame7.png")

    async with httpx.AsyncClient(base_url="http://127.0.0.1:9") as http:
        with pytest.raises(PlayFault, match=r"can no longer be read: .*frame7\.png"):
            await Player(http, Gone(), planned(), "C1", Pace()).play()
