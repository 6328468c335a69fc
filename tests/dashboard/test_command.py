"""`python -m app dashboard` as a process: how it begins and ends."""

import signal
import socket

import httpx
import pytest

from app import health
from app.command import main

from .conftest import Site, program, until

NOBODY = "http://127.0.0.1:9"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_ends_cleanly(tmp_path, number):
    with program("dashboard", tmp_path / "desk.log", "--port", "0", "--api", NOBODY) as desk:
        until(lambda: httpx.get(f"{desk.url}/line").is_success, desk.log.read_text)
        assert desk.stop(number) == 0
        assert "Traceback" not in desk.log.read_text() + (desk.process.stderr.read() if desk.process.stderr else "")


def test_ends_cleanly_while_browsers_are_open(site, open_page, tmp_path):
    with program("dashboard", tmp_path / "desk.log", "--port", "0", "--api", site.server.url) as desk:
        until(lambda: httpx.get(f"{desk.url}/line").is_success, desk.log.read_text)
        own = Site(site.server, desk, [])
        for path in ("/line", "/review"):
            open_page(own, path, mishaps=("WebSocket", "ERR_", "Failed to fetch"))
        assert desk.stop() == 0
        assert "Traceback" not in desk.log.read_text()


def test_a_desk_is_up_without_its_api_and_down_when_it_hangs(tmp_path, monkeypatch):
    at = ("--port", "0", "--api", NOBODY)
    with program("dashboard", tmp_path / "desk.log", *at, STEELSIGHT_DESK_KEY="sk_none") as desk:
        until(lambda: httpx.get(f"{desk.url}/healthz").is_success, desk.log.read_text)
        # Nobody is let in while the API does not say who they are.
        assert httpx.get(f"{desk.url}/line").status_code == 503
        assert health.main([desk.url]) == 0
        desk.process.send_signal(signal.SIGSTOP)
        monkeypatch.setattr(health, "ASK_S", 0.5)
        assert health.main([desk.url]) == 1


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--api", "localhost:8000"], "expected an address such as http://127.0.0.1:8000"),
        (["--api", "ftp://127.0.0.1"], "--api"),
        (["--api", "http://127.0.0.1:8000/v1"], "--api"),
        (["--port", "70000"], "expected 0 to 65535"),
    ],
)
def test_wrong_usage_is_one_line(flags, said, capsys):
    assert main(["dashboard", *flags]) == 2
    stderr = capsys.readouterr().err
    assert said in stderr
    assert stderr.count("\n") == 1


def test_a_port_in_use_is_one_line(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main(["dashboard", "--port", str(taken.getsockname()[1])]) == 1
    stderr = capsys.readouterr().err
    assert "choose another with --port" in stderr
    assert stderr.count("\n") == 1
