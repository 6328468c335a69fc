"""From a request's headers to who asks: every way of naming a key, and of naming none."""

import asyncio

import pytest

from app.access import gate
from app.access.keys import Keys, create_key, revoke_key
from app.access.principal import ANYBODY, Scope
from app.access.rates import Rates
from app.refusals import Refusal, ServiceCode


@pytest.fixture
def token(tmp_path):
    return create_key(tmp_path, "reader", [Scope.READ])[1].encode()


def gate_on(home, mode="auto", host="127.0.0.1"):
    made = gate.Gate(mode, host, [Keys(home)], Rates(0))
    made.refresh()
    return made


def code_of(made, headers):
    with pytest.raises(Refusal) as raised:
        made.admit(headers, Scope.READ)
    assert len(raised.value.message) < 300
    return raised.value.code


@pytest.mark.parametrize(
    ("mode", "host", "is_open"),
    [("auto", "127.0.0.1", True), ("auto", "0.0.0.0", False), ("auto", "line.plant", False), ("auto", "::1", True),
     ("keys", "127.0.0.1", False), ("open", "0.0.0.0", True)],
)  # fmt: skip
def test_without_any_key_only_loopback_is_open(tmp_path, mode, host, is_open):
    made = gate_on(tmp_path, mode, host)
    assert made.open == is_open
    if is_open:
        assert made.admit([], Scope.ADMIN) is ANYBODY
    else:
        assert code_of(made, []) is ServiceCode.KEY_MISSING


def test_the_first_key_closes_the_server_and_its_end_does_not_open_it(tmp_path):
    made = gate_on(tmp_path)
    assert made.open
    key, _ = create_key(tmp_path, "reader", [Scope.READ])
    made.refresh()
    assert not made.open
    revoke_key(tmp_path, key.id)
    made.refresh()
    assert not made.open


def test_open_asks_for_nothing_though_there_are_keys(tmp_path, token):
    made = gate_on(tmp_path, "open")
    assert made.admit([(b"authorization", b"Bearer sk_wrong")], Scope.ADMIN) is ANYBODY


@pytest.mark.parametrize(
    "headers",
    [
        lambda token: [(b"authorization", b"Bearer " + token)],
        lambda token: [(b"authorization", b"bearer  " + token + b" ")],
        lambda token: [(b"x-api-key", token)],
        lambda token: [(b"authorization", b"Basic cGxhbnQ6cGxhbnQ="), (b"x-api-key", token)],
        lambda token: [(b"host", b"x"), (b"x-api-key", token), (b"accept", b"*/*")],
    ],
)
def test_a_key_comes_in_either_header(tmp_path, token, headers):
    assert gate_on(tmp_path).admit(headers(token), Scope.READ).name == "reader"


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        (lambda token: [], ServiceCode.KEY_MISSING),
        (lambda token: [(b"authorization", token)], ServiceCode.KEY_MISSING),
        (lambda token: [(b"authorization", b"Basic " + token)], ServiceCode.KEY_MISSING),
        (lambda token: [(b"authorization", b"")], ServiceCode.KEY_MISSING),
        (lambda token: [(b"authorization", b"Bearer")], ServiceCode.KEY_MISSING),
        (lambda token: [(b"authorization", b"Bearer ")], ServiceCode.KEY_INVALID),
        (lambda token: [(b"x-api-key", b"")], ServiceCode.KEY_INVALID),
        (lambda token: [(b"x-api-key", b"ss_" + token[3:])], ServiceCode.KEY_INVALID),
        (lambda token: [(b"x-api-key", bytes(range(128, 256)))], ServiceCode.KEY_INVALID),
        (lambda token: [(b"x-api-key", token + b"\xff")], ServiceCode.KEY_INVALID),
        (lambda token: [(b"x-api-key", token * 10_000)], ServiceCode.KEY_INVALID),
        (lambda token: [(b"x-api-key", b"sk_" * 400_000)], ServiceCode.KEY_INVALID),
        (lambda token: [(b"x-api-key", token), (b"x-api-key", token)], ServiceCode.KEY_INVALID),
        (lambda token: [(b"authorization", b"Bearer " + token), (b"x-api-key", token)], ServiceCode.KEY_INVALID),
        (lambda token: [(b"authorization", b"Bearer " + token)] * 2, ServiceCode.KEY_INVALID),
        (lambda token: [(b"authorization", b"Bearer " + token + b", Bearer " + token)], ServiceCode.KEY_INVALID),
    ],
)
def test_whatever_else_comes_is_refused(tmp_path, token, headers, code):
    assert code_of(gate_on(tmp_path), headers(token)) is code


def test_a_scope_that_a_key_lacks_is_named(tmp_path, token):
    with pytest.raises(Refusal, match="needs the scope admin; key 'reader' has read") as raised:
        gate_on(tmp_path).admit([(b"x-api-key", token)], Scope.ADMIN)
    assert raised.value.code is ServiceCode.SCOPE_MISSING


ELSEWHERE = [
    [(b"sec-fetch-site", b"cross-site"), (b"host", b"127.0.0.1:8000")],
    [(b"sec-fetch-site", b"same-site"), (b"host", b"127.0.0.1:8000")],
    [(b"origin", b"http://evil.example"), (b"host", b"127.0.0.1:8000")],
    [(b"origin", b"null"), (b"host", b"127.0.0.1:8000")],
    [(b"origin", b"http://127.0.0.1:8080"), (b"host", b"127.0.0.1:8000")],
]
HERE = [
    [],
    [(b"host", b"127.0.0.1:8000")],
    [(b"sec-fetch-site", b"same-origin"), (b"origin", b"http://127.0.0.1:8000"), (b"host", b"127.0.0.1:8000")],
    [(b"sec-fetch-site", b"none"), (b"host", b"127.0.0.1:8000")],
    [(b"origin", b"http://127.0.0.1:8000"), (b"host", b"127.0.0.1:8000")],
]


@pytest.mark.parametrize("headers", ELSEWHERE)
def test_an_open_server_changes_nothing_for_a_page_of_another_site(tmp_path, headers):
    made = gate_on(tmp_path)
    for scope in (Scope.ADMIN, Scope.REVIEW, Scope.INSPECT):
        with pytest.raises(Refusal) as raised:
            made.admit(headers, scope)
        assert raised.value.code is ServiceCode.CROSS_SITE
    # What is only read the browser itself keeps from that page.
    assert made.admit(headers, Scope.READ) is ANYBODY


@pytest.mark.parametrize("headers", HERE)
def test_an_open_server_serves_its_own_pages_and_programs(tmp_path, headers):
    assert gate_on(tmp_path).admit(headers, Scope.ADMIN) is ANYBODY


@pytest.mark.parametrize("headers", ELSEWHERE)
def test_a_key_counts_wherever_it_comes_from(tmp_path, token, headers):
    assert gate_on(tmp_path).admit([*headers, (b"x-api-key", token)], Scope.READ).name == "reader"


def test_who_was_let_in_is_so_until_the_key_is_revoked(tmp_path):
    key, token = create_key(tmp_path, "reader", [Scope.READ], rate_per_minute=1)
    made, headers = gate_on(tmp_path), [(b"x-api-key", token.encode())]
    assert made.admit(headers, Scope.READ).name == "reader"
    assert all(made.still_admits(headers, Scope.READ) for _ in range(5))
    assert not made.still_admits(headers, Scope.ADMIN)
    revoke_key(tmp_path, key.id)
    made.refresh()
    assert not made.still_admits(headers, Scope.READ)


@pytest.mark.anyio
async def test_changes_are_seen_while_it_watches(tmp_path, token):
    made = gate_on(tmp_path)
    watching = asyncio.create_task(made.watch())
    try:
        _, second = create_key(tmp_path, "second", [Scope.READ])
        async with asyncio.timeout(10):
            while True:
                await asyncio.sleep(0.02)
                try:
                    assert made.admit([(b"x-api-key", second.encode())], Scope.READ).name == "second"
                    break
                except Refusal:
                    continue
    finally:
        watching.cancel()
