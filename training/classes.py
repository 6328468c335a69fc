"""The classes an experiment tells apart, and which of them each tile is."""

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from training.config import Heads
from training.dataset import TileSet
from training.errors import DataFault
from training.scan import NO_DEFECT, Record

BINARY = ("ok", "defect")
OK = BINARY[0]
# In replies, reports and manifests these stand for good surface.
RESERVED = frozenset({OK, NO_DEFECT})
# A network has at most 1000 outputs (`model.network.NetworkConfig`), and ok is one of them.
MOST_TYPES = 999

Kinds = npt.NDArray[np.str_]


def class_names(kinds: Iterable[str], heads: Heads) -> tuple[str, ...]:
    """All classes, the first of them ok: ok and defect, or ok and the sorted defect types among `kinds`.

    kinds: of all tiles of the experiment, as `tile_kinds` tells them. ok is a class also where no tile is ok: it is
    what a defect logit is measured against. Raises `DataFault` for a type named like good surface, and where
    there is no type, or more than a network has outputs for.

    >>> class_names(["none", "pit", "fold", "pit"], "defect_class"), class_names(["none", "pit"], "binary")
    (('ok', 'fold', 'pit'), ('ok', 'defect'))
    """
    if heads == "binary":
        return BINARY
    types = sorted({str(kind) for kind in kinds} - {NO_DEFECT})
    for name in types:
        if name.casefold() in RESERVED:
            raise DataFault(f"the defect type {name!r} has the name of good surface and cannot be a class; rename it")
    if not 0 < len(types) <= MOST_TYPES:
        raise DataFault(
            f'heads = "defect_class" needs 1 to {MOST_TYPES} defect types to name, and the tiles show {len(types)}; '
            'put each type in a folder of its own below defect/, or use heads = "binary"'
        )
    return OK, *types


def tile_kinds(tiles: TileSet, records: Sequence[Record]) -> Kinds:
    """Defect type of each tile, "none" for ok, str (n,): an ok tile of a defect image is ok."""
    types = np.array([record.defect_type for record in records])[tiles.file]
    return np.asarray(np.where(tiles.defect, types, NO_DEFECT))


def class_numbers(kinds: Kinds, classes: Sequence[str]) -> npt.NDArray[np.intp]:
    """Which class each kind is, (n,): 0 for "none", and -1 for a defect type that is none of the classes.

    >>> class_numbers(np.array(["none", "pit", "fold"]), ("ok", "pit", "scratch")).tolist()
    [0, 1, -1]
    >>> class_numbers(np.array(["none", "pit"]), ("ok", "defect")).tolist()
    [0, -1]
    """
    number = {NO_DEFECT: 0} | {name: place for place, name in enumerate(classes) if place}
    return np.array([number.get(str(kind), -1) for kind in kinds], np.intp)
