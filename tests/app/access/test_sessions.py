"""Sessions over HTTP: signing in and out, what ends one, and how fast passwords may be tried."""

import asyncio
import logging
import statistics
import time

import pytest
from itsdangerous import URLSafeTimedSerializer

from app.access import passwords, sessions, throttle
from app.access.keys import FOLDER, create_key
from app.access.people import Role, add_person, change_password, disable_person
from app.access.principal import Scope
from app.access.sessions import KEY_FILE, Sessions
from app.access.sign_in import AT_ONCE
from app.refusals import Refusal

pytestmark = pytest.mark.anyio
PASSWORD = "rolling mills at dawn"
NAMES = {"viv": Role.VIEWER, "rex": Role.REVIEWER, "ada": Role.ADMIN}


@pytest.fixture
def home(tmp_path):
    for name, role in NAMES.items():
        add_person(tmp_path, name, role, PASSWORD)
    return tmp_path


@pytest.fixture
async def running(start, home):
    async with start(home=home, record="off") as one:
        yield one


async def sign_in(running, name, password=PASSWORD, **more):
    return await running.http.post("/v1/sessions", json={"name": name, "password": password}, **more)


async def bearer(running, name):
    answer = await sign_in(running, name)
    assert answer.status_code == 201, answer.text
    return {"authorization": f"Bearer {answer.json()['token']}"}


async def code(running, headers, method="GET", path="/v1/sessions"):
    answer = await running.http.request(method, path, headers=headers)
    return answer.status_code, answer.json().get("code") if answer.content else None


@pytest.mark.parametrize("name", NAMES)
async def test_a_person_may_what_the_role_may(running, name):
    headers = await bearer(running, name)
    told = (await running.http.get("/v1/sessions", headers=headers)).json()
    assert (told["name"], told["kind"], told["role"]) == (name, "person", NAMES[name])
    assert "read" in told["scopes"] and told["expires_at"]
    review = await code(running, headers, "POST", "/v1/inspections/x/review")
    change = await code(running, headers, "POST", "/v1/models/none/activate")
    assert (review == (403, "scope_missing")) == (name == "viv")
    assert (change == (403, "scope_missing")) == (name != "ada")


async def test_the_first_person_closes_the_server(running):
    assert await code(running, {}) == (401, "key_missing")


async def test_a_session_ends_where_it_is_ended(running):
    here, there = await bearer(running, "viv"), await bearer(running, "viv")
    assert await code(running, here, "DELETE") == (204, None)
    assert await code(running, here) == (401, "key_invalid")
    assert (await code(running, there))[0] == 200
    assert await code(running, there, "DELETE", "/v1/sessions?everywhere=true") == (204, None)
    assert await code(running, there) == (401, "key_invalid")


@pytest.mark.parametrize(
    "change", [lambda home: disable_person(home, "viv"), lambda home: change_password(home, "viv", PASSWORD + "s")]
)
async def test_a_session_ends_when_its_person_is_changed(running, home, change):
    headers = await bearer(running, "viv")
    change(home)
    running.service.gate.refresh()
    assert await code(running, headers) == (401, "key_invalid")


async def test_a_session_ends_by_itself(running, monkeypatch):
    headers = await bearer(running, "viv")
    monkeypatch.setattr(sessions, "LASTS_S", 0)
    await asyncio.sleep(1.1)
    assert await code(running, headers) == (401, "key_invalid")


async def test_a_token_that_this_server_did_not_sign_is_refused(running, home):
    token = (await sign_in(running, "viv")).json()["token"]
    key = (home / FOLDER / KEY_FILE).read_text()
    other = URLSafeTimedSerializer("0" * 64, salt="steelsight.session")
    elsewhere = URLSafeTimedSerializer(key, salt="another purpose")
    shapeless = sessions._signer(key)
    changed = token[:-9] + ("A" if token[-9] != "A" else "B") + token[-8:]
    forged = [f"ss_{each.dumps(['ada', 0, 'x'])}" for each in (other, elsewhere)]
    forged += [
        f"ss_{shapeless.dumps(each)}" for each in ("ada", [], ["ada", 0], {"a": 1}, ["nobody", 0, "x"], [[], {}, []])
    ]
    for each in [*forged, changed, "ss_", "ss_..", token[:40], "ss_" + "A" * 5000]:
        assert await code(running, {"authorization": f"Bearer {each}"}) == (401, "key_invalid"), each


async def test_a_server_that_starts_anew_knows_the_sessions(running, home, start):
    headers = await bearer(running, "viv")
    again = Sessions(home)
    again.refresh()
    assert again.principal(headers["authorization"].split()[1].encode()).name == "viv"


@pytest.mark.parametrize("name", ["viv", "nobody"])
async def test_wrong_passwords_and_unknown_names_are_told_alike(running, name):
    answer = await sign_in(running, name, "not the password")
    assert (answer.status_code, answer.json()["code"]) == (401, "sign_in_failed")
    assert "name and password do not belong together" in answer.json()["detail"]


async def test_a_disabled_person_cannot_sign_in(running, home):
    disable_person(home, "viv")
    running.service.gate.refresh()
    assert (await sign_in(running, "viv")).status_code == 401


def test_an_unknown_name_takes_as_long_as_a_known_one():
    kept = passwords.hashed(PASSWORD, "viv")
    spent = {kept: [], None: []}
    for _ in range(5):
        for one, times in spent.items():
            before = time.process_time()
            passwords.matches(one, "not the password")
            times.append(time.process_time() - before)
    assert statistics.median(spent[None]) == pytest.approx(statistics.median(spent[kept]), rel=0.5)


async def test_guessing_is_slow_and_others_are_let_in(running, monkeypatch):
    monkeypatch.setattr(throttle, "FAILURES", throttle.RateLimitItemPerMinute(2))
    answers = await asyncio.gather(*(sign_in(running, "viv", f"guess {number}") for number in range(8)))
    tried = sum(answer.status_code == 401 for answer in answers)
    # Those that are tried at the same time are counted when they have failed.
    assert 2 <= tried < 2 + AT_ONCE
    assert sum(answer.status_code == 429 for answer in answers) == 8 - tried
    late = next(answer for answer in answers if answer.status_code == 429)
    assert 1 <= int(late.headers["retry-after"]) <= 60
    assert (await sign_in(running, "viv")).status_code == 429
    assert (await sign_in(running, "rex")).status_code == 201


async def test_a_known_address_is_let_in_though_a_name_is_under_attack(running, home, monkeypatch):
    monkeypatch.setattr(throttle, "FAILURES", throttle.RateLimitItemPerMinute(2))
    _, key = create_key(home, "desk", [Scope.READ])
    running.service.gate.refresh()
    desk = {"authorization": f"Bearer {key}"}

    async def sign_in_from(address, password):
        said = {"name": "viv", "password": password, "address": address}
        return (await running.http.post("/v1/sessions", json=said, headers=desk)).status_code

    assert await sign_in_from("10.0.0.7", PASSWORD) == 201
    assert [await sign_in_from("10.0.0.66", "guess") for _ in range(3)] == [401, 401, 429]
    assert await sign_in_from("10.0.0.67", PASSWORD) == 429
    assert await sign_in_from("10.0.0.7", PASSWORD) == 201


async def test_an_address_is_believed_of_a_caller_with_a_key_alone(running):
    for _ in range(throttle.ADDRESS_FAILURES.amount):
        running.service.sign_in._throttle.failed("somebody", "127.0.0.1")
    said = {"name": "viv", "password": PASSWORD, "address": "10.0.0.9"}
    assert (await running.http.post("/v1/sessions", json=said)).status_code == 429


def test_an_address_that_guesses_many_names_waits():
    one = throttle.Throttle()
    for number in range(throttle.ADDRESS_FAILURES.amount):
        one.require(f"name {number}", "10.0.0.66")
        one.failed(f"name {number}", "10.0.0.66")
    with pytest.raises(Refusal, match="too many attempts"):
        one.require("anybody", "10.0.0.66")
    one.require("anybody", "10.0.0.7")


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"null", b'"x"', b'{"name": "viv"}', b'{"name": "viv", "password": ""}', b"\xff" * 20,
        b'{"name": 1, "password": "secret-secret"}', b'{"name": "viv", "password": "secret-secret", "extra": 1}',
        b'{"name": "\\ud800", "password": "secret-secret"}', b'{"name": "viv", "password": "\\ud800secret-secret"}',
        b'{"name": "viv", "password": "' + b"secret-secret" * 8000 + b'"}',
    ],
)  # fmt: skip
async def test_hostile_bodies_are_refused_and_secrets_said_back_to_nobody(running, body, caplog):
    with caplog.at_level(logging.DEBUG):
        answer = await running.http.post("/v1/sessions", content=body, headers={"content-type": "application/json"})
    assert 400 <= answer.status_code < 500
    assert "secret-secret" not in answer.text + caplog.text


async def test_nothing_is_said_of_a_key_s_session(running, home):
    _, key = create_key(home, "line", [Scope.READ])
    running.service.gate.refresh()
    headers = {"x-api-key": key}
    assert (await running.http.get("/v1/sessions", headers=headers)).json()["kind"] == "key"
    assert await code(running, headers, "DELETE") == (204, None)
