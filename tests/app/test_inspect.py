"""POST /v1/inspect: the contract, the three forms of body, the parameters."""

import json
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from app.errors import STATUS
from app.parameters import InspectQuery
from app.refusals import ServiceCode
from app.schemas import InspectionReply
from app.store.numbers import number_of
from model.command import main
from model.errors import ErrorCode
from model.image import decode
from model.inspector import Inspector
from model.registry import Registry

pytestmark = pytest.mark.anyio

# Half a tile, so that tiles overlap and frames have several events.
STRIDE = 32


@pytest.fixture(scope="module")
def inspector(tiny_models: Path) -> Inspector:
    registry = Registry(tiny_models)
    return Inspector.load(registry, registry.require_active(), "onnx")


def assert_refused(answer, code: ErrorCode | ServiceCode) -> None:
    """A problem document with this code and its status."""
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (STATUS[code], code), problem
    assert answer.headers["content-type"] == "application/problem+json"
    assert set(problem) == {"type", "title", "status", "detail", "code", "instance"}
    assert problem["status"] == answer.status_code
    assert problem["instance"] == answer.headers["x-request-id"]


async def test_the_reply_is_the_contract_and_the_domain_s_own_answer(post, png, inspector):
    answer = await post(png)
    reply, expected = answer.json(), inspector.inspect(decode(png))
    assert answer.status_code == 200
    assert set(reply) == {
        *("inspection_id", "verdict", "defect_probability", "thresholds", "model", "image", "events", "quality"),
        "timing_ms",
    }
    assert number_of(reply["inspection_id"]) > 0
    assert reply["verdict"] == expected.verdict
    assert reply["defect_probability"] == expected.defect_probability
    assert reply["thresholds"] == inspector.thresholds.model_dump()
    assert reply["model"] == {"version": inspector.version, "engine": "onnx"}
    assert reply["image"] == {
        "width": 200,
        "height": 100,
        "tiles": expected.scores.size,
        "method": expected.method,
    }
    assert reply["quality"] == {"accepted": True, "warnings": list(expected.quality.warnings)}
    assert [event | {"defect_class": None, "position_mm": None} for event in map(vars, expected.events)] == reply[
        "events"
    ]


@pytest.fixture
def image_file(tmp_path: Path, png: bytes) -> Path:
    """The frame of 200 x 100 px, as a file."""
    path = tmp_path / "frame.png"
    path.write_bytes(png)
    return path


async def test_the_command_line_tells_the_same_in_the_same_shape(post, png, tiny_models, image_file, capsys):
    assert main(["inspect", "active", str(image_file), "--models", str(tiny_models)]) == 0
    printed, answered = json.loads(capsys.readouterr().out), (await post(png)).json()
    assert printed.pop("file") == str(image_file)
    of_the_request = {"inspection_id", "timing_ms"}
    assert {name: value for name, value in answered.items() if name not in of_the_request} == {
        **printed,
        "events": [event | {"position_mm": None} for event in printed["events"]],
    }


async def test_the_command_line_goes_by_the_server_s_variables(start, tiny_models, image_file, monkeypatch, capsys):
    chosen = {"engine": "onnx", "stride": 16, "min_side": 100, "max_pixels": 20_000}
    for name, value in chosen.items():
        monkeypatch.setenv(f"STEELSIGHT_{name.upper()}", str(value))
    assert main(["inspect", "active", str(image_file), "--models", str(tiny_models)]) == 0
    printed = json.loads(capsys.readouterr().out)
    async with start(models=tiny_models, **chosen) as running:
        await running.until_ready()
        headers = {"content-type": "image/png"}
        answered = (await running.http.post("/v1/inspect", content=image_file.read_bytes(), headers=headers)).json()
    assert printed["image"]["tiles"] > 20
    for name in ("verdict", "defect_probability", "image"):
        assert printed[name] == answered[name]


async def test_times_are_milliseconds_that_fit_into_the_total(post, png):
    timing = (await post(png)).json()["timing_ms"]
    assert list(timing) == ["decode", "queue", "inference", "store", "total"]
    parts = sum(value for name, value in timing.items() if name != "total")
    assert 0 < timing["store"] < parts <= timing["total"] + 0.01
    assert all(round(value, 3) == value for value in timing.values())


async def test_all_three_forms_get_the_same_verdict(http, post, steel_frame, as_png, as_raw):
    frame = steel_frame(96, 160, seed=3, defects=1)
    file = as_png(frame)
    answers = [
        await post(file),
        await http.post("/v1/inspect", files={"image": ("frame.png", file, "image/png")}),
        *[
            await post(
                as_raw(frame, pixel_format),
                "application/octet-stream",
                width=160,
                height=96,
                pixel_format=pixel_format,
            )
            for pixel_format in ("Mono8", "Mono10", "Mono12", "Mono16")
        ],
    ]
    assert [answer.status_code for answer in answers] == [200] * 6
    assert len({(answer.json()["verdict"], answer.json()["defect_probability"]) for answer in answers}) == 1


@pytest.mark.parametrize("content_type", ["image/jpeg", "IMAGE/PNG; charset=binary", "image/x-unheard-of"])
async def test_the_signature_decides_not_the_label(post, png, content_type):
    assert (await post(png, content_type)).status_code == 200


async def test_events_are_placed_on_the_strip(start, tiny_models, steel_tiles, as_png):
    # Tiles of many kinds, one below the other: some are defects to any network.
    file = as_png(steel_tiles(8, 64).reshape(-1, 64))
    async with start(models=tiny_models, stride=STRIDE) as running:
        await running.until_ready()
        query = {"position_mm": "1000.5", "mm_per_pixel": "0.25"}
        headers = {"content-type": "image/png"}
        placed = (await running.http.post("/v1/inspect", content=file, headers=headers, params=query)).json()["events"]
        del query["mm_per_pixel"]
        loose = (await running.http.post("/v1/inspect", content=file, headers=headers, params=query)).json()["events"]
    assert placed
    assert [event["position_mm"] for event in placed] == [1000.5 + event["y"] * 0.25 for event in placed]
    assert [event["position_mm"] for event in loose] == [None] * len(placed)


async def test_every_parameter_is_accepted(post, png):
    answer = await post(
        png,
        camera_id="Kamera 1 (Süd)",
        coil_id="C-0815",
        side="top",
        sequence=2**63 - 1,
        position_mm="-1.5e3",
        mm_per_pixel=".25",
        captured_at="2026-01-31T08:30:00.123456789+01:00",
        request_id="frame-1",
    )
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("camera_id", value) for value in ("", "x" * 129, "a\nb", "a\x00b", "a\u202eb", "\x7f")],
        *[("side", value) for value in ("", "x" * 33)],
        *[
            ("sequence", value)
            for value in ("-1", "1.0", "1_000", " 1", "+1", "", "x", str(2**63), "9" * 5000, "\u0661")
        ],
        *[
            ("position_mm", value)
            for value in ("nan", "inf", "-Infinity", "1e999", "1e308", "-1000000001", "1_0", "0x10", "")
        ],
        ("position_mm", "1,5"),
        *[("mm_per_pixel", value) for value in ("0", "-1", "nan", "1e-999", "1e308", "1001")],
        *[("captured_at", value) for value in ("1700000000", "2026-01-31", "2026-01-31T08:30:00", "yesterday")],
        *[("captured_at", value) for value in ("2026-02-30T08:30:00Z", "2026-01-31T08:30:00 01:00", "")],
        # A leap second is the last of a month, in UTC.
        *[("captured_at", value) for value in ("2016-12-31T12:59:60Z", "2016-12-30T23:59:60Z", "2016-12-31T23:59:61Z")],
        *[("captured_at", value) for value in ("2016-12-31T23:59:60+01:00", "9999-12-31T23:59:60Z")],
        ("request_id", "x" * 129),
        *[("overlap_rows", value) for value in ("-1", "1.5", "", "true")],
        *[("heatmap", value) for value in ("1", "yes", "True", "")],
    ],
)
async def test_a_bad_value_is_refused_by_name(post, png, name, value):
    answer = await post(png, **{name: value})
    assert_refused(answer, ServiceCode.PARAMETERS_INVALID)
    assert answer.json()["detail"].startswith(f"{name}: received ")
    assert len(answer.json()["detail"]) < 500
    assert answer.json()["detail"].isascii()


@pytest.mark.parametrize(
    ("written", "taken_as"),
    [
        ("2016-12-31T23:59:60Z", "2016-12-31T23:59:59.999999Z"),
        ("2016-12-31t23:59:60.25z", "2016-12-31T23:59:59.999999Z"),
        ("1990-12-31T15:59:60-08:00", "1990-12-31T15:59:59.999999-08:00"),
        ("2016-12-31T23:59:59.5Z", "2016-12-31T23:59:59.5Z"),
    ],
)
async def test_a_leap_second_is_the_last_microsecond_before_it(post, png, written, taken_as):
    assert (await post(png, captured_at=written)).status_code == 200
    assert InspectQuery(captured_at=written).captured_at == datetime.fromisoformat(taken_as)


async def test_the_farthest_position_still_has_events_with_a_place(post, steel_tiles, as_png):
    file = as_png(steel_tiles(8, 64).reshape(-1, 64))
    events = (await post(file, position_mm="1e9", mm_per_pixel="1000")).json()["events"]
    assert events
    assert all(event["position_mm"] == 1e9 + 1000 * event["y"] for event in events)


async def test_a_heat_map_is_told_if_asked_for(post, png, inspector):
    expected = inspector.inspect(decode(png))
    told = (await post(png, heatmap="true")).json()["heatmap"]
    assert told["defect_probability"] == expected.scores.tolist()
    assert (told["y"], told["x"]) == (list(expected.grid.rows), list(expected.grid.columns))
    assert "heatmap" not in (await post(png, heatmap="false")).json()


async def test_rows_seen_before_are_judged_with_the_frame_before(post, steel_frame, as_png, inspector):
    frame = steel_frame(256, 128, seed=5, defects=3)
    answer = await post(as_png(frame), overlap_rows=100)
    (expected,) = inspector.inspect_all([frame], [100])
    assert answer.json()["defect_probability"] == expected.defect_probability
    assert len(answer.json()["events"]) == len(expected.events)


@pytest.mark.parametrize("rows", [100, 101, 2**31])
async def test_a_frame_of_which_nothing_is_new_is_refused(post, png, rows):
    answer = await post(png, overlap_rows=rows)
    assert_refused(answer, ServiceCode.PARAMETERS_INVALID)
    assert "overlap_rows" in answer.json()["detail"]


@pytest.mark.parametrize("query", [{}, {"heatmap": "true"}, {"position_mm": "1", "mm_per_pixel": "2"}])
async def test_every_reply_is_what_the_description_promises(post, steel_tiles, as_png, query):
    answer = await post(as_png(steel_tiles(8, 64).reshape(-1, 64)), **query)
    reply = InspectionReply.model_validate_json(answer.content, strict=True)
    assert reply.model_dump(mode="json", exclude_unset=True) == answer.json()
    assert answer.headers["content-type"] == "application/json"


async def test_a_misspelt_parameter_is_refused(post, png):
    answer = await post(png, camera="c1", coilid="x")
    assert_refused(answer, ServiceCode.PARAMETERS_INVALID)
    assert "'camera'" in answer.json()["detail"]
    assert "'coilid'" in answer.json()["detail"]


async def test_a_thousand_wrong_parameters_make_a_short_answer(post, png):
    answer = await post(png, **{"x" * 40 + str(number): "y" for number in range(1000)})
    assert_refused(answer, ServiceCode.PARAMETERS_INVALID)
    assert len(answer.content) < 3000


@pytest.mark.parametrize("missing", ["width", "height", "pixel_format"])
async def test_raw_pixels_need_their_shape(post, missing):
    query = {"width": 8, "height": 8, "pixel_format": "Mono8"}
    del query[missing]
    answer = await post(bytes(64), "application/octet-stream", **query)
    assert_refused(answer, ServiceCode.PARAMETERS_INVALID)
    assert f"missing: {missing}" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"width": 0}, ServiceCode.PARAMETERS_INVALID),
        ({"width": 2**31 + 1}, ServiceCode.PARAMETERS_INVALID),
        ({"pixel_format": "mono8"}, ServiceCode.PARAMETERS_INVALID),
        ({"pixel_format": "Mono12Packed"}, ServiceCode.PARAMETERS_INVALID),
        ({"width": 2**31, "height": 2**31}, ErrorCode.IMAGE_TOO_LARGE),
        ({"width": 9}, ErrorCode.RAW_FRAME_INVALID),
        ({"pixel_format": "Mono16"}, ErrorCode.RAW_FRAME_INVALID),
        ({"width": 4, "height": 16}, ErrorCode.IMAGE_TOO_SMALL),
    ],
)
async def test_raw_pixels_that_do_not_fit_their_shape_are_refused(post, query, code):
    shape = {"width": 8, "height": 8, "pixel_format": "Mono8"} | query
    assert_refused(await post(bytes(64), "application/octet-stream", **shape), code)


async def test_a_file_with_the_shape_of_raw_pixels_is_refused(post, png):
    answer = await post(png, width=200, height=100, pixel_format="Mono8")
    assert_refused(answer, ServiceCode.PARAMETERS_INVALID)
    assert "width, height, pixel_format" in answer.json()["detail"]


@pytest.mark.parametrize("turned", [False, True])
async def test_a_thin_frame_is_as_large_as_what_is_scored_of_it(post, as_png, turned):
    """8 Mpx, and 64 Mpx and a column once its 8 rows are extended to the 64 of a tile."""
    shape = (1_000_001, 8) if turned else (8, 1_000_001)
    frame = np.zeros(shape, np.uint8)
    answer = await post(as_png(frame))
    assert_refused(answer, ErrorCode.IMAGE_TOO_LARGE)
    assert "64.0 Mpx" in answer.json()["detail"]
    raw = {"width": shape[1], "height": shape[0], "pixel_format": "Mono8"}
    assert_refused(await post(frame.tobytes(), "application/octet-stream", **raw), ErrorCode.IMAGE_TOO_LARGE)


@pytest.mark.parametrize(
    "content_type", [None, "text/plain", "application/json", "application/x-www-form-urlencoded", ";"]
)
async def test_other_content_types_are_refused_with_what_is_accepted(post, png, content_type):
    answer = await post(png, content_type)
    assert_refused(answer, ServiceCode.CONTENT_TYPE_UNSUPPORTED)
    assert all(
        word in answer.json()["detail"] for word in ("image/*", "multipart/form-data", "application/octet-stream")
    )


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", ErrorCode.BODY_EMPTY),
        (b"GIF89a" + bytes(100), ErrorCode.IMAGE_FORMAT_UNSUPPORTED),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), ErrorCode.IMAGE_CORRUPT),
    ],
)
async def test_bodies_that_are_no_image_are_refused(post, body, code):
    assert_refused(await post(body), code)


async def test_a_cut_file_gets_no_verdict(post, png):
    assert_refused(await post(png[: len(png) // 2]), ErrorCode.IMAGE_CORRUPT)


async def test_the_same_frame_gets_the_same_answer_from_many_at_once(post, steel_frame, as_png):
    import anyio

    files = [as_png(steel_frame(64, 64 + 8 * number, seed=number)) for number in range(6)]
    alone = [(await post(file)).json()["defect_probability"] for file in files]
    together: dict[int, float] = {}

    async def send(number: int) -> None:
        together[number] = (await post(files[number % 6])).json()["defect_probability"]

    async with anyio.create_task_group() as tasks:
        for number in range(24):
            tasks.start_soon(send, number)
    assert [together[number] for number in range(24)] == alone * 4
