"""What is left of a request: its log line and the counts."""

import io
import json
import logging
import re

import pytest
import structlog
from structlog.testing import capture_logs

from app import logs
from app.metrics import MAX_CAMERAS

pytestmark = pytest.mark.anyio


@pytest.fixture
def sample(served):
    """`sample(name, **labels)`: a metric's value now, 0 if it was never counted."""
    registry = served.service.metrics.registry
    return lambda name, **labels: registry.get_sample_value(name, labels) or 0


@pytest.fixture
def lines():
    """Everything logged through the configured logging, parsed."""
    stream = io.StringIO()
    before = logging.root.handlers[:], logging.root.level
    logs.configure("info", stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    structlog.reset_defaults()
    logging.root.handlers, level = before
    logging.root.setLevel(level)


async def test_a_request_is_one_log_line(post, png):
    with capture_logs() as found:
        answer = await post(png, camera_id="c1")
    (line,) = found
    assert line["request_id"] == answer.headers["x-request-id"]
    assert (line["method"], line["route"], line["status"]) == ("POST", "/v1/inspect", 200)
    assert line["verdict"] == answer.json()["verdict"]
    assert line["version"] == answer.json()["model"]["version"]
    assert line["duration_ms"] >= answer.json()["timing_ms"]["total"]
    assert line["code"] is None


async def test_a_refusal_is_logged_with_its_code(post):
    with capture_logs() as found:
        await post(b"")
    assert [(line["status"], line["code"]) for line in found] == [(400, "body_empty")]


async def test_a_frame_is_counted(post, sample, png):
    names = ["steelsight_frames_total", "steelsight_tiles_total", "steelsight_megapixels_total"]
    before = [sample(name) for name in names]
    reply = (await post(png)).json()
    after = [sample(name) for name in names]
    assert [round(now - then, 6) for now, then in zip(after, before, strict=True)] == [1, reply["image"]["tiles"], 0.02]
    assert sample("steelsight_verdicts_total", verdict=reply["verdict"], camera="none") >= 1
    assert sample("steelsight_in_flight") == 0
    assert sample("steelsight_queue_depth") == 0
    assert sample("steelsight_batch_frames_sum") == after[0]
    for stage in ("decode", "queue", "inference", "total"):
        assert sample("steelsight_stage_seconds_count", stage=stage) == after[0]


async def test_a_refusal_is_counted_by_code_and_status(post, sample):
    before = sample("steelsight_refusals_total", code="body_empty")
    await post(b"")
    assert sample("steelsight_refusals_total", code="body_empty") == before + 1
    assert sample("steelsight_requests_total", route="/v1/inspect", status="400") >= 1


async def test_paths_and_ids_of_clients_are_no_labels(http, post, png):
    for number in range(5):
        await http.get(f"/hostile-{number}")
        await post(png, coil_id=f"hostile-{number}", request_id="hostile", camera_id=f'hostile "{number}')
    exposition = (await http.get("/metrics")).text
    assert "hostile" not in exposition
    assert sample_of_others(exposition) == 5
    assert 'steelsight_requests_total{route="other",status="404"}' in exposition


def sample_of_others(exposition: str) -> float:
    """Frames of cameras that are no label."""
    return sum(
        float(line.split()[-1])
        for line in exposition.splitlines()
        if line.startswith("steelsight_verdicts_total{") and 'camera="other"' in line
    )


async def test_verdicts_are_counted_by_camera_for_few_cameras(start, tiny_models, png):
    async with start(models=tiny_models) as running:
        await running.until_ready()
        headers = {"content-type": "image/png"}
        for number in range(MAX_CAMERAS + 3):
            await running.http.post(f"/v1/inspect?camera_id=c{number}", content=png, headers=headers)
        exposition = (await running.http.get("/metrics")).text
    assert len(set(re.findall(r'camera="(c\d+)"', exposition))) == MAX_CAMERAS
    assert sample_of_others(exposition) == 3


async def test_logs_are_json_with_hostile_strings_escaped(lines):
    structlog.get_logger("hostile").warning("event\n", camera='"}\n{"level": "error"', surrogate="\ud800", nothing=None)
    logging.getLogger("uvicorn.error").info("a library says %s", "hello")
    ours, theirs = lines()
    assert ours["camera"] == '"}\n{"level": "error"'
    assert ours["level"] == "warning"
    assert "nothing" not in ours
    assert (theirs["event"], theirs["logger"], theirs["level"]) == ("a library says hello", "uvicorn.error", "info")
    assert all(line["timestamp"].endswith("Z") for line in (ours, theirs))


async def test_an_exception_is_one_line(lines):
    try:
        raise RuntimeError("two\nlines")
    except RuntimeError as error:
        structlog.get_logger("failing").error("request", exc_info=error)
    (line,) = lines()
    assert "RuntimeError: two\nlines" in line["exception"]
    assert "Traceback" in line["exception"]
