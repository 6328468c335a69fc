"""The record over HTTP: what was inspected is found, shown and handed over; what is not there says why."""

import asyncio
import csv
import io
import time

import pytest
from PIL import Image
from pyarrow import parquet
from sqlalchemy import update

from app.schemas_record import COLUMNS
from app.store.cursors import cursor_of
from app.store.numbers import number_of
from app.store.schema import images, inspections
from model import heatmap, image
from tests.app.store.rows import STARTED, add_inspection
from tests.app.waiting import AGAIN_S, WITHIN_S

pytestmark = pytest.mark.anyio


@pytest.fixture
def inspect(http):
    """`await inspect(body, **query)`: the reply to a PNG, which is in the record then."""

    async def send(body, **query):
        answer = await http.post("/v1/inspect", content=body, headers={"content-type": "image/png"}, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    return send


async def found(http, **query):
    answer = await http.get("/v1/inspections", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def refusal(answer):
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json()["code"]


async def test_an_inspection_is_found_by_what_it_was(http, inspect, png):
    about = {"camera_id": "north", "coil_id": "K-1", "side": "top", "sequence": 7, "position_mm": 10, "mm_per_pixel": 2}
    reply = await inspect(png, captured_at="2026-01-31T09:30:00+01:00", request_id="first", **about)
    (row,) = (await found(http, coil_id="K-1"))["inspections"]
    assert row["inspection_id"] == reply["inspection_id"]
    assert {name: row[name] for name in about} == about
    assert (row["captured_at"], row["request_id"]) == ("2026-01-31T08:30:00Z", "first")
    assert row["received_at"].endswith("Z")
    assert (row["verdict"], row["version"]) == (reply["verdict"], reply["model"]["version"])
    assert row["defect_probability"] == reply["defect_probability"]
    assert (row["event_count"], row["has_image"], row["review"]) == (len(reply["events"]), True, None)
    for matching in (
        {"camera_id": "north"},
        {"verdict": row["verdict"]},
        {"least_probability": row["defect_probability"], "most_probability": row["defect_probability"]},
        {"from": row["received_at"]},
        {"reviewed": "false", "coil_id": "K-1", "camera_id": "north"},
    ):
        assert row in (await found(http, **matching))["inspections"], matching
    for other in ({"camera_id": "south"}, {"coil_id": "K"}, {"to": row["received_at"]}, {"reviewed": "true"}):
        assert row not in (await found(http, **other))["inspections"], other


async def test_one_inspection_says_what_its_reply_said(http, inspect, png):
    reply = await inspect(png, position_mm=100, mm_per_pixel=0.5)
    told = (await http.get(f"/v1/inspections/{reply['inspection_id']}")).json()
    for same in ("inspection_id", "verdict", "defect_probability", "thresholds", "model", "quality"):
        assert told[same] == reply[same], same
    assert {name: told["image"][name] for name in reply["image"]} == reply["image"]
    assert told["image"]["format"] == "png"
    assert [{name: event[name] for name in reply["events"][0]} for event in told["events"]] == reply["events"]


async def test_pages_follow_one_another(http, inspect, png):
    ids = [(await inspect(png, coil_id="paged"))["inspection_id"] for _ in range(5)][::-1]
    seen, cursor = [], {}
    for rows in (2, 2, 1):
        page = await found(http, coil_id="paged", limit=2, **cursor)
        assert len(page["inspections"]) == rows
        seen += [row["inspection_id"] for row in page["inspections"]]
        await inspect(png, coil_id="paged")
        cursor = {"cursor": page["next"]}
    assert (seen, page["next"]) == (ids, None)


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("limit=0", "limit"),
        ("limit=501", "limit"),
        ("limit=1.5", "limit"),
        ("cursor=", "cursor"),
        ("cursor=abc", "cursor"),
        (f"cursor={cursor_of(5)[:-1]}", "cursor"),
        (f"cursor={'A' * 50_000}", "cursor"),
        (f"cursor={cursor_of(2**63)}", "cursor"),
        ("verdict=fine", "verdict"),
        ("from=yesterday", "from"),
        ("from=2026-01-31", "from"),
        ("to=2026-01-31T08:30:00", "to"),
        ("from=2026-01-31T08:30:00Z&to=2026-01-31T08:30:00Z", "before"),
        ("least_probability=1.1", "least_probability"),
        ("least_probability=nan", "least_probability"),
        ("least_probability=0.5&most_probability=0.4", "least_probability"),
        ("reviewed=yes", "reviewed"),
        ("camera_id=", "camera_id"),
        ("camera_id=%00", "camera_id"),
        ("since=2026-01-31T08:30:00Z", "since"),
        ("verdict=ok&verdict=defect", "verdict"),
        ("colour=red", "colour"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/inspections", "/v1/inspections/export"])
async def test_a_wrong_query_is_refused_by_name(http, path, query, named):
    answer = await http.get(f"{path}?{query}")
    assert refusal(answer) == (422, "parameters_invalid")
    assert named in answer.json()["detail"]
    assert len(answer.content) < 2000


@pytest.mark.parametrize("query", ["from=0001-01-01T00:00:00Z", "to=9999-12-31T23:59:59Z", "from=9999-12-31T23:59:59Z"])
async def test_any_year_may_be_asked_for(http, query):
    assert (await http.get(f"/v1/inspections?{query}")).status_code == 200


@pytest.mark.parametrize("rest", ["", "/image", "/heatmap.png"])
async def test_an_unknown_inspection_is_not_found(http, rest):
    assert refusal(await http.get(f"/v1/inspections/{0:016x}{rest}")) == (404, "not_found")
    for wrong in ("x", "0" * 15, "0" * 17, "F" * 16, "8" + "0" * 15):
        answer = await http.get(f"/v1/inspections/{wrong}{rest}")
        assert refusal(answer) == (422, "parameters_invalid")
        assert "16 hexadecimal digits" in answer.json()["detail"]


async def test_the_image_is_the_file_that_came(http, inspect, png):
    reply = await inspect(png)
    address = f"/v1/inspections/{reply['inspection_id']}/image"
    answer = await http.get(address)
    assert answer.content == png
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-disposition"] == f'inline; filename="{reply["inspection_id"]}.png"'
    assert "immutable" in answer.headers["cache-control"]
    again = await http.get(address, headers={"if-none-match": f'"other", {answer.headers["etag"]}'})
    assert (again.status_code, again.content) == (304, b"")
    assert (await http.get(address, headers={"if-none-match": '"other"'})).status_code == 200


async def test_an_image_of_any_kind_is_had_as_a_png(http, inspect, png):
    pixels = image.decode(png)
    target = io.BytesIO()
    Image.fromarray(pixels).save(target, "TIFF")
    reply = await inspect(target.getvalue())
    address = f"/v1/inspections/{reply['inspection_id']}/image"
    assert (await http.get(address)).headers["content-type"] == "image/tiff"
    answer = await http.get(address, params={"format": "png"})
    assert answer.headers["content-type"] == "image/png"
    assert (image.decode(answer.content) == pixels).all()
    again = await http.get(address, params={"format": "png"}, headers={"if-none-match": answer.headers["etag"]})
    assert again.status_code == 304
    for wrong in ({"format": "jpeg"}, {"format": "png", "colour": "red"}):
        assert refusal(await http.get(address, params=wrong)) == (422, "parameters_invalid")


async def test_an_image_that_is_not_kept_says_why(http, reading, inspect, png):
    store = reading.service.store

    async def reason(work):
        number = await store.write(work)
        answer = await http.get(f"/v1/inspections/{number:016x}/image")
        assert refusal(answer) == (404, "not_found")
        assert refusal(await http.get(f"/v1/inspections/{number:016x}/heatmap.png")) == (404, "not_found")
        return answer.json()["detail"]

    assert "a share drawn at random" in await reason(lambda connection: add_inspection(connection, verdict="ok"))
    assert "archive was full" in await reason(
        lambda connection: add_inspection(connection, verdict="defect", image_missing="archive_full")
    )
    number = number_of((await inspect(png))["inspection_id"])

    def deleted(connection):
        digest = connection.execute(inspections.select().where(inspections.c.number == number)).one().image
        decided = {"deleted_at": STARTED, "deleted_why": "age"}
        connection.execute(update(images).where(images.c.digest == digest).values(**decided))
        return number

    told = await reason(deleted)
    assert "deleted on 2026-03-02 08:00:00 UTC" in told
    assert "(age)" in told


async def test_an_image_that_the_archive_has_lost_is_a_fault(http, reading, inspect, steel_frame, as_png):
    reply = await inspect(as_png(steel_frame(64, 64, seed=99)))
    told = (await http.get(f"/v1/inspections/{reply['inspection_id']}")).json()
    reading.service.store.archive.delete(told["image"]["digest"], "png")
    for rest in ("image", "heatmap.png"):
        answer = await http.get(f"/v1/inspections/{reply['inspection_id']}/{rest}")
        assert refusal(answer) == (503, "record_unavailable")


async def test_the_heat_map_is_that_of_the_version_that_judged(start, own_models, steel_frame, as_png):
    """Also after another version has taken its place, and until its folder is gone."""
    pixels = steel_frame(200, 150, seed=3, defects=3)
    async with start(models=own_models, sample_ok=1.0) as running:
        await running.until_ready()
        judge = running.service.slot.require()
        sent = await running.http.post(
            "/v1/inspect?overlap_rows=20", content=as_png(pixels), headers={"content-type": "image/png"}
        )
        address = f"/v1/inspections/{sent.json()['inspection_id']}/heatmap.png"
        first = await running.http.get(address)
        assert first.headers["content-type"] == "image/png"
        assert first.content == heatmap.picture(judge.inspect(image.decode(as_png(pixels)), 20), pixels)
        again = await running.http.get(address, headers={"if-none-match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        versions = judge.version, next(each for each in ("tiny-64-first", "tiny-64-second") if each != judge.version)
        await running.http.post(f"/v1/models/{versions[1]}/activate")
        other = running.service.slot.require().inspect(pixels, 20)
        later = await running.http.get(address)
        assert later.content == first.content
        assert later.content != heatmap.picture(other, pixels)
        (own_models / versions[0]).rename(own_models / ".away")
        assert (await running.http.get(address)).status_code == 200
        running.service.rescoring.forget()
        gone = await running.http.get(address)
        assert refusal(gone) == (404, "model_unknown")
        assert versions[0] in gone.json()["detail"]


async def test_heat_maps_do_not_stop_the_event_loop(http, inspect, steel_frame, as_png):
    reply = await inspect(as_png(steel_frame(1500, 1500, seed=4)))
    drawing = asyncio.create_task(http.get(f"/v1/inspections/{reply['inspection_id']}/heatmap.png"))
    turns, begun = 0, time.monotonic()
    while not drawing.done():
        await asyncio.sleep(0.001)
        turns += 1
    took = time.monotonic() - begun
    assert (await drawing).status_code == 200
    # A loop that stood still for the drawing would have made a turn or two.
    assert turns > 10, f"{turns} turns in {took:.3f} s"


async def test_export_has_what_the_list_has(http, inspect, png):
    for number in range(3):
        await inspect(png, coil_id="=exported", sequence=number)
    rows = (await found(http, coil_id="=exported"))["inspections"]
    as_csv = await http.get("/v1/inspections/export", params={"coil_id": "=exported"})
    assert as_csv.headers["content-type"] == "text/csv; charset=utf-8; header=present"
    assert as_csv.headers["content-disposition"] == 'attachment; filename="inspections.csv"'
    lines = list(csv.DictReader(io.StringIO(as_csv.text, newline="")))
    assert [line["inspection_id"] for line in lines] == [row["inspection_id"] for row in rows]
    assert [line["sequence"] for line in lines] == ["2", "1", "0"]
    assert {line["coil_id"] for line in lines} == {"'=exported"}
    as_parquet = await http.get("/v1/inspections/export", params={"coil_id": "=exported", "format": "parquet"})
    assert as_parquet.headers["content-type"] == "application/vnd.apache.parquet"
    table = parquet.read_table(io.BytesIO(as_parquet.content))
    assert tuple(table.column_names) == COLUMNS == tuple(rows[0])
    assert table.column("inspection_id").to_pylist() == [row["inspection_id"] for row in rows]
    assert refusal(await http.get("/v1/inspections/export?format=xlsx")) == (422, "parameters_invalid")


async def test_the_record_says_how_much_it_holds(http, reading, inspect, steel_frame, as_png):
    before = (await http.get("/v1/record")).json()
    body = as_png(steel_frame(64, 64, seed=77))
    await inspect(body)
    after = (await http.get("/v1/record")).json()
    assert (after["database"]["kind"], after["archive"]["kind"]) == ("sqlite", "folder")
    assert after["database"]["inspections"] == before["database"]["inspections"] + 1
    assert after["archive"]["images"] == before["archive"]["images"] + 1
    assert after["archive"]["bytes"] == before["archive"]["bytes"] + len(body)
    assert after["archive"]["full"] is False
    assert after["archive"]["free_bytes"] > 0
    # The house writes too, now and then.
    async with asyncio.timeout(WITHIN_S):
        while (await http.get("/v1/record")).json()["writer"] != {"waiting": 0}:
            await asyncio.sleep(AGAIN_S)
    assert after["database"]["bytes"] >= reading.service.store.database.file.stat().st_size


async def test_a_server_that_keeps_no_record_says_so(start, tiny_models):
    async with start(models=tiny_models, record="off") as running:
        for path in ("/v1/inspections", f"/v1/inspections/{0:016x}", "/v1/record", "/v1/live", "/v1/cameras"):
            answer = await running.http.get(path)
            assert refusal(answer) == (503, "record_unavailable"), path
