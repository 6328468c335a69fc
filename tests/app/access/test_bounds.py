"""What bounds a key beyond its scopes: cameras, and requests a minute."""

from types import SimpleNamespace

import pytest
from sqlalchemy import select

from app.access.keys import create_key
from app.access.principal import ANYBODY, Principal, Scope
from app.access.rates import Rates
from app.refusals import Refusal, ServiceCode
from app.store.schema import refused_frames


@pytest.fixture(autouse=True)
def amid_a_minute(monkeypatch):
    """Whoever counts a minute's requests meets no end of one, which would let another in."""
    clock = SimpleNamespace(time=lambda: 1_800_000_020.0)
    for module in ("app.access.rates", "limits.storage.memory", "limits.strategies"):
        monkeypatch.setattr(f"{module}.time", clock)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("bounds")


@pytest.fixture(scope="module")
def tokens(home):
    return {
        "bound": create_key(home, "bound", [Scope.INSPECT], cameras=["top-1", "top/2"])[1],
        "free": create_key(home, "free", [Scope.INSPECT, Scope.READ])[1],
        "slow": create_key(home, "slow", [Scope.INSPECT, Scope.READ], rate_per_minute=3)[1],
    }


@pytest.fixture(scope="module")
async def closed(home, tokens, tiny_models, start):
    async with start(home=home, models=tiny_models) as running:
        await running.until_ready()
        yield running


@pytest.fixture
def inspect(closed, tokens, png):
    async def send(who, path="/v1/inspect", **query):
        headers = {"authorization": f"Bearer {tokens[who]}"}
        if path.endswith("batch"):
            files = [("image", ("1.png", png, "image/png"))] * 2
            return await closed.http.post(path, files=files, headers=headers, params=query)
        headers["content-type"] = "image/png"
        return await closed.http.post(path, content=png, headers=headers, params=query)

    return send


@pytest.mark.anyio
@pytest.mark.parametrize("path", ["/v1/inspect", "/v1/inspect/batch"])
async def test_a_bound_key_sends_frames_of_its_cameras_alone(inspect, path):
    for camera in ("top-1", "top/2"):
        assert (await inspect("bound", path, camera_id=camera)).status_code == 200
    for query in (
        {"camera_id": "top-3"},
        {"camera_id": "TOP-1"},
        {"camera_id": "top-1 "},
        {"camera_id": "top-1,top/2"},
        {},
    ):
        refused = await inspect("bound", path, **query)
        assert (refused.status_code, refused.json()["code"]) == (403, "camera_forbidden"), query
        assert (await inspect("free", path, **query)).status_code == 200
    assert (await inspect("bound", path, camera_id="\u2603" * 100)).status_code == 403


@pytest.mark.anyio
async def test_what_a_key_may_not_send_leaves_nothing_in_the_record(closed, inspect):
    await inspect("bound", camera_id="top-9", coil_id="C9")
    await inspect("bound", camera_id="top-9", coil_id="C9", position_mm="nan")
    answer = await closed.http.post("/v1/inspect?camera_id=top-9&coil_id=C9", content=b"x")
    assert answer.status_code == 401
    record = closed.service.record
    await record.write(lambda connection: None)
    with record.reading() as connection:
        assert "top-9" not in {row.camera_id for row in connection.execute(refused_frames.select())}


@pytest.mark.anyio
async def test_a_bound_key_scores_no_tensors(closed, tokens):
    for who, status in (("bound", 403), ("free", 400)):
        answer = await closed.http.post(
            "/v2/models/steelsight/infer", content=b"{", headers={"authorization": f"Bearer {tokens[who]}"}
        )
        assert answer.status_code == status
        assert list(answer.json()) == ["error"]


@pytest.mark.anyio
async def test_the_protocol_of_v2_refuses_in_its_own_shape(closed, tokens):
    answer = await closed.http.get("/v2")
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert answer.json()["error"].startswith("key_missing: ")


@pytest.mark.anyio
async def test_a_slow_key_is_told_when_to_come_again(closed, tokens):
    headers = {"x-api-key": tokens["slow"]}
    answers = [await closed.http.get("/v1/models", headers=headers) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
    assert answers[-1].json()["code"] == "rate_limited"
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 60
    as_tensors = await closed.http.get("/v2", headers=headers)
    assert as_tensors.status_code == 429
    assert "retry-after" in as_tensors.headers
    # Another key is not held up by it.
    assert (await closed.http.get("/v1/models", headers={"x-api-key": tokens["free"]})).status_code == 200


@pytest.mark.anyio
async def test_a_frame_past_its_keys_rate_is_noted(closed, home, png):
    token = create_key(home, "hasty", [Scope.INSPECT], cameras=["fast"], rate_per_minute=1)[1]
    closed.service.gate.refresh()
    headers = {"x-api-key": token, "content-type": "image/png"}
    for query, code in (
        ("camera_id=fast&sequence=1", None),
        ("camera_id=fast&sequence=2", "rate_limited"),
        ("camera_id=fast&sequence=3&side=%FC", "rate_limited"),
        ("camera_id=other&sequence=4", "rate_limited"),
    ):
        answer = await closed.http.post(f"/v1/inspect?{query}", content=png, headers=headers)
        assert answer.json().get("code") == code
    record = closed.service.record
    await record.write(lambda connection: None)
    with record.reading() as connection:
        noted = connection.execute(select(refused_frames).where(refused_frames.c.code == "rate_limited")).all()
    assert [(row.camera_id, row.sequence) for row in noted] == [("fast", 2), ("fast", 3)]


def key(name, rate=None):
    return Principal(name, "key", frozenset(Scope), id=name, rate_per_minute=rate)


def let_in(rates, principal, times=20):
    count = 0
    for _ in range(times):
        try:
            rates.count(principal)
            count += 1
        except Refusal as refusal:
            assert refusal.code is ServiceCode.RATE_LIMITED
    return count


def test_the_settings_rate_is_for_keys_that_have_none():
    rates = Rates(5)
    assert let_in(rates, key("without")) == 5
    assert let_in(rates, key("own", 7)) == 7
    assert let_in(rates, key("unbound", 0)) == 20
    assert let_in(rates, ANYBODY) == 20
    assert let_in(Rates(0), key("without")) == 20
