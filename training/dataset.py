"""Records -> labelled tiles, through the same decoding and tiling that serving uses."""

import tempfile
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
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
from training.identity import pixel_digest
from training.scan import Record

Mask = npt.NDArray[np.bool_]

# A mask is drawn in black and white; JPEG masks and soft brushes are cut in the middle.
MASK_LEVEL = 128

# Threads that read and decode, which waits for the disk and not for the interpreter's lock; and surfaces read ahead:
# the largest image takes 128 MB with its mask.
READERS, READ_AHEAD = 2, 4
# Tiles cut and labelled at once: with their masks 8 MB at 128 px. A small stride cuts gigabytes from one image.
BATCH_TILES = 256


@dataclass(frozen=True)
class TileSet:
    """Labelled tiles.

    tiles: uint8 (n, tile, tile), possibly on disk. defect: bool (n,). group: str (n,). file: index of the record, (n,).
    left_out: why images and tiles are missing, with counts.
    masked: masked pixels in each tile, (n,); all 0 where whole images are resized, None where nobody counted.
    digests: `pixel_digest` of each record's image, str (records,), "" for those without tiles.
    """

    tiles: Frame
    defect: npt.NDArray[np.bool_]
    group: npt.NDArray[np.str_]
    file: npt.NDArray[np.intp]
    left_out: Counter[str] = field(default_factory=Counter)
    masked: npt.NDArray[np.intp] | None = None
    digests: npt.NDArray[np.str_] = field(default_factory=lambda: np.empty(0, np.str_))

    def __len__(self) -> int:
        return len(self.defect)

    def select(self, chosen: npt.NDArray[np.bool_]) -> Self:
        """The tiles where `chosen`, bool of shape (n,), is true; they are copied to memory."""
        masked = None if self.masked is None else self.masked[chosen]
        labels = self.defect[chosen], self.group[chosen], self.file[chosen]
        return type(self)(self.tiles[chosen], *labels, masked=masked, digests=self.digests)

    @property
    def groups(self) -> int:
        """Number of different groups."""
        return len(np.unique(self.group))

    @property
    def images(self) -> set[str]:
        """`pixel_digest` of every image that these tiles show."""
        return set(self.digests[np.unique(self.file)].tolist())


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


class Surfaces:
    """The frames that tiles were cut from and their masks, on disk, by number of the record.

    Training draws its tiles from them at any position, and reads no image a second time. They are added within a
    `with` and read after it. They lie in an unnamed file below `scratch`, whose space is returned when they are
    dropped, even after a crash.
    """

    def __init__(self, scratch: Path) -> None:
        self._file = tempfile.TemporaryFile(dir=scratch)  # noqa: SIM115 - closed at the end of the `with`
        self._at: dict[int, tuple[int, tuple[int, int]]] = {}
        self._stored: Frame = np.empty(0, np.uint8)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._file:
            self._file.flush()
            if self._at:
                # A plain array on the mapping: every slice of a `memmap` asks anew whether it shares its memory.
                self._stored = np.asarray(np.memmap(self._file, np.uint8, "r"))

    def add(self, number: int, frame: Frame, mask: Mask) -> None:
        """Keep one; uint8 and bool of the same shape (height, width)."""
        height, width = frame.shape
        self._at[number] = self._file.tell(), (height, width)
        # Not `tofile`: of a full disk it says how many bytes it wrote, and not that it is full.
        self._file.write(frame.data)
        self._file.write(mask.data)

    def __getitem__(self, number: int) -> tuple[Frame, Mask]:
        """Frame and mask of a record that was added; not to be written to. Raises KeyError for one that was not."""
        start, shape = self._at[number]
        size = shape[0] * shape[1]
        frame, mask = self._stored[start : start + size], self._stored[start + size : start + 2 * size]
        return frame.reshape(shape), mask.view(np.bool_).reshape(shape)


def cut(
    records: Sequence[Record],
    fitting: Fitting,
    min_defect_pixels: int,
    scratch: Path,
    on_image: Callable[[], object] = lambda: None,
    keep: Surfaces | None = None,
) -> TileSet:
    """Cut and label all records; the tiles lie in an unnamed file below `scratch`, so memory stays bounded.

    keep: is given the surface of every record that could be used. Raises `OSError` where the disk is full.
    """
    left_out: Counter[str] = Counter()
    counts = np.zeros(len(records), np.intp)
    digests = [""] * len(records)
    defect: list[npt.NDArray[np.bool_]] = []
    masked: list[npt.NDArray[np.intp]] = []
    with tempfile.TemporaryFile(dir=scratch) as file:
        for number, read in enumerate(_read_ahead(records, fitting)):
            on_image()
            try:
                frame, mask, digest = read.result()
            except (SteelsightError, _Unusable) as error:
                left_out[error.args[0] if isinstance(error, _Unusable) else "images that cannot be read"] += 1
                continue
            digests[number] = digest
            if keep is not None:
                keep.add(number, frame, mask)
            for tiles, labels, pixels in _label_tiles(frame, mask, fitting, min_defect_pixels, left_out):
                file.write(tiles.data)
                counts[number] += len(tiles)
                defect.append(labels)
                masked.append(pixels)
        file.flush()
        shape = (int(counts.sum()), fitting.tile, fitting.tile)
        # The mapping outlives the closed file, and the space is returned when it is dropped, even after a crash.
        stored = np.memmap(file, np.uint8, "r", shape=shape) if shape[0] else np.empty(shape, np.uint8)
    return TileSet(
        tiles=stored,
        defect=np.concatenate([np.empty(0, np.bool_), *defect]),
        group=np.repeat([str(record.group) for record in records], counts),
        file=np.repeat(np.arange(len(records)), counts),
        left_out=left_out,
        masked=np.concatenate([np.empty(0, np.intp), *masked]),
        digests=np.array(digests, np.str_),
    )


def _read_ahead(records: Sequence[Record], fitting: Fitting) -> Iterator[Future[tuple[Frame, Mask, str]]]:
    """The surface of each record in turn, or what reading it raised."""
    with ThreadPoolExecutor(READERS) as threads:
        reading: deque[Future[tuple[Frame, Mask, str]]] = deque()
        for record in records:
            reading.append(threads.submit(surface, record, fitting))
            if len(reading) > READ_AHEAD:
                yield reading.popleft()
        while reading:
            yield reading.popleft()


def _label_tiles(
    frame: Frame, mask: Mask, fitting: Fitting, min_defect_pixels: int, left_out: Counter[str]
) -> Iterator[tuple[Frame, npt.NDArray[np.bool_], npt.NDArray[np.intp]]]:
    """Of one surface, batch by batch: tiles uint8 (n, tile, tile), labels bool (n,) and masked pixels (n,)."""
    if fitting.fit is Fit.RESIZE:
        yield frame[np.newaxis], np.array([mask.any()]), np.zeros(1, np.intp)
        return
    height, width = frame.shape
    grid = TileGrid.cover(height, width, fitting.tile, fitting.stride)
    pairs = zip(grid.batches(frame, BATCH_TILES), grid.batches(mask.view(np.uint8), BATCH_TILES), strict=True)
    for tiles, masks in pairs:
        masked_pixels = masks.sum(axis=(1, 2), dtype=np.intp)
        defect, ok = masked_pixels >= min_defect_pixels, masked_pixels == 0
        if unclear := int((~defect & ~ok).sum()):
            left_out[f"tiles with 1 to {min_defect_pixels - 1} masked pixels"] += unclear
        chosen = defect | ok
        yield tiles[chosen], defect[chosen], masked_pixels[chosen]


def surface(record: Record, fitting: Fitting) -> tuple[Frame, Mask, str]:
    """Frame and mask of a record, both of the same shape and at least a tile on each side; `pixel_digest` of its image.

    Where whole images are resized, the mask of a defect is white all over. Raises `SteelsightError` for an image that
    cannot be read, `_Unusable` for a defect that no mask tells.
    """
    frame = decode(record.path.read_bytes())
    digest = pixel_digest(frame)
    if fitting.fit is Fit.RESIZE:
        whole = resize(frame, fitting.tile)
        return whole, np.full(whole.shape, record.label == "defect"), digest
    mask = _mask(record, frame).astype(np.uint8)
    return extend(frame, fitting.tile), extend(mask, fitting.tile).astype(np.bool_), digest


def resized_mask(mask: Mask, size: int) -> Mask:
    """A square mask on `size` x `size` px, each the nearest of the mask's: bool.

    >>> resized_mask(np.array([[True, False], [False, False]]), 4)[0].tolist()
    [True, True, False, False]
    """
    if len(mask) == size:
        return mask
    nearest = ((np.arange(size) + 0.5) * (len(mask) / size)).astype(np.intp)
    return np.asarray(mask[nearest[:, np.newaxis], nearest])


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
