"""The whole path in order: frame -> Inspection.

The same object serves the HTTP requests, `python -m model inspect` and the evaluation after training.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Self

import numpy as np
import numpy.typing as npt

from model import quality, tiling
from model.artifact import Fitting, verify
from model.calibration import Calibrator, Logits, defect_class_logits
from model.engine import Engine, open_engine
from model.image import Frame
from model.quality import Quality
from model.registry import Registry
from model.tiling import Event, Fit, Probabilities, TileGrid
from model.verdict import Thresholds, Verdict, decide

# Tiles given to the engine at a time. A tile's first feature map is 1 MB in steel-128, so that 32 stay near
# the processor's caches; larger batches were measured to gain nothing on a CPU and cost memory.
BATCH_TILES = 32


@dataclass(frozen=True)
class Inspection:
    """What is known of one frame.

    defect_probability: calibrated, of the worst tile. scores: of every tile, shape (rows, columns) of the grid.
    """

    verdict: Verdict
    defect_probability: float
    events: tuple[Event, ...]
    quality: Quality
    height: int
    width: int
    scores: Probabilities


@dataclass(frozen=True)
class Inspector:
    """One loaded model version, ready to judge frames; safe to use from several threads at once.

    classes: ok first. Where the engine has one logit, the only other one is "defect", and events name no class.
    """

    version: str
    engine: Engine
    calibrator: Calibrator
    thresholds: Thresholds
    fitting: Fitting
    classes: tuple[str, ...] = ("ok", "defect")

    @classmethod
    def load(
        cls, registry: Registry, version: str, engine: str, *, threads: int = 0, stride: int | None = None
    ) -> Self:
        """Verify and open a published version.

        stride: px between tiles, 1 to the tile size; None takes what the artifact was published with.
        Raises `SteelsightError`: model_unknown, artifact_invalid, engine_unavailable.
        """
        folder = registry.folder(version)
        manifest = verify(folder)
        fitting = manifest.fitting
        if stride is not None:
            fitting = fitting.model_copy(update={"stride": min(stride, fitting.tile)})
        opened = open_engine(engine, folder, threads)
        return cls(version, opened, manifest.calibrator, manifest.thresholds, fitting, manifest.classes)

    def inspect(self, frame: Frame) -> Inspection:
        """Judge one uint8 frame of shape (height, width), each side at least 2 px."""
        return self.inspect_all([frame])[0]

    def inspect_all(self, frames: Sequence[Frame]) -> list[Inspection]:
        """Judge frames of any sizes together, in order: their tiles share the engine's batches.

        A tile's probability depends on its company by rounding alone.
        """
        if not frames:
            return []
        covers = [self._cover(frame) for frame in frames]
        logits = self._logits(_packed(grid.batches(covered, BATCH_TILES) for covered, grid in covers))
        ends = np.cumsum([len(grid) for _, grid in covers])[:-1]
        own = np.split(logits, ends)
        return [self._judged(frame, grid, its) for frame, (_, grid), its in zip(frames, covers, own, strict=True)]

    def probabilities(self, tiles: Frame) -> Probabilities:
        """Calibrated defect probability of tiles that are cut already: uint8 (n, tile, tile) -> float64 (n,)."""
        return self.calibrator.probabilities(self.logits(tiles)) if len(tiles) else np.empty(0)

    def logits(self, tiles: Frame) -> Logits:
        """Logits of at least one tile that is cut already: uint8 (n, tile, tile) -> float32 (n, outputs)."""
        return self._logits(tiles[start : start + BATCH_TILES] for start in range(0, len(tiles), BATCH_TILES))

    def class_probabilities(self, logits: Logits) -> Probabilities | None:
        """Calibrated probability of each class, (n, classes), from `logits`; None where no classes are told apart."""
        return self.calibrator.class_probabilities(logits) if logits.shape[1] > 1 else None

    def warm(self) -> None:
        """Run the engine once on a blank batch, so that the first frame does not pay for its start."""
        size = self.fitting.tile
        self.engine.logits(np.zeros((BATCH_TILES, size, size), np.uint8))

    def _judged(self, frame: Frame, grid: TileGrid, logits: Logits) -> Inspection:
        """What the logits of a frame's tiles, (tiles, outputs) row by row, say of it."""
        height, width = frame.shape
        shape = len(grid.rows), len(grid.columns)
        scores = self.calibrator.probabilities(logits).reshape(shape)
        named = self._defect_classes(logits)
        if self.fitting.fit is Fit.RESIZE:
            grid = TileGrid(rows=(0,), columns=(0,), tile=max(height, width))
        events = tiling.find_events(
            grid, scores, self.thresholds.review, frame, None if named is None else named.reshape(shape)
        )
        worst = float(scores.max())
        return Inspection(
            verdict=decide(worst, self.thresholds),
            defect_probability=worst,
            events=tuple(events),
            quality=quality.assess(frame),
            height=height,
            width=width,
            scores=scores,
        )

    def _cover(self, frame: Frame) -> tuple[Frame, TileGrid]:
        """The frame as the tiles see it, and where they lie on it."""
        tile, stride = self.fitting.tile, self.fitting.stride
        covered = tiling.resize(frame, tile) if self.fitting.fit is Fit.RESIZE else tiling.extend(frame, tile)
        height, width = covered.shape
        return covered, TileGrid.cover(height, width, tile, stride)

    def _logits(self, batches: Iterable[Frame]) -> Logits:
        return np.concatenate([self.engine.logits(batch) for batch in batches])

    def _defect_classes(self, logits: Logits) -> npt.NDArray[np.str_] | None:
        """The most probable defect class of each tile, str (n,); None where the network tells none apart."""
        if logits.shape[1] == 1:
            return None
        return np.asarray(np.array(self.classes[1:])[defect_class_logits(logits).argmax(axis=1)])


def _packed(frames: Iterable[Iterable[Frame]]) -> Iterator[Frame]:
    """The tiles of all frames in order, in as few batches of at most `BATCH_TILES` as keep a frame's own whole."""
    waiting: list[Frame] = []
    count = 0
    for batch in chain.from_iterable(frames):
        if count + len(batch) > BATCH_TILES:
            yield np.concatenate(waiting)
            waiting, count = [], 0
        waiting.append(batch)
        count += len(batch)
    if waiting:
        yield np.concatenate(waiting)
