"""Refusals as HTTP: every code has a status, every answer is a problem document, nothing internal leaks."""

import pytest
from structlog.testing import capture_logs

from app.complaints import complaints, echo
from app.errors import RETRY_AFTER_S, STATUS
from app.refusals import ServiceCode
from model.errors import ErrorCode

SECRET = b"pixels of a customer's coil"


def test_every_code_has_a_status():
    assert set(STATUS) == {*ErrorCode, *ServiceCode}
    assert not {*map(str, ErrorCode)} & {*map(str, ServiceCode)}


def test_only_the_service_s_own_fault_is_a_500():
    assert [code for code, status in STATUS.items() if status == 500] == [ServiceCode.INTERNAL_ERROR]
    assert {status for status in STATUS.values() if status > 500} == {503, 504}
    assert all(STATUS[code] == 503 for code in RETRY_AFTER_S)


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), 10**4000, "\ud800\x00\n", b"\xff" * 9999, {"a": "x" * 9999}]
)
def test_whatever_was_received_is_echoed_as_short_plain_text(value):
    shown = echo(value)
    assert shown.isascii()
    assert shown.isprintable()
    assert len(shown) < 100


def test_complaints_survive_hostile_names():
    error = {"loc": ("query", "\ud800" * 9999), "type": "extra_forbidden", "msg": "Extra", "input": "x"}
    assert len(complaints([error] * 500)) < 3000
    assert complaints([error]).isascii()


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nope", 404, "not_found"),
        ("GET", "/healthz/", 404, "not_found"),
        ("GET", "/v1/../%00%ff", 404, "not_found"),
        ("GET", "/v1/inspect", 405, "method_not_allowed"),
        ("DELETE", "/healthz", 405, "method_not_allowed"),
        ("GET", "/docs/assets/../core.py", 404, "not_found"),
        ("GET", "/docs/assets/%2e%2e/core.py", 404, "not_found"),
    ],
)
async def test_what_the_framework_refuses_is_a_problem_document(http, method, path, status, code):
    answer = await http.request(method, path)
    problem = answer.json()
    assert (answer.status_code, problem["code"], problem["status"]) == (status, code, status)
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["type"] == f"urn:steelsight:problem:{code}"
    assert (status == 405) == ("allow" in answer.headers)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("method", "path", "methods"),
    [
        ("PUT", "/v1/inspect", "POST"),
        ("HEAD", "/v1/inspect", "POST"),
        ("POST", "/healthz", "GET, HEAD"),
        ("PUT", "/v1/sessions", "DELETE, GET, HEAD, POST"),
        ("PATCH", "/v1/coils", "GET, HEAD, POST"),
        ("DELETE", "/v1/coils/K%2F1", "GET, HEAD"),
        ("GET", "/v1/coils/K%2F1/close", "POST"),
        ("GET", "/v1/inspections/0000000000000001/review", "DELETE, POST"),
        ("DELETE", "/v1/cameras/north/1/frame.png", "GET, HEAD"),
        ("DELETE", "/docs/assets/swagger-ui.css", "GET, HEAD"),
        ("PUT", "/v1/models/rollback", "POST"),
        ("GET", "/v2/models/steelsight/infer", "POST"),
        ("TRACE", "/v2/models/steelsight", "GET, HEAD"),
    ],
)
async def test_a_refused_method_is_told_which_the_path_has(http, method, path, methods):
    answer = await http.request(method, path)
    assert (answer.status_code, answer.headers["allow"]) == (405, methods)


@pytest.mark.anyio
async def test_an_unforeseen_error_is_logged_whole_and_shown_as_internal(start, tiny_models, png, monkeypatch):
    async with start(models=tiny_models) as running:
        await running.until_ready()

        def fail(*_: object) -> None:
            raise RuntimeError("the secret of line 7")

        monkeypatch.setattr(type(running.service.slot.require()), "inspect_all", fail)
        headers = {"content-type": "image/png", "x-request-id": "frame-7"}
        with capture_logs() as lines:
            answer = await running.http.post("/v1/inspect", content=png, headers=headers)
    assert (answer.status_code, answer.json()["code"], answer.json()["instance"]) == (500, "internal_error", "frame-7")
    assert "secret" not in answer.text
    (line,) = [line for line in lines if line["event"] == "request"]
    assert (line["request_id"], line["status"], line["log_level"]) == ("frame-7", 500, "error")
    assert "secret" in str(line["exc_info"])


@pytest.mark.anyio
@pytest.mark.parametrize("content_type", ["image/png", "multipart/form-data; boundary=b", "application/octet-stream"])
async def test_no_bytes_of_a_body_reach_the_log(post, content_type):
    query = {"width": 8, "height": 8, "pixel_format": "Mono8"} if content_type.endswith("stream") else {}
    with capture_logs() as lines:
        answer = await post(SECRET, content_type, **query)
    assert answer.status_code >= 400
    assert len(lines) == 1
    assert "customer" not in str(lines)


@pytest.mark.anyio
@pytest.mark.parametrize("offered", ["frame-1", "x" * 128, '{"a":1}'])
async def test_a_sane_request_id_is_kept(http, offered):
    assert (await http.get("/healthz", headers={"x-request-id": offered})).headers["x-request-id"] == offered


@pytest.mark.anyio
@pytest.mark.parametrize("offered", ["", "x" * 129, "a b", "a\tb", b"\xff\xfe"])
async def test_another_request_id_is_replaced(http, offered):
    answers = [await http.get("/healthz", headers={"x-request-id": offered}) for _ in range(2)]
    ids = {answer.headers["x-request-id"] for answer in answers}
    assert len(ids) == 2
    assert all(len(each) == 32 for each in ids)


@pytest.mark.anyio
@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/docs", "/openapi.json", "/nope", "/v1/inspect"])
async def test_head_answers_as_get_without_the_body(http, path):
    whole, head = await http.get(path), await http.head(path)
    assert head.content == b""
    assert whole.content
    assert head.status_code == whole.status_code
    assert head.headers["content-type"] == whole.headers["content-type"]
    # The counts grow by the request itself, and a problem names its request.
    if path in ("/healthz", "/readyz", "/docs"):
        assert head.headers["content-length"] == whole.headers["content-length"]


@pytest.mark.anyio
async def test_a_head_request_is_logged_as_what_it_is(http):
    with capture_logs() as lines:
        await http.head("/readyz")
    assert [(line["method"], line["route"], line["status"]) for line in lines] == [("HEAD", "/readyz", 200)]


@pytest.mark.anyio
async def test_head_of_a_server_without_a_model_is_its_503(start, tmp_path):
    async with start(models=tmp_path) as running:
        assert (await running.http.head("/readyz")).status_code == 503
        assert (await running.http.head("/healthz")).status_code == 200
