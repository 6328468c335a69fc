"""Engine: a batch of tiles -> logits. One class per runtime, each imported only when it is chosen."""

import contextlib
import os
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from model.calibration import Logits
from model.errors import ErrorCode, SteelsightError
from model.image import Frame
from model.layers import check_layers
from model.network import logits_model


class Engine(Protocol):
    """What computes logits. Engines are safe to call from several threads at once."""

    @property
    def name(self) -> str:
        """The word for this runtime in settings, replies and manifests."""

    def logits(self, tiles: Frame) -> Logits:
        """uint8 tiles of shape (n, size, size) -> float32 logits of shape (n, outputs)."""


class OnnxEngine:
    """ONNX Runtime on `model.onnx`. Does not import TensorFlow."""

    name = "onnx"
    file = "model.onnx"

    def __init__(self, artifact: Path, threads: int) -> None:
        # Its official builds report model names, hashes and machine facts to their maker over the internet, and
        # leave an identifier in the home folder. Nothing of a plant leaves it; this is the only switch for all of it.
        os.environ["ORT_DISABLE_TELEMETRY"] = "1"
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Idle threads that spin would take the core from the decoder beside them.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(
                artifact / self.file, options, providers=["CPUExecutionProvider"]
            )
        # The runtime has its own exceptions for each way in which a file is no model, and they change.
        except Exception as error:
            raise _unusable(artifact / self.file, error) from error
        (image,) = self._session.get_inputs()
        self._input, self._channels = image.name, image.shape[3]

    def logits(self, tiles: Frame) -> Logits:
        (logits,) = self._session.run(None, {self._input: network_input(tiles, self._channels)})
        return np.asarray(logits, np.float32)


class KerasEngine:
    """TensorFlow on `model.keras`, compiled by `tf.function`; uses a GPU where there is one."""

    name = "keras"
    file = "model.keras"

    def __init__(self, artifact: Path, threads: int) -> None:
        path = artifact / self.file
        check_layers(path)
        try:
            import keras
            import tensorflow as tf
        except ModuleNotFoundError as error:
            raise SteelsightError(
                ErrorCode.ENGINE_UNAVAILABLE,
                f"the keras engine needs TensorFlow ({error}); install the `train` extra or use the onnx engine",
            ) from error

        # The pool belongs to the process: once TensorFlow runs it refuses, and the first engine's choice stands.
        with contextlib.suppress(RuntimeError):
            tf.config.threading.set_intra_op_parallelism_threads(threads)
        try:
            model = keras.models.load_model(path, compile=False, safe_mode=True)
        # As for the other engine: the layers were checked, but the weights may still be anything.
        except Exception as error:
            raise _unusable(path, error) from error
        size, channels = model.input_shape[1], model.input_shape[3]
        self._channels = channels
        self._forward: Any = tf.function(
            logits_model(model),
            input_signature=[tf.TensorSpec((None, size, size, channels), tf.float32)],
            autograph=False,
        )

    def logits(self, tiles: Frame | npt.NDArray[np.float32]) -> Logits:
        """Of float32 tiles, 0 to 255, too: training asks about augmented ones."""
        return np.asarray(self._forward(network_input(tiles, self._channels)), np.float32)


def _unusable(file: Path, error: Exception) -> SteelsightError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return SteelsightError(ErrorCode.ARTIFACT_INVALID, f"{file} cannot be loaded: {reason}; train or copy it anew")


ENGINES = {engine.name: engine for engine in (OnnxEngine, KerasEngine)}


def open_engine(name: str, artifact: Path, threads: int = 0) -> Engine:
    """The engine of that name on a verified artifact folder; threads 0 lets the runtime choose."""
    return ENGINES[name](artifact, threads)


def network_input(tiles: Frame | npt.NDArray[np.float32], channels: int) -> npt.NDArray[np.float32]:
    """uint8 or float32 (n, size, size) -> float32 (n, size, size, channels), grey repeated over the channels."""
    grey = tiles[..., np.newaxis].astype(np.float32, copy=False)
    return grey if channels == 1 else np.repeat(grey, channels, axis=3)
