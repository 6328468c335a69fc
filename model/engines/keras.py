"""TensorFlow on `model.keras`, compiled by `tf.function`; uses a GPU where there is one."""

import contextlib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from model.calibration import Logits
from model.cells import CellPlan
from model.engines.feed import Maps, network_input, unusable
from model.errors import ErrorCode, SteelsightError
from model.image import Frame
from model.keras_weights import check_weights
from model.layers import check_layers
from model.network import logits_model, trunk_and_head


class KerasEngine:
    """The source of truth: every other engine is measured against it.

    network: the `keras.Model` as it was published, probability included.
    """

    name = "keras"
    file = "model.keras"
    rounding = 1e-5

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
        check_weights(path)
        try:
            model = keras.models.load_model(path, compile=False, safe_mode=True)
        # The layers were checked, but the weights may still be anything.
        except Exception as error:
            raise unusable(path, error) from error
        self.network = model
        self._channels = model.input_shape[3]

        def compiled(network: Any) -> Any:
            given = tf.TensorSpec(network.input.shape, tf.float32)
            return tf.function(network, input_signature=[given], autograph=False)

        self._forward = compiled(logits_model(model))
        halves = trunk_and_head(model)
        self.shares_convolutions = halves is not None
        if halves is not None:
            self._trunk, self._head = map(compiled, halves)

    @classmethod
    def runs_here(cls) -> bool:
        """Whether TensorFlow is installed."""
        return find_spec("tensorflow") is not None

    @classmethod
    def finds_gpu(cls) -> bool:
        """Whether TensorFlow is installed and sees a GPU; asking it takes seconds."""
        if not cls.runs_here():
            return False
        import tensorflow as tf

        return bool(tf.config.list_physical_devices("GPU"))

    def logits(self, tiles: Frame | npt.NDArray[np.float32]) -> Logits:
        """Of float32 tiles, 0 to 255, too: training asks about augmented ones."""
        return np.asarray(self._forward(network_input(tiles, self._channels)), np.float32)

    def trunk(self, frame: Frame) -> Maps:
        return np.asarray(self._trunk(network_input(frame[np.newaxis], self._channels))[0], np.float32)

    def head(self, windows: Maps) -> Logits:
        return np.asarray(self._head(windows), np.float32)

    def cells(self, _: CellPlan) -> None:
        return None
