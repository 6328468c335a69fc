"""A group for every image that nobody gave one: near-duplicates share it, so that no split can part them.

Two images are near-duplicates if their fine structure correlates: small copies, freed of lighting and of
local contrast, and compared at a few shifts along the rolling direction, for a strip moves between exposures.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from model.errors import SteelsightError
from model.image import Frame, decode
from model.tiling import resize
from training.scan import Record

Structures = npt.NDArray[np.float32]

SIDE = 64
# px of the small copy. Structure finer than FINE is sensor noise; coarser than COARSE is lighting and shape.
FINE, COARSE = 1.0, 4.0
# px of the small copy, both ways: 3 % of the image's height.
MAX_SHIFT = 2
# Measured on generated exposure series: 98 % of the pairs of one surface lie above 0.63, no pair of different
# surfaces above 0.47; on photographed hot-rolled steel no pair of different surfaces lies above 0.54.
MIN_CORRELATION = 0.6
# Rows of the all-pairs comparison held at once: 512 x 100,000 correlations are 200 MB.
BLOCK = 512


def with_groups(records: Sequence[Record]) -> list[Record]:
    """The records, each with a group; unreadable images without one get a group of their own."""
    ungrouped = [record for record in records if record.group is None]
    structures = {record.file: found for record in ungrouped if (found := _structure_of(record)) is not None}
    numbers = clusters(np.stack(list(structures.values()))) if structures else np.empty(0, np.int32)
    names = {file: f"cluster-{number:06d}" for file, number in zip(structures, numbers, strict=True)}
    return [
        record if record.group else replace(record, group=names.get(record.file, f"unreadable:{record.file}"))
        for record in records
    ]


def structure(frame: Frame) -> Structures:
    """What is compared of a uint8 frame (height, width): float32 (SIDE, SIDE), zero mean and unit length.

    All zeros where there is no structure, so that two blank images do not count as the same surface.
    """
    # The logarithm turns another exposure, which multiplies, into an offset that the coarse scale takes away.
    small = np.log1p(resize(frame, SIDE).astype(np.float32))
    band = ndimage.gaussian_filter(small, FINE) - ndimage.gaussian_filter(small, COARSE)
    contrast = np.sqrt(ndimage.gaussian_filter(band**2, COARSE))
    # Contrast below a thousandth is rounding, not structure.
    even = np.divide(band, contrast, out=np.zeros_like(band), where=contrast > 1e-3)
    even -= even.mean()
    length = np.linalg.norm(even)
    return np.asarray(even / length if length > 0 else even, np.float32)


def clusters(structures: Structures) -> npt.NDArray[np.int32]:
    """Cluster number of each of n structures (n, SIDE, SIDE), int32 (n,); near-duplicates chain together."""
    count = len(structures)
    flat = structures.reshape(count, -1)
    first, second = [], []
    for start in range(0, count, BLOCK):
        block = structures[start : start + BLOCK]
        shifts = range(-MAX_SHIFT, MAX_SHIFT + 1)
        correlation = np.max(
            [np.roll(block, shift, axis=1).reshape(len(block), -1) @ flat.T for shift in shifts], axis=0
        )
        rows, columns = np.nonzero(correlation >= MIN_CORRELATION)
        first.append(rows + start)
        second.append(columns)
    edges = (np.concatenate(first), np.concatenate(second))
    graph = coo_array((np.ones(len(edges[0]), np.int8), edges), shape=(count, count))
    _, labels = connected_components(graph, directed=False)
    return np.asarray(labels, np.int32)


def _structure_of(record: Record) -> Structures | None:
    try:
        return structure(decode(record.path.read_bytes()))
    except SteelsightError:
        return None
