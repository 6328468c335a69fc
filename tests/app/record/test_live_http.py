"""The cameras over HTTP, and the picture of each."""

import asyncio
import io
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest
from PIL import Image

from app.store.inserting import now

pytestmark = pytest.mark.anyio
WITHIN_S = 20


async def send(http, png, camera, **query):
    about = {"camera_id": camera, **query}
    answer = await http.post("/v1/inspect", content=png, headers={"content-type": "image/png"}, params=about)
    assert answer.status_code == 200
    return answer.json()


async def camera_of(http, name):
    told = (await http.get("/v1/cameras")).json()["cameras"]
    return next((camera for camera in told if camera["camera_id"] == name), None)


async def until_pictured(http, name):
    async with asyncio.timeout(WITHIN_S):
        while not (camera := await camera_of(http, name))["picture"]:
            await asyncio.sleep(0.01)
    return camera


async def test_a_camera_is_told_as_of_its_last_frame(http, png):
    for sequence in (5, 6, 9):
        captured_at = datetime.now(UTC) - timedelta(seconds=2)
        reply = await send(
            http, png, "east", sequence=sequence, side="top", coil_id="L1", captured_at=captured_at.isoformat()
        )
    camera = await camera_of(http, "east")
    assert (camera["side"], camera["coil_id"], camera["gaps"]) == ("top", "L1", 1)
    assert camera["last"] == (await http.get("/v1/inspections?limit=1&camera_id=east")).json()["inspections"][0]
    assert camera["last"]["inspection_id"] == reply["inspection_id"]
    assert 2000 <= camera["lag_ms"] < 2000 + WITHIN_S * 1000
    assert 0 <= camera["seconds_since_last"] < WITHIN_S
    assert camera["frames_per_second"] <= 0.3
    received = datetime.fromisoformat(camera["last"]["received_at"])
    if now() - received < timedelta(seconds=8):
        assert camera["frames_per_second"] == 0.3
        assert camera["megapixels_per_second"] == pytest.approx(0.3 * 0.02)


@pytest.mark.parametrize("name", ["north", "hall 1/line 2/cam", "Kamera Süd", "a%2Fb", "frame.png"])
async def test_a_camera_has_a_picture_of_its_last_frame(http, png, name):
    await send(http, png, name)
    camera = await until_pictured(http, name)
    assert camera["picture"] == f"/v1/cameras/{quote(name, safe='')}/frame.png"
    answer = await http.get(camera["picture"])
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    assert Image.open(io.BytesIO(answer.content)).size == Image.open(io.BytesIO(png)).size
    unchanged = await http.get(camera["picture"], headers={"if-none-match": answer.headers["etag"]})
    assert (unchanged.status_code, unchanged.content) == (304, b"")


async def test_a_camera_without_a_picture_is_not_found(http):
    answer = await http.get("/v1/cameras/nowhere/frame.png")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert "'nowhere'" in answer.json()["detail"]
    long = await http.get(f"/v1/cameras/{'n' * 129}/frame.png")
    assert (long.status_code, long.json()["code"]) == (422, "parameters_invalid")


async def test_frames_that_name_no_camera_are_none(http, png):
    await http.post("/v1/inspect", content=png, headers={"content-type": "image/png"})
    assert await camera_of(http, None) is None
