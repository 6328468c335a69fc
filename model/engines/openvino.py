"""OpenVINO on the same ONNX files, on processors: in float32, in bfloat16, and with inner convolutions in int8."""

import os
import sys
import threading
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from model.calibration import Logits
from model.engines.feed import Maps, network_input, unusable
from model.errors import ErrorCode, SteelsightError
from model.image import Frame

# It would report every import and every model to its maker, and leave an identifier in the home folder.
REPORTER = "openvino_telemetry"
# What may lie between the rescaling of grey and the first convolution without changing a number.
SHAPE_ONLY = frozenset({"Reshape", "Transpose", "Squeeze", "Unsqueeze"})


class OpenVinoEngine:
    """float32. Half and 8-bit precision are said to the runtime explicitly and read back, never left to its defaults.

    Every caller's call runs beside the others': there are as many streams as `threads` goes into the cores.
    """

    name = "openvino"
    file = "model.onnx"
    trunk_file = "trunk.onnx"
    head_file = "head.onnx"
    precision = "f32"
    rounding = 1e-5

    def __init__(self, artifact: Path, threads: int) -> None:
        _require_precision(self.name, self.precision)
        self._network = _Network(artifact / self.file, self.precision, threads)
        self.shares_convolutions = all((artifact / file).is_file() for file in (self.trunk_file, self.head_file))
        if self.shares_convolutions:
            self._trunk = _Network(artifact / self.trunk_file, self.precision, threads)
            self._head = _Network(artifact / self.head_file, self.precision, threads)

    @classmethod
    def runs_here(cls) -> bool:
        """Whether OpenVINO is installed, and this processor computes in the engine's precision."""
        try:
            _require_precision(cls.name, cls.precision)
        except SteelsightError:
            return False
        return True

    def logits(self, tiles: Frame) -> Logits:
        return self._network(network_input(tiles, self._network.channels))

    def trunk(self, frame: Frame) -> Maps:
        return np.asarray(self._trunk(network_input(frame[np.newaxis], self._trunk.channels))[0])

    def head(self, windows: Maps) -> Logits:
        return self._head(windows)


class OpenVinoBf16Engine(OpenVinoEngine):
    """bfloat16, 8 bits of each number: only on processors that compute in it."""

    name = "openvino-bf16"
    precision = "bf16"
    rounding = 0.05


class OpenVinoInt8Engine(OpenVinoEngine):
    """Inner convolutions in int8, as `training.quantize` wrote them, and float32 for the rest."""

    name = "openvino-int8"
    file = "model.int8.onnx"
    trunk_file = "trunk.int8.onnx"
    rounding = 0.05


class _Network:
    """One ONNX file, compiled; channels: of its input. Safe to call from several threads at once."""

    def __init__(self, file: Path, precision: str, threads: int) -> None:
        try:
            # As bytes: weights in files of their own, which nobody vouches for, then lead nowhere.
            model = _core().read_model(file.read_bytes(), b"")
            ((*_, channels),) = (each.partial_shape for each in model.inputs)
            if len(model.outputs) != 1:
                raise ValueError(f"it has {len(model.outputs)} outputs, not one")
            self.channels: int = channels.get_length()
            if precision == "bf16":
                _feed_whole_grey(model)
            self._compiled = _core().compile_model(model, "CPU", _properties(precision, threads))
        # The runtime has its own exceptions for each way in which a file is no model, and they change.
        except Exception as error:
            raise unusable(file, error) from error
        found = self._compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
        if found != precision:
            raise SteelsightError(
                ErrorCode.ENGINE_UNAVAILABLE,
                f"OpenVINO was told to compute {file.name} in {precision} and computes in {found}; use the onnx engine",
            )
        # A request holds its inputs and outputs: threads that shared one would get each other's answers.
        self._own = threading.local()

    def __call__(self, given: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        request = getattr(self._own, "request", None)
        if request is None:
            request = self._own.request = self._compiled.create_infer_request()
        request.infer({0: given}, share_inputs=True)
        return np.array(request.get_output_tensor(0).data, np.float32)


@cache
def _openvino() -> Any:
    """The runtime. Raises `SteelsightError` (engine_unavailable) where it is not installed."""
    # Without the reporter OpenVINO takes a stub of its own in its place; there is no setting for it.
    sys.modules[REPORTER] = None  # type: ignore[assignment]
    try:
        import openvino
    except ImportError as error:
        raise SteelsightError(
            ErrorCode.ENGINE_UNAVAILABLE,
            f"the openvino engines need OpenVINO ({error}); install it, or use the onnx engine",
        ) from error
    return openvino


@cache
def _core() -> Any:
    return _openvino().Core()


def _require_precision(name: str, precision: str) -> None:
    """Raises `SteelsightError` (engine_unavailable) where this processor does not compute in `precision`."""
    capabilities = _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if precision == "bf16" and "BF16" not in capabilities:
        raise SteelsightError(
            ErrorCode.ENGINE_UNAVAILABLE,
            f"this processor does not compute in bfloat16, which {name} needs; it has {', '.join(sorted(capabilities))}"
            "; use another engine, or `auto`",
        )


def _properties(precision: str, threads: int) -> dict[str, Any]:
    # Calls on one stream wait for each other.
    streams = max(1, len(os.sched_getaffinity(0)) // threads) if threads else 1
    return {
        "INFERENCE_PRECISION_HINT": precision,
        "NUM_STREAMS": streams,
        "INFERENCE_NUM_THREADS": threads * streams,
        # The processes of one server would all be bound to the same first cores.
        "ENABLE_CPU_PINNING": False,
    }


def _feed_whole_grey(model: Any) -> None:
    """Move a rescaling by a factor alone from the image into the kernels of the first convolution.

    bfloat16 holds each grey of 0 to 255, but not each 255th of it: rounded, a tile loses half a grey level where it is
    bright. A rescaling with an offset is left alone; ours, 64ths around 0, lose nothing.
    """
    (image,) = model.get_parameters()
    multiply, factor = _only_reader(image), None
    if multiply is not None and multiply.get_type_name() == "Multiply":
        factor = _scalar(multiply)
    node = multiply
    while factor is not None and node is not None and node.get_type_name() != "Convolution":
        node = _only_reader(node)
        if node is None or not _passes(node):
            return
    if factor is None or node is None:
        return
    kernels = node.input_value(1).get_node()
    if kernels.get_type_name() != "Constant":
        return
    scaled = _openvino().opset13.constant((kernels.data * factor).astype(np.float32))
    node.input(1).replace_source_output(scaled.output(0))
    multiply.output(0).replace(image.output(0))
    model.validate_nodes_and_infer_types()


def _only_reader(node: Any) -> Any:
    """The one node that reads this node's output; None if there are several."""
    readers = list(node.output(0).get_target_inputs())
    return readers[0].get_node() if len(readers) == 1 else None


def _passes(node: Any) -> bool:
    kind = node.get_type_name()
    return kind == "Convolution" or kind in SHAPE_ONLY or (kind == "Add" and _scalar(node) == 0)


def _scalar(node: Any) -> float | None:
    """The one number that a multiplication or addition has beside its input."""
    for value in node.input_values():
        constant = value.get_node()
        if constant.get_type_name() == "Constant" and constant.data.size == 1:
            return float(constant.data.reshape(()))
    return None
