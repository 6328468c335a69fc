"""A desk that speaks TLS itself, and one behind a proxy: real certificates, a real browser."""

import json
import re
import ssl
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
import trustme
from playwright.sync_api import expect

from app.access.people import Role
from app.command import main

from .conftest import COIL, PASSWORD, PATIENCE_MS, WITHIN_S, Site, program, until

PERSON = "Ada Admin"


@pytest.fixture(scope="module")
def believed(authority) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture(scope="module")
def encrypted(certificate) -> dict[str, str]:
    """The desk's variables."""
    return {
        "STEELSIGHT_DESK_TLS_CERTIFICATE": str(certificate[0]),
        "STEELSIGHT_DESK_TLS_KEY": str(certificate[1]),
    }


@pytest.fixture(scope="module")
def closed(start_site, surface) -> Site:
    one = start_site({PERSON: Role.ADMIN})
    one.post(surface(1), camera_id="top-1", coil_id=COIL, position_mm=0.0, mm_per_pixel=0.5)
    return one


@pytest.fixture
def desk(closed, tmp_path):
    """`desk(**variables)`: one more on the same server."""
    key = closed.desk.variables["STEELSIGHT_DESK_KEY"]

    def start(**variables: str):
        at = ("--port", "0", "--api", closed.server.url)
        return program("dashboard", tmp_path / "desk.log", *at, STEELSIGHT_DESK_KEY=key, **variables)

    return start


def test_a_person_signs_in_and_sees_the_line(desk, encrypted, believed, chromium):
    with desk(**encrypted) as started:
        assert started.url.startswith("https://")
        until(lambda: httpx.get(f"{started.url}/sign-in", verify=believed).is_success, started.log.read_text)
        # Only this machine's authority is unknown to the browser; that it is believed is shown above.
        context = chromium.new_context(ignore_https_errors=True)
        context.set_default_timeout(2 * PATIENCE_MS)
        page = context.new_page()
        sockets: list[str] = []
        page.on("websocket", lambda socket: sockets.append(socket.url))
        page.goto(f"{started.url}/line")
        page.get_by_label("Name").fill(PERSON)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        expect(page.locator(".desk-who")).to_contain_text(PERSON)
        expect(page.locator("main")).to_contain_text("top-1")
        page.wait_for_function("window.socket?.connected")
        session = next(each for each in context.cookies() if each["name"] == "__Host-steelsight")
        assert (session["secure"], session["httpOnly"], session["sameSite"]) == (True, True, "Strict")
        assert all(each["secure"] for each in context.cookies())
        assert sockets
        assert all(url.startswith("wss://") for url in sockets)
        context.close()
        with pytest.raises(httpx.TransportError):
            httpx.get(started.url.replace("https", "http") + "/line", timeout=WITHIN_S)
        assert started.stop() == 0


@pytest.mark.parametrize("trusted", [False, True])
def test_a_failed_sign_in_is_told_of_the_browser_s_address(closed, desk, trusted):
    variables = {"STEELSIGHT_DESK_TRUSTED_PROXIES": "127.0.0.1"} if trusted else {}
    browser = f"203.0.113.{7 + trusted}"
    with desk(**variables) as started, httpx.Client(base_url=started.url, timeout=WITHIN_S) as http:
        until(lambda: http.get("/sign-in").is_success, started.log.read_text)
        form = re.search(r'name="form" value="(\w+)"', http.get("/sign-in").text)[1]
        said = {"name": PERSON, "password": f"wrong {browser}", "form": form}
        headers = {"origin": started.url, "x-forwarded-for": browser}
        assert http.post("/sign-in", data=said, headers=headers).status_code == 401
    lines = map(json.loads, closed.server.log.read_text().splitlines())
    assert [line["client"] for line in lines if line["event"] == "sign_in_failed"][-1] == (
        browser if trusted else "127.0.0.1"
    )


def _other_key(folder: Path, _: dict[str, str]) -> dict[str, str]:
    trustme.CA().issue_cert("x").private_key_pem.write_to_path(folder / "other.pem")
    return {"STEELSIGHT_DESK_TLS_KEY": str(folder / "other.pem")}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (lambda *_: {"STEELSIGHT_DESK_TLS_KEY": ""}, "STEELSIGHT_DESK_TLS_KEY is not; both files are needed"),
        (lambda *_: {"STEELSIGHT_DESK_TLS_CERTIFICATE": ""}, "STEELSIGHT_DESK_TLS_CERTIFICATE is not; both"),
        (lambda *_: {"STEELSIGHT_DESK_TLS_CERTIFICATE": "/nowhere.pem"}, "/nowhere.pem cannot be read"),
        (_other_key, "is not the key of"),
        (lambda *_: {"STEELSIGHT_DESK_TRUSTED_PROXIES": "*"}, "STEELSIGHT_DESK_TRUSTED_PROXIES: '*' is no address"),
    ],
)
def test_what_does_not_fit_is_one_line(
    encrypted, tmp_path, monkeypatch, capsys, changed: Callable[..., dict[str, str]], said
):
    for name, value in {**encrypted, **changed(tmp_path, encrypted)}.items():
        monkeypatch.setenv(name, value)
    assert main(["dashboard", "--port", "0"]) == 2
    stderr = capsys.readouterr().err
    assert said in stderr
    assert stderr.count("\n") == 1
