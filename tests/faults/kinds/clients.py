"""Clients that are slow, leave, or do not listen, while good cameras go on."""

import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import httpx

from tests.faults.fault import Fault, Stage
from tests.faults.line import TILE

HEAD = (
    f"POST /v1/inspect?width={TILE}&height={TILE}&pixel_format=Mono8 HTTP/1.1\r\nHost: x\r\n"
    f"Content-Type: application/octet-stream\r\nContent-Length: {TILE * TILE}\r\n"
).encode()
DRIPPING, DRIP_S, DRIPS_S = 1000, 2.0, 15.0
# Of the addresses that this machine has for itself: a bound on connections of one address must not be what helps.
ADDRESSES = [f"127.0.0.{number}" for number in range(2, 22)]
LASTS_S = 5.0
# Closed so, a connection is reset: nothing that was sent is waited for.
RESET = struct.pack("ii", 1, 0)


def connected(stage: Stage, address: str = "127.0.0.1", receive_bytes: int = 0) -> socket.socket:
    """A connection from that address."""
    connection = socket.socket()
    if receive_bytes:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    connection.bind((address, 0))
    url = httpx.URL(stage.server.url)
    connection.settimeout(60)
    connection.connect((url.host, url.port))
    return connection


@contextmanager
def slow_client(stage: Stage) -> Iterator[None]:
    """One that takes some seconds over its frame has its verdict."""
    with connected(stage) as connection:
        connection.sendall(HEAD + b"\r\n")
        body = stage.line.body("r1")
        for start in range(0, len(body), len(body) // 16):
            connection.sendall(body[start : start + len(body) // 16])
            stage.meanwhile(0.25)
        assert connection.recv(65_536).startswith(b"HTTP/1.1 200")
    yield


@contextmanager
def dripping(stage: Stage) -> Iterator[None]:
    """A thousand, a byte every two seconds: half of their heads, half of their bodies. Who is cut comes again."""
    over = threading.Event()

    def drip(number: int) -> None:
        while not over.is_set():
            try:
                with connected(stage, ADDRESSES[number % len(ADDRESSES)]) as connection:
                    connection.sendall(HEAD if number % 2 else HEAD + b"\r\n")
                    while not over.wait(DRIP_S):
                        connection.sendall(b"x")
            except OSError:
                over.wait(DRIP_S)

    clients = [threading.Thread(target=drip, args=(number,), daemon=True) for number in range(DRIPPING)]
    for client in clients:
        client.start()
    stage.meanwhile(DRIPS_S)
    over.set()
    for client in clients:
        client.join()
    yield


@contextmanager
def cut_mid_upload(stage: Stage) -> Iterator[None]:
    """Connections that are reset after half a frame, one after another."""

    def cut() -> bool:
        with connected(stage) as connection:
            connection.sendall(HEAD + b"\r\n" + bytes(TILE * TILE // 2))
            time.sleep(stage.chance.uniform(0, 0.02))
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        return True

    stage.meanwhile(LASTS_S, cut)
    yield


@contextmanager
def slow_readers(stage: Stage) -> Iterator[None]:
    """Fifty that ask for the whole record again and again, and read none of it."""
    with ExitStack() as held:
        for number in range(50):
            connection = held.enter_context(connected(stage, ADDRESSES[number % len(ADDRESSES)], receive_bytes=2048))
            connection.sendall(b"GET /v1/inspections/export?format=csv HTTP/1.1\r\nHost: x\r\n\r\n" * 4)
        stage.meanwhile(LASTS_S)
    yield


FULL = frozenset({"overloaded"})
FAULTS = [
    Fault("slow client", slow_client, within_s=1, serves=True),
    Fault("1,000 clients that drip", dripping, within_s=3, codes=FULL, serves=True),
    Fault("uploads cut in the middle", cut_mid_upload, within_s=1, serves=True),
    Fault("clients that do not read", slow_readers, within_s=1, serves=True),
]
