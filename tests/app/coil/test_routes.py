"""The coils over HTTP, on a real record: announced, closed, paged, drawn; and whatever an id is made of."""

import asyncio
import io
from datetime import UTC, datetime
from urllib.parse import quote

import pytest
from PIL import Image

from app.store import audit
from tests.app.store.rows import add_coil, add_event, add_inspection

ODD_IDS = ["C/1", "C1/map", "a b", "ä ö 钢", "100%", "%2F", "a?b#c", '<b>"', "C1/close", "a;b=c", "+", "a\\b"]


def path(coil_id, rest=""):
    return f"/v1/coils/{quote(coil_id, safe='')}{rest}"


@pytest.fixture
async def served(start, tmp_path):
    """An application with a record and no model."""
    (tmp_path / "plant.toml").write_text('[[roll]]\nname = "r"\ndiameter_mm = 600\n', encoding="utf-8")
    async with start(home=tmp_path, models=tmp_path / "models") as running:
        yield running


@pytest.fixture
def http(served):
    return served.http


@pytest.fixture
def fill(served):
    """`await fill(work)`: run `work(connection)` in the record."""
    return served.service.store.write


def problem(answer, status, code):
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    return answer.json()["detail"]


@pytest.mark.anyio
class TestOpening:
    async def test_announced_twice_it_is_the_same_coil(self, http):
        first = await http.post("/v1/coils", json={"coil_id": "C1", "length_mm": 900000.0})
        again = await http.post("/v1/coils", json={"coil_id": "C1", "width_mm": 1250.0})
        assert (first.status_code, again.status_code) == (201, 200)
        assert again.json()["opened_at"] == first.json()["opened_at"]
        assert first.json()["opened_at"].endswith("Z")
        assert (again.json()["length_mm"], again.json()["width_mm"]) == (900000.0, 1250.0)
        assert (again.json()["opened_by"], again.json()["closed_at"], again.json()["frames"]) == ("api", None, 0)

    async def test_what_was_told_of_a_coil_first_stands(self, http, fill):
        await http.post("/v1/coils", json={"coil_id": "C1", "length_mm": 1000})
        await fill(lambda connection: add_inspection(connection, position_mm=0.0, mm_per_pixel=1.0))
        await http.post("/v1/coils/C1/close")
        again = await http.post("/v1/coils", json={"coil_id": "C1", "length_mm": 128, "width_mm": 900})
        assert (again.status_code, again.json()["length_mm"], again.json()["width_mm"]) == (200, 1000.0, 900.0)
        told = (await http.get("/v1/coils/C1")).json()
        assert (told["unseen_mm"], told["acceptance"]["verdict"]) == (872.0, "hold")
        lines = await fill(lambda connection: [(line.action, line.detail) for line in audit.lines(connection)])
        assert lines[1:] == [("coil.close", {}), ("coil.announce", {"width_mm": 900.0})]

    async def test_many_at_once_open_it_once(self, http):
        answers = await asyncio.gather(*(http.post("/v1/coils", json={"coil_id": "C1"}) for _ in range(8)))
        assert sorted(answer.status_code for answer in answers) == [200] * 7 + [201]

    async def test_closing_twice_changes_nothing(self, http):
        await http.post("/v1/coils", json={"coil_id": "C1"})
        first = (await http.post("/v1/coils/C1/close")).json()
        again = (await http.post("/v1/coils/C1/close")).json()
        assert first == again
        assert first["closed_by"] == "api"

    async def test_a_body_that_makes_no_sense_is_told(self, http):
        for body, said in (
            (b"{}", "coil_id"),
            (b'{"coil_id": ""}', "coil_id"),
            (b'{"coil_id": "a\\nb"}', "printable"),
            (b'{"coil_id": "a\\u0000b"}', "printable"),
            (b'{"coil_id": "C1", "length_mm": -1}', "length_mm"),
            (b'{"coil_id": "C1", "length_mm": true}', "length_mm"),
            (b'{"coil_id": "C1", "width_mm": "1250"}', "width_mm"),
            (b'{"coil_id": "C1", "colour": "red"}', "colour"),
            (b"[]", "received []"),
        ):
            answer = await http.post("/v1/coils", content=body)
            assert said in problem(answer, 422, "parameters_invalid")
        for body in (b'{"coil_id": "C1", "length_mm": NaN}', b"{"):
            assert "JSON" in problem(await http.post("/v1/coils", content=body), 400, "request_invalid")
        assert (await http.get("/v1/coils")).json() == {"coils": [], "next": None}

    async def test_a_body_of_any_length_is_not_read(self, http):
        problem(await http.post("/v1/coils", content=b" " * 10_000), 413, "body_too_large")


@pytest.mark.anyio
class TestIds:
    async def test_any_printable_id_leads_to_its_own_coil(self, http):
        for coil_id in ODD_IDS:
            assert (await http.post("/v1/coils", json={"coil_id": coil_id})).status_code == 201
        for coil_id in ODD_IDS:
            assert (await http.get(path(coil_id))).json()["coil_id"] == coil_id
            assert (await http.get(path(coil_id, "/events"))).json() == {"events": [], "next": None}
            assert (await http.get(path(coil_id, "/map"))).json()["coil_id"] == coil_id
            assert (await http.get(path(coil_id, "/report"))).status_code == 200
            assert (await http.post(path(coil_id, "/close"))).json()["coil_id"] == coil_id
        told = (await http.get("/v1/coils")).json()["coils"]
        assert [each["coil_id"] for each in told] == ODD_IDS[::-1]
        assert all(each["closed_by"] == "api" for each in told)

    async def test_an_unknown_coil_is_named(self, http):
        for rest in ("", "/events", "/map", "/report"):
            assert "'C/9'" in problem(await http.get(path("C/9", rest)), 404, "not_found")

    async def test_nor_can_one_be_closed(self, http):
        problem(await http.post(path("C/9", "/close")), 404, "not_found")
        assert (await http.get("/v1/coils")).json()["coils"] == []

    async def test_a_slash_that_divides_is_no_part_of_an_id(self, http):
        await http.post("/v1/coils", json={"coil_id": "C/1"})
        assert (await http.get("/v1/coils/C/1")).status_code == 404


@pytest.mark.anyio
class TestReading:
    async def test_lists_are_paged(self, http, fill):
        # Not idle for so long that the server itself closes them.
        now = datetime.now(UTC)
        await fill(lambda connection: [add_coil(connection, f"C{number}", last_frame_at=now) for number in range(5)])
        first = (await http.get("/v1/coils", params={"limit": 2})).json()
        second = (await http.get("/v1/coils", params={"limit": 2, "cursor": first["next"]})).json()
        third = (await http.get("/v1/coils", params={"limit": 2, "cursor": second["next"]})).json()
        told = [each["coil_id"] for page in (first, second, third) for each in page["coils"]]
        assert told == ["C4", "C3", "C2", "C1", "C0"]
        assert third["next"] is None
        await http.post("/v1/coils/C2/close")
        closed = (await http.get("/v1/coils", params={"state": "closed"})).json()["coils"]
        assert [each["coil_id"] for each in closed] == ["C2"]

    async def test_a_query_that_makes_no_sense_is_told(self, http):
        for query in ("cursor=x", "cursor=-1", "limit=0", "limit=501", "state=ajar", "cursor=" + "9" * 99):
            problem(await http.get(f"/v1/coils?{query}"), 422, "parameters_invalid")
        await http.post("/v1/coils", json={"coil_id": "C1"})
        problem(await http.get("/v1/coils/C1/map?format=pdf"), 422, "parameters_invalid")
        # A name that is mistyped would else be answered as if nothing had been asked for.
        for mistyped in ("?stat=open", "/C1/events?limits=2", "/C1/map?fromat=svg"):
            problem(await http.get(f"/v1/coils{mistyped}"), 422, "parameters_invalid")
        for cursor in ("x", "1", ":", "nan", "1.0.0:3", "--1:3", ":x"):
            answer = await http.get("/v1/coils/C1/events", params={"cursor": cursor})
            problem(answer, 422, "parameters_invalid")

    async def test_a_coil_with_a_gap_and_a_roll(self, http, fill):
        def line(connection):
            for sequence in range(200):
                if sequence in (50, 51, 52):
                    continue
                place = {"position_mm": sequence * 512.0, "mm_per_pixel": 1.0, "height": 512, "width": 1000}
                add_inspection(connection, sequence=sequence, verdict="ok", **place)
            turns = [turn * 1885.0 for turn in range(54)]
            number = add_inspection(
                connection, sequence=200, verdict="defect", position_mm=200 * 512.0, mm_per_pixel=1.0
            )
            for turn in turns:
                lengths = {"position_mm": turn, "length_mm": 16.0, "across_mm": 300.0, "width_mm": 16.0}
                add_event(connection, number, defect_class="roll mark", width=16, height=16, **lengths)

        await fill(line)
        await http.post("/v1/coils/C1/close")
        told = (await http.get("/v1/coils/C1")).json()
        (camera,) = told["cameras"]
        (gap,) = camera["gaps"]
        assert (gap["first_sequence"], gap["last_sequence"], gap["frames"]) == (50, 52, 3)
        assert told["uninspected_mm"] == gap["to_mm"] - gap["from_mm"] == 3 * 512.0
        assert told["verdicts"] == {"ok": 197, "review": 0, "defect": 1}
        (repeat,) = told["periodic"]
        assert repeat["interval_mm"] == pytest.approx(1885.0, abs=3.0)
        assert [roll["name"] for roll in repeat["rolls"]] == ["r"]
        assert told["acceptance"]["verdict"] == "hold"
        assert told["acceptance"]["decided_by"]["rule"].startswith(("all classes", "not inspected"))
        assert told["acceptance"]["defaults"] == ["severity", "acceptance", "coverage"]
        assert camera["place_assumed"] is True

        page = (await http.get("/v1/coils/C1/events", params={"limit": 50})).json()
        rest = (await http.get("/v1/coils/C1/events", params={"limit": 50, "cursor": page["next"]})).json()
        positions = [event["position_mm"] for event in page["events"] + rest["events"]]
        assert positions == [turn * 1885.0 for turn in range(54)]
        assert rest["next"] is None

        picture = await http.get("/v1/coils/C1/map?format=png")
        assert picture.headers["content-type"] == "image/png"
        assert Image.open(io.BytesIO(picture.content)).width > 1000
        drawing = await http.get("/v1/coils/C1/map?format=svg")
        assert drawing.headers["content-type"].startswith("image/svg+xml")
        assert "default-src 'none'" in drawing.headers["content-security-policy"]
        layout = (await http.get("/v1/coils/C1/map")).json()
        assert len(layout["sides"][0]["events"]) == 54
        report = await http.get("/v1/coils/C1/report")
        assert report.headers["content-type"].startswith("text/html")
        assert "HOLD" in report.text

    async def test_a_side_whose_frames_were_all_refused_is_not_released(self, http, fill):
        """Here is no model: what is sent to it is refused, and what it has inspected is filled in."""

        def top(connection):
            for sequence in range(20):
                add_inspection(
                    connection, camera_id="top-1", sequence=sequence, position_mm=64.0 * sequence, mm_per_pixel=0.5
                )

        await fill(top)
        for sequence in range(20):
            about = {"coil_id": "C1", "camera_id": "bottom-1", "side": "bottom", "sequence": sequence}
            about |= {"position_mm": 64.0 * sequence, "mm_per_pixel": 0.5}
            answer = await http.post("/v1/inspect", params=about, content=b"-", headers={"content-type": "image/png"})
            problem(answer, 503, "no_active_model")
        await http.post("/v1/coils/C1/close")
        async with asyncio.timeout(10):
            while (told := (await http.get("/v1/coils/C1")).json())["refused"] < 20:
                await asyncio.sleep(0.02)
        below = told["cameras"][0]
        (gap,) = below["gaps"]
        assert (below["camera_id"], below["side"], below["lost"], below["uninspected_mm"]) == (
            "bottom-1", "bottom", 20, 1280.0
        )  # fmt: skip
        assert (gap["from_mm"], gap["to_mm"], gap["reasons"]) == (0, 1280, [{"code": "no_active_model", "frames": 20}])
        assert (told["uninspected_mm"], told["acceptance"]["verdict"]) == (1280.0, "hold")
        assert "1.280 m" in (await http.get("/v1/coils/C1/report")).text

    async def test_without_a_record_it_is_told(self, start, tmp_path):
        async with start(home=tmp_path, models=tmp_path / "models", record="off") as running:
            problem(await running.http.get("/v1/coils"), 503, "record_unavailable")
            answer = await running.http.post("/v1/coils", json={"coil_id": "C1"})
            problem(answer, 503, "record_unavailable")

    async def test_the_api_describes_itself(self, served):
        paths = served.app.openapi()["paths"]
        assert {"/v1/coils", "/v1/coils/{coil_id}", "/v1/coils/{coil_id}/map"} <= set(paths)
