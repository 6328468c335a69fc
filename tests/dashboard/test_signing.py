"""Signing in and out at the desk: who is let in, as whom the API is asked, and what ends it."""

import re
import socket
from urllib.parse import urlencode, urlsplit

import httpx
import pytest
from playwright.sync_api import Page, expect

from app.access.people import Role, disable_person, end_sessions

from .conftest import COIL, PASSWORD, PATIENCE_MS, Site, program, until, watching

VIEWER, REVIEWER, ADMIN = "Viv Viewer", "Rex Reviewer", "Ada Admin"
ROLES = {VIEWER: Role.VIEWER, REVIEWER: Role.REVIEWER, ADMIN: Role.ADMIN, "Leaver": Role.ADMIN}
FORM = {"content-type": "application/x-www-form-urlencoded"}
# Of a page that leads elsewhere while something of it is still being fetched.
GONE = ("net::ERR_", "status of 401", "status of 403", "WebSocket", "Failed to fetch")


@pytest.fixture(scope="module")
def closed(start_site, surface) -> Site:
    """A site that knows people, with a few frames in its record."""
    one = start_site(ROLES)
    for number in range(6):
        one.post(surface(number), camera_id="top-1", coil_id=COIL, position_mm=number * 64.0, mm_per_pixel=0.5)
    return one


@pytest.fixture
def browse(chromium):
    """`browse(site, path)`: a browser of its own, which must have no complaint but those of leaving a page."""
    opened = []

    def browse_one(site: Site, path: str) -> Page:
        context = chromium.new_context(viewport={"width": 1280, "height": 900})
        context.set_default_timeout(2 * PATIENCE_MS)
        manager = watching(context)
        opened.append((context, manager, manager.__enter__()))
        page = context.new_page()
        page.goto(site.desk.url + path)
        return page

    yield browse_one
    for context, _, watched in opened:
        context.close()
        assert not [each for each in watched.complaints if not any(known in each for known in GONE)]


def sign_in(page: Page, name: str, password: str = PASSWORD) -> None:
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()


def fetch(site: Site, path: str, method: str = "GET", **more) -> httpx.Response:
    with httpx.Client(base_url=site.desk.url, trust_env=False) as http:
        return http.request(method, path, **more)


def test_signing_in_leads_on_and_out_again(closed, browse):
    page = browse(closed, f"/coil?coil_id={COIL}")
    expect(page).to_have_title("Sign in · Steelsight")
    sign_in(page, ADMIN, "not the password")
    expect(page.get_by_role("alert")).to_contain_text("do not belong together")
    expect(page.get_by_label("Name")).to_have_value(ADMIN)
    sign_in(page, ADMIN)
    expect(page.locator("h1")).to_contain_text(f"Coil {COIL}")
    assert page.url.endswith(f"/coil?coil_id={COIL}")
    expect(page.locator(".desk-who")).to_contain_text(ADMIN)
    expect(page.locator(".desk-who small")).to_have_text("admin")
    (session,) = (each for each in page.context.cookies() if each["name"] == "steelsight")
    assert session["httpOnly"] and session["sameSite"] == "Strict"
    assert page.evaluate("document.cookie") == ""

    other = page.context.new_page()
    other.goto(f"{closed.desk.url}/line")
    expect(other.locator(".camera-name")).to_have_text("top-1")
    page.get_by_role("button", name="Sign out").click()
    expect(page).to_have_title("Sign in · Steelsight")
    # Every page of the session, and the session itself at the API.
    expect(other).to_have_title("Sign in · Steelsight")
    with closed.http as http:
        answer = http.get("/v1/sessions", headers={"x-api-key": session["value"]})
    assert answer.status_code == 401


def test_a_role_is_offered_what_it_may_do(closed, browse):
    page = browse(closed, "/models")
    sign_in(page, VIEWER)
    expect(page.locator("h1")).to_have_text("Models")
    expect(page.locator("nav[aria-label=Pages] a")).to_have_text(["Line", "Coil", "Models", "Network", "Health"])
    expect(page.get_by_role("button", name=re.compile("Activate|Roll back|Shadow"))).to_have_count(0)
    page.goto(f"{closed.desk.url}/review")
    expect(page.get_by_text("Review is for reviewers")).to_be_visible()
    page.goto(f"{closed.desk.url}/coil?coil_id={COIL}")
    expect(page.locator("h1")).to_contain_text(COIL)
    expect(page.get_by_role("button", name="Close this coil")).to_have_count(0)


def test_a_review_bears_the_name_of_who_signed_in(closed, browse):
    page = browse(closed, "/review")
    sign_in(page, REVIEWER)
    page.wait_for_function("window.socket?.connected && document.querySelector('.review-frame img')")
    shown = re.search(r"inspections/(\w+)/", page.locator(".review-frame img").get_attribute("src"))[1]
    expect(page.get_by_role("button", name="Change", exact=True)).to_have_count(0)
    page.keyboard.press("o")
    until(lambda: closed.review_of(shown), lambda: "no review")
    assert closed.review_of(shown)[0]["reviewer"] == REVIEWER
    with closed.http as http:
        token = http.post("/v1/sessions", json={"name": REVIEWER, "password": PASSWORD}).json()["token"]
        forged = {"label": "ok", "reviewer": ADMIN}
        headers = {"x-api-key": token}
        answer = http.post(f"/v1/inspections/{shown}/review", json=forged, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (422, "parameters_invalid")


def test_whoever_is_ended_elsewhere_is_shown_out(closed, browse):
    page = browse(closed, "/line")
    sign_in(page, "Leaver")
    expect(page.locator(".camera-name")).to_have_text("top-1")
    home = closed.server.log.with_suffix("")
    end_sessions(home, "Leaver")
    expect(page).to_have_title("Sign in · Steelsight", timeout=2 * PATIENCE_MS)
    disable_person(home, "Leaver")
    said = {"name": "Leaver", "password": PASSWORD}
    # The server looks at its files once a second.
    until(lambda: httpx.post(f"{closed.server.url}/v1/sessions", json=said).status_code == 401, lambda: "let in")
    sign_in(page, "Leaver")
    expect(page.get_by_role("alert")).to_contain_text("not let in any more")


def test_nothing_of_the_plant_is_to_be_had_without_signing_in(closed):
    inspection_id = closed.sent[0]["inspection_id"]
    for path in ("/", "/line", "/models", f"/coil?coil_id={COIL}"):
        answer = fetch(closed, path, headers={"accept": "text/html"})
        assert (answer.status_code, urlsplit(answer.headers["location"]).path) == (303, "/sign-in"), path
    for path in (f"/picture/v1/inspections/{inspection_id}/image", f"/report/v1/coils/{COIL}/report", "/_nicegui/x"):
        assert fetch(closed, path).status_code == 401, path
    forged = fetch(closed, "/line", headers={"cookie": "steelsight=ss_forged", "accept": "text/html"})
    assert forged.status_code == 303
    assert (
        fetch(closed, "/sign-in")
        .headers["content-security-policy"]
        .startswith("default-src 'none'; script-src 'self';")
    )


def socket_status(site: Site, **headers: str) -> int:
    """What a browser is answered that wants a socket."""
    address = urlsplit(site.desk.url)
    lines = {
        "Host": address.netloc, "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", **headers,
    }  # fmt: skip
    head = "GET /_nicegui_ws/socket.io/?EIO=4&transport=websocket HTTP/1.1\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in lines.items()) + "\r\n"
    with socket.create_connection((address.hostname, address.port), 30) as connection:
        connection.sendall(head.encode())
        return int(connection.recv(1024).split()[1])


def test_a_socket_is_for_the_desk_s_own_pages_and_people_alone(closed, bare):
    with closed.http as http:
        token = http.post("/v1/sessions", json={"name": VIEWER, "password": PASSWORD}).json()["token"]
    cookie, own = f"steelsight={token}", closed.desk.url
    assert socket_status(closed, Origin=own, Cookie=cookie) == 101
    assert socket_status(closed, Origin=own) == 403
    assert socket_status(closed, Origin="http://elsewhere.example", Cookie=cookie) == 403
    assert socket_status(closed, Origin="null", Cookie=cookie) == 403
    assert socket_status(closed, Cookie=cookie) == 403
    # Also where nobody signs in.
    assert socket_status(bare, Origin=bare.desk.url) == 101
    assert socket_status(bare, Origin="http://elsewhere.example") == 403


def test_a_form_is_accepted_from_the_desk_s_own_page_alone(closed):
    own = {"origin": closed.desk.url}
    said = {"name": VIEWER, "password": PASSWORD, "next": "/line", "form": "0" * 64}
    assert (
        fetch(closed, "/sign-in", "POST", data=said, headers={"origin": "http://elsewhere.example"}).status_code == 403
    )
    assert fetch(closed, "/sign-in", "POST", data=said).status_code == 403
    refused = fetch(closed, "/sign-in", "POST", data=said, headers=own)
    assert refused.status_code == 403 and "try again" in refused.text
    page = fetch(closed, "/sign-in")
    cookie = page.headers["set-cookie"].partition(";")[0]
    said["form"] = re.search(r'name="form" value="(\w+)"', page.text)[1]
    answer = fetch(
        closed, "/sign-in", "POST", data={**said, "next": "//elsewhere.example"}, headers={**own, "cookie": cookie}
    )
    assert (answer.status_code, answer.headers["location"]) == (303, "/line")
    latin = urlencode({**said, "name": b"J\xfcrgen"})
    assert (
        fetch(closed, "/sign-in", "POST", content=latin, headers={**own, **FORM, "cookie": cookie}).status_code == 403
    )
    session = next(each for each in answer.headers.get_list("set-cookie") if each.startswith("steelsight="))
    assert "HttpOnly" in session and "SameSite=strict" in session
    out = {**own, "cookie": session.partition(";")[0]}
    assert fetch(closed, "/sign-out", "POST", data={"form": said["form"]}, headers=out).status_code == 403


@pytest.mark.parametrize("body", [b"", b"\xff" * 100, b"a=" * 9000, b"name=x&password=%ff%00", b"&" * 5000])
def test_hostile_forms_are_refused(closed, body):
    headers = {"origin": closed.desk.url, **FORM}
    for path in ("/sign-in", "/sign-out"):
        assert 400 <= fetch(closed, path, "POST", content=body, headers=headers).status_code < 500


def test_a_link_from_elsewhere_asks_once_more_with_the_cookie(closed):
    headers = {"accept": "text/html", "sec-fetch-site": "cross-site"}
    answer = fetch(closed, f"/coil?coil_id={COIL}", headers=headers)
    assert answer.status_code == 200 and f"url=/coil?coil_id={COIL}" in answer.text


def test_an_open_desk_answers_to_its_own_name_alone(bare):
    assert fetch(bare, "/line", headers={"host": "elsewhere.example"}).status_code == 421
    assert fetch(bare, "/sign-in").headers["location"] == "/line"


def test_an_open_api_gets_no_desk_that_others_can_reach(bare, tmp_path):
    flags = ("--host", "0.0.0.0", "--port", "0", "--api", bare.server.url)
    with pytest.raises(AssertionError, match="people add"), program("dashboard", tmp_path / "d.log", *flags):
        pass


def test_tokens_and_passwords_are_in_no_log(closed):
    for log in (closed.server.log, closed.desk.log):
        told = log.read_text()
        assert PASSWORD not in told and "ss_" not in told and "sk_" not in told
