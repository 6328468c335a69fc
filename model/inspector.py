"""The whole path in order: frame -> Inspection.

The same object serves the HTTP requests, `python -m model inspect` and the evaluation after training.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from typing import Literal, NamedTuple, Self, TypeVar

import numpy as np
import numpy.typing as npt

from model import precision, quality, sliding, tiling
from model.artifact import Fitting, Manifest
from model.calibration import Calibrator, Logits, defect_class_logits
from model.engine import Engine, open_engine
from model.image import DEFAULT_LIMITS, Frame, Limits
from model.quality import Quality
from model.registry import Registry
from model.seam import judge_seam
from model.sharing import Sharing, obstacle
from model.sliding import SharedNetwork
from model.tiling import Event, Fit, Probabilities, TileGrid
from model.verdict import Thresholds, Verdict, decide

# Tiles given to the engine at a time. A tile's first feature map is 1 MB in steel-128, so that 32 stay near
# the processor's caches; larger batches were measured to gain nothing on a CPU and cost memory.
BATCH_TILES = 32
# Computed before a version serves. With a whole batch, models changed under load raised the p99 of requests by
# a quarter.
WARM_TILES = 4

Value = TypeVar("Value", np.uint8, np.float32)

Method = Literal["shared", "tiles"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Inspection:
    """What is known of one frame.

    defect_probability: calibrated, of the worst tile that the frame before has not judged. scores: of every tile, shape
    (rows, columns) of the grid. method: "shared" if its tiles shared their convolutions (`model.sliding`).
    """

    verdict: Verdict
    defect_probability: float
    events: tuple[Event, ...]
    quality: Quality
    height: int
    width: int
    scores: Probabilities
    grid: TileGrid
    method: Method


class _Cover(NamedTuple):
    """A frame as its tiles see it, where they lie on it, and how they are scored."""

    frame: Frame
    grid: TileGrid
    method: Method


@dataclass(frozen=True)
class Inspector:
    """One loaded model version, ready to judge frames; safe to use from several threads at once.

    classes: ok first. Where the engine has one logit, the only other one is "defect", and events name no class.
    shared: what scores frames of several tiles with shared convolutions; None: they are scored tile by tile.
    limits: what decoded the frames has held them to already; a frame that has to be extended is held to them once more.
    """

    version: str
    engine: Engine
    calibrator: Calibrator
    thresholds: Thresholds
    fitting: Fitting
    classes: tuple[str, ...] = ("ok", "defect")
    shared: SharedNetwork | None = None
    limits: Limits = DEFAULT_LIMITS

    @classmethod
    def load(
        cls,
        registry: Registry,
        version: str,
        engine: str,
        *,
        threads: int = 0,
        stride: int | None = None,
        limits: Limits = DEFAULT_LIMITS,
    ) -> Self:
        """Verify and open a published version.

        stride: px between tiles, 1 to the tile size; None takes what the artifact was published with.
        Raises `SteelsightError`: model_unknown, artifact_invalid, engine_unavailable.
        """
        folder = registry.folder(version)
        manifest = registry.verified(version)
        fitting = manifest.fitting
        if stride is not None:
            fitting = fitting.model_copy(update={"stride": min(stride, fitting.tile)})
        opened = open_engine(precision.chosen(engine, manifest), folder, threads)
        shared = _shared(opened, manifest, fitting)
        return cls(version, opened, manifest.calibrator, manifest.thresholds, fitting, manifest.classes, shared, limits)

    def inspect(self, frame: Frame, overlap: int = 0) -> Inspection:
        """Judge one uint8 frame of shape (height, width), sides of at least 2 px; overlap, errors: as `inspect_all`."""
        return self.inspect_all([frame], [overlap])[0]

    def inspect_all(self, frames: Sequence[Frame], overlaps: Sequence[int] | None = None) -> list[Inspection]:
        """Judge frames of any sizes together, in order: their tiles share the engine's batches.

        overlaps: of each frame, how many of its first rows are the last ones of the frame before; fewer than all, else
        ValueError. What they show was reported with that frame, see `model.seam`.
        A tile's probability depends on its company by rounding alone.
        Raises `SteelsightError` (image_too_large) before anything is scored: a frame is too large once it is extended.
        """
        if not frames:
            return []
        repeated = list(overlaps or repeat(0, len(frames)))
        covers = [self._cover(frame, overlap) for frame, overlap in zip(frames, repeated, strict=True)]
        in_tiles = iter(self._logits_of_each([cover for cover in covers if cover.method == "tiles"]))
        judged = []
        for frame, cover, overlap in zip(frames, covers, repeated, strict=True):
            if self.shared is not None and cover.method == "shared":
                logits = self.shared.logits(cover.frame, cover.grid)
            else:
                logits = next(in_tiles)
            judged.append(self._judged(frame, cover, logits, overlap))
        return judged

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
        """Run the engine once on blank tiles, so that the first frame does not pay for its start.

        Where frames share convolutions both ways have run already: they were compared when the version was loaded.
        """
        if self.shared is None:
            self.engine.logits(np.zeros((WARM_TILES, self.fitting.tile, self.fitting.tile), np.uint8))

    def _judged(self, frame: Frame, cover: _Cover, logits: Logits, overlap: int) -> Inspection:
        """What the logits of a frame's tiles, (tiles, outputs) row by row, say of it."""
        height, width = frame.shape
        grid = cover.grid
        shape = len(grid.rows), len(grid.columns)
        scores = self.calibrator.probabilities(logits).reshape(shape)
        named = self._defect_classes(logits)
        if self.fitting.fit is Fit.RESIZE:
            grid, overlap = TileGrid(rows=(0,), columns=(0,), tile=max(height, width)), 0
        own, continued = scores, None
        if overlap:
            before, continued = judge_seam(grid, scores, self.thresholds, overlap)
            own = np.where(before, -np.inf, scores)
        events = tiling.find_events(
            grid, own, self.thresholds.review, frame, None if named is None else named.reshape(shape), continued
        )
        worst = float(own.max())
        return Inspection(
            verdict=decide(worst, self.thresholds),
            defect_probability=worst,
            events=tuple(events),
            quality=quality.assess(frame),
            height=height,
            width=width,
            scores=scores,
            grid=grid,
            method=cover.method,
        )

    def _cover(self, frame: Frame, overlap: int) -> _Cover:
        if not 0 <= overlap < len(frame):
            raise ValueError(f"an overlap of {overlap} rows leaves nothing new of a frame of {len(frame)} rows")
        tile, stride = self.fitting.tile, self.fitting.stride
        if self.fitting.fit is Fit.RESIZE:
            return _Cover(tiling.resize(frame, tile), TileGrid.cover(tile, tile, tile, stride), "tiles")
        height, width = frame.shape
        self.limits.check_extended(width, height, tile)
        covered = tiling.extend(frame, tile)
        height, width = covered.shape
        grid = TileGrid.cover(height, width, tile, stride, overlap)
        return _Cover(covered, grid, "shared" if self.shared is not None and self.shared.pays(grid) else "tiles")

    def _logits_of_each(self, covers: Sequence[_Cover]) -> list[Logits]:
        """Logits of the tiles of each frame, in order; the frames share batches."""
        if not covers:
            return []
        logits = self._logits(_packed(cover.grid.batches(cover.frame, BATCH_TILES) for cover in covers))
        if len(covers) == 1:
            return [logits]
        return np.split(logits, np.cumsum([len(cover.grid) for cover in covers])[:-1])

    def _logits(self, batches: Iterable[Frame]) -> Logits:
        return _joined([self.engine.logits(batch) for batch in batches])

    def _defect_classes(self, logits: Logits) -> npt.NDArray[np.str_] | None:
        """The most probable defect class of each tile, str (n,); None where the network tells none apart."""
        if logits.shape[1] == 1:
            return None
        return np.asarray(np.array(self.classes[1:])[defect_class_logits(logits).argmax(axis=1)])


def _shared(engine: Engine, manifest: Manifest, fitting: Fitting) -> SharedNetwork | None:
    """What scores frames with shared convolutions; None where this engine, network or stride cannot.

    Where they could but, on a generated frame, do not give the logits of the tiles, the tiles are right: their
    logits are what was evaluated. The frames then take longer, and the log says why.
    """
    if fitting.fit is Fit.RESIZE or not engine.shares_convolutions:
        return None
    if reason := obstacle(manifest.network, fitting.stride):
        log.info("version %s scores frames tile by tile: %s", manifest.version, reason)
        return None
    sharing = Sharing.of(manifest.network)
    shared = sliding.shared_network(engine, sharing, fitting.stride)
    difference = sliding.disagreement(engine, shared, sharing, fitting.stride)
    # Written so that a difference that is none (NaN) is too large.
    if not difference <= engine.rounding:
        log.warning(
            "version %s scores frames tile by tile: with shared convolutions the %s engine gives logits that differ "
            "by %.2g of the largest, and at most %.0e is rounding",
            manifest.version, engine.name, difference, engine.rounding,
        )  # fmt: skip
        return None
    return shared


def _packed(frames: Iterable[Iterable[Frame]]) -> Iterator[Frame]:
    """The tiles of all frames in order, in as few batches of at most `BATCH_TILES` as keep a frame's own whole."""
    waiting: list[Frame] = []
    count = 0
    for batch in chain.from_iterable(frames):
        if count + len(batch) > BATCH_TILES:
            yield _joined(waiting)
            waiting, count = [], 0
        waiting.append(batch)
        count += len(batch)
    if waiting:
        yield _joined(waiting)


def _joined(arrays: Sequence[npt.NDArray[Value]]) -> npt.NDArray[Value]:
    """One after the other; a single one is not copied."""
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
