"""A group for every image that nobody gave one: near-duplicates share it, so that no split can part them.

Two images are near-duplicates if their fine structure correlates, as they lie or flipped or turned (`training.checks`).
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from training.checks.candidates import Pairs
from training.checks.survey import Survey, survey
from training.checks.twins import TURNED_COPY, Twins, Usual, find_twins, usual_likeness
from training.scan import Record

# Of the name of a group that near-duplicates make; its number, in the order of the records, follows.
CLUSTER = "cluster-"


def with_groups(records: Sequence[Record], on_images: Callable[[int], object] = lambda _: None) -> list[Record]:
    """The records, each with a group; unreadable images without one get a group of their own.

    on_images: called with the number of images read since the last call. Nothing is read if all have a group.
    """
    if all(record.group is not None for record in records):
        return list(records)
    # Masks say nothing about the surface: they are not read.
    seen = survey([replace(record, mask=None) for record in records], on_images)
    return grouped(records, seen, find_twins(seen))


def grouped(records: Sequence[Record], seen: Survey, twins: Twins) -> list[Record]:
    """`with_groups` where the records' images and the twins among them are known already.

    An image without a group takes the given group of its twins, the first by name if they have several; given groups
    are never changed.
    """
    ungrouped = np.array([record.group is None for record in records], np.bool_)
    pairs = _copies(twins, usual_likeness(seen, records))
    # Twins that both have a group were told apart by a person: the check says so, and nothing is joined through them.
    numbers = clusters(len(records), pairs[ungrouped[pairs].any(axis=1)])
    given: dict[int, str] = {}
    for record, number in zip(records, numbers.tolist(), strict=True):
        if record.group is not None:
            given[number] = min(given.get(number, record.group), record.group)
    named = []
    for record, number, signature in zip(records, numbers.tolist(), seen.signatures, strict=True):
        name = given.get(number, f"{CLUSTER}{number:06d}") if signature else f"unreadable:{record.file}"
        named.append(record if record.group is not None else replace(record, group=name))
    return named


def _copies(twins: Twins, usual: Usual) -> Pairs:
    """The twins that are more alike than any two images of this folder: intp (pairs, 2)."""
    same = twins.same_surface[twins.correlation >= usual.to_join]
    # A round part is alike however it is turned.
    turned = twins.turned if usual.to_join < TURNED_COPY else twins.turned[:0]
    return np.concatenate([twins.same_pixels, same, turned])


def clusters(count: int, pairs: Pairs) -> npt.NDArray[np.int32]:
    """Cluster number of each of `count` images, int32 (count,); pairs, intp (pairs, 2), chain together.

    >>> clusters(4, np.array([[0, 2], [2, 3]])).tolist()
    [0, 1, 0, 0]
    """
    graph = coo_array((np.ones(len(pairs), np.int8), tuple(pairs.T)), shape=(count, count))
    _, labels = connected_components(graph, directed=False)
    return np.asarray(labels, np.int32)
