"""The log's outlet with real pipes and sockets: whole lines, and nobody waits for a reader."""

import json
import os
import socket
import threading
import time
from pathlib import Path

import pytest

from app.logs import MOST_WAITING_BYTES, Outlet

WITHIN_S = 20
LINE = json.dumps({"event": "x" * 500}) + "\n"


def read_all(descriptor: int, into: list[bytes]) -> None:
    while data := os.read(descriptor, 65_536):
        into.append(data)


@pytest.fixture(params=["pipe", "socket"])
def ends(request):
    """The end to read, and the end to write."""
    if request.param == "pipe":
        reading, writing = os.pipe()
    else:
        one, other = socket.socketpair()
        reading, writing = one.detach(), other.detach()
    yield reading, writing
    os.close(reading)


def test_a_reader_that_reads_no_more_keeps_nobody_waiting_and_learns_what_it_missed(ends):
    reading, writing = ends
    outlet = Outlet(writing)
    lines = 2 * MOST_WAITING_BYTES // len(LINE)
    writer = threading.Thread(target=lambda: [outlet.write(LINE) for _ in range(lines)], daemon=True)
    writer.start()
    writer.join(WITHIN_S)
    assert not writer.is_alive()
    read: list[bytes] = []
    reader = threading.Thread(target=read_all, args=(reading, read), daemon=True)
    reader.start()
    deadline = time.monotonic() + WITHIN_S
    while b"log_lines_lost" not in b"".join(read) and time.monotonic() < deadline:
        outlet.write(LINE)
        lines += 1
        time.sleep(0.01)
    told = [json.loads(line) for line in b"".join(read).splitlines() if line.endswith(b"}")]
    assert {"event", "lines", "level"} == set(next(line for line in told if line["event"] == "log_lines_lost"))
    # The writer's own pipe waits as before: whoever shares it expects that.
    assert os.get_blocking(writing)
    os.close(writing)
    outlet.close()
    reader.join(WITHIN_S)


def test_what_a_slow_reader_takes_late_is_whole(ends):
    reading, writing = ends
    outlet = Outlet(writing)
    lines = MOST_WAITING_BYTES // len(LINE) // 2
    for _ in range(lines):
        outlet.write(LINE)
    read = b""
    while read.count(b"\n") < lines:
        read += os.read(reading, 1000)
    assert read == LINE.encode() * lines
    os.close(writing)
    outlet.close()


def test_a_reader_that_is_gone_fails_nobody():
    reading, writing = os.pipe()
    outlet = Outlet(writing)
    os.close(reading)
    outlet.write(LINE)
    outlet.write(LINE)
    os.close(writing)
    outlet.close()


def test_a_file_gets_every_line(tmp_path: Path):
    with (tmp_path / "log").open("w") as file:
        outlet = Outlet(file.fileno())
        for _ in range(3):
            outlet.write(LINE)
        outlet.write("\ud800\n")
    assert (tmp_path / "log").read_text() == LINE * 3 + "\\ud800\n"
