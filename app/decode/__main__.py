"""python -m app.decode TERMS: the keeper. It loads what decoding needs, and forks a process of it whenever it is asked.

A process made so is there in milliseconds and shares all libraries with its siblings. Started by `app.decoding`, and by
nobody else: the server's end of a socket is its standard input. It ends with that.
"""

import array
import gc
import io
import os
import signal
import socket
import sys
import warnings

import numpy as np
from PIL import Image

from app.decode.child import live
from app.decode.wire import FORK, KEEPER_BYTES, REAP, Terms
from model.errors import SteelsightError
from model.image import decode


def keep(server: socket.socket, terms: Terms) -> None:
    """Fork and see off, until the server is gone."""
    while True:
        message, descriptors, _, _ = socket.recv_fds(server, KEEPER_BYTES, 2)
        if not message:
            return
        word, _, number = message.partition(b" ")
        if word == FORK:
            server.send(b"%d" % _forked(server, descriptors, terms))
        elif word == REAP:
            server.send(_seen_off(int(number)).encode())


def _forked(server: socket.socket, descriptors: "array.array[int] | list[int]", terms: Terms) -> int:
    channel, shared = descriptors
    # Also its end of the keeper's socket: it must not outlive the server.
    if pid := os.fork():
        os.close(channel)
        os.close(shared)
        return pid
    code = 1
    try:
        server.close()
        # What libraries say of a client's files there, as long as they like, is in no log.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        live(socket.socket(fileno=channel), shared, terms)
        code = 0
    finally:
        # Nothing of the keeper's is to be tidied up.
        os._exit(code)


def _seen_off(pid: int) -> str:
    """Kill a process if it still lives; what it died of and what it had taken."""
    try:
        os.kill(pid, signal.SIGKILL)
        _, status, used = os.wait4(pid, 0)
    except (ProcessLookupError, ChildProcessError):
        return "unknown: a keeper before this one had forked it"
    code = os.waitstatus_to_exitcode(status)
    how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    return f"{how} after {used.ru_utime + used.ru_stime:.2f} s of the processor, {used.ru_maxrss >> 10} MB at most"


def warm_up() -> None:
    """Import all that decoding may ever import: a process that decodes can open no file any more, not even a module."""
    Image.init()
    picture = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16))
    turned = Image.Exif()
    turned[0x0112] = 6
    for kind, fields in (
        ("PNG", {"exif": turned}),
        ("JPEG", {"exif": turned}),
        ("WEBP", {"exif": turned}),
        ("BMP", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "raw"}),
    ):
        target = io.BytesIO()
        picture.save(target, kind, **fields)
        decode(target.getvalue())
        # Of a TIFF cut short libtiff complains on the console.
        for broken in () if kind == "TIFF" else (target.getvalue()[:-40], target.getvalue()[:20], b"no image"):
            try:
                decode(broken)
            except SteelsightError:
                continue


def main() -> None:
    """Be the keeper."""
    warnings.simplefilter("ignore")
    warm_up()
    # What is there now is never collected: a process that looked through it would have pages of its own of all of it.
    gc.collect()
    gc.freeze()
    with socket.socket(fileno=0) as server:
        keep(server, Terms.of(sys.argv[1]))


if __name__ == "__main__":
    main()
