"""What a URL says: each parameter once, and every text in UTF-8, on all routes alike."""

from collections.abc import AsyncIterator

import httpx
import pytest

from app.parameters import InspectQuery
from app.refusals import Refusal

pytestmark = pytest.mark.anyio

REVIEW = "/v1/inspections/0000000000000001/review"


@pytest.fixture(scope="module")
async def http(start, tmp_path_factory) -> AsyncIterator[httpx.AsyncClient]:
    """Client of an application with a record and no model."""
    async with start(models=tmp_path_factory.mktemp("models")) as running:
        yield running.http


@pytest.mark.parametrize(
    ("method", "path", "named"),
    [
        ("POST", "/v1/inspect?camera_id=Kamera-%FC&request_id=1", "camera_id"),
        ("POST", "/v1/inspect?request_id=%F6-1", "request_id"),
        ("POST", "/v1/inspect?%FC=1", "udcfc"),
        ("POST", "/v1/inspect/batch?coil_id=K%FC", "coil_id"),
        ("POST", "/v1/explain?version=%FC", "version"),
        ("GET", "/v1/inspections?camera_id=Kamera-%FC", "camera_id"),
        ("GET", "/v1/inspections/export?coil_id=K%FC", "coil_id"),
        ("DELETE", f"{REVIEW}?reviewer=J%FCrgen", "reviewer"),
        ("GET", "/v1/coils?cursor=%FC", "cursor"),
        ("GET", "/v1/coils/K%FC", "coil_id"),
        ("GET", "/v1/coils/K%FC/map", "coil_id"),
        ("POST", "/v1/coils/K%FC/close", "coil_id"),
        ("GET", "/v1/cameras/Kamera-%FC/frame.png", "camera_id"),
    ],
)
async def test_what_is_not_utf8_is_refused_by_name(http, method, path, named):
    answer = await http.request(method, path)
    assert (answer.status_code, answer.json()["code"]) == (422, "parameters_invalid")
    assert named in answer.json()["detail"]
    assert "expected UTF-8" in answer.json()["detail"]


# Latin-1, half a character, a longer writing of `/`, half of a pair of UTF-16.
@pytest.mark.parametrize("written", [b"%FC", b"%C3", b"%C0%AF", b"%ED%A0%80"])
def test_no_two_ids_become_one(written):
    with pytest.raises(Refusal, match="expected UTF-8"):
        InspectQuery.parsed(b"camera_id=Kamera-" + written)
    assert InspectQuery.parsed(b"camera_id=%EF%BF%BD").camera_id == "\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize(
    ("method", "path", "named"),
    [
        ("POST", "/v1/inspect?camera_id=a&camera_id=b", "camera_id"),
        ("DELETE", f"{REVIEW}?reviewer=me&reviewer=you", "reviewer"),
        ("GET", "/v1/reviews/queue?limit=1&limit=2", "limit"),
        ("GET", "/v1/coils?state=open&state=closed", "state"),
        ("GET", "/v1/coils/C1/events?limit=1&limit=2", "limit"),
        ("GET", "/v1/coils/C1/map?format=svg&format=png", "format"),
        ("DELETE", "/v1/sessions?everywhere=true&everywhere=false", "everywhere"),
    ],
)
async def test_what_is_given_twice_is_refused_by_name(http, method, path, named):
    answer = await http.request(method, path)
    assert (answer.status_code, answer.json()["code"]) == (422, "parameters_invalid")
    assert answer.json()["detail"] == f"'{named}' is given more than once"
