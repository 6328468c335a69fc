"""Files of unknown origin -> frames, in processes that have nothing to lose. See docs/decisions/0022.

Each thread that inspects has a process of its own: what a file does to it costs that file's request alone. With
STEELSIGHT_DECODE=inside the same is done in the thread itself.
"""

import mmap
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import structlog

from app.decode.wire import EXHAUSTED, FAULT, FORK, KEEPER_BYTES, MAX_MESSAGE_BYTES, REAP, Terms, Told, request, told_of
from app.metrics import Metrics
from app.refusals import Refusal, ServiceCode
from app.settings import Settings
from model.errors import ErrorCode, SteelsightError
from model.image import Frame, Limits, decode

# Of the processor, for one file. The slowest of the largest that are accepted, a progressive JPEG of 64 Mpx in four
# colours, takes a quarter of it.
FILE_S = 20.0
# Until a process must have answered whatever else the machine has to do.
ANSWER_S = 60.0
# What decoding holds beside the frame: that JPEG takes 13 bytes for each pixel.
BYTES_PER_PIXEL = 16
BASE_BYTES = 64 * 1024 * 1024
# Of the memory that a process shares with the server, so much is kept; what a larger frame took is given back.
KEPT_BYTES = 8 * 1024 * 1024
# One thread each, for a process is one thread's. Of freed memory as much is kept as a block of strip takes: given back
# each time, its pages cost a quarter of the time that decoding takes. Blocks of larger frames go back at once.
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(16 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(32 << 20),
}
SOURCES = Path(__file__).parents[1]

log = structlog.get_logger("steelsight.decoding")


@dataclass(frozen=True, slots=True)
class Decoded:
    """A frame, and the seconds that making it took."""

    frame: Frame
    seconds: float


class Decoder(Protocol):
    """Decodes for one thread at a time."""

    def decode(self, files: Sequence[bytes]) -> list[Decoded | Exception]:
        """What became of the first files, one or more: a frame, or `SteelsightError`, `Refusal` or our own fault.

        Of several files none is begun once those before make up a batch.
        """

    def close(self) -> None:
        """Decode nothing more."""


class Decoding:
    """The decoders of one worker."""

    def __init__(self, settings: Settings, metrics: Metrics, enough_pixels: int) -> None:
        """enough_pixels: of a batch."""
        self._limits = settings.limits
        self._enough_pixels = enough_pixels
        self._metrics = metrics
        self._keeper: Keeper | None = None
        if settings.decode == "isolated":
            pixels = settings.max_pixels
            terms = Terms(
                max_pixels=pixels,
                min_side=settings.min_side,
                file_bytes=settings.max_body_bytes,
                enough_pixels=enough_pixels,
                memory_bytes=BASE_BYTES + BYTES_PER_PIXEL * pixels,
                seconds=FILE_S,
            )
            self._keeper = Keeper(terms)
        # For what is decoded beside the line, one file at a time.
        self._spare = self.decoder()
        self._turn = threading.Lock()

    def open(self) -> None:
        """Begin to load what the processes need; it is done long before a model is."""
        if self._keeper is not None:
            self._keeper.open()

    def decoder(self) -> Decoder:
        """One more; whoever has it closes it."""
        if self._keeper is None:
            return InsideDecoder(self._limits, self._enough_pixels)
        return IsolatedDecoder(self._keeper, self._metrics)

    def one(self, file: bytes) -> Frame:
        """A file beside the line; work for a thread. Raises `SteelsightError`, `Refusal` (image_undecodable)."""
        with self._turn:
            (decoded,) = self._spare.decode([file])
        if isinstance(decoded, Exception):
            raise decoded
        return decoded.frame

    def close(self) -> None:
        """Let the processes go, once nobody decodes any more."""
        self._spare.close()
        if self._keeper is not None:
            self._keeper.close()


class InsideDecoder:
    """Decodes in the thread that asks, as far as its libraries can be trusted."""

    def __init__(self, limits: Limits, enough_pixels: int) -> None:
        self._limits = limits
        self._enough_pixels = enough_pixels

    def decode(self, files: Sequence[bytes]) -> list[Decoded | Exception]:
        found: list[Decoded | Exception] = []
        taken = 0
        for file in files:
            begun = time.perf_counter()
            try:
                frame = decode(file, self._limits)
                taken += frame.size
                found.append(Decoded(frame, time.perf_counter() - begun))
            # Told apart where it is answered: a broken file's refusal and our own fault alike are one request's.
            except Exception as error:  # noqa: BLE001
                found.append(error)
            if taken >= self._enough_pixels:
                break
        return found

    def close(self) -> None:
        """Nothing is held."""


class Lost(Exception):
    """A process ended, or was ended, before it had answered."""


class Gone(Exception):
    """A process had ended before it was asked."""


class IsolatedDecoder:
    """Decodes in a process of its own. It is there from the first file on, and replaced when it is lost."""

    def __init__(self, keeper: "Keeper", metrics: Metrics) -> None:
        self._keeper = keeper
        self._metrics = metrics
        self._process: Process | None = None

    @property
    def pid(self) -> int | None:
        """Of the process, while there is one."""
        return None if self._process is None else self._process.pid

    def decode(self, files: Sequence[bytes]) -> list[Decoded | Exception]:
        try:
            return self._asked(files)
        except Lost as lost:
            if len(files) == 1:
                return [_undecodable(str(lost))]
        # One of them did it. Each by itself, so that only that one is refused.
        return [each for file in files for each in self.decode([file])]

    def close(self) -> None:
        if self._process is not None:
            self._process.close()
            self._process = None

    def _asked(self, files: Sequence[bytes]) -> list[Decoded | Exception]:
        if self._process is None:
            self._process = self._keeper.process()
        try:
            return self._process.decode(files)
        except Gone as gone:
            # Whatever it died of, it was none of these files: a lack of memory of the machine, perhaps.
            self._lose(str(gone), 0)
            return self._asked(files)
        except Lost as lost:
            self._lose(str(lost), len(files))
            raise

    def _lose(self, why: str, files: int) -> None:
        assert self._process is not None
        end = self._keeper.seen_off(self._process.pid)
        self.close()
        self._metrics.decoders_lost.inc()
        log.error("decoder_lost", why=why, end=end, files=files)


class Process:
    """One process that decodes, as the thread that asks it sees it."""

    def __init__(self, pid: int, channel: socket.socket, shared: int, terms: Terms) -> None:
        self.pid = pid
        self._channel = channel
        # The kernel's own timeouts: Python's would wait before every call, also before one that must not wait.
        for direction in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            self._channel.setsockopt(socket.SOL_SOCKET, direction, struct.pack("ll", int(ANSWER_S), 0))
        self._memory = mmap.mmap(shared, terms.shared_bytes)
        self._terms = terms

    def decode(self, files: Sequence[bytes]) -> list[Decoded | Exception]:
        """As `Decoder.decode`. Raises `Gone`, `Lost`."""
        end = 0
        for file in files:
            self._memory[end : end + len(file)] = file
            end += len(file)
        begun = time.perf_counter()
        try:
            self._channel.send(request([len(file) for file in files]))
        except OSError as error:
            raise Gone(str(error)) from None
        try:
            message = self._channel.recv(MAX_MESSAGE_BYTES)
        except BlockingIOError:
            raise Lost(f"it has not answered within {ANSWER_S:g} s") from None
        except OSError as error:
            raise Lost(str(error)) from None
        if not message:
            raise Lost("it ended")
        took = time.perf_counter() - begun
        try:
            told = told_of(message)
        except ValueError as error:
            raise Lost(f"it answered nonsense: {error}") from None
        if not 1 <= len(told) <= len(files):
            raise Lost(f"it answered nonsense: {len(told)} answers for {len(files)} files")
        # The way there and back is a part of decoding.
        beside = max(0.0, took - sum(each.seconds for each in told)) / len(told)
        return self._found(told, end, beside)

    def _found(self, told: Sequence[Told], file_bytes: int, beside_s: float) -> list[Decoded | Exception]:
        found: list[Decoded | Exception] = []
        taken = 0
        for each in told:
            if each.code is not None:
                found.append(_refusal(each.code, each.words))
                continue
            size = each.height * each.width
            if min(each.height, each.width) < 1 or taken + size > self._terms.max_pixels:
                raise Lost(f"it answered nonsense: a frame of {each.width} x {each.height} px")
            pixels = np.frombuffer(self._memory, np.uint8, size, self._terms.file_bytes + taken)
            # A copy: the next files' pixels come to the same place.
            found.append(Decoded(pixels.reshape(each.height, each.width).copy(), each.seconds + beside_s))
            taken += size
        self._give_back(0, file_bytes)
        self._give_back(self._terms.file_bytes, taken)
        return found

    def _give_back(self, start: int, used: int) -> None:
        """Memory past what usual frames take, so that one large frame is not held for ever."""
        if used > KEPT_BYTES:
            first = -(-(start + KEPT_BYTES) // mmap.PAGESIZE) * mmap.PAGESIZE
            self._memory.madvise(mmap.MADV_REMOVE, first, start + used - first)

    def close(self) -> None:
        """It ends with its channel."""
        self._channel.close()
        self._memory.close()


class Keeper:
    """The process that forks the others, as the server sees it. For any thread."""

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._turn = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._closed = False

    def open(self) -> None:
        """Start it; it answers once it has loaded what it needs."""
        with self._turn:
            self._start()

    def process(self) -> Process:
        """A new process. Raises `Refusal` (decoder_unavailable)."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        shared = os.memfd_create("steelsight-decode")
        try:
            os.truncate(shared, self._terms.shared_bytes)
            answer = self._ask(FORK, [theirs.fileno(), shared])
            return Process(int(answer), ours, shared, self._terms)
        except (OSError, ValueError) as error:
            ours.close()
            log.exception("decoder_unavailable")
            raise Refusal(
                ServiceCode.DECODER_UNAVAILABLE,
                f"no process could be started that decodes ({error}); if it goes on, look for a lack of memory or of "
                "processes",
            ) from error
        finally:
            theirs.close()
            os.close(shared)

    def seen_off(self, pid: int) -> str:
        """Kill a process, if it still lives; what it died of, as far as that is known."""
        try:
            return self._ask(REAP + b" %d" % pid).decode()
        except OSError as error:
            return str(error)

    def close(self) -> None:
        """Let it go, and with it whatever it has forked and nobody asks any more."""
        with self._turn:
            self._closed = True
            self._end()

    def _ask(self, message: bytes, descriptors: Sequence[int] = ()) -> bytes:
        with self._turn:
            # It has nothing that could be lost: one that was killed is started anew.
            for _ in range(2):
                self._start()
                assert self._socket is not None
                with suppress(OSError):
                    socket.send_fds(self._socket, [message], descriptors)
                    if answer := self._socket.recv(KEEPER_BYTES):
                        return answer
                self._end()
            raise ConnectionError("the process that starts them ends at once")

    def _start(self) -> None:
        if self._closed:
            raise ConnectionError("the server stops")
        if self._process is not None:
            return
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # Found wherever the server was started from.
        path = os.pathsep.join(filter(None, [str(SOURCES), os.environ.get("PYTHONPATH")]))
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - our own module, no shell
                [sys.executable, "-m", "app.decode", self._terms.as_json()],
                stdin=theirs.fileno(),
                env={**os.environ, **ENVIRONMENT, "PYTHONPATH": path},
                # Ctrl-C on a terminal reaches a whole group: the server ends it when it is done itself.
                start_new_session=True,
            )
        ours.settimeout(ANSWER_S)
        self._socket = ours

    def _end(self) -> None:
        if self._process is not None and self._socket is not None:
            self._socket.close()
            self._process.kill()
            self._process.wait()
        self._process = self._socket = None


def _refusal(code: str, words: str) -> Exception:
    if code == EXHAUSTED:
        return _undecodable("it needs more memory than any frame that is accepted")
    if code == FAULT or code not in set(ErrorCode):
        return RuntimeError(f"a file could not be decoded through a fault of our own: {words}")
    return SteelsightError(ErrorCode(code), words)


def _undecodable(why: str) -> Refusal:
    return Refusal(
        ServiceCode.IMAGE_UNDECODABLE,
        f"the process that decoded the image was lost over it ({why}), and nothing else was; send the frame as another "
        "kind of file, or as raw pixels",
    )
