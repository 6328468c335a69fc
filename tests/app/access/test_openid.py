"""ID tokens: one of the provider's, for this client, of this sign-in, is believed, and no other."""

import hmac
import http.server
import json
import threading
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator

import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey

from app.access.openid import Provider, provider_of, require_sealed
from app.access.people import Role, disable_person, read_people
from app.refusals import Refusal
from app.settings import load

pytestmark = pytest.mark.anyio
CLIENT, NONCE = "steelsight-desk", "n" * 32
KEY = RSAKey.generate_key(2048, parameters={"kid": "one", "use": "sig"})
OTHERS = RSAKey.generate_key(2048, parameters={"kid": "one", "use": "sig"})
LATER = RSAKey.generate_key(2048, parameters={"kid": "two", "use": "sig"})


class Server(http.server.ThreadingHTTPServer):
    """A provider's description and keys."""

    keys = (KEY,)
    asked = 0
    said: object = None

    @property
    def issuer(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self):
        one = self.server
        if self.path == "/keys":
            one.asked += 1
            told = {"keys": [each.as_dict(private=False) for each in one.keys]}
        else:
            told = {"issuer": one.issuer, "jwks_uri": f"{one.issuer}/keys"} if one.said is None else one.said
        body = told if isinstance(told, bytes) else json.dumps(told).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as one:
        threading.Thread(target=one.serve_forever, daemon=True).start()
        yield one
        one.shutdown()


@pytest.fixture
def provider(server) -> Provider:
    roles = {"mill-quality": Role.REVIEWER, "mill-admins": Role.ADMIN}
    return Provider(server.issuer, CLIENT, "preferred_username", "realm.groups", roles)


def claims(server, **changes):
    now = int(time.time())
    said = {
        "iss": server.issuer, "sub": "17", "aud": CLIENT, "exp": now + 300, "iat": now, "nonce": NONCE,
        "preferred_username": "olga", "realm": {"groups": ["staff", "mill-quality"]},
    } | changes  # fmt: skip
    return {name: value for name, value in said.items() if value is not None}


def token(server, key=KEY, alg="RS256", **changes):
    return jwt.encode({"alg": alg, "kid": "one"}, claims(server, **changes), key, algorithms=[alg])


async def test_a_token_of_this_sign_in_is_believed(server, provider):
    told = await provider.vouched(token(server), NONCE)
    assert (told.name, told.subject, told.role) == ("olga", f"{server.issuer} 17", Role.REVIEWER)
    both = await provider.vouched(token(server, realm={"groups": ["mill-quality", "mill-admins"]}), NONCE)
    assert both.role == Role.ADMIN
    assert server.asked == 1


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"iss": "https://elsewhere.example"}, "sign_in_failed"),
        ({"aud": "another"}, "sign_in_failed"),
        ({"aud": None}, "sign_in_failed"),
        ({"aud": [CLIENT, "another"]}, "sign_in_failed"),
        ({"azp": "another"}, "sign_in_failed"),
        ({"exp": 1}, "sign_in_failed"),
        ({"exp": None}, "sign_in_failed"),
        ({"exp": "tomorrow"}, "sign_in_failed"),
        ({"iat": 1}, "sign_in_failed"),
        ({"iat": None}, "sign_in_failed"),
        ({"nonce": "another" * 4}, "sign_in_failed"),
        ({"nonce": None}, "sign_in_failed"),
        ({"nonce": 7}, "sign_in_failed"),
        ({"sub": None}, "sign_in_failed"),
        ({"sub": 17}, "sign_in_failed"),
        ({"preferred_username": None}, "sign_in_failed"),
        ({"preferred_username": ["olga"]}, "sign_in_failed"),
        ({"realm": None}, "role_missing"),
        ({"realm": {"groups": ["staff"]}}, "role_missing"),
        ({"realm": {"groups": [{"mill-admins": 1}, 7, None]}}, "role_missing"),
        ({"realm": "mill-admins"}, "role_missing"),
    ],
)
async def test_any_other_is_refused(server, provider, changes, code):
    with pytest.raises(Refusal) as refused:
        await provider.vouched(token(server, **changes), NONCE)
    assert refused.value.code == code


async def test_a_token_that_the_provider_did_not_sign_is_refused(server, provider):
    whole = token(server)
    head, body, signature = whole.split(".")
    symmetric = urlsafe_b64encode(b'{"alg": "HS256"}').decode().rstrip("=")
    by_public_key = hmac.digest(KEY.as_pem(private=False), f"{symmetric}.{body}".encode(), "sha256")
    forged = [
        token(server, OTHERS),
        f"{symmetric}.{body}.{urlsafe_b64encode(by_public_key).decode().rstrip('=')}",
        f"{head}.{body}.",
        f"{'eyJhbGciOiJub25lIn0'}.{body}.",
        f"{head}.{body[:-4]}AAAA.{signature}",
        "", "x", "a.b.c", "..", "\ud800", whole * 2,
    ]  # fmt: skip
    for each in forged:
        with pytest.raises(Refusal) as refused:
            await provider.vouched(each, NONCE)
        assert refused.value.code == "sign_in_failed", each[:40]


async def test_new_keys_are_fetched_once_and_not_at_every_forgery(server, provider):
    await provider.vouched(token(server), NONCE)
    server.keys = (KEY, LATER)
    new = jwt.encode({"alg": "RS256", "kid": "two"}, claims(server), LATER)
    for _ in range(3):
        with pytest.raises(Refusal):
            await provider.vouched(new, NONCE)
    assert server.asked == 1
    provider._asked_s -= 61
    assert (await provider.vouched(new, NONCE)).name == "olga"
    assert server.asked == 2


@pytest.mark.parametrize(
    "said", [b"", b"<html>", b"[]", b"\xff", {"issuer": "https://elsewhere.example"}, {}, b'{"issuer": ' + b"1" * 2**21]
)
async def test_a_provider_that_is_none_is_no_fault_of_ours(server, provider, said):
    server.said = said
    with pytest.raises(Refusal) as refused:
        await provider.vouched(token(server), NONCE)
    assert refused.value.code == "provider_unavailable"


@pytest.mark.parametrize("address", ["http://id.plant", "http://127.0.0.1.elsewhere.example", "http://10.0.0.1"])
def test_nobody_on_the_way_may_write_what_it_says(address):
    with pytest.raises(ValueError, match="https"):
        require_sealed(address)
    require_sealed("https://id.plant")


def test_a_provider_needs_a_client():
    with pytest.raises(ValueError, match="CLIENT_ID"):
        provider_of(load({"STEELSIGHT_OIDC_ISSUER": "https://id.plant"}))
    assert provider_of(load({})) is None


async def test_over_http_a_session_begins_and_the_person_can_be_disabled(server, start, tmp_path):
    settings = {"oidc_issuer": server.issuer, "oidc_client_id": CLIENT, "oidc_role_claim": "realm.groups"}
    async with start(home=tmp_path, record="off", oidc_roles="mill-quality=reviewer", **settings) as running:
        said = {"id_token": token(server), "nonce": NONCE}
        begun = await running.http.post("/v1/sessions/oidc", json=said)
        assert begun.status_code == 201, begun.text
        headers = {"authorization": f"Bearer {begun.json()['token']}"}
        told = (await running.http.get("/v1/sessions", headers=headers)).json()
        assert (told["name"], told["role"]) == ("olga", "reviewer")
        assert (await running.http.post("/v1/sessions/oidc", json={**said, "nonce": "x" * 32})).status_code == 401
        password = {"name": "olga", "password": "nobody signs in with this"}
        assert (await running.http.post("/v1/sessions", json=password)).status_code == 401
        assert read_people(tmp_path)[0].password is None
        disable_person(tmp_path, "olga")
        running.service.gate.refresh()
        assert (await running.http.get("/v1/sessions", headers=headers)).status_code == 401
        assert (await running.http.post("/v1/sessions/oidc", json=said)).status_code == 401
