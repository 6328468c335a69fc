"""ONNX Runtime: on the processor, or on a GPU where its CUDA build is installed. Does not import TensorFlow."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from model.calibration import Logits
from model.cells import CellPlan
from model.engines.feed import Maps, network_input, unusable
from model.errors import SteelsightError
from model.image import Frame
from model.onnx_file import read_onnx

CUDA = "CUDAExecutionProvider"


class OnnxEngine:
    """`model.onnx`, and its halves where they were exported."""

    name = "onnx"
    file = "model.onnx"
    trunk_file = "trunk.onnx"
    head_file = "head.onnx"
    # Float32 sums of the same numbers in another order were seen to differ by 1e-6.
    rounding = 1e-5

    def __init__(self, artifact: Path, threads: int) -> None:
        self._session = self._open(artifact / self.file, threads)
        (image,) = self._session.get_inputs()
        self._channels = image.shape[3]
        self.shares_convolutions = all((artifact / file).is_file() for file in (self.trunk_file, self.head_file))
        if self.shares_convolutions:
            self._trunk = self._open(artifact / self.trunk_file, threads)
            self._head = self._open(artifact / self.head_file, threads)

    @classmethod
    def runs_here(cls) -> bool:
        """It is what every installation has."""
        return True

    @classmethod
    def finds_gpu(cls) -> bool:
        """Whether the installed ONNX Runtime was built for NVIDIA's GPUs."""
        return CUDA in _runtime().get_available_providers()

    def logits(self, tiles: Frame) -> Logits:
        return _run(self._session, network_input(tiles, self._channels))

    def trunk(self, frame: Frame) -> Maps:
        return np.asarray(_run(self._trunk, network_input(frame[np.newaxis], self._channels))[0])

    def head(self, windows: Maps) -> Logits:
        return _run(self._head, windows)

    def cells(self, _: CellPlan) -> None:
        return None

    @staticmethod
    def _open(file: Path, threads: int) -> Any:
        try:
            # Checked as bytes and opened by its path: of bytes the runtime keeps a copy as long as it lives.
            read_onnx(file)
            return session(str(file), threads)
        except (ImportError, SteelsightError):
            raise
        # The runtime has its own exceptions for each way in which a file is no model, and they change.
        except Exception as error:
            raise unusable(file, error) from error


def session(network: str | bytes, threads: int) -> Any:
    """A session on a file's path or content. Raises what ONNX Runtime raises."""
    onnxruntime = _runtime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Idle threads that spin would take the core from the decoder beside them.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    providers: list[Any] = ["CPUExecutionProvider"]
    if CUDA in onnxruntime.get_available_providers():
        # TensorFloat-32 keeps 10 bits of a number: its logits would not be those that were evaluated.
        providers.insert(0, (CUDA, {"use_tf32": "0"}))
    return onnxruntime.InferenceSession(network, options, providers=providers)


def _runtime() -> Any:
    # Its official builds report model names, hashes and machine facts to their maker over the internet, and
    # leave an identifier in the home folder. Nothing of a plant leaves it; this is the only switch for all of it.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime

    return onnxruntime


def _run(session: Any, given: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The one output of a session with one input."""
    (output,) = session.run(None, {session.get_inputs()[0].name: given})
    return np.asarray(output, np.float32)
