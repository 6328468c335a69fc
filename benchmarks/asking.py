"""Asks a server and takes the time: one client, on a quiet line or while frames come in, and files to their end."""

import http.client
import json
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

import numpy as np

from app.store.inserting import now
from benchmarks.plant import CAMERAS, MM_PER_PIXEL, STRIP_MM
from benchmarks.questions import ONCE_MORE, Known, questions
from benchmarks.serving import OVERLOAD_SIDE, Server

# Between two looks at the server's memory.
MEMORY_EVERY_S = 0.05
TIMEOUT_S = 600


@dataclass
class Seen:
    """Milliseconds of each answer, and what was asked for in the slowest; pages that came short of their limit."""

    milliseconds: list[float] = field(default_factory=list)
    slowest: str = ""
    largest_bytes: int = 0
    short: int = 0

    def add(self, path: str, milliseconds: float, body: bytes) -> None:
        if not self.milliseconds or milliseconds > max(self.milliseconds):
            self.slowest = path
        self.milliseconds.append(milliseconds)
        self.largest_bytes = max(self.largest_bytes, len(body))
        self.short += _is_short(path, body)

    def quantile(self, share: float) -> float:
        return float(np.quantile(self.milliseconds, share))


def _is_short(path: str, body: bytes) -> bool:
    """Whether patience ended before the page was full."""
    if not path.startswith("/v1/inspections?"):
        return False
    said = json.loads(body)
    return said["next"] is not None and len(said["inspections"]) < (500 if "limit=500" in path else 50)


Answers = dict[tuple[str, str], Seen]


class Client:
    """One connection that is kept alive."""

    def __init__(self, port: int) -> None:
        self._http = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)

    def get(self, path: str) -> tuple[float, bytes]:
        """Milliseconds from the request to the whole answer, and that."""
        start = time.perf_counter()
        self._http.request("GET", path)
        response = self._http.getresponse()
        body = response.read()
        took = time.perf_counter() - start
        if response.status != http.client.OK:
            raise SystemExit(f"GET {path}: {response.status} {body[:300].decode(errors='replace')}")
        return took * 1e3, body

    def tell_width(self, coil_id: str) -> None:
        """Say something new of a coil, by less than a millimetre: what the server knew of it does not hold any more."""
        told = json.dumps({"coil_id": coil_id, "width_mm": STRIP_MM + time.time() % 1000 / 1000})
        self._http.request("POST", "/v1/coils", told, {"Content-Type": "application/json"})
        self._http.getresponse().read()


def asked(server: Server, have: Known, rounds: int, *, before_each: Callable[[], None] = lambda: None) -> Answers:
    """The answers to all questions, in the order in which these are written down; the first round is not counted."""
    rng, client = random.Random(rounds), Client(server.port)
    in_order = questions(have)
    answers: Answers = {(question.room, question.name): Seen() for question in in_order}
    for number in range(rounds + 1):
        for question in rng.sample(in_order, len(in_order)):
            if question.room == ONCE_MORE:
                continue
            path = question.path(rng)
            if question.anew:
                client.tell_width(path.split("/")[3].partition("?")[0])
            before_each()
            took, body = client.get(path)
            question.answered(body)
            if number:
                answers[question.room, question.name].add(path, took, body)
                if question.anew:
                    answers[ONCE_MORE, question.name].add(path, *client.get(path))
    return answers


@contextmanager
def forgetting(file: Path) -> Iterator[Callable[[], None]]:
    """A call that has the system drop what it holds of a file in memory."""
    descriptor = os.open(file, os.O_RDONLY)
    try:
        yield lambda: os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


@contextmanager
def running_line(server: Server, frame: Path, per_second: float) -> Iterator[None]:
    """Cameras that send frames of a coil of their own meanwhile, at that rate in all."""
    ended, failed = threading.Event(), []

    def send() -> None:
        body = frame.read_bytes().partition(b"\r\n\r\n")[2]
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=TIMEOUT_S)
        sequence, due = 0, time.monotonic()
        while not ended.wait(max(0.0, due - time.monotonic())):
            due += 1 / per_second
            camera_id, side, _ = CAMERAS[sequence % len(CAMERAS)]
            place = sequence // len(CAMERAS)
            about = {"coil_id": "K-running", "camera_id": camera_id, "side": side, "sequence": place}
            where = {
                "position_mm": place * OVERLOAD_SIDE * MM_PER_PIXEL,
                "mm_per_pixel": MM_PER_PIXEL,
                "captured_at": now().isoformat(),
            }
            connection.request("POST", "/v1/inspect?" + urlencode(about | where), body, {"Content-Type": "image/png"})
            response = connection.getresponse()
            said = response.read()
            if response.status != http.client.OK:
                failed.append(said.decode(errors="replace"))
                return
            sequence += 1

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    if failed:
        raise SystemExit(f"a frame was refused: {failed[0]}")


@dataclass(frozen=True)
class Export:
    """seconds from the request to the last byte; memory: the worker's before, and at its highest."""

    name: str
    rows: int
    megabytes: float
    seconds: float
    before_mb: float
    highest_mb: float


def exported(server: Server, name: str, path: str, rows: int) -> Export:
    """One file, read to its end and thrown away."""
    before = highest = server.resident_mb()
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=TIMEOUT_S)
    start = looked = time.perf_counter()
    connection.request("GET", path)
    response = connection.getresponse()
    size = 0
    while part := response.read(1 << 16):
        size += len(part)
        if time.perf_counter() - looked > MEMORY_EVERY_S:
            looked, highest = time.perf_counter(), max(highest, server.resident_mb())
    return Export(name, rows, size / 1e6, time.perf_counter() - start, before, max(highest, server.resident_mb()))
