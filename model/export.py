"""Keras model -> the other formats of an artifact, each measured against it.

An export that changes a verdict is refused: it would be a model that nobody evaluated.
"""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from model.artifact import Parity
from model.engine import KerasEngine, OnnxEngine
from model.errors import ErrorCode, SteelsightError
from model.network import logits_model
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
    """Write `model.onnx`: float32 (n, size, size, channels) 0-255 -> logits float32 (n, outputs)."""
    logits = logits_model(model)
    logits(np.zeros((1, *model.input_shape[1:]), np.float32))
    with warnings.catch_warnings():
        # The converter probes `np.object`, which NumPy warns about; nothing of ours uses it.
        warnings.simplefilter("ignore")
        logits.export(folder / OnnxEngine.file, format="onnx", verbose=False)


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
