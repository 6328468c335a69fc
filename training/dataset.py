"""Records -> labelled tiles, through the same decoding and tiling that serving uses."""

import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from model.artifact import Fitting
from model.errors import SteelsightError
from model.image import Frame, decode
from model.tiling import Fit, TileGrid, extend, resize
from training.config import ChosenFit
from training.errors import DataFault
from training.scan import Record

Mask = npt.NDArray[np.bool_]

# A mask is drawn in black and white; JPEG masks and soft brushes are cut in the middle.
MASK_LEVEL = 128


@dataclass(frozen=True)
class TileSet:
    """Labelled tiles.

    tiles: uint8 (n, tile, tile), possibly on disk. defect: bool (n,). group: str (n,). file: index of the record, (n,).
    left_out: why images and tiles are missing, with counts.
    masked: masked pixels in each tile, (n,); all 0 where whole images are resized, None where nobody counted.
    """

    tiles: Frame
    defect: npt.NDArray[np.bool_]
    group: npt.NDArray[np.str_]
    file: npt.NDArray[np.intp]
    left_out: Counter[str] = field(default_factory=Counter)
    masked: npt.NDArray[np.intp] | None = None

    def __len__(self) -> int:
        return len(self.defect)

    def select(self, chosen: npt.NDArray[np.bool_]) -> Self:
        """The tiles where `chosen`, bool of shape (n,), is true; they are copied to memory."""
        masked = None if self.masked is None else self.masked[chosen]
        return type(self)(self.tiles[chosen], self.defect[chosen], self.group[chosen], self.file[chosen], masked=masked)

    @property
    def groups(self) -> int:
        """Number of different groups."""
        return len(np.unique(self.group))


def choose_fit(records: Sequence[Record], wanted: ChosenFit = "auto") -> Fit:
    """Tiles where any defect has a mask to label them from, else whole images, resized; or what is wanted.

    Whole images are labelled by their folder, and no mask is looked at. Raises `DataFault` where tiles are wanted
    and no defect has a mask.
    """
    masked = any(record.mask for record in records if record.label == "defect")
    if wanted == "tile" and not masked:
        raise DataFault('fit = "tile" labels tiles from masks, and no defect image has one; use fit = "resize"')
    if wanted == "auto":
        return Fit.TILE if masked else Fit.RESIZE
    return Fit(wanted)


def cut(
    records: Sequence[Record],
    fitting: Fitting,
    min_defect_pixels: int,
    scratch: Path,
    on_image: Callable[[], object] = lambda: None,
) -> TileSet:
    """Cut and label all records; the tiles lie in an unnamed file below `scratch`, so memory stays bounded."""
    left_out: Counter[str] = Counter()
    counts: list[int] = []
    defect: list[npt.NDArray[np.bool_]] = []
    masked: list[npt.NDArray[np.intp]] = []
    with tempfile.TemporaryFile(dir=scratch) as file:
        for record in records:
            tiles, labels, pixels = _label_tiles(record, fitting, min_defect_pixels, left_out)
            tiles.tofile(file)
            counts.append(len(tiles))
            defect.append(labels)
            masked.append(pixels)
            on_image()
        file.flush()
        shape = (sum(counts), fitting.tile, fitting.tile)
        # The mapping outlives the closed file, and the space is returned when it is dropped, even after a crash.
        stored = np.memmap(file, np.uint8, "r", shape=shape) if shape[0] else np.empty(shape, np.uint8)
    return TileSet(
        tiles=stored,
        defect=np.concatenate(defect),
        group=np.repeat([str(record.group) for record in records], counts),
        file=np.repeat(np.arange(len(records)), counts),
        left_out=left_out,
        masked=np.concatenate(masked),
    )


def _label_tiles(
    record: Record, fitting: Fitting, min_defect_pixels: int, left_out: Counter[str]
) -> tuple[Frame, npt.NDArray[np.bool_], npt.NDArray[np.intp]]:
    """Tiles uint8 (n, tile, tile), labels bool (n,) and masked pixels (n,); n is 0 for an image that is left out."""
    nothing = np.empty((0, fitting.tile, fitting.tile), np.uint8), np.empty(0, np.bool_), np.empty(0, np.intp)
    try:
        frame = decode(record.path.read_bytes())
        if fitting.fit is Fit.RESIZE:
            return resize(frame, fitting.tile)[np.newaxis], np.array([record.label == "defect"]), np.zeros(1, np.intp)
        mask = _mask(record, frame)
    except (SteelsightError, _Unusable) as error:
        left_out[error.args[0] if isinstance(error, _Unusable) else "images that cannot be read"] += 1
        return nothing
    tiles, masked_pixels = _cover(frame, mask, fitting)
    defect, ok = masked_pixels >= min_defect_pixels, masked_pixels == 0
    if unclear := int((~defect & ~ok).sum()):
        left_out[f"tiles with 1 to {min_defect_pixels - 1} masked pixels"] += unclear
    chosen = defect | ok
    return tiles[chosen], defect[chosen], masked_pixels[chosen]


def surface(record: Record, fitting: Fitting) -> tuple[Frame, Mask]:
    """Frame and mask of a record that `cut` found usable, both of the same shape and at least a tile on each side.

    Where whole images are resized, the mask of a defect is white all over.
    """
    frame = decode(record.path.read_bytes())
    if fitting.fit is Fit.RESIZE:
        whole = resize(frame, fitting.tile)
        return whole, np.full(whole.shape, record.label == "defect")
    mask = _mask(record, frame).astype(np.uint8)
    return extend(frame, fitting.tile), extend(mask, fitting.tile).astype(np.bool_)


class _Unusable(Exception):
    """Why an image cannot be labelled tile by tile."""


def _mask(record: Record, frame: Frame) -> npt.NDArray[np.bool_]:
    if record.label == "ok":
        return np.zeros(frame.shape, np.bool_)
    if record.mask is None:
        raise _Unusable("defect images without a mask")
    mask = decode(record.mask.read_bytes()) >= MASK_LEVEL
    if mask.shape != frame.shape:
        raise _Unusable("defect images whose mask has another size")
    if not mask.any():
        raise _Unusable("defect images with an empty mask")
    return mask


def _cover(frame: Frame, mask: npt.NDArray[np.bool_], fitting: Fitting) -> tuple[Frame, npt.NDArray[np.intp]]:
    """All tiles of a frame, and the masked pixels in each."""
    frame = extend(frame, fitting.tile)
    shown = extend(mask.astype(np.uint8), fitting.tile)
    height, width = frame.shape
    grid = TileGrid.cover(height, width, fitting.tile, fitting.stride)
    tiles = np.concatenate(list(grid.batches(frame, len(grid))))
    masks = np.concatenate(list(grid.batches(shown, len(grid))))
    return tiles, masks.sum(axis=(1, 2), dtype=np.intp)
