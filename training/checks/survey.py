"""The one pass over a folder: every image is decoded once, by two processes, and its signature kept."""

import os
import signal
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_all_start_methods, get_context

import numpy as np

from model.tiling import Fit
from training.checks.likeness import SIDE, Packed, Surfaces
from training.checks.signature import Signature, sign, signs
from training.dataset import choose_fit
from training.scan import Record

WORKERS = 2
# Images handed to a worker at a time: enough that handing over costs nothing beside decoding, few enough that
# Ctrl-C waits a fraction of a second.
CHUNK = 64
# Chunks under way; more would only hold signatures in memory.
AHEAD = 4 * WORKERS
# Below this many images two processes take longer to start than they save.
MIN_FOR_WORKERS = 512

Signed = tuple[Signature, Packed] | None


@dataclass(frozen=True)
class Survey:
    """What one pass noted down, in the order of the records.

    signatures: None where the image cannot be read. surfaces: zeros there; 4 KB an image, in an unnamed temporary
    file, so that 100,000 images take 50 MB of memory here and 400 MB of disk.
    """

    records: Sequence[Record]
    signatures: list[Signature | None]
    surfaces: Surfaces


def survey(
    records: Sequence[Record], on_images: Callable[[int], object] = lambda _: None, workers: int = WORKERS
) -> Survey:
    """Read every image once; `on_images` is called with the number of images read since the last call.

    KeyboardInterrupt ends the workers and is passed on.
    """
    signatures: list[Signature | None] = []
    with tempfile.TemporaryFile() as file:
        for signed in _signed(records, workers):
            for one in signed:
                signatures.append(one[0] if one else None)
                file.write((one[1] if one else np.zeros((SIDE, SIDE), np.int8)).data)
            on_images(len(signed))
        file.flush()
        # The mapping outlives the closed file, and the space is returned when it is dropped, even after a crash.
        shape = (len(records), SIDE, SIDE)
        packed = np.memmap(file, np.int8, "r", shape=shape) if records else np.empty(shape, np.int8)
    return Survey(records, signatures, Surfaces(packed))


def _signed(records: Sequence[Record], workers: int) -> Iterator[list[Signed]]:
    cut_by_mask = choose_fit(records) is Fit.TILE
    chunks = (list(records[start : start + CHUNK]) for start in range(0, len(records), CHUNK))
    if workers < 2 or len(records) < MIN_FOR_WORKERS:
        for chunk in chunks:
            # One by one, so that the progress bar of a few large images moves.
            yield from ([sign(record, cut_by_mask)] for record in chunk)
        return
    # Forked, a worker starts at once with everything imported; it decodes and computes, and starts no thread of BLAS.
    method = "fork" if "fork" in get_all_start_methods() else None
    pool = ProcessPoolExecutor(workers, get_context(method), initializer=_start_worker, initargs=(os.getpid(),))
    under_way: deque[Future[list[Signed]]] = deque()
    try:
        for chunk in chunks:
            under_way.append(pool.submit(signs, chunk, cut_by_mask))
            if len(under_way) >= AHEAD:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker(parent: int) -> None:
    """Ctrl-C reaches the whole terminal: the parent alone acts on it. A killed parent takes its workers along."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
