"""What a request leaves in the record: its inspection once, its image as it came, its refusal with the reason."""

import asyncio
import io
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import select

from app.archive import Picture
from app.housekeeping import Housekeeping
from app.recording import Sampling
from app.settings import load
from app.store import schema
from app.store.numbers import TAG_BITS, first_number_at, number_of
from model.image import decode
from model.registry import POINTER, Registry
from model.verdict import Verdict
from tests.app.waiting import until

pytestmark = pytest.mark.anyio
RAW = {"content-type": "application/octet-stream"}
ABOUT = {
    "camera_id": "cam-7",
    "coil_id": "K/1 ü",
    "side": "bottom",
    "sequence": "12",
    "position_mm": "1000.5",
    "mm_per_pixel": "0.5",
    "captured_at": "2026-03-02T08:00:00.123456Z",
}


@pytest.fixture(scope="module")
async def keeper(start, tiny_models):
    """A server that keeps every image."""
    async with start(models=tiny_models, sample_ok=1, stride=32) as running:
        await running.until_ready()
        yield running


@pytest.fixture
def rows(keeper) -> Callable[..., list[Any]]:
    return lambda statement: rows_of(keeper, statement)


def rows_of(running, statement) -> list[Any]:
    with running.service.store.reading() as connection:
        return connection.execute(statement).all()


def of(answer) -> Any:
    """The inspections row of an answer."""
    return select(schema.inspections).where(schema.inspections.c.number == number_of(answer.json()["inspection_id"]))


async def test_the_row_is_there_when_the_reply_is(keeper, rows, png):
    answer = await keeper.http.post("/v1/inspect", content=png, headers={"content-type": "image/png"}, params=ABOUT)
    told = answer.json()
    (row,) = rows(of(answer))
    assert (row.camera_id, row.side, row.sequence, row.position_mm) == ("cam-7", "bottom", 12, 1000.5)
    assert row.captured_at.isoformat() == "2026-03-02T08:00:00.123456+00:00"
    assert (row.width, row.height, row.tiles) == tuple(told["image"][name] for name in ("width", "height", "tiles"))
    assert (row.verdict, row.defect_probability) == (told["verdict"], told["defect_probability"])
    (coil,) = rows(select(schema.coils).where(schema.coils.c.number == row.coil))
    assert coil.coil_id == "K/1 ü"
    events = rows(select(schema.events).where(schema.events.c.inspection == row.number))
    assert len(events) == len(told["events"]) == row.event_count
    for event, said in zip(events, told["events"], strict=True):
        assert event.position_mm == said["position_mm"] == 1000.5 + 0.5 * said["y"]
        assert (event.across_mm, event.width_mm, event.length_mm) == tuple(
            0.5 * said[name] for name in ("x", "width", "height")
        )


async def test_every_form_is_kept_so_that_it_decodes_to_the_same_frame(keeper, rows, steel_frame, as_png, as_raw):
    frame = steel_frame(96, 160, seed=3, defects=1)
    file = as_png(frame)
    answers = [
        await keeper.http.post("/v1/inspect", content=file, headers={"content-type": "image/png"}),
        await keeper.http.post("/v1/inspect", files={"image": ("frame.png", file, "image/png")}),
    ]
    for pixel_format in ("Mono8", "Mono10", "Mono12", "Mono16"):
        query = {"width": 160, "height": 96, "pixel_format": pixel_format}
        body = as_raw(frame, pixel_format)
        answers.append(await keeper.http.post("/v1/inspect", content=body, params=query, headers=RAW))
    for answer in answers:
        (row,) = rows(of(answer))
        kept = keeper.service.store.archive.get(row.image, "png")
        assert np.array_equal(decode(kept), frame)
    assert rows(of(answers[0]))[0].image == rows(of(answers[1]))[0].image == Picture(file, "png").digest


async def test_raw_words_lose_nothing(keeper, rows):
    words = np.random.default_rng(0).integers(0, 4096, (64, 64), dtype=np.uint16)
    query = {"width": 64, "height": 64, "pixel_format": "Mono12"}
    answer = await keeper.http.post("/v1/inspect", content=words.tobytes(), params=query, headers=RAW)
    (row,) = rows(of(answer))
    with Image.open(io.BytesIO(keeper.service.store.archive.get(row.image, "png"))) as picture:
        assert np.array_equal(np.asarray(picture).astype(np.uint16) >> 4, words)


async def test_a_repeat_is_answered_as_the_first_was(keeper, rows, png):
    query = ABOUT | {"request_id": "frame 1"}
    answers = [
        (await keeper.http.post("/v1/inspect", content=png, headers={"content-type": "image/png"}, params=query)).json()
        for _ in range(3)
    ]
    for answer in answers:
        del answer["timing_ms"]
    assert answers[0] == answers[1] == answers[2]
    assert len(rows(select(schema.inspections).where(schema.inspections.c.request_id == "frame 1"))) == 1


async def test_many_repeats_at_once_are_one_inspection(keeper, rows, png):
    async def send():
        query = ABOUT | {"request_id": "frame 2"}
        return await keeper.http.post("/v1/inspect", content=png, headers={"content-type": "image/png"}, params=query)

    answers = await asyncio.gather(*(send() for _ in range(20)))
    assert len({answer.json()["inspection_id"] for answer in answers}) == 1
    assert len(rows(select(schema.inspections).where(schema.inspections.c.request_id == "frame 2"))) == 1


async def test_another_frame_with_the_same_request_id_is_refused(keeper, png, as_png, steel_frame):
    query = {"request_id": "frame 3"}
    headers = {"content-type": "image/png"}
    assert (await keeper.http.post("/v1/inspect", content=png, headers=headers, params=query)).status_code == 200
    other = as_png(steel_frame(100, 200, seed=9))
    refusal = await keeper.http.post("/v1/inspect", content=other, headers=headers, params=query)
    assert (refusal.status_code, refusal.json()["code"]) == (422, "request_id_reused")
    assert "'frame 3'" in refusal.json()["detail"]


async def test_a_batch_is_an_inspection_for_each_image(keeper, rows, png):
    files = [("image", ("a.png", png, "image/png")), ("image", ("b.png", b"broken", "image/png"))]
    answer = await keeper.http.post("/v1/inspect/batch", files=files, params={"coil_id": "batch", "camera_id": "c"})
    good, bad = answer.json()["results"]
    (row,) = rows(select(schema.inspections).where(schema.inspections.c.number == number_of(good["inspection_id"])))
    assert row.camera_id == "c"
    assert await refusals_of(keeper, "batch") == [bad["error"]["code"]]


BATCH = "/v1/inspect/batch"


def batch_form(images: list[bytes], *, closed: bool = True) -> dict[str, Any]:
    """What is posted as a form of these parts."""
    head = b'Content-Disposition: form-data; name="image"\r\n\r\n'
    body = b"".join(b"--b\r\n" + head + image + b"\r\n" for image in images)
    return {
        "content": body + (b"--b--\r\n" if closed else b""),
        "headers": {"content-type": "multipart/form-data; boundary=b"},
    }


async def refusals_of(running, coil_id: str) -> list[str]:
    """The codes of a coil's refused frames, once there are any."""
    coil = select(schema.coils.c.number).where(schema.coils.c.coil_id == coil_id).scalar_subquery()
    found = select(schema.refused_frames.c.code).where(schema.refused_frames.c.coil == coil)
    await until(lambda: bool(rows_of(running, found)))
    return [row.code for row in rows_of(running, found)]


@pytest.mark.parametrize(
    ("coil_id", "posted", "code"),
    [
        ("too many", batch_form([b"x"] * 40), "multipart_invalid"),
        ("open", batch_form([b"x"] * 2, closed=False), "multipart_invalid"),
        ("empty", batch_form([]) | {"content": b""}, "body_empty"),
        ("no form", {"content": b"BM", "headers": {"content-type": "image/bmp"}}, "content_type_unsupported"),
    ],
)
async def test_a_batch_of_nobody_knows_how_many_frames_is_noted_as_one(keeper, coil_id, posted, code):
    answer = await keeper.http.post(BATCH, params={"coil_id": coil_id, "camera_id": "c"}, **posted)
    assert answer.json()["code"] == code
    assert await refusals_of(keeper, coil_id) == [code]
    assert (await keeper.http.get(f"/v1/coils/{coil_id}")).json()["refused"] == 1


async def test_a_batch_that_finds_no_place_is_noted(keeper, png):
    """As one before its body has come, then as the frames that it has."""
    free = keeper.service.pool.free
    for coil_id, taken, frames in (("full", free, 1), ("nearly full", free - 2, 3)):
        with keeper.service.pool.place(taken):
            answer = await keeper.http.post(
                BATCH, params={"coil_id": coil_id, "camera_id": "c"}, **batch_form([png] * 3)
            )
        assert answer.json()["code"] == "overloaded"
        assert await refusals_of(keeper, coil_id) == ["overloaded"] * frames


async def test_a_batch_that_comes_too_slowly_or_before_any_model_is_noted(start, own_models):
    async def slow():
        yield b"--b"
        await asyncio.sleep(60)

    async with start(models=own_models, body_seconds=0.1) as running:
        await running.until_ready()
        posted = batch_form([]) | {"content": slow()}
        await running.http.post(BATCH, params={"coil_id": "slow"}, **posted)
        assert await refusals_of(running, "slow") == ["body_timeout"]
    (own_models / POINTER).unlink()
    async with start(models=own_models) as running:
        answer = await running.http.post(BATCH, params={"coil_id": "early"}, **batch_form([b"x"]))
        assert await refusals_of(running, "early") == [answer.json()["code"]]


async def test_a_refusal_is_noted_if_it_says_whose_frame_it_was(keeper, rows):
    async def refused(**query: str) -> None:
        answer = await keeper.http.post(
            "/v1/inspect", content=b"no image", headers={"content-type": "image/png"}, params=query
        )
        assert answer.status_code == 415

    await refused()
    await refused(**ABOUT, request_id="r")
    found = select(schema.refused_frames).where(schema.refused_frames.c.request_id == "r")
    await until(lambda: bool(rows(found)))
    (row,) = rows(found)
    assert (row.code, row.camera_id, row.sequence, row.position_mm) == (
        "image_format_unsupported", "cam-7", 12, 1000.5
    )  # fmt: skip
    assert not rows(select(schema.refused_frames).where(schema.refused_frames.c.camera_id.is_(None)))


@pytest.mark.parametrize("path", ["/v1/inspect", BATCH])
@pytest.mark.parametrize(
    ("unsound", "camera"),
    [
        ("&camera_id=c&heatmap=yes", "c"),
        ("&camera_id=c&brightness=3", "c"),
        ("&camera_id=c&camera_id=d", None),
        ("&camera_id=Kamera-%FC", None),
        ("&camera_id=c&%FC=%FC", "c"),
    ],
)
async def test_an_unsound_query_is_noted_with_what_can_be_read_of_it(keeper, rows, path, unsound, camera):
    coil = f"{path} {unsound}"
    answer = await keeper.http.post(f"{path}?coil_id={quote(coil, safe='')}{unsound}", content=b"x")
    assert answer.json()["code"] == "parameters_invalid"
    assert await refusals_of(keeper, coil) == ["parameters_invalid"]
    row = rows(select(schema.refused_frames).order_by(schema.refused_frames.c.at.desc()))[0]
    assert (row.camera_id, row.side) == (camera, None)


async def test_a_wrong_position_leaves_a_gap_until_the_frame_comes_again(keeper, png):
    async def post(sequence: int, position_mm: str) -> int:
        query = f"coil_id=encoder&camera_id=c&sequence={sequence}&position_mm={position_mm}&mm_per_pixel=1"
        headers = {"content-type": "image/png"}
        return (await keeper.http.post(f"/v1/inspect?{query}", content=png, headers=headers)).status_code

    async def lost() -> int:
        (camera,) = (await keeper.http.get("/v1/coils/encoder")).json()["cameras"]
        return camera["lost"]

    assert await post(1, "0") == 200
    assert await post(2, "nan") == 422
    assert await refusals_of(keeper, "encoder") == ["parameters_invalid"]
    assert await lost() == 1
    assert await post(2, "100") == 200
    assert await lost() == 0


async def test_images_of_ok_frames_are_not_kept_unless_drawn(start, tiny_models, steel_frame, as_png):
    async with start(models=tiny_models, sample_ok=0, sample_called=0) as running:
        await running.until_ready()
        for seed in range(20):
            body = as_png(steel_frame(64, 64, seed=seed, defects=seed % 4))
            await running.http.post("/v1/inspect", content=body, headers={"content-type": "image/png"})
        kept = rows_of(running, select(schema.inspections.c.verdict, schema.inspections.c.image))
        assert {verdict for verdict, image in kept if image is None} == {"ok"}
        assert "ok" not in {verdict for verdict, image in kept if image is not None}
        assert len(kept) == 20


def test_samples_are_drawn_at_their_share():
    sampling = Sampling(load({}, {"sample_ok": 0.25, "sample_called": 0.5}))
    for verdict, share in {Verdict.OK: 0.25, Verdict.REVIEW: 0.5, Verdict.DEFECT: 0.5}.items():
        drawn = sum(sampling.draws(verdict) for _ in range(10_000))
        # Six standard deviations.
        assert abs(drawn / 10_000 - share) < 0.03


async def test_a_server_may_keep_no_record(start, tiny_models, png):
    async with start(models=tiny_models, record="off") as running:
        await running.until_ready()
        answer = await running.http.post(
            "/v1/inspect", content=png, headers={"content-type": "image/png"}, params=ABOUT
        )
        assert answer.status_code == 200
        refusal = await running.http.get("/v1/inspections")
        assert (refusal.status_code, refusal.json()["code"]) == (503, "record_unavailable")


async def test_ids_rise_though_the_clock_was_set_back(start, tiny_models, png, tmp_path):
    async def inspect(running) -> int:
        answer = await running.http.post("/v1/inspect", content=png, headers={"content-type": "image/png"})
        return number_of(answer.json()["inspection_id"])

    async with start(models=tiny_models, home=tmp_path) as running:
        await running.until_ready()
        now = await inspect(running)
        # As if this one had been made a year from now.
        later = first_number_at((now >> TAG_BITS) + 365 * 86_400 * 1_000_000)

        def postdate(connection) -> None:
            connection.execute(schema.events.delete())
            connection.execute(schema.inspections.update().values(number=later))

        await running.service.store.write(postdate)
    async with start(models=tiny_models, home=tmp_path) as running:
        await running.until_ready()
        assert await inspect(running) > later


async def test_a_shadow_s_other_verdict_is_kept(start, own_models, steel_frame, as_png):
    first, second = Registry(own_models).versions()
    async with start(models=own_models, stride=64) as running:
        await running.until_ready()
        live = Registry(own_models).require_active()
        shadow = second if live == first else first
        assert (await running.http.post(f"/v1/models/{shadow}/shadow", json={"share": 1})).is_success
        for seed in range(30):
            body = as_png(steel_frame(64, 64, seed=seed, defects=seed % 4))
            await running.http.post("/v1/inspect", content=body, headers={"content-type": "image/png"})
        await until(lambda: len(running.service.shadow.differences()) > 0)
        joined = select(schema.differences, schema.inspections.c.verdict.label("live")).join(schema.inspections)
        await until(lambda: len(rows_of(running, joined)) >= len(running.service.shadow.differences()) > 0)
        for row in rows_of(running, joined):
            assert row.version == shadow
            assert row.verdict != row.live


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"])
async def test_a_time_that_utc_does_not_have_is_refused(keeper, png, moment):
    answer = await keeper.http.post(
        "/v1/inspect", content=png, headers={"content-type": "image/png"}, params={"captured_at": moment}
    )
    assert (answer.status_code, answer.json()["code"]) == (422, "parameters_invalid")


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z"])
async def test_the_ends_of_time_are_found_again(keeper, png, moment):
    answer = await keeper.http.post(
        "/v1/inspect", content=png, headers={"content-type": "image/png"}, params={"captured_at": moment}
    )
    found = (await keeper.http.get(f"/v1/inspections/{answer.json()['inspection_id']}")).json()
    assert found["captured_at"] == moment


async def test_a_form_is_a_repeat_whatever_its_boundary(keeper, png):
    answers = [
        await keeper.http.post(
            "/v1/inspect", files={"image": (f"{name}.png", png, "image/png")}, params={"request_id": "form"}
        )
        for name in "ab"
    ]
    assert answers[0].request.headers["content-type"] != answers[1].request.headers["content-type"]
    assert answers[0].json()["inspection_id"] == answers[1].json()["inspection_id"]


async def test_the_same_bytes_in_another_shape_are_another_frame(keeper):
    body = bytes(range(256)) * 64
    shapes = {"width": 128, "height": 128}, {"width": 256, "height": 64}
    answers = [
        await keeper.http.post(
            "/v1/inspect", content=body, headers=RAW, params={"pixel_format": "Mono8", "request_id": "shape", **shape}
        )
        for shape in shapes
    ]
    assert [answer.status_code for answer in answers] == [200, 422]


async def test_a_coil_of_which_frames_were_only_refused_is_closed_too(start, tiny_models):
    async with start(models=tiny_models, coil_idle_seconds=0.001) as running:
        await running.until_ready()
        await running.http.post(
            "/v1/inspect", content=b"x", headers={"content-type": "image/png"}, params={"coil_id": "mistyped"}
        )
        await until(lambda: bool(rows_of(running, select(schema.coils))))
        await asyncio.sleep(0.01)
        await Housekeeping(running.service).close_idle_coils()
        (coil,) = rows_of(running, select(schema.coils))
        assert (coil.closed_by, coil.last_frame_at) == ("idle", None)


async def test_a_name_that_no_coil_can_have_is_refused(keeper):
    for path in ("/v1/coils/%00", "/v1/coils/%0A/report"):
        answer = await keeper.http.get(path)
        assert (answer.status_code, answer.json()["code"]) == (422, "parameters_invalid")
