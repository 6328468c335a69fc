"""`python -m app` as its user meets it: real processes, sockets and signals."""

import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from model.registry import POINTER
from tests.app.waiting import WITHIN_S, wait_until

ROOT = Path(__file__).parents[2]


def environment(home: Path, **variables: str) -> dict[str, str]:
    """Nothing of this process's settings but where programs are."""
    return {"PATH": os.environ["PATH"], "STEELSIGHT_HOME": str(home), "STEELSIGHT_SHUTDOWN_SECONDS": "10"} | variables


def command(*arguments: str, home: Path, package: str = "app", **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m package ...` to its end."""
    return subprocess.run(
        [sys.executable, "-m", package, *arguments],
        cwd=ROOT,
        env=environment(home, **variables),
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )


@dataclass
class Server:
    """A running `python -m app serve`."""

    process: subprocess.Popen[str]
    url: str
    log: Path
    verify: ssl.SSLContext | bool = True

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self.url + path, timeout=WITHIN_S, verify=self.verify)

    def post(self, body: bytes) -> httpx.Response:
        headers = {"content-type": "image/png"}
        return httpx.post(f"{self.url}/v1/inspect", content=body, headers=headers, timeout=WITHIN_S)

    def count(self, sample: str) -> float:
        found = re.search(rf"^{re.escape(sample)} (\S+)$", self.get("/metrics").text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    def lines(self) -> list[dict]:
        return [json.loads(line) for line in self.log.read_text(encoding="utf-8").splitlines()]

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(WITHIN_S)


@contextmanager
def serving(
    home: Path, *flags: str, scheme: str = "http", verify: ssl.SSLContext | bool = True, **variables: str
) -> Iterator[Server]:
    """A server on a port of the system's choice, read off what it prints. verify: whom a client of it believes."""
    log = home.with_suffix(".log")
    with (
        log.open("w") as output,
        subprocess.Popen(
            [sys.executable, "-m", "app", "serve", "--port", "0", *flags],
            cwd=ROOT,
            env=environment(home, **variables),
            stdout=output,
            stderr=subprocess.PIPE,
            text=True,
        ) as process,
    ):
        try:
            first = process.stderr.readline()
            url = re.search(rf"{scheme}://127\.0\.0\.1:\d+", first)
            assert url, first + process.stderr.read()
            server = Server(process, url[0], log, verify)
            wait_until(lambda: server.get("/healthz").status_code == 200)
            yield server
        finally:
            process.kill()


@pytest.fixture
def home(tmp_path: Path, tiny_models: Path) -> Path:
    """A data root with models of which none is active."""
    root = tmp_path / "home"
    shutil.copytree(tiny_models, root / "models")
    (root / "models" / POINTER).unlink()
    return root


@pytest.fixture
def version(home: Path) -> str:
    return sorted(path.name for path in (home / "models").iterdir() if path.is_dir())[0]


@pytest.fixture
def ready_home(home: Path, version: str) -> Path:
    (home / "models" / POINTER).write_text(json.dumps({"active": version}))
    return home


def half_sent(server: Server, body: bytes) -> socket.socket:
    """A connection on which a request has begun, of whose body half is still to come."""
    address = httpx.URL(server.url)
    connection = socket.create_connection((address.host, address.port), timeout=WITHIN_S)
    head = f"POST /v1/inspect HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: {len(body)}\r\n\r\n"
    connection.sendall(head.encode() + body[: len(body) // 2])
    wait_until(lambda: server.count("steelsight_arriving") == 1)
    return connection


def test_a_model_is_activated_without_a_restart_and_a_stop_loses_no_request(home, version, png):
    with serving(home) as server:
        wait_until(lambda: server.get("/readyz").json()["code"] == "no_active_model")
        assert server.post(png).status_code == 503

        activated = command("activate", version, home=home, package="model")
        assert activated.returncode == 0, activated.stderr
        wait_until(lambda: server.get("/readyz").status_code == 200)
        assert server.post(png).json()["model"] == {"version": version, "engine": "onnx"}
        assert "tensorflow" not in Path(f"/proc/{server.process.pid}/maps").read_text()

        with half_sent(server, png) as connection:
            server.process.send_signal(signal.SIGTERM)
            wait_until(lambda: "Shutting down" in server.log.read_text())
            connection.sendall(png[len(png) // 2 :])
            assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
        assert server.process.wait(WITHIN_S) == 0
        assert "Traceback" not in server.process.stderr.read()
        statuses = [line["status"] for line in server.lines() if line.get("route") == "/v1/inspect"]
        assert statuses == [503, 200, 200]


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_stop_in_the_middle_of_load_answers_whoever_was_heard(ready_home, png, workers):
    with serving(ready_home, "--workers", workers) as server:
        wait_until(lambda: server.get("/readyz").status_code == 200)
        answered: list[int] = []
        stopping = threading.Event()

        def load() -> None:
            headers = {"content-type": "image/png"}
            with httpx.Client(timeout=WITHIN_S) as client:
                while True:
                    try:
                        answer = client.post(f"{server.url}/v1/inspect", content=png, headers=headers)
                    except httpx.TransportError:
                        # A connection that was closed between two requests, or a port that nobody listens on.
                        assert stopping.is_set()
                        return
                    # One worker serves while the other, on a busy machine, still loads the model.
                    if answer.json().get("code") != "model_loading":
                        assert answer.json()["verdict"]
                        answered.append(answer.status_code)

        with ThreadPoolExecutor(8) as pool:
            clients = [pool.submit(load) for _ in range(8)]
            wait_until(lambda: len(answered) > 50)
            stopping.set()
            assert server.stop() == 0
            for client in clients:
                client.result(WITHIN_S)
        lines = [line for line in server.lines() if line.get("route") == "/v1/inspect"]
        assert [line["status"] for line in lines if line.get("code") != "model_loading"] == answered
        assert "Traceback" not in server.log.read_text()


def test_a_request_that_never_ends_does_not_hold_up_a_stop(ready_home, png):
    with serving(ready_home, STEELSIGHT_SHUTDOWN_SECONDS="1") as server:
        wait_until(lambda: server.get("/readyz").status_code == 200)
        with half_sent(server, png) as connection:
            assert server.stop() == 0
            answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b'"code":"shutting_down"' in answer
    assert "Traceback" not in server.log.read_text()


def test_what_is_printed_at_the_start_leads_to_the_api(ready_home):
    with serving(ready_home) as server:
        printed = [server.process.stderr.readline() for _ in range(2)]
        assert f"{server.url}/docs" in printed[0]
        assert all(word in printed[1] for word in ("engine auto", "1 worker", "thread", str(ready_home / "models")))
        assert server.stop(signal.SIGINT) == 0


def test_workers_share_the_work_the_counts_and_the_end(ready_home, png):
    with serving(ready_home, "--workers", "2", STEELSIGHT_CONCURRENCY="1") as server:
        wait_until(lambda: server.get("/readyz").status_code == 200)
        wait_until(lambda: server.count('steelsight_requests_total{route="/readyz",status="200"}') >= 1)
        served = 0
        while served < 20:
            served += server.post(png).status_code == 200
        assert server.count("steelsight_frames_total") == 20

        def started():
            return {line["event"].split("[")[1] for line in server.lines() if "Started server" in line["event"]}

        # One worker answers while the other, on a busy machine, is still starting.
        wait_until(lambda: len(started()) == 2)
        workers = started()
        os.kill(int(workers.pop().strip("]")), signal.SIGKILL)
        wait_until(lambda: sum("Started server" in line["event"] for line in server.lines()) == 3)
        wait_until(lambda: server.get("/readyz").status_code == 200)
        assert server.count("steelsight_frames_total") == 20
        assert server.stop() == 0


def test_workers_end_with_their_supervisor(ready_home):
    with serving(ready_home, "--workers", "2") as server:
        server.stop(signal.SIGKILL)

        def refused() -> bool:
            try:
                server.get("/healthz")
            except httpx.ConnectError:
                return True
            return False

        wait_until(refused)


def test_a_second_server_on_the_same_root_refuses(ready_home):
    with serving(ready_home):
        second = command("serve", "--port", "0", home=ready_home)
    assert second.returncode == 1
    assert re.fullmatch(r"error: another server runs on .*STEELSIGHT_HOME\n", second.stderr)


def test_a_taken_port_is_named(ready_home, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        run = command("serve", "--port", port, home=tmp_path / "other")
    assert run.returncode == 1
    assert (
        run.stderr
        == f"error: cannot listen on 127.0.0.1 port {port}: Address already in use; choose another with --port\n"
    )


@pytest.mark.parametrize(
    ("arguments", "variables", "exit_code", "says"),
    [
        ([], {}, 2, "required: command"),
        (["serv"], {}, 2, "invalid choice: 'serv'"),
        (["serve", "--prot", "1"], {}, 2, "unrecognized arguments: --prot"),
        (["serve", "--port", "x"], {}, 2, "error: --port: received 'x'"),
        (["serve"], {"STEELSIGHT_PROT": "1"}, 2, "did you mean STEELSIGHT_PORT?"),
        (["serve"], {"STEELSIGHT_KEEP_OK_DAYS": "inf"}, 2, "error: STEELSIGHT_KEEP_OK_DAYS: received 'inf'"),
        (["serve", "--host", "300.0.0.1"], {"STEELSIGHT_ACCESS": "open"}, 1, "error: cannot listen on 300.0.0.1"),
        (["serve"], {"STEELSIGHT_HOME": "/dev/null/home"}, 1, "error: the data root /dev/null/home cannot be used"),
    ],
)
def test_wrong_usage_is_one_clear_line(tmp_path, arguments, variables, exit_code, says):
    run = command(*arguments, home=tmp_path, **variables)
    assert run.returncode == exit_code
    assert says in run.stderr.splitlines()[-1]
    assert "Traceback" not in run.stderr
    assert run.stdout == ""


@pytest.mark.parametrize("models", ["models", "absent/models"])
def test_the_models_folder_is_there_to_copy_a_version_into(tmp_path, models):
    with serving(tmp_path / "home", "--models", str(tmp_path / "home" / models)) as server:
        assert (tmp_path / "home" / models).is_dir() == (models == "models")
        assert server.get("/readyz").json()["code"] in {"model_loading", "no_active_model"}
