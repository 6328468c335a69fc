"""Hostile HTTP to a real server through a real socket: whole requests of public collections, and clients that drip."""

import csv
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from app.protocol import HEAD_S
from tests.faults.server import Server

BODY_S = 3
DRIP_S = 0.5
# What is answered late on a machine that has other work is answered.
WITHIN_S = 20


@pytest.fixture(scope="module")
def server(tiny_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("home")
    made = Server(home / "var", tiny_models, home / "log", {"body_seconds": str(BODY_S)})
    made.start()
    made.until_ready()
    yield made
    made.stop()


def connection(server: Server) -> socket.socket:
    url = httpx.URL(server.url)
    return socket.create_connection((url.host, url.port), timeout=WITHIN_S)


def statuses(answer: bytes) -> list[int]:
    return [int(line.split()[1]) for line in answer.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]


def exchanged(server: Server, sent: bytes) -> bytes:
    """All that is answered until the server hangs up or says nothing more for a second."""
    with connection(server) as made:
        made.settimeout(1)
        answer = b""
        try:
            made.sendall(sent)
            while data := made.recv(65536):
                answer += data
        except (TimeoutError, ConnectionError):
            pass
        return answer


def test_public_raw_requests_get_what_their_labels_say(server, shared_data):
    folder = shared_data / "badinputs"
    with (folder / "index.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["kind"].startswith("http-raw")]
    assert len(rows) > 60
    # Most of the time is waiting for what does not come.
    with ThreadPoolExecutor(16) as clients:
        answers = clients.map(lambda row: statuses(exchanged(server, (folder / row["file"]).read_bytes())), rows)
    wrong = [
        (row["file"], row["check"], got)
        for row, got in zip(rows, answers, strict=True)
        if (row["expect"] == "4xx" and any(status < 400 for status in got))
        or any(status >= 500 and status != 501 for status in got)
    ]
    assert not wrong
    assert httpx.get(f"{server.url}/readyz").status_code == 200


def body_routes() -> list[tuple[str, str]]:
    """The routes that take a body, as their requests' first lines would name them, and the kind of body."""
    return [
        ("/v1/inspect", "image/png"),
        ("/v1/inspect/batch", "multipart/form-data; boundary=b"),
        ("/v1/explain", "image/png"),
        ("/v1/coils", "application/json"),
        ("/v1/inspections/0000000000000001/review", "application/json"),
        ("/v1/models/tiny-64-first/shadow", "application/json"),
        ("/v1/sessions", "application/json"),
        ("/v1/sessions/oidc", "application/json"),
        ("/v2/models/steelsight/infer", "application/json"),
        ("/v2/models/steelsight/versions/tiny-64-first/infer", "application/json"),
    ]


def test_every_route_that_takes_a_body_is_dripped_to(server):
    paths = httpx.get(f"{server.url}/openapi.json", timeout=WITHIN_S).json()["paths"]
    taking = [path for path, methods in paths.items() for operation in methods.values() if "requestBody" in operation]
    assert len(taking) == len(body_routes())


@dataclass
class Dripped:
    """What became of a client that sends a byte now and then."""

    path: str
    answer: bytes = b""
    seconds: float = 0.0


def drip(server: Server, head: bytes, drops: bytes, told: Dripped) -> None:
    begun = time.monotonic()
    with connection(server) as made:
        made.settimeout(DRIP_S)
        made.sendall(head)
        for number in range(int(2 * HEAD_S / DRIP_S)):
            try:
                made.sendall(drops[number % len(drops) :][:1])
                data = made.recv(65536)
            except TimeoutError:
                continue
            except ConnectionError:
                break
            told.answer += data
            if not data or told.answer:
                break
    told.seconds = time.monotonic() - begun


def test_who_drips_is_let_go_on_every_route(server):
    """A byte now and then, of the body or of the head: 408, or hung up on."""
    dripping = []
    for path, kind in body_routes():
        head = f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: {kind}\r\nContent-Length: 1000\r\n\r\n".encode()
        dripping.append((head, b"{ "))
    dripping += [(b"GET /healthz HTTP/1.1\r\nHost: a\r\nX: ", b"a"), (b"", b"G"), (b"GET / HTTP/1.1\r\n", b"A:\r\n")]
    told = [Dripped(head.decode().partition("\r\n")[0]) for head, _ in dripping]
    threads = [
        threading.Thread(target=drip, args=(server, *each, dripped))
        for each, dripped in zip(dripping, told, strict=True)
    ]
    for thread in threads:
        thread.start()
    # Meanwhile others are served.
    assert httpx.get(f"{server.url}/readyz", timeout=WITHIN_S).status_code == 200
    for thread in threads:
        thread.join()
    for dripped in told[: len(body_routes())]:
        assert statuses(dripped.answer) == [408], dripped
        assert dripped.seconds < BODY_S + WITHIN_S, dripped
    for dripped in told[len(body_routes()) :]:
        assert dripped.seconds < HEAD_S + WITHIN_S / 2, dripped
