"""OpenVINO on the same ONNX files, on processors: in float32, in bfloat16, and with inner convolutions in int8."""

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache, cached_property
from io import BufferedWriter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from model.calibration import Logits
from model.cells import CellPlan, Shares
from model.engines.feed import Maps, network_input, unusable
from model.engines.openvino_cells import cell_graph, dense_of, kernel_of, only_reader, rest_of
from model.errors import ErrorCode, SteelsightError
from model.image import Frame
from model.onnx_file import read_onnx

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
        self._artifact, self._threads = artifact, threads
        self._network = self._whole(artifact / self.file)
        self.shares_convolutions = all((artifact / file).is_file() for file in (self.trunk_file, self.head_file))

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

    def cells(self, plan: CellPlan) -> "_CellNetwork | None":
        with _refusing(self._artifact / self.trunk_file):
            head = _read(self._artifact / self.head_file)
            dense = dense_of(head, plan)
            rest = None if dense is None else rest_of(dense)
            if rest is None:
                return None
            kernel = kernel_of(dense)
            block = self._compiled(cell_graph(_openvino(), self._read_trunk(), kernel, plan))
            return _CellNetwork(kernel.shape[1], block, rest)

    # Where frames are scored cell by cell nobody asks for these two.
    @cached_property
    def _trunk(self) -> "_Network":
        return self._whole(self._artifact / self.trunk_file)

    @cached_property
    def _head(self) -> "_Network":
        return self._whole(self._artifact / self.head_file)

    def _read_trunk(self) -> Any:
        trunk = _read(self._artifact / self.trunk_file)
        if self.precision == "bf16":
            _feed_whole_grey(trunk)
        return trunk

    def _whole(self, file: Path) -> "_Network":
        with _refusing(file):
            model = _read(file)
            if self.precision == "bf16":
                _feed_whole_grey(model)
            return self._compiled(model)

    def _compiled(self, model: Any) -> "_Network":
        return _Network(model, self.precision, self._threads)


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
    """One graph, compiled; channels: the last size of its input. Safe to call from several threads at once."""

    def __init__(self, model: Any, precision: str, threads: int) -> None:
        ((*_, channels),) = (each.partial_shape for each in model.inputs)
        if len(model.outputs) != 1:
            raise ValueError(f"it has {len(model.outputs)} outputs, not one")
        self.channels: int = channels.get_length()
        self._compiled = _core().compile_model(model, "CPU", _properties(precision, threads))
        found = self._compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
        if found != precision:
            raise SteelsightError(
                ErrorCode.ENGINE_UNAVAILABLE,
                f"OpenVINO was told to compute in {precision} and computes in {found}; use the onnx engine",
            )
        # A request holds its inputs and outputs: threads that shared one would get each other's answers.
        self._own = threading.local()

    def __call__(self, given: npt.NDArray[np.float32] | Frame) -> npt.NDArray[np.float32]:
        request = getattr(self._own, "request", None)
        if request is None:
            request = self._own.request = self._compiled.create_infer_request()
        request.infer({0: given}, share_inputs=True)
        return np.array(request.get_output_tensor(0).data, np.float32)


class _CellNetwork:
    """`model.cells.CellNetwork`: the compiled graph of a block, and what follows on the sums."""

    def __init__(self, units: int, block: _Network, rest: Callable[[Shares], Logits]) -> None:
        self.units = units
        self._block, self._rest = block, rest

    def shares(self, pixels: Frame) -> Shares:
        return self._block(pixels[np.newaxis, ..., np.newaxis])

    def logits(self, sums: Shares) -> Logits:
        return self._rest(sums)


@contextmanager
def _refusing(file: Path) -> Iterator[None]:
    """Whatever the runtime finds wrong with a file is said as the artifact's fault."""
    try:
        yield
    except SteelsightError:
        raise
    # The runtime has its own exceptions for each way in which a file is no model, and they change.
    except Exception as error:
        raise unusable(file, error) from error


def _read(file: Path) -> Any:
    # What was checked, and not what may lie there a moment later: weights in files of their own, which nobody vouches
    # for, then lead nowhere.
    content = read_onnx(file)
    try:
        copy = _in_memory(content)
    # A process on trial may write nothing, nowhere, and only Linux has such files.
    except (OSError, AttributeError):
        return _core().read_model(content, b"")
    # Of bytes the binding makes its copy with the interpreter's lock held: 9 ms in which every frame waits.
    with copy:
        return _core().read_model(f"/proc/self/fd/{copy.fileno()}")


def _in_memory(content: bytes) -> BufferedWriter:
    """An open file of that content that lies nowhere. Raises OSError, AttributeError."""
    with ExitStack() as opened:
        file = opened.enter_context(os.fdopen(os.memfd_create("network.onnx"), "wb"))
        file.write(content)
        file.flush()
        opened.pop_all()
        return file


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
    multiply, factor = only_reader(image), None
    if multiply is not None and multiply.get_type_name() == "Multiply":
        factor = _scalar(multiply)
    node = multiply
    while factor is not None and node is not None and node.get_type_name() != "Convolution":
        node = only_reader(node)
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
