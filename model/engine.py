"""Engine: a batch of tiles -> logits. One class per runtime, each imported only when it is chosen."""

from pathlib import Path
from typing import Protocol

from model.calibration import Logits
from model.cells import CellNetwork, CellPlan
from model.engines.feed import Maps, network_input
from model.engines.keras import KerasEngine
from model.engines.onnx import OnnxEngine
from model.engines.openvino import OpenVinoBf16Engine, OpenVinoEngine, OpenVinoInt8Engine
from model.image import Frame

__all__ = [
    "ENGINES",
    "Engine",
    "KerasEngine",
    "Maps",
    "OnnxEngine",
    "OpenVinoBf16Engine",
    "OpenVinoEngine",
    "OpenVinoInt8Engine",
    "network_input",
    "open_engine",
]


class Engine(Protocol):
    """What computes logits. Engines are safe to call from several threads at once."""

    @property
    def name(self) -> str:
        """The word for this runtime in settings, replies and manifests."""

    @property
    def rounding(self) -> float:
        """Share of the largest logit by which the same sums, taken in another order, may come out differently."""

    def logits(self, tiles: Frame) -> Logits:
        """uint8 tiles of shape (n, size, size) -> float32 logits of shape (n, outputs)."""

    @property
    def shares_convolutions(self) -> bool:
        """Whether the network is there in two halves, so that `trunk` and `head` answer; see `model.sliding`."""

    def trunk(self, frame: Frame) -> Maps:
        """uint8 frame of shape (height, width), of at least a tile -> the map of its convolutions, (h, w, depth)."""

    def head(self, windows: Maps) -> Logits:
        """Windows of that map, one a tile, (n, h, w, depth) -> float32 logits of shape (n, outputs)."""

    def cells(self, plan: CellPlan) -> CellNetwork | None:
        """The network made for cells, where it shares convolutions and this runtime gains by it; see `model.cells`."""


ENGINES = {
    engine.name: engine for engine in (OnnxEngine, KerasEngine, OpenVinoEngine, OpenVinoBf16Engine, OpenVinoInt8Engine)
}


def open_engine(name: str, artifact: Path, threads: int = 0) -> Engine:
    """The engine of that name on a verified artifact folder; threads 0 lets the runtime choose.

    Raises `SteelsightError`: artifact_invalid, engine_unavailable. Which engines a version offers, and which of them is
    `auto`, `model.precision` knows.
    """
    return ENGINES[name](artifact, threads)
