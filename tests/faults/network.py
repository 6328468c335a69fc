"""PostgreSQL behind a network of its own, which can fall silent: every packet is lost, and nobody is told."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.store.database import NOTICED_MS
from tests.app.postgresql import USER

SPACE, NEAR, FAR = "steelsight-fault", "10.213.7.1", "10.213.7.2"
PORT = 5432
# In the space of its own PostgreSQL is reached by its socket, which is a file. What a connection asks of PostgreSQL's
# end of the network (`NOTICED_MS`), the relay does in its place.
RELAY = """
import asyncio, socket, sys
async def pump(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    writer.close()
async def relay(reader, writer):
    own = writer.get_extra_info("socket")
    own.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(sys.argv[4]))
    own.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, seconds in ((socket.TCP_KEEPIDLE, 5), (socket.TCP_KEEPINTVL, 3)):
        own.setsockopt(socket.IPPROTO_TCP, option, seconds)
    far, out = await asyncio.open_unix_connection(sys.argv[1])
    await asyncio.gather(pump(reader, out), pump(far, writer))
async def main():
    async with await asyncio.start_server(relay, sys.argv[2], int(sys.argv[3])) as server:
        print("listening", flush=True)
        await server.serve_forever()
asyncio.run(main())
"""


def _ip(*words: str, inside: bool = False) -> None:
    subprocess.run(["ip", *(["-n", SPACE] if inside else []), *words], check=True)


@contextmanager
def far_away(home: Path) -> Iterator[str]:
    """The URL of the server whose socket is in this folder."""
    subprocess.run(["ip", "netns", "del", SPACE], check=False, stderr=subprocess.DEVNULL)
    _ip("netns", "add", SPACE)
    try:
        _ip("link", "add", "steelsight0", "type", "veth", "peer", "name", "steelsight1", "netns", SPACE)
        _ip("addr", "add", f"{NEAR}/30", "dev", "steelsight0")
        _ip("link", "set", "steelsight0", "up")
        _ip("addr", "add", f"{FAR}/30", "dev", "steelsight1", inside=True)
        _ip("link", "set", "steelsight1", "up", inside=True)
        own = [home / f".s.PGSQL.{PORT}", FAR, str(PORT), str(NOTICED_MS)]
        command = ["ip", "netns", "exec", SPACE, sys.executable, "-c", RELAY, *own]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as relay:
            assert relay.stdout is not None
            assert relay.stdout.readline() == b"listening\n"
            try:
                yield f"postgresql://{USER}@{FAR}:{PORT}/postgres"
            finally:
                relay.kill()
    finally:
        # The system would take both ends away with the space, but when it comes to it.
        subprocess.run(["ip", "link", "del", "steelsight0"], check=False, stderr=subprocess.DEVNULL)
        _ip("netns", "del", SPACE)


@contextmanager
def silent() -> Iterator[None]:
    """Whatever comes from there is dropped."""
    _ip("route", "add", "blackhole", f"{NEAR}/32", inside=True)
    try:
        yield
    finally:
        _ip("route", "del", "blackhole", f"{NEAR}/32", inside=True)
