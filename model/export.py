"""Keras model -> the other formats of an artifact, each measured against it.

An export that changes a verdict is refused: it would be a model that nobody evaluated.
"""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from model.artifact import Parity
from model.engine import KerasEngine, OnnxEngine
from model.errors import ErrorCode, SteelsightError
from model.network import logits_model, trunk_and_head
from model.tiling import Probabilities
from model.verdict import Thresholds, decide

if TYPE_CHECKING:
    import keras


def save_keras(model: "keras.Model", folder: Path) -> None:
    """Write `model.keras`, weights and layers only: no optimiser, no compilation."""
    import keras

    # Not `clone_model`: it compiles the clone as the model was, and the file would hold the loss and optimiser.
    plain = keras.Sequential.from_config(model.get_config())
    plain.set_weights(model.get_weights())
    plain.save(folder / KerasEngine.file)


def save_onnx(model: "keras.Model", folder: Path) -> None:
    """Write `model.onnx`: float32 (n, size, size, channels) 0-255 -> logits float32 (n, outputs).

    Where no convolution is padded, its halves too, for whole frames: `trunk.onnx` and `head.onnx`, see
    `model.network.trunk_and_head`.
    """
    tile = np.zeros((1, *model.input_shape[1:]), np.float32)
    _save(logits_model(model), tile, folder / OnnxEngine.file)
    if halves := trunk_and_head(model):
        trunk, head = halves
        _save(trunk, tile, folder / OnnxEngine.trunk_file)
        _save(head, trunk(tile), folder / OnnxEngine.head_file)


def _save(network: "keras.Model", given: Any, path: Path) -> None:
    # Keras exports only what has been called.
    network(given)
    with warnings.catch_warnings():
        # The converter probes `np.object`, which NumPy warns about; nothing of ours uses it.
        warnings.simplefilter("ignore")
        network.export(path, format="onnx", verbose=False)
    _widen_scalars(path)


def _widen_scalars(path: Path) -> None:
    """Give the constants of rank 0 that rescale the input its rank, which changes no value.

    Beside a tensor whose last dimension is 1, as grey has, ONNX Runtime multiplies by a constant of rank 0 value by
    value: 9.7 ns for each instead of 0.16, a third of the whole trunk.
    """
    import onnx
    from onnx import numpy_helper

    network = onnx.load(path)
    graph = network.graph
    rank = len(graph.input[0].type.tensor_type.shape.dim)
    operands = {name for node in graph.node if node.op_type in ("Mul", "Add") for name in node.input}
    for constant in graph.initializer:
        if constant.name in operands and not constant.dims:
            widened = numpy_helper.to_array(constant).reshape((1,) * rank)
            constant.CopyFrom(numpy_helper.from_array(widened, constant.name))
    onnx.save(network, path)


def parity(
    reference: Probabilities,
    export: Probabilities,
    thresholds: Thresholds,
    name: str,
    classes: tuple[Probabilities | None, Probabilities | None] = (None, None),
) -> Parity:
    """Compare the probabilities of the same tiles, each of shape (n,).

    classes: those of each class, (n, classes), where there are any; the difference is the largest of all.
    Raises `SteelsightError` (export_disagrees) if a verdict differs, or if a probability is none (NaN).
    """
    flips = sum(
        decide(float(ours), thresholds) is not decide(float(theirs), thresholds)
        for ours, theirs in zip(reference, export, strict=True)
    )
    difference = float(np.abs(reference - export).max())
    if classes[0] is not None and classes[1] is not None:
        difference = float(np.maximum(difference, np.abs(classes[0] - classes[1]).max()))
    if flips or not np.isfinite(difference):
        raise SteelsightError(
            ErrorCode.EXPORT_DISAGREES,
            f"the {name} export gives another verdict than the Keras model on {flips} of {len(export)} tiles "
            f"(largest probability difference {difference:.2g}); it is not published",
        )
    return Parity(tiles=len(export), max_probability_difference=difference, verdict_flips=flips)
