"""The faster engines of a version: what they need is written, then each is measured on test tiles and in a race.

An engine whose verdicts differ from the Keras model's by more than `model.precision` allows stays out of the version,
and the manifest says why; `auto` takes the fastest that is in.
"""

import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import isqrt
from pathlib import Path

import numpy as np
import numpy.typing as npt

from model.artifact import Parity
from model.calibration import Logits
from model.engine import Engine, OnnxEngine, OpenVinoBf16Engine, OpenVinoEngine, OpenVinoInt8Engine, open_engine
from model.errors import ErrorCode, SteelsightError
from model.image import Frame
from model.inspector import BATCH_TILES, Inspector
from model.network import NetworkConfig
from model.precision import judge
from model.sharing import Sharing, obstacle
from model.sliding import SharedNetwork, shared_network
from model.tiling import TileGrid
from model.verdict import Thresholds
from training.quantize import save_int8
from training.scoring import unpublished

MEASURED = (OpenVinoEngine.name, OpenVinoBf16Engine.name, OpenVinoInt8Engine.name)
# The best of so many rounds counts: other work on the machine only ever makes one slower.
RACE_ROUNDS, RACE_SECONDS = 4, 0.05
# As many go into the frames that are scored with shared convolutions: enough to see a trunk or head that went wrong.
SHARED_TILES = 100


@dataclass(frozen=True)
class Measured:
    """What engines are measured by: the Keras model, with the version's calibrator, on labelled tiles.

    network: its layers. logits: its own of the tiles. tiles: uint8 (n, size, size). defect: their labels, (n,).
    """

    keras: Inspector
    network: NetworkConfig
    logits: Logits
    tiles: Frame
    defect: npt.NDArray[np.bool_]
    thresholds: Thresholds


def measure_precisions(
    folder: Path, measured: Measured, onnx: Parity, *, calibration: Frame, seed: int
) -> dict[str, Parity]:
    """Engine -> parity, of all that this machine can run; the files of a refused one are removed again.

    onnx: what was found of that engine already. calibration: tiles on which 8-bit ranges are chosen, uint8.
    """
    in_8_bits = save_int8(folder, calibration, seed)
    parity = {OnnxEngine.name: onnx}
    race = {OnnxEngine.name: open_engine(OnnxEngine.name, folder, 1)}
    for name in MEASURED if in_8_bits else MEASURED[:-1]:
        try:
            race[name] = open_engine(name, folder, 1)
        except SteelsightError as error:
            if error.code is not ErrorCode.ENGINE_UNAVAILABLE:
                raise
            print(f"{name}: not measured, {error.message}", file=sys.stderr)
            continue
        found = parity[name] = _worse(_parities(race[name], measured))
        print(
            f"{name}: {'offered' if found.accepted else f'not offered, {found.reason}'} (probabilities differ by "
            f"at most {found.max_probability_difference:.2g} on {found.tiles} tiles)",
            file=sys.stderr,
        )
    if in_8_bits and not (OpenVinoInt8Engine.name in parity and parity[OpenVinoInt8Engine.name].accepted):
        for file in (OpenVinoInt8Engine.file, OpenVinoInt8Engine.trunk_file):
            (folder / file).unlink(missing_ok=True)
    rates = race_engines(race, measured.tiles[:BATCH_TILES])
    return {name: each.model_copy(update={"tiles_per_second": rates[name]}) for name, each in parity.items()}


def _parities(engine: Engine, measured: Measured) -> Iterator[Parity]:
    """Of the tiles, and of some of them side by side in a frame, which is scored as frames are served."""
    fitting, calibrator = measured.keras.fitting, measured.keras.calibrator
    yield _parity(measured, unpublished(engine, fitting, measured.keras.classes, calibrator).logits(measured.tiles))
    stride = min(fitting.stride, fitting.tile)
    if engine.shares_convolutions and not obstacle(measured.network, stride):
        some = slice(None, None, max(1, len(measured.tiles) // SHARED_TILES))
        part = replace(measured, logits=measured.logits[some], tiles=measured.tiles[some], defect=measured.defect[some])
        shared = shared_network(engine, Sharing.of(measured.network), stride)
        yield _parity(part, logits_in_frame(shared, part.tiles, stride))


def logits_in_frame(shared: SharedNetwork, tiles: Frame, stride: int) -> Logits:
    """Logits of tiles, uint8 (n, size, size), that lie side by side in one frame, each at a multiple of the stride."""
    size = tiles.shape[1]
    apart, a_row = -(-size // stride) * stride, isqrt(len(tiles) - 1) + 1
    places = tuple(range(0, a_row * apart, apart))
    grid = TileGrid(places, places, size)
    frame = np.zeros((a_row * apart, a_row * apart), np.uint8)
    for (y, x), tile in zip(grid.positions(), tiles, strict=False):
        frame[y : y + size, x : x + size] = tile
    return shared.logits(frame, grid)[: len(tiles)]


def _parity(measured: Measured, logits: Logits) -> Parity:
    calibrator, inspector = measured.keras.calibrator, measured.keras
    ours, theirs = (calibrator.probabilities(each) for each in (measured.logits, logits))
    classes = [inspector.class_probabilities(each) for each in (measured.logits, logits)]
    difference = 0.0 if classes[0] is None or classes[1] is None else float(np.abs(classes[0] - classes[1]).max())
    return judge(ours, theirs, measured.thresholds, measured.defect, difference)


def _worse(parities: Iterator[Parity]) -> Parity:
    """The one that is refused; of equals the first, which has more tiles, with the largest difference of both."""
    found = list(parities)
    worst = min(found, key=lambda parity: parity.accepted)
    largest = max(parity.max_probability_difference for parity in found)
    return worst.model_copy(update={"max_probability_difference": largest})


def race_engines(engines: Mapping[str, Engine], tiles: Frame) -> dict[str, float]:
    """Tiles a second of each engine on one batch: the best of several short rounds, in turn."""
    best = dict.fromkeys(engines, 0.0)
    for _ in range(RACE_ROUNDS):
        for name, engine in engines.items():
            scored, start = 0, time.perf_counter()
            while (elapsed := time.perf_counter() - start) < RACE_SECONDS or not scored:
                engine.logits(tiles)
                scored += len(tiles)
            best[name] = max(best[name], scored / elapsed)
    return best
