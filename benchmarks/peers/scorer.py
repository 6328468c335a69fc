"""What every peer's server is made of: its settings from the environment, and the ONNX file as a function.

This runs in the peers' own environments, so it knows nothing of the rest of the project. PEER_MODEL is the ONNX
file, PEER_PORT the port, and the rest is what is tried: PEER_PROCESSES, PEER_THREADS (of one session), PEER_BATCH
(the largest; 1 is no batching).
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import onnxruntime  # reads the variable above when it is imported

TILE = 128


@dataclass(frozen=True)
class Options:
    """What a server is told. `callers` is how many calls of one session at a time keep the cores busy."""

    model: Path
    port: int
    processes: int
    threads: int
    batch: int

    @property
    def callers(self) -> int:
        """Calls of a process at a time: sessions with threads of their own need only one."""
        cores = len(os.sched_getaffinity(0))
        return max(1, cores // (self.processes * self.threads))

    @property
    def inline(self) -> bool:
        """Whether a call may hold up its process: with one for each core, a thread for it would only cost."""
        return self.processes > 1 and self.batch == 1


def options() -> Options:
    """As the benchmark has set them."""
    return Options(
        model=Path(os.environ["PEER_MODEL"]),
        port=int(os.environ["PEER_PORT"]),
        processes=int(os.environ["PEER_PROCESSES"]),
        threads=int(os.environ["PEER_THREADS"]),
        batch=int(os.environ["PEER_BATCH"]),
    )


class Scorer:
    """Tiles as bytes -> defect probabilities. Safe to call from several threads at once."""

    def __init__(self, model: Path, threads: int) -> None:
        session = onnxruntime.SessionOptions()
        session.intra_op_num_threads = threads
        session.inter_op_num_threads = 1
        # Threads that spin between two requests take the cores from the HTTP server and from the load generator.
        session.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(model, session, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name

    def tiles(self, tiles: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
        """Tiles uint8 (n, 128, 128, 1) -> float64 (n,), each 0 to 1."""
        (logits,) = self._session.run(None, {self._input: tiles.astype(np.float32)})
        return 1 / (1 + np.exp(-logits[:, 0].astype(np.float64)))

    def bodies(self, bodies: Sequence[bytes]) -> list[float]:
        """As `tiles`, of tiles of 128 x 128 bytes each."""
        return self.tiles(np.frombuffer(b"".join(bodies), np.uint8).reshape(-1, TILE, TILE, 1)).tolist()
