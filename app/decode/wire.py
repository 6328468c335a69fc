"""What the server, the keeper of the decoding processes and these say to each other. No HTTP, and light to import.

The bytes of files and the pixels made of them lie in memory that the server and one process share; the messages only
say where. A process that decodes is not trusted: whatever it says is read as a stranger's.
"""

import json
from array import array
from collections.abc import Sequence
from dataclasses import asdict, dataclass

# What the keeper is asked: to fork a process, with its channel and its memory; to see the one with this number off.
FORK, REAP = b"fork", b"reap"
KEEPER_BYTES = 256
# Of a request or a reply: a refusal's words are a few hundred bytes, and eight frames come at a time.
MAX_MESSAGE_BYTES = 64 * 1024
MAX_WORDS = 2000


@dataclass(frozen=True)
class Terms:
    """What holds for a process from its start to its end.

    max_pixels, min_side: as in `model.image.Limits`. file_bytes: room for the files of one request. enough_pixels: of
    several files none is begun once those before have so many. memory_bytes: on top of what an idle process has.
    seconds: of the processor, for one file.
    """

    max_pixels: int
    min_side: int
    file_bytes: int
    enough_pixels: int
    memory_bytes: int
    seconds: float

    @property
    def shared_bytes(self) -> int:
        """Of the shared memory: the files first, the pixels behind them."""
        return self.file_bytes + self.max_pixels

    def as_json(self) -> str:
        """For a command line."""
        return json.dumps(asdict(self))

    @classmethod
    def of(cls, text: str) -> "Terms":
        """The inverse of `as_json`."""
        return cls(**json.loads(text))


@dataclass(frozen=True)
class Told:
    """What became of one file.

    code: None for a frame of (height, width) pixels; else why there is none, a value of `model.errors.ErrorCode` or one
    of the two below, and words says more. seconds: that it took.
    """

    seconds: float
    height: int = 0
    width: int = 0
    code: str | None = None
    words: str = ""


# The file needs more memory than `Terms.memory_bytes`. The other is our own fault, with a trace for the log.
EXHAUSTED, FAULT = "exhausted", "fault"


def request(sizes: Sequence[int]) -> bytes:
    """Files of these sizes lie one behind the other.

    >>> sizes_of(request([3, 70000]))
    [3, 70000]
    """
    return array("Q", sizes).tobytes()


def sizes_of(message: bytes) -> list[int]:
    """The inverse of `request`."""
    return array("Q", message).tolist()


def reply(told: Sequence[Told]) -> bytes:
    """What became of the first files, one or more of those that were sent."""
    rows = [[each.seconds, each.height, each.width, each.code, each.words[:MAX_WORDS]] for each in told]
    return json.dumps(rows).encode()


def told_of(message: bytes) -> list[Told]:
    """The inverse of `reply`, for words that may be anybody's. Raises ValueError.

    >>> told_of(reply([Told(0.5, 2, 3)]))
    [Told(seconds=0.5, height=2, width=3, code=None, words='')]
    """
    try:
        told = [Told(*row) for row in json.loads(message)]
    except (TypeError, RecursionError) as error:
        raise ValueError(str(error)) from error
    for each in told:
        kinds = type(each.seconds), type(each.height), type(each.width), type(each.words)
        if kinds != (float, int, int, str) or type(each.code) not in (str, type(None)):
            raise ValueError("a row of the reply has other kinds of values")
    return told
