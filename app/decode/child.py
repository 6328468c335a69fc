"""One process that decodes: it has given up everything but its memory, bounded, and one channel."""

import ctypes
import errno
import mmap
import os
import resource
import signal
import socket
import time
import traceback
from contextlib import suppress
from pathlib import Path

import numpy as np

from app.decode.wire import EXHAUSTED, FAULT, MAX_MESSAGE_BYTES, Terms, Told, reply, sizes_of
from model.errors import SteelsightError
from model.image import Limits, decode

PR_SET_NO_NEW_PRIVS = 38
NOBODY = 65534


def live(channel: socket.socket, shared: int, terms: Terms) -> None:
    """Decode what the server asks for, until it asks no more.

    shared: descriptor of `terms.shared_bytes` bytes of memory.
    """
    with mmap.mmap(shared, terms.shared_bytes) as memory:
        os.close(shared)
        give_up(terms)
        limits = Limits(terms.max_pixels, terms.min_side)
        while message := channel.recv(MAX_MESSAGE_BYTES):
            channel.send(reply(_answer(memory, sizes_of(message), terms, limits)))


def give_up(terms: Terms) -> None:
    """Memory past the terms, privileges, and everything that has a name: files, the network, other processes."""
    address_space = _address_space() + terms.memory_bytes
    resource.setrlimit(resource.RLIMIT_AS, (address_space, address_space))
    # What a crash would write may show the plant's product, and fills the disk.
    for nothing in (resource.RLIMIT_FSIZE, resource.RLIMIT_CORE, resource.RLIMIT_NPROC, resource.RLIMIT_NOFILE):
        # Of descriptors too: those that are open stay open, and no other can be had, be it a file's or a socket's.
        resource.setrlimit(nothing, (0, 0))
    if os.geteuid() == 0:
        # In a container whose users are few there may be nobody to become.
        with suppress(OSError):
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
    ctypes.CDLL(None).prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def _address_space() -> int:
    words = Path("/proc/self/statm").read_text(encoding="ascii").split()
    return int(words[0]) * resource.getpagesize()


def _answer(memory: mmap.mmap, sizes: list[int], terms: Terms, limits: Limits) -> list[Told]:
    """What became of the files, in order, as far as there was room and they were not enough."""
    start, taken = 0, 0
    told: list[Told] = []
    for size in sizes:
        # The signal ends the process, whatever library it is in.
        signal.setitimer(signal.ITIMER_PROF, terms.seconds)
        begun = time.perf_counter()
        frame = _decoded(memory[start : start + size], limits)
        start += size
        if isinstance(frame, np.ndarray):
            if taken + frame.size > terms.max_pixels:
                break
            room = np.frombuffer(memory, np.uint8, frame.size, terms.file_bytes + taken)
            np.copyto(room.reshape(frame.shape), frame)
            del room
            taken += frame.size
            told.append(Told(time.perf_counter() - begun, *frame.shape))
        else:
            code, words = frame
            told.append(Told(time.perf_counter() - begun, code=code, words=words))
        if taken >= terms.enough_pixels:
            break
    signal.setitimer(signal.ITIMER_PROF, 0)
    return told


def _decoded(data: bytes, limits: Limits) -> "np.ndarray[tuple[int, int], np.dtype[np.uint8]] | tuple[str, str]":
    """A frame, or the code and the words of why there is none."""
    try:
        frame: np.ndarray[tuple[int, int], np.dtype[np.uint8]] = decode(data, limits)
    except SteelsightError as error:
        # A module that is first needed by a file, and cannot be opened any more, is missing in `app.decode.__main__`.
        if isinstance(error.__cause__, ImportError | FileNotFoundError | PermissionError) or _no_descriptor(error):
            return FAULT, traceback.format_exc()
        return error.code, error.message
    except MemoryError:
        return EXHAUSTED, ""
    except Exception:  # noqa: BLE001 - told whole to the server, which logs it and goes on
        return FAULT, traceback.format_exc()
    return frame


def _no_descriptor(error: SteelsightError) -> bool:
    return isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.EMFILE
