"""What the network saw: one frame -> its verdict, the worst tile from pixels to probability, heat maps.

The verdict and the tile scores are those of `model.inspector`; the values in between are the Keras network's own.
Pictures and pages are made elsewhere: everything here is numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
import numpy.typing as npt

from model import tiling
from model.artifact import Manifest
from model.attribution import (
    BATCH_TILES,
    OCCLUSIONS_A_SIDE,
    Parts,
    explained_logit,
    grad_cam,
    last_places,
    occlusion,
    parts,
    place_parts,
)
from model.calibration import defect_class_logits
from model.engines.keras import KerasEngine
from model.feature_maps import Activations, Stage, trace
from model.image import Frame
from model.inspector import Inspection, Inspector
from model.registry import Registry
from model.seam import judge_seam
from model.tiling import Fit, Probabilities, TileGrid

if TYPE_CHECKING:
    import keras

# y, x, height, width, in px of the frame.
Box = tuple[int, int, int, int]

# Covering every place of every tile costs 64 passes a tile: on a large frame only the worst tiles are covered.
OCCLUDED_TILES = 16


@dataclass(frozen=True)
class TileExplanation:
    """One tile from pixels to probability.

    tile: uint8 (size, size). stages: every layer in order. map_parts, unit_parts: the logit taken apart over the
    last maps and over the inputs of the last dense layer. defect_probability: calibrated.
    place_parts: float32 (size, size), what each place adds to the logit. grad_cam: float32 (size, size), >= 0.
    occlusion: float32 (size, size), how far the logit falls when the place is covered.
    """

    tile: Frame
    stages: tuple[Stage, ...]
    map_parts: Parts
    unit_parts: Parts
    defect_probability: float
    place_parts: Activations
    grad_cam: Activations
    occlusion: Activations

    @property
    def logit(self) -> float:
        """The explained logit, before calibration."""
        return float(explained_logit(self.stage("logits").output[np.newaxis])[0])

    @property
    def class_number(self) -> int:
        """Which class the explained logit speaks for: the likeliest defect class, 1 where there is only one."""
        return 1 + int(defect_class_logits(self.stage("logits").output[np.newaxis])[0].argmax())

    def stage(self, name: str) -> Stage:
        """The layer of that name. Raises KeyError."""
        return {stage.name: stage for stage in self.stages}[name]


@dataclass(frozen=True)
class FrameHeat:
    """Heat maps over a whole frame, float32 (height, width), >= 0; where tiles overlap the larger counts.

    place_parts, occlusion: what speaks for a defect, in the logit's unit, so that tiles compare. grad_cam: 0..1, each
    tile's map scaled to its own largest value, which has no unit, times the tile's defect probability.
    occluded: how many tiles, the most probable first, the occlusion map covers.
    """

    place_parts: Activations
    grad_cam: Activations
    occlusion: Activations
    occluded: int


@dataclass(frozen=True)
class Explanation:
    """One frame explained: the inspection, where its worst tile lies, that tile in depth, and heat over the frame.

    box: y, x, height, width of the worst tile on the frame, in px, clipped to it. heat: None where the frame is
    one tile and the tile's own maps say everything. defect_class: what the explained logit speaks for, the likeliest
    defect class of the worst tile; None where the version tells no classes apart.
    """

    frame: Frame
    inspection: Inspection
    box: Box
    worst: TileExplanation
    heat: FrameHeat | None
    defect_class: str | None


@dataclass(frozen=True)
class Explainer:
    """One loaded version, ready to explain frames: its inspector, and its Keras network for what lies between."""

    manifest: Manifest
    inspector: Inspector
    network: keras.Model

    @classmethod
    def load(
        cls, registry: Registry, version: str, engine: str = "onnx", *, threads: int = 0, stride: int | None = None
    ) -> Self:
        """Verify and open a published version; threads, stride: as for `Inspector.load`.

        Raises `SteelsightError`: model_unknown, artifact_invalid, engine_unavailable (TensorFlow is needed).
        """
        manifest = registry.verified(version)
        network = KerasEngine(registry.folder(version), threads).network
        return cls(manifest, Inspector.load(registry, version, engine, threads=threads, stride=stride), network)

    def explain(self, frame: Frame) -> Explanation:
        """Everything about one uint8 frame of shape (height, width), each side at least 2 px."""
        inspection = self.inspector.inspect(frame)
        tile, box = self.worst_tile(frame, inspection)
        heat = self.frame_heat(frame, inspection) if inspection.scores.size > 1 else None
        explained = self.explain_tile(tile)
        several = explained.stage("logits").output.size > 1
        named = self.manifest.classes[explained.class_number] if several else None
        return Explanation(frame, inspection, box, explained, heat, named)

    def worst_tile(self, frame: Frame, inspection: Inspection, overlap: int = 0) -> tuple[Frame, Box]:
        """The tile that gave the frame its probability, uint8 (size, size), and where it lies, clipped to the frame.

        inspection: the frame's own, with that overlap: what the frame before was judged for is passed over here too.
        """
        covered, grid = self.cover(frame, overlap)
        scores = inspection.scores
        if self.inspector.fitting.fit is Fit.RESIZE:
            return covered, (0, 0, *frame.shape)
        if overlap:
            before, _ = judge_seam(grid, scores, self.inspector.thresholds, overlap)
            scores = np.where(before, -np.inf, scores)
        y, x = map(int, grid.positions()[int(scores.argmax())])
        place = slice(y, y + grid.tile), slice(x, x + grid.tile)
        return covered[place], (y, x, *frame[place].shape)

    def explain_tile(self, tile: Frame) -> TileExplanation:
        """One uint8 tile of the network's size from pixels to probability."""
        stages = trace(self.network, tile)
        names = [stage.name for stage in stages]
        places, hidden = last_places(self.network), names.index("logits") - 1
        map_parts = parts(self.network, places, stages[places].output)
        square = max(1, len(tile) // OCCLUSIONS_A_SIDE)
        return TileExplanation(
            tile=tile,
            stages=stages,
            map_parts=map_parts,
            unit_parts=parts(self.network, hidden, stages[hidden].output),
            defect_probability=float(self.manifest.calibrator.probabilities(stages[hidden + 1].output[np.newaxis])[0]),
            place_parts=place_parts(self.network, tile[np.newaxis])[0],
            grad_cam=grad_cam(self.network, tile[np.newaxis])[0],
            occlusion=occlusion(self.inspector.engine.logits, tile, square, max(1, square // 4)),
        )

    def frame_heat(self, frame: Frame, inspection: Inspection) -> FrameHeat:
        """Heat maps over a frame that is cut into tiles; `inspection` is the frame's own."""
        covered, grid = self.cover(frame)
        scores = inspection.scores.ravel()
        order = np.argsort(-scores, kind="stable")
        square = max(1, grid.tile // OCCLUSIONS_A_SIDE)

        def occluded(tiles: Frame) -> Activations:
            return np.stack([occlusion(self.inspector.engine.logits, tile, square, square) for tile in tiles])

        def over(
            chosen: npt.NDArray[np.intp], weights: Probabilities | None, heat_of: Callable[[Frame], Activations]
        ) -> Activations:
            return _over(covered, grid, chosen, weights, heat_of)[: frame.shape[0], : frame.shape[1]]

        return FrameHeat(
            place_parts=over(order, None, lambda tiles: place_parts(self.network, tiles)),
            grad_cam=over(order, scores, lambda tiles: grad_cam(self.network, tiles)),
            occlusion=over(order[:OCCLUDED_TILES], None, occluded),
            occluded=min(len(order), OCCLUDED_TILES),
        )

    def cover(self, frame: Frame, overlap: int = 0) -> tuple[Frame, TileGrid]:
        """The frame as the tiles see it, and where they lie on it, as the inspector has it."""
        fitting = self.inspector.fitting
        resized = fitting.fit is Fit.RESIZE
        covered = tiling.resize(frame, fitting.tile) if resized else tiling.extend(frame, fitting.tile)
        height, width = covered.shape
        return covered, TileGrid.cover(height, width, fitting.tile, fitting.stride, 0 if resized else overlap)


def _over(
    covered: Frame,
    grid: TileGrid,
    chosen: npt.NDArray[np.intp],
    weights: Probabilities | None,
    heat_of: Callable[[Frame], Activations],
) -> Activations:
    """Heat of the chosen tiles laid over the frame; with weights, each tile's largest value becomes its weight."""
    laid = np.zeros(covered.shape, np.float32)
    positions = grid.positions()
    for start in range(0, len(chosen), BATCH_TILES):
        batch = chosen[start : start + BATCH_TILES]
        places = [(slice(y, y + grid.tile), slice(x, x + grid.tile)) for y, x in positions[batch]]
        heats = heat_of(np.stack([covered[place] for place in places]))
        for number, place, heat in zip(batch, places, heats, strict=True):
            largest = float(heat.max())
            if largest > 0:
                factor = 1 if weights is None else weights[number] / largest
                laid[place] = np.maximum(laid[place], heat * factor)
    return laid
