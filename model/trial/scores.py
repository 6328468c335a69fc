"""Tiles that anyone can draw again, what a version said of them when it was published, and what it says here."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from model.artifact import FixedScores, Manifest, Parity, refused
from model.calibration import Logits
from model.engine import Engine, open_engine
from model.image import Frame
from model.inspector import Inspector

# Of the largest logit, how far float32 may be from itself on another processor, whose kernels sum in another order or
# by transforms that lose digits. On one machine engines were measured to differ by less than 1e-5.
OTHER_PROCESSOR = 1e-3
# Engines of fewer bits differ between processors by as much as they differ from float32.
FEWER_BITS = 2.0


def fixed_tiles(size: int) -> Frame:
    """uint8 (6, size, size): flat grey, both ramps, squares, noise, and noise with a dark spot.

    Integers only, so that they are the same everywhere and always.

    >>> tiles = fixed_tiles(64)
    >>> tiles.shape, tiles[:, 10, 20].tolist()
    ((6, 64, 64), [128, 80, 40, 64, 27, 106])
    """
    ys, xs = np.mgrid[:size, :size].astype(np.uint32)
    mixed = xs * np.uint32(374761393) + ys * np.uint32(668265263) + np.uint32(2246822519)
    mixed = (mixed ^ (mixed >> np.uint32(13))) * np.uint32(1274126177)
    noise = (mixed ^ (mixed >> np.uint32(16))) >> np.uint32(24)
    last = np.uint32(max(1, size - 1))
    away = (ys.astype(np.int64) - size // 2) ** 2 + (xs.astype(np.int64) - size // 2) ** 2
    quiet = 100 + noise // 4
    drawn = [
        np.full((size, size), 128),
        xs * 255 // last,
        ys * 255 // last,
        np.where((xs // 8 + ys // 8) % 2, 64, 192),
        noise,
        np.where(away < (size // 8) ** 2, 30, quiet),
    ]
    return np.stack(drawn).astype(np.uint8)


def recorded(folder: Path, keras: Engine, size: int, parity: Mapping[str, Parity]) -> FixedScores:
    """What the Keras model says of the fixed tiles, and how far every engine in `folder` that is offered is from it."""
    reference = _logits(keras, size)
    differences = {keras.name: 0.0}
    for name, found in parity.items():
        if found.accepted:
            differences[name] = float(np.abs(_logits(open_engine(name, folder, 1), size) - reference).max())
    return FixedScores(logits=tuple(map(tuple, reference.tolist())), differences=differences)


def check_scores(folder: Path, manifest: Manifest, inspector: Inspector) -> bool:
    """Refuse a version whose engine does not say what it said when it was published; whether that is known of it.

    Raises `SteelsightError` (artifact_invalid): another number of scores than classes, scores that are no finite
    numbers, or others than the recorded ones by more than the engine was measured to differ, and may on another
    processor.
    """
    logits = _logits(inspector.engine, manifest.network.input_size, manifest.network.outputs, folder)
    if not np.isfinite(logits).all():
        raise refused(folder, f"on trial the {inspector.engine.name} engine gives scores that are none (NaN, infinite)")
    probabilities = inspector.calibrator.probabilities(logits)
    if not ((probabilities >= 0) & (probabilities <= 1)).all():
        raise refused(folder, "on trial its calibrator gives probabilities that are none")
    known = manifest.fixed_scores
    if known is None:
        return False
    reference = np.array(known.logits)
    if reference.shape != logits.shape:
        raise refused(
            folder, f"its recorded scores are of shape {reference.shape}, and on trial it gives {logits.shape}"
        )
    name = inspector.engine.name
    difference, largest = float(np.abs(logits - reference).max()), float(np.abs(reference).max(initial=1))
    elsewhere = max(OTHER_PROCESSOR, FEWER_BITS * inspector.engine.rounding)
    allowed = known.differences.get(name, 0.0) + largest * elsewhere
    if difference > allowed:
        raise refused(
            folder,
            f"on trial the {name} engine gives other scores than when it was published: they differ by "
            f"{difference:.3g}, and {allowed:.3g} is allowed",
        )
    return True


def _logits(engine: Engine, size: int, outputs: int | None = None, folder: Path | None = None) -> Logits:
    """One tile at a time: a tile may be 4096 px wide."""
    found = []
    for tile in fixed_tiles(size):
        logits = engine.logits(tile[np.newaxis])
        if folder is not None and logits.shape != (1, outputs):
            raise refused(
                folder, f"on trial it gives scores of shape {logits.shape} for a tile, and its manifest has {outputs}"
            )
        found.append(logits)
    return np.concatenate(found)
