"""The tiles behind the figures, as pictures: the worst escapes and false calls, where the mask is and what was seen."""

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from model.attribution import OCCLUSIONS_A_SIDE, occlusion
from model.image import Frame, decode
from model.tiling import Fit, Probabilities, TileGrid, extend
from training.dataset import MASK_LEVEL
from training.evaluate import Examination
from training.ranking import Labels
from training.scan import Record

# More pictures make a page heavy and are not looked at; the JSON beside the page lists them all.
EXHIBITS = 12
# Probabilities of 0 and 1 have no logit; nearer to them than this, a fall cannot be seen anyway.
SURE = 1e-9
# Red, green, blue of what speaks for a defect and of what speaks against one.
FOR_DEFECT, AGAINST = (226, 70, 30), (40, 120, 220)
# Opacity of the strongest place, of 255: the surface stays visible through it.
OPAQUE = 170


@dataclass(frozen=True)
class Exhibit:
    """One tile for a gallery.

    is_defect: whether the tile itself is, for a defect image also has ok tiles.
    x, y: its first pixel on the image, None where the whole image was resized. picture: data URI.
    outline: SVG path round the masked pixels, in tile pixels; empty without a mask. heat: data URI of a picture to lay
    over the tile, red where it speaks for a defect and blue where against; empty where none was asked for.
    """

    file: str
    group: str
    defect_class: str
    is_defect: bool
    probability: float
    x: int | None
    y: int | None
    size: int
    picture: str
    outline: str
    heat: str


def worst_escapes(examination: Examination) -> npt.NDArray[np.intp]:
    """Indices of the defects passed as ok, least probable first."""
    return ranked(examination.escaped, examination.probabilities)


def worst_false_calls(examination: Examination) -> npt.NDArray[np.intp]:
    """Indices of the ok tiles that were called, most probable first."""
    return ranked(examination.false_called, -examination.probabilities)


def ranked(chosen: Labels, key: Probabilities) -> npt.NDArray[np.intp]:
    """Indices where `chosen`, bool (n,), is true, smallest key first.

    >>> ranked(np.array([True, False, True]), np.array([0.3, 0.2, 0.1])).tolist()
    [2, 0]
    """
    return np.flatnonzero(chosen)[np.argsort(key[chosen], kind="stable")]


def first_of_each(ordered: npt.NDArray[np.intp], kind: npt.NDArray[Any]) -> npt.NDArray[np.intp]:
    """The first index of each kind, in the same order; kind: (n,), such as group or file of every tile.

    >>> first_of_each(np.array([2, 0, 1]), np.array(["a", "b", "a"])).tolist()
    [2, 1]
    """
    _, first = np.unique(kind[ordered], return_index=True)
    return ordered[np.sort(first)]


def exhibits(examination: Examination, ordered: npt.NDArray[np.intp], *, heat: bool) -> list[Exhibit]:
    """The first `EXHIBITS` of these tiles as pictures, with heat maps if asked for: some 200 scored tiles each."""
    return [_exhibit(examination, index, heat) for index in ordered[:EXHIBITS].tolist()]


def outline(mask: npt.NDArray[np.bool_]) -> str:
    """SVG path along every pixel edge between masked and not; mask: bool (height, width).

    >>> outline(np.array([[False, False], [True, True]]))
    'M0 1h2M0 2h2M0 1v1M2 1v1'
    >>> outline(np.zeros((2, 2), bool))
    ''
    """
    padded = np.pad(mask, 1)
    level = _runs(padded[1:, 1:-1] != padded[:-1, 1:-1])
    upright = _runs((padded[1:-1, 1:] != padded[1:-1, :-1]).T)
    lines = [f"M{start} {edge}h{length}" for edge, start, length in level]
    return "".join([*lines, *(f"M{edge} {start}v{length}" for edge, start, length in upright)])


def heat_map(score: Callable[[Frame], Probabilities], tile: Frame) -> npt.NDArray[np.uint8]:
    """What covering each place does to the logit: uint8 (cells, cells, 4), transparent where it does nothing.

    tile: uint8 (size, size). Colours are scaled to the tile's own strongest place.
    """

    def logits(tiles: Frame) -> npt.NDArray[np.float32]:
        probability = np.clip(score(tiles), SURE, 1 - SURE)
        return np.log(probability / (1 - probability))[:, np.newaxis].astype(np.float32)

    square = max(2, len(tile) // OCCLUSIONS_A_SIDE)
    stride = square // 2
    # The map is constant within a stride, so that one pixel of each says it all.
    fall = occlusion(logits, tile, square, stride)[::stride, ::stride]
    strength = np.abs(fall) / max(float(np.abs(fall).max()), SURE)
    colour = np.where(fall[..., np.newaxis] > 0, np.array(FOR_DEFECT), np.array(AGAINST))
    return np.dstack([colour, np.rint(OPAQUE * strength)]).astype(np.uint8)


def data_uri(tile: npt.NDArray[np.uint8]) -> str:
    """A picture, grey (h, w) or with alpha (h, w, 4), as a PNG inside an address, for pages that load nothing."""
    file = io.BytesIO()
    Image.fromarray(tile).save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def _exhibit(examination: Examination, index: int, heat: bool) -> Exhibit:
    tile = np.asarray(examination.tiles.tiles[index])
    record = examination.records[int(examination.tiles.file[index])]
    y, x, mask = None, None, np.zeros(tile.shape, np.bool_)
    if examination.fitting.fit is Fit.TILE:
        y, x, mask = _place(record, tile, examination)
    return Exhibit(
        file=record.file,
        group=str(examination.tiles.group[index]),
        defect_class=str(examination.defect_class[index]),
        is_defect=bool(examination.tiles.defect[index]),
        probability=float(examination.probabilities[index]),
        x=x,
        y=y,
        size=len(tile),
        picture=data_uri(tile),
        outline=outline(mask),
        heat=data_uri(heat_map(_scorer(examination, index), tile)) if heat else "",
    )


def _scorer(examination: Examination, index: int) -> Callable[[Frame], Probabilities]:
    """What scored this tile, for others made from it."""
    return lambda tiles: examination.rescore(tiles, np.full(len(tiles), index))


def _place(
    record: Record, tile: Frame, examination: Examination
) -> tuple[int | None, int | None, npt.NDArray[np.bool_]]:
    """First row and column of a tile on its image, found by its pixels, and the mask there."""
    size, stride = examination.fitting.tile, examination.fitting.stride
    frame = extend(decode(record.path.read_bytes()), size)
    height, width = frame.shape
    for y, x in TileGrid.cover(height, width, size, stride).positions().tolist():
        if np.array_equal(frame[y : y + size, x : x + size], tile):
            mask = np.zeros(frame.shape, np.bool_)
            if record.mask is not None and record.label == "defect":
                mask = extend((decode(record.mask.read_bytes()) >= MASK_LEVEL).astype(np.uint8), size).astype(np.bool_)
            return y, x, mask[y : y + size, x : x + size]
    # The file was changed since the tile was cut: the tile itself is still what was scored.
    return None, None, np.zeros(tile.shape, np.bool_)


def _runs(edges: npt.NDArray[np.bool_]) -> list[tuple[int, int, int]]:
    """(row, first column, length) of every run of true values."""
    steps = np.diff(np.pad(edges, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    rows, starts = np.nonzero(steps == 1)
    _, ends = np.nonzero(steps == -1)
    return list(zip(rows.tolist(), starts.tolist(), (ends - starts).tolist(), strict=True))
