"""The check that the image's HEALTHCHECK runs: real servers, and an environment as plants have it."""

import json
import re
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from app.health import api_address, main
from app.settings import load
from tests.app.test_process import ROOT, command, home, ready_home, serving, version

__all__ = ["home", "ready_home", "version"]

*PYTHON, PROGRAM = json.loads(
    re.search(r"^HEALTHCHECK .* CMD (\[.*\])$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)[1]
)


def check(home: Path, *address: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """What Docker runs in the container, beside the server."""
    assert PYTHON == ["python", "-m"]
    return command(*address, home=home, package=PROGRAM, **variables)


def test_a_server_is_up_whatever_proxies_the_environment_names(ready_home):
    proxies = dict.fromkeys(("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy"), "http://127.0.0.1:9")
    with serving(ready_home) as server:
        port = {"STEELSIGHT_PORT": str(httpx.URL(server.url).port)}
        for variables in ({}, proxies, {"STEELSIGHT_HOST": "0.0.0.0"}, {"STEELSIGHT_TLS_CERTIFICATE": ""}):
            run = check(ready_home, **port, **variables)
            assert (run.returncode, run.stdout + run.stderr) == (0, ""), variables
        assert check(ready_home, server.url, STEELSIGHT_PORT="9").returncode == 0
        assert server.stop() == 0
    gone = check(ready_home, **port)
    assert (gone.returncode, gone.stderr.count("\n")) == (1, 1)
    assert server.url in gone.stderr


def test_a_server_that_speaks_tls_is_up(ready_home, authority, certificate):
    tls = {"STEELSIGHT_TLS_CERTIFICATE": str(certificate[0]), "STEELSIGHT_TLS_KEY": str(certificate[1])}
    believed = httpx.create_ssl_context()
    authority.configure_trust(believed)
    with serving(ready_home, scheme="https", verify=believed, **tls) as server:
        port = {"STEELSIGHT_PORT": str(httpx.URL(server.url).port)}
        run = check(ready_home, **port, **tls)
        assert (run.returncode, run.stderr) == (0, "")
        assert check(ready_home, **port).returncode == 1


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"STEELSIGHT_HOST": "", "STEELSIGHT_PORT": "", "STEELSIGHT_TLS_CERTIFICATE": ""},
        {"STEELSIGHT_HOST": "10.0.0.5", "STEELSIGHT_PORT": "9000"},
    ],
)
def test_the_api_is_asked_where_its_settings_have_it(environ):
    settings = load(environ)
    assert api_address(environ) == f"http://{settings.host}:{settings.port}"


def test_who_accepts_and_says_nothing_is_not_up(capsys):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert main([f"http://127.0.0.1:{silent.getsockname()[1]}"]) == 1
    assert "timed out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("address", "exit_code"), [("127.0.0.1:8080", 2), ("file:///dev", 2), ("http://[::", 1), ("http://localhost:x", 1)]
)
def test_what_is_no_address_is_one_line(capsys, address, exit_code):
    assert main([address]) == exit_code
    stderr = capsys.readouterr().err
    assert stderr.startswith("error: ")
    assert stderr.count("\n") == 1


def test_it_imports_nothing_that_takes_long():
    loaded = "import sys, app.health; print({'pydantic', 'numpy', 'fastapi', 'httpx'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", loaded], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout == "set()\n"
