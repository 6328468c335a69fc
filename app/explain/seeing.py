"""One frame -> the numbers of its explanation: the worst tile layer by layer, sums taken apart, heat maps."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from app.explain.pictures import enlarged_to, reduced_frame, strongest
from model.artifact import Manifest
from model.attribution import Parts, grad_cam, last_places, parts, place_parts
from model.calibration import defect_class_logits
from model.explain import Box, Explainer
from model.feature_maps import Activations, Stage, trace
from model.image import Frame
from model.inspector import Inspection
from model.tiling import Fit

# Tiles of a frame that get heat, the most probable first: of a frame of 64 Mpx all 4,096 would take minutes.
HEATED_TILES = 32
# Tiles that pass through the network together: what one of them leaves in memory between its layers is 10 MB and more.
TOGETHER = 8
# Pixels of the frame's picture: two of them take a third of what a reply may weigh.
FRAME_PX = 140_000


@dataclass(frozen=True)
class Heat:
    """Heat over a picture, both float32 and uint8 of one shape. tiles: how many it covers."""

    over: Literal["tile", "frame"]
    method: Literal["grad_cam", "parts"]
    ground: Frame
    values: Activations
    tiles: int


@dataclass(frozen=True)
class Seen:
    """All that is told of one frame.

    box: of the worst tile on the frame. vector: which of `stages` is the first without places; to_logit: what each of
    its numbers adds to the logit. class_number: of the class that the logit speaks for.
    """

    manifest: Manifest
    engine: str
    inspection: Inspection
    tile: Frame
    box: Box
    stages: tuple[Stage, ...]
    vector: int
    to_logit: Parts
    heats: tuple[Heat, ...]

    @property
    def logits(self) -> Stage:
        """The last dense layer."""
        return next(stage for stage in self.stages if stage.name == "logits")

    @property
    def class_number(self) -> int:
        """1 where there is only one defect class."""
        return 1 + int(defect_class_logits(self.logits.output[np.newaxis])[0].argmax())

    @property
    def tells_classes(self) -> bool:
        """Whether the network tells defect classes apart."""
        return self.logits.output.size > 1


def see(explainer: Explainer, frame: Frame, overlap: int) -> Seen:
    """Everything about one uint8 frame (height, width); overlap: its first rows that the frame before has shown."""
    inspection = explainer.inspector.inspect(frame, overlap)
    tile, box = explainer.worst_tile(frame, inspection, overlap)
    stages = trace(explainer.network, tile)
    vector = last_places(explainer.network) + 1
    return Seen(
        manifest=explainer.manifest,
        engine=explainer.inspector.engine.name,
        inspection=inspection,
        tile=tile,
        box=box,
        stages=stages,
        vector=vector,
        to_logit=parts(explainer.network, vector, stages[vector].output),
        heats=(*_tile_heats(explainer, tile), *_frame_heats(explainer, frame, inspection, overlap)),
    )


def _tile_heats(explainer: Explainer, tile: Frame) -> list[Heat]:
    of_one = tile[np.newaxis]
    return [
        Heat("tile", "grad_cam", tile, grad_cam(explainer.network, of_one)[0], 1),
        Heat("tile", "parts", tile, place_parts(explainer.network, of_one)[0], 1),
    ]


def _frame_heats(explainer: Explainer, frame: Frame, inspection: Inspection, overlap: int) -> list[Heat]:
    """Heat over the whole frame, as small as its picture; none where the frame is the tile.

    Grad-CAM has no unit that tiles share: each tile's is scaled to its probability. Of the parts, what speaks for a
    defect; where tiles overlap the larger counts.
    """
    if frame.shape == (explainer.inspector.fitting.tile,) * 2:
        return []
    order = np.argsort(-inspection.scores.ravel(), kind="stable")[:HEATED_TILES]
    scores = inspection.scores.ravel()

    def cam(numbers: list[int], tiles: Frame) -> Activations:
        maps = grad_cam(explainer.network, tiles)
        largest = maps.max(axis=(1, 2), keepdims=True)
        weights = scores[numbers][:, np.newaxis, np.newaxis] / np.where(largest > 0, largest, 1)
        return (maps * weights).astype(np.float32)

    def speaking_for(_numbers: list[int], tiles: Frame) -> Activations:
        return np.maximum(place_parts(explainer.network, tiles), 0)

    ground, side = reduced_frame(frame, FRAME_PX)
    laid = [_laid(explainer, frame, overlap, order.tolist(), side, heat_of) for heat_of in (cam, speaking_for)]
    return [
        Heat("frame", "grad_cam", ground, laid[0], len(order)),
        Heat("frame", "parts", ground, laid[1], len(order)),
    ]


def _laid(
    explainer: Explainer,
    frame: Frame,
    overlap: int,
    chosen: list[int],
    side: int,
    heat_of: Callable[[list[int], Frame], Activations],
) -> Activations:
    """Heat of the chosen tiles on a frame of which a square of `side` pixels is one: never there in its full size."""
    covered, grid = explainer.cover(frame, overlap)
    height, width = (-(-pixels // side) for pixels in frame.shape)
    if explainer.inspector.fitting.fit is Fit.RESIZE:
        return enlarged_to(heat_of(chosen, covered[np.newaxis])[0], (height, width))
    laid = np.zeros((height, width), np.float32)
    positions = grid.positions()
    for start in range(0, len(chosen), TOGETHER):
        numbers = chosen[start : start + TOGETHER]
        tiles = np.stack([covered[y : y + grid.tile, x : x + grid.tile] for y, x in positions[numbers]])
        for (y, x), heat in zip(positions[numbers], strongest(heat_of(numbers, tiles), side), strict=True):
            # A frame smaller than a tile was extended: what lies past its edge is left out.
            place = laid[y // side :, x // side :][: heat.shape[0], : heat.shape[1]]
            np.maximum(place, heat[: place.shape[0], : place.shape[1]], out=place)
    return laid
