"""The load generator against servers that answer whole, in pieces, otherwise than asked, and not at all."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Iterable
from itertools import cycle
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
REQUEST = b"POST /v1/inspect HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\n\r\ntile"

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


def said(status: int, body: bytes = b"{}", header: bytes = b"Content-Length") -> bytes:
    return b"HTTP/1.1 %d Any\r\n%s: %d\r\nx: y\r\n\r\n%s" % (status, header, len(body), body)


def whole(status: int, header: bytes = b"Content-Length") -> Answer:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(said(status, b"{}" * 50, header))

    return answer


async def in_pieces(writer: asyncio.StreamWriter) -> None:
    for byte in said(200):
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0)


async def without_length(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n")


async def hung_up(writer: asyncio.StreamWriter) -> None:
    writer.close()


def generated(
    tmp_path: Path, answers: Iterable[Answer], connections: int = 1, seconds: float = 0.3, rate: float | None = None
) -> tuple[int, str, str, int]:
    """Exit code, output and errors of the program, and the requests that its server was sent, all of them sound."""
    (tmp_path / "request").write_bytes(REQUEST)
    asked = 0
    turns = cycle(answers)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        while await reader.read(len(REQUEST)) == REQUEST:
            asked += 1
            await next(turns)(writer)
        writer.close()

    async def run() -> tuple[int, str, str]:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        command = ["-m", "benchmarks.load", port, connections, seconds, tmp_path / "request"]
        command += [] if rate is None else [rate]
        program = await asyncio.create_subprocess_exec(
            sys.executable, *map(str, command), cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        output, errors = await program.communicate()
        server.close()
        assert program.returncode is not None
        return program.returncode, output.decode(), errors.decode()

    return *asyncio.run(run()), asked


@pytest.mark.parametrize("answer", [whole(200), whole(200, b"content-length"), in_pieces])
def test_every_answer_is_counted_once(tmp_path: Path, answer: Answer) -> None:
    code, output, errors, asked = generated(tmp_path, [answer], connections=3)
    assert code == 0, errors
    figures = json.loads(output)
    assert asked > 3
    assert figures["per_second"] * figures["seconds"] == pytest.approx(asked)
    assert 0 < figures["p50_ms"] <= figures["p99_ms"]


def test_at_a_rate_refusals_are_counted_beside_answers(tmp_path: Path) -> None:
    answers = [whole(200), whole(503), whole(504), whole(503)]
    code, output, errors, asked = generated(tmp_path, answers, connections=4, seconds=0.5, rate=200)
    assert code == 0, errors
    figures = json.loads(output)
    counted = [figures[f"{name}per_second"] * figures["seconds"] for name in ("", "refused_", "dropped_")]
    assert sum(counted) == pytest.approx(asked)
    assert counted == pytest.approx([asked / 4, asked / 2, asked / 4], abs=1)
    # No more than were asked for, whatever the machine has to spare; the first of each connection comes at once.
    assert asked <= 200 * 0.5 + 4


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (whole(503), "the server answered 503"),
        (whole(422), "the server answered 422"),
        (without_length, "the server answered without a length"),
        (hung_up, "the server hung up"),
    ],
)
def test_what_is_no_figure_ends_it(tmp_path: Path, answer: Answer, reason: str) -> None:
    code, output, errors, _ = generated(tmp_path, [answer])
    assert (code, output) == (1, "")
    assert reason in errors.strip().splitlines()[-1]
