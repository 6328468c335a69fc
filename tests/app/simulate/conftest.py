"""A server of a few lines on a real socket, which answers as a test wants it, also with nothing at all."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest


@dataclass(frozen=True)
class Asked:
    """One request: its path, query and body."""

    path: str
    query: dict[str, str]
    body: bytes

    @property
    def request_id(self) -> str:
        return self.query["request_id"]


@dataclass(frozen=True)
class Answer:
    """What is answered; None in place of one is a connection closed without a word."""

    status: int
    body: dict[str, Any]
    headers: dict[str, str] = field(default_factory=dict)


OK = Answer(200, {"verdict": "ok"})
COIL = Answer(201, {"coil_id": "C1", "closed_at": None})

Script = Callable[[Asked], Answer | None]


@dataclass
class Scripted:
    """The server. `asked` has every request in the order of arrival."""

    url: str = ""
    asked: list[Asked] = field(default_factory=list)

    @property
    def frames(self) -> list[Asked]:
        return [each for each in self.asked if each.path == "/v1/inspect"]


@asynccontextmanager
async def scripted(script: Script) -> AsyncIterator[Scripted]:
    """Answer frames by `script`, and let every coil be opened and closed."""
    server = Scripted()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readline():
            target = urlsplit(head.split()[1].decode())
            headers = {}
            while (line := await reader.readline()) != b"\r\n":
                name, _, value = line.decode().partition(":")
                headers[name.lower()] = value.strip()
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            asked = Asked(target.path, dict(parse_qsl(target.query)), body)
            server.asked.append(asked)
            answer = script(asked) if target.path == "/v1/inspect" else COIL
            if answer is None:
                break
            told = json.dumps(answer.body).encode()
            fields = {"content-length": str(len(told)), **answer.headers}
            lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
            writer.write(f"HTTP/1.1 {answer.status} Scripted\r\n{lines}\r\n".encode() + told)
            await writer.drain()
        writer.close()

    listening = await asyncio.start_server(converse, "127.0.0.1", 0)
    async with listening:
        server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        yield server


@pytest.fixture
def scripted_server() -> Callable[[Script], Any]:
    """To be used as `async with scripted_server(lambda asked: OK) as server:`."""
    return scripted
