"""What the server and the process that explains say to each other: a head of JSON, and bytes, over a pipe."""

import struct
from typing import IO, Any, Literal

from pydantic import BaseModel, ConfigDict

# Of a layer: its maps, its maps before the activation, or the weights of its filters.
Of = Literal["maps", "before", "filters"]
# Bytes of the head and of what follows it.
LENGTHS = struct.Struct(">QQ")


class Part(BaseModel):
    """One picture of an explanation, large."""

    model_config = ConfigDict(frozen=True)

    layer: str
    of: Of
    number: int


class Question(BaseModel):
    """What is to be explained; the pixels of the frame, row by row, follow.

    stride: px between tiles, None for the artifact's own. part: that picture is all that is asked for.
    inspection_id, recorded: of a frame on record, as they are to stand in the answer.
    """

    model_config = ConfigDict(frozen=True)

    version: str
    height: int
    width: int
    overlap_rows: int = 0
    stride: int | None = None
    part: Part | None = None
    inspection_id: str | None = None
    recorded: dict[str, Any] | None = None


class Answer(BaseModel):
    """How it went; the explanation, or the picture, follows.

    code: of a refusal, with its message. trace: of what nobody foresaw, for the log.
    """

    model_config = ConfigDict(frozen=True)

    code: str | None = None
    message: str = ""
    trace: str | None = None


def send(stream: IO[bytes], head: BaseModel, body: bytes | memoryview = b"") -> None:
    """Write one message. Raises OSError when nobody reads any more."""
    written = head.model_dump_json().encode()
    stream.write(LENGTHS.pack(len(written), memoryview(body).nbytes))
    stream.write(written)
    stream.write(body)
    stream.flush()


def receive(stream: IO[bytes]) -> tuple[bytes, bytes]:
    """Read one message: its head and what follows. Raises EOFError where the stream ends before or within it.

    >>> import io
    >>> stream = io.BytesIO()
    >>> send(stream, Answer(message="done"), b"123")
    >>> _ = stream.seek(0)
    >>> head, body = receive(stream)
    >>> Answer.model_validate_json(head).message, body
    ('done', b'123')
    """
    head, body = LENGTHS.unpack(_exactly(stream, LENGTHS.size))
    return _exactly(stream, head), _exactly(stream, body)


def _exactly(stream: IO[bytes], count: int) -> bytes:
    data = stream.read(count)
    if len(data) < count:
        raise EOFError
    return data
