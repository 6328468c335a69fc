"""Pictures under the desk's own address: all that are the API's, and nothing else."""

from urllib.parse import quote

import httpx
import pytest

from .conftest import Site

UNKNOWN = "0" * 16


def fetch(site: Site, path: str, **headers: str) -> httpx.Response:
    """The path as it stands: httpx would put `..` right, an attacker would not."""
    url = httpx.URL(site.desk.url)
    with httpx.Client(trust_env=False) as http:
        return http.send(httpx.Request("GET", url.copy_with(raw_path=path.encode()), headers=headers))


def test_an_image_is_the_archives(site):
    inspection_id = site.sent[0]["inspection_id"]
    shown = fetch(site, f"/picture/v1/inspections/{inspection_id}/image")
    kept = httpx.get(f"{site.server.url}/v1/inspections/{inspection_id}/image")
    assert shown.status_code == kept.status_code == 200
    assert (shown.content, shown.headers["content-type"]) == (kept.content, "image/png")
    assert "immutable" in shown.headers["cache-control"]
    assert shown.headers["content-security-policy"].startswith("default-src 'none'")
    assert shown.headers["x-content-type-options"] == "nosniff"


def test_what_a_browser_has_is_not_sent_again(site):
    path = f"/picture/v1/inspections/{site.sent[0]['inspection_id']}/heatmap.png"
    first = fetch(site, path)
    again = fetch(site, path, **{"if-none-match": first.headers["etag"]})
    assert (first.status_code, again.status_code, again.content) == (200, 304, b"")


def test_a_camera_with_any_name_has_its_picture(site):
    (camera,) = (each for each in site.get("/v1/cameras")["cameras"] if each["camera_id"] == "<b>bold</b>/2")
    shown = fetch(site, f"/picture/v1/cameras/{quote('<b>bold</b>/2', safe='')}/frame.png")
    assert camera["picture"] and shown.status_code == 200
    assert shown.headers["content-type"] == "image/png"


def test_a_picture_that_is_still_drawn_is_no_error(site):
    answer = fetch(site, "/picture/v1/cameras/sent-nothing-yet/frame.png")
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["cache-control"] == "no-store"


def test_the_apis_reason_is_handed_on(site):
    answer = fetch(site, f"/picture/v1/inspections/{UNKNOWN}/image")
    assert answer.status_code == 404
    assert "there is no such inspection" in answer.text


@pytest.mark.parametrize(
    "path",
    [
        "/picture/v1/models",
        "/picture/v1/inspections",
        f"/picture/v1/inspections/{UNKNOWN}",
        "/picture/v1/inspections/../models/image",
        "/picture/v1/inspections/%2e%2e/image",
        "/picture/v1/cameras/../frame.png",
        "/picture/v1/cameras/a/../../models/frame.png",
        "/picture/http://127.0.0.1:9/v1/cameras/a/frame.png",
        "/picture//127.0.0.1:9/frame.png",
        "/picture/metrics",
        "/report/v1/coils",
        "/report/v1/coils/../models/report",
        "/report/v1/cameras/a/frame.png",
        "/report/v1/models/../coils/report",
        "/report/v1/models/a/activate",
    ],
)
def test_nothing_else_is_to_be_had(site, path):
    answer = fetch(site, path)
    assert answer.status_code == 404
    assert "Steelsight" not in answer.text or "desk" in answer.text
    assert not answer.text.startswith("{")


def test_a_report_may_run_nothing(site):
    answer = fetch(site, "/report/v1/coils/C-1/report")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert "script-src" not in answer.headers["content-security-policy"]
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
