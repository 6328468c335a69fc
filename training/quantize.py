"""model.onnx -> model.int8.onnx: the inner convolutions in 8 bits, everything else in float.

The first convolution reads one grey channel and the dense layers weigh little: in 8 bits they cost verdicts and gain no
speed. An inner convolution's input comes from a ReLU, so it is stored as uint8 from 0 up to a range; its kernels are
int8 with one scale for each filter. Both are chosen on calibration tiles so that the convolution's *output* changes
least: the ranges by trial, the kernels by rounding one weight after the other and letting those that are left make up
for each rounding error (Frantar et al., "GPTQ", 2023, arXiv:2210.17323). Rounding each weight to its nearest step
instead moves probabilities up to twice as far; docs/log.md has what was tried.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from model.engine import OpenVinoEngine, OpenVinoInt8Engine, network_input
from model.engines.onnx import session as open_session
from model.image import Frame

if TYPE_CHECKING:
    import onnx

Array = npt.NDArray[np.float64]

# Tiles whose feature maps are looked at, and windows drawn from all of them: more changes no scale in the third digit.
TILES = 192
WINDOWS = 12_000
# Candidates, as shares of the largest value seen: how far a range may be cut for finer steps.
ACTIVATION_SHARES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3)
KERNEL_SHARES = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7)
# Of the mean of the diagonal: without it, windows that never vary would make the system unsolvable.
DAMPING = 0.01
# A map that is nearly always 0 would otherwise need kernels far beyond those of the others.
LEAST_SHARE = 0.05
UINT8_STEPS, INT8_STEPS = 255, 127


class Quantized(NamedTuple):
    """One convolution in 8 bits.

    input_scales: the step of uint8 for each input map, (maps,). kernels: int8 (filters, maps, height, width), of inputs
    in such steps; kernel_scales: their own step for each filter, (filters,).
    """

    input_scales: npt.NDArray[np.float32]
    kernels: npt.NDArray[np.int8]
    kernel_scales: npt.NDArray[np.float32]


def save_int8(folder: Path, tiles: Frame, seed: int) -> bool:
    """Write `model.int8.onnx`, and `trunk.int8.onnx` where there is a trunk, calibrated on uint8 tiles (n, size, size).

    Returns False, and writes nothing, where the network has no inner convolution.
    """
    import onnx

    model = onnx.load(folder / OpenVinoEngine.file)
    if not _inner_convolutions(model):
        return False
    rng = np.random.default_rng(seed)
    chosen = tiles[np.sort(rng.permutation(len(tiles))[:TILES])]
    found = []
    # One after the other: each is calibrated on what those before it, in 8 bits already, hand it.
    for number, node in enumerate(_inner_convolutions(model)):
        found.append(quantize(_constant(model, node.input[1]), _windows(model, node, chosen, rng)))
        _insert(model, number, found[-1])
    onnx.save(model, folder / OpenVinoInt8Engine.file)
    if (folder / OpenVinoEngine.trunk_file).is_file():
        trunk = onnx.load(folder / OpenVinoEngine.trunk_file)
        for number, each in enumerate(found):
            _insert(trunk, number, each)
        onnx.save(trunk, folder / OpenVinoInt8Engine.trunk_file)
    return True


def quantize(kernels: npt.NDArray[np.float32], windows: Array) -> Quantized:
    """Kernels (filters, maps, height, width) in 8 bits, for inputs like `windows` (n, maps * height * width), all >= 0.

    >>> rng = np.random.default_rng(0)
    >>> found = quantize(rng.normal(size=(2, 3, 3, 3)).astype(np.float32), rng.random((500, 27)))
    >>> found.kernels.dtype.name, found.kernels.shape, found.kernel_scales.shape
    ('int8', (2, 3, 3, 3), (2,))
    """
    area = kernels.shape[2] * kernels.shape[3]
    shares = _map_shares(windows, area)
    weights = kernels.reshape(len(kernels), -1).astype(np.float64) * np.repeat(shares, area)
    windows = windows / np.repeat(shares, area)
    scale = _input_scale(weights, windows)
    stored = np.clip(np.rint(windows / scale), 0, UINT8_STEPS)
    gram = stored.T @ stored / len(stored)
    gram[np.diag_indices_from(gram)] += max(DAMPING * float(np.trace(gram)) / len(gram), 1e-12)
    scales = _kernel_scales(weights * scale, gram)
    rounded = _rounded(weights * scale, scales, gram).reshape(kernels.shape).astype(np.int8)
    return Quantized((shares * scale).astype(np.float32), rounded, scales.astype(np.float32))


def _map_shares(windows: Array, area: int) -> Array:
    """The step of each input map, (maps,), as a share of the largest: maps that reach less far get finer steps.

    The root divides the differences between kernels and input (Xiao et al., "SmoothQuant", 2023, arXiv:2211.10438).
    """
    reach = windows.reshape(len(windows), -1, area).max(axis=(0, 2))
    largest = float(reach.max()) or 1.0
    return np.asarray(np.sqrt(np.maximum(reach / largest, LEAST_SHARE)))


def _input_scale(weights: Array, windows: Array) -> float:
    """The step of uint8 that changes the outputs least."""
    largest = float(windows.max()) or 1.0
    outputs = windows @ weights.T

    def error(share: float) -> float:
        scale = share * largest / UINT8_STEPS
        stored = np.clip(np.rint(windows / scale), 0, UINT8_STEPS) * scale
        return float(np.square(stored @ weights.T - outputs).mean())

    return min(ACTIVATION_SHARES, key=error) * largest / UINT8_STEPS


def _kernel_scales(weights: Array, gram: Array) -> Array:
    """The step of int8 for each filter, (filters,), that changes its outputs least under plain rounding."""
    largest = np.maximum(np.abs(weights).max(axis=1), 1e-12)
    candidates = np.array([share * largest / INT8_STEPS for share in KERNEL_SHARES])

    def errors(scales: Array) -> Array:
        change = np.clip(np.rint(weights / scales[:, None]), -INT8_STEPS, INT8_STEPS) * scales[:, None] - weights
        return np.asarray(((change @ gram) * change).sum(axis=1))

    best = np.array([errors(scales) for scales in candidates]).argmin(axis=0)
    return np.asarray(candidates[best, np.arange(len(weights))])


def _rounded(weights: Array, scales: Array, gram: Array) -> Array:
    """Weights (filters, inputs) in whole steps; each rounding error is made up for by the inputs still to come."""
    # Heavily used inputs first, while there are many left to make up for them.
    order = np.argsort(-np.diag(gram), kind="stable")
    # Upper factor U of the inverse, inverse = U'U: its row holds how the rest answers to a change of one input.
    upper = np.linalg.cholesky(np.linalg.inv(gram[np.ix_(order, order)])).T
    left = weights[:, order].copy()
    steps = np.empty_like(left)
    for column in range(left.shape[1]):
        steps[:, column] = np.clip(np.rint(left[:, column] / scales), -INT8_STEPS, INT8_STEPS)
        error = (left[:, column] - steps[:, column] * scales) / upper[column, column]
        left[:, column + 1 :] -= np.outer(error, upper[column, column + 1 :])
    restored = np.empty_like(steps)
    restored[:, order] = steps
    return restored


def _inner_convolutions(model: "onnx.ModelProto") -> "list[onnx.NodeProto]":
    """Every convolution but the first, in order of execution."""
    return [node for node in model.graph.node if node.op_type == "Conv"][1:]


def _windows(model: "onnx.ModelProto", node: "onnx.NodeProto", tiles: Frame, rng: np.random.Generator) -> Array:
    """What the node's kernels see on the tiles: windows (n, maps * height * width) drawn at random positions."""
    height, width = _constant(model, node.input[1]).shape[2:]
    drawn = []
    for maps in _feature_maps(model, node.input[0], tiles):
        padded = np.pad(maps, ((0, 0), (0, 0), (height // 2, height // 2), (width // 2, width // 2)))
        views = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(2, 3))
        count = -(-WINDOWS * len(maps) // len(tiles))
        image, row, column = (rng.integers(0, size, count) for size in (len(maps), *views.shape[2:4]))
        drawn.append(views[image, :, row, column].reshape(count, -1))
    return np.concatenate(drawn).astype(np.float64)


def _feature_maps(model: "onnx.ModelProto", name: str, tiles: Frame) -> Iterator[npt.NDArray[np.float32]]:
    """The tensor of that name, float32 (n, maps, height, width), for batches of the tiles."""
    import onnx

    looking = onnx.ModelProto.FromString(model.SerializeToString())
    looking.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    session = open_session(looking.SerializeToString(), threads=0)
    (image,) = session.get_inputs()
    for start in range(0, len(tiles), 32):
        fed = network_input(tiles[start : start + 32], image.shape[3])
        (maps,) = session.run([name], {image.name: fed})
        yield maps


def _constant(model: "onnx.ModelProto", name: str) -> npt.NDArray[Any]:
    from onnx import numpy_helper

    return numpy_helper.to_array(next(each for each in model.graph.initializer if each.name == name))


def _insert(model: "onnx.ModelProto", number: int, found: Quantized) -> None:
    """Put the input of inner convolution `number` through uint8 and back, and its kernels from int8.

    Runtimes know the pattern, and convolve in 8 bits.
    """
    from onnx import helper, numpy_helper

    node = _inner_convolutions(model)[number]
    image, kernel = node.input[0], node.input[1]
    filters = len(found.kernel_scales)
    constants: dict[str, npt.NDArray[Any]] = {
        f"{image}/factors": (1 / found.input_scales).reshape(1, -1, 1, 1),
        f"{image}/scale": np.array(1, np.float32),
        f"{image}/zero": np.array(0, np.uint8),
        f"{kernel}/int8": found.kernels,
        f"{kernel}/scale": found.kernel_scales,
        f"{kernel}/zero": np.zeros(filters, np.int8),
    }
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    of_image, of_kernel = ([f"{name}/scale", f"{name}/zero"] for name in (image, kernel))
    nodes = [
        helper.make_node("Mul", [image, f"{image}/factors"], [f"{image}/steps"]),
        helper.make_node("QuantizeLinear", [f"{image}/steps", *of_image], [f"{image}/uint8"]),
        helper.make_node("DequantizeLinear", [f"{image}/uint8", *of_image], [f"{image}/stored"]),
        helper.make_node("DequantizeLinear", [f"{kernel}/int8", *of_kernel], [f"{kernel}/stored"], axis=0),
    ]
    position = list(model.graph.node).index(node)
    for offset, new in enumerate(nodes):
        model.graph.node.insert(position + offset, new)
    target = model.graph.node[position + len(nodes)]
    target.input[0], target.input[1] = f"{image}/stored", f"{kernel}/stored"
    spare = next(each for each in model.graph.initializer if each.name == kernel)
    model.graph.initializer.remove(spare)
