"""Traces as a receiver gets them: a real server, and OTLP over HTTP into a small one of ours."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.app.waiting import WITHIN_S, wait_until

ROOT = Path(__file__).parents[2]
CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Receiver(ThreadingHTTPServer):
    """Keeps the spans that are posted to it, with their service's name."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Posts)
        self.spans: list[tuple[str, object]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Posts(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        assert self.path == "/v1/traces"
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            named = {each.key: each.value.string_value for each in resource.resource.attributes}
            for scope in resource.scope_spans:
                self.server.spans.extend((named["service.name"], span) for span in scope.spans)
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_) -> None:
        """Be quiet."""


@pytest.fixture(scope="module")
def spans(tiny_models: Path, tmp_path_factory: pytest.TempPathFactory, png: bytes) -> Iterator[dict[str, list]]:
    """By name, the spans of one inspection with a caller's trace, one refusal, and a stop."""
    receiver = Receiver()
    threading.Thread(target=receiver.serve_forever).start()
    home = tmp_path_factory.mktemp("traced")
    environment = {
        "PATH": os.environ["PATH"],
        "STEELSIGHT_HOME": str(home),
        "STEELSIGHT_MODELS": str(tiny_models),
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
    }
    command = [sys.executable, "-m", "app", "serve", "--port", "0"]
    with (home / "log").open("w") as log:
        server = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.PIPE, text=True)
    try:
        url = re.search(r"http://127\.0\.0\.1:\d+", server.stderr.readline())[0]
        wait_until(lambda: httpx.get(f"{url}/readyz").status_code == 200)
        headers = {"content-type": "image/png", "traceparent": CALLER}
        answer = httpx.post(f"{url}/v1/inspect", content=png, headers=headers)
        refused = httpx.post(f"{url}/v1/inspect", content=b"no image", headers={"content-type": "image/png"})
        assert (answer.status_code, refused.status_code) == (200, 415)
        server.send_signal(signal.SIGTERM)
        # What was waiting is sent before the end.
        assert server.wait(WITHIN_S) == 0
    finally:
        server.kill()
        server.stderr.close()
        receiver.shutdown()
        receiver.server_close()
    found: dict[str, list] = {"replies": [answer.json()]}
    for service, span in receiver.spans:
        assert service == "steelsight"
        found.setdefault(span.name, []).append(span)
    yield found


def attributes(span) -> dict:
    return {each.key: each.value.string_value or each.value.int_value for each in span.attributes}


def test_an_inspection_is_a_span_of_its_callers_trace(spans):
    inspected, refused = spans["POST /v1/inspect"]
    assert (inspected.trace_id.hex(), inspected.parent_span_id.hex()) == tuple(CALLER.split("-")[1:3])
    (reply,) = spans["replies"]
    said = attributes(inspected)
    assert said["http.response.status_code"] == 200
    assert said["steelsight.verdict"] == reply["verdict"]
    assert said["steelsight.model_version"] == reply["model"]["version"]
    assert attributes(refused)["error.type"] == "image_format_unsupported"
    assert refused.trace_id != inspected.trace_id


def test_its_stages_are_spans_within_it(spans):
    inspected = spans["POST /v1/inspect"][0]
    stages = [spans[name][0] for name in ("receive", "queue", "decode", "inference", "store")]
    assert {stage.parent_span_id for stage in stages} == {inspected.span_id}
    assert {stage.trace_id for stage in stages} == {inspected.trace_id}
    edges = [inspected.start_time_unix_nano]
    for stage in stages:
        edges += [stage.start_time_unix_nano, stage.end_time_unix_nano]
    assert [*edges, inspected.end_time_unix_nano] == sorted([*edges, inspected.end_time_unix_nano])
    measured = spans["replies"][0]["timing_ms"]
    for name, stage in zip(("queue", "decode", "inference", "store"), stages[1:], strict=True):
        took_ms = (stage.end_time_unix_nano - stage.start_time_unix_nano) / 1e6
        assert took_ms == pytest.approx(measured[name], abs=0.01)


def test_without_an_endpoint_nothing_of_it_is_imported():
    program = (
        "import sys; from app.main import create_app; from app.settings import Settings; create_app(Settings()); "
        "sys.exit(any(name.startswith(('opentelemetry.sdk', 'opentelemetry.exporter')) for name in sys.modules))"
    )
    environment = {"PATH": os.environ["PATH"]}
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environment, check=False).returncode == 0
