"""Which pairs of many vectors are worth a closer look: those that point the same way.

Two ways, both of which take little longer for each image of a large folder than of a small one: `candidate_pairs`
misses next to nothing, `bucket_pairs` is for a million vectors of which many pairs bear witness to the same thing.
"""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]
Pairs = npt.NDArray[np.intp]

# All pairs of this many take two seconds; below, hashing saves nothing.
EXHAUSTIVE = 16384
# One landmark for this many vectors, and how many landmarks each is filed under.
VECTORS_A_LANDMARK, FILED_UNDER = 64, 12
# Rows and columns compared at once: 16 MB.
ROWS, COLUMNS = 1024, 4096
# Pairs kept for one vector from one block: a thousand frames of one still scene must not become a million pairs, and
# near-duplicates chain together all the same.
MOST_A_ROW = 64
# Tables of `bucket_pairs`: two vectors that correlate by 0.95 share one of six buckets in 6 of 10 cases (a million
# vectors) to 8 of 10 (ten thousand).
TABLES = 6
# Neighbours in a bucket that a vector is compared with; a fuller bucket holds what is nothing special.
NEIGHBOURS = 4


def candidate_pairs(vectors: Vectors, least: float, exhaustive: int = EXHAUSTIVE) -> Pairs:
    """Pairs (i < j) of n unit vectors (n, d) whose product is at least `least`: intp (pairs, 2), each once.

    All of them up to `exhaustive` vectors. Beyond, vectors are hashed by the landmarks nearest to them, and those that
    share none are not compared.

    >>> candidate_pairs(np.array([[1, 0], [0, 1], [1, 0]], np.float32), 0.9).tolist()
    [[0, 2]]
    """
    count = len(vectors)
    codes = [np.empty(0, np.intp)]
    for members in _cells(vectors, exhaustive):
        for rows, columns in _blocks(vectors[members], least):
            codes.append(_code(members[rows], members[columns], count))
    # A pair that shares several landmarks was found several times.
    return _decoded(np.concatenate(codes), count)


def bucket_pairs(vectors: Vectors, least: float) -> Pairs:
    """Pairs (i < j) as of `candidate_pairs`, but of those only that share a bucket: intp (pairs, 2), each once.

    A bucket is one pattern of signs of random projections, about as many patterns as there are vectors.

    >>> bucket_pairs(np.array([[1, 0], [0, 1], [1, 0]], np.float32), 0.9).tolist()
    [[0, 2]]
    """
    count = len(vectors)
    bits = max(1, count.bit_length())
    rng = np.random.default_rng(0)
    codes = [np.empty(0, np.intp)]
    for _ in range(TABLES):
        directions = rng.normal(size=(vectors.shape[1], bits)).astype(np.float32)
        buckets = (vectors @ directions > 0) @ (1 << np.arange(bits))
        order = np.argsort(buckets, kind="stable")
        for apart in range(1, NEIGHBOURS + 1):
            together = np.flatnonzero(buckets[order[:-apart]] == buckets[order[apart:]])
            codes.append(_code(order[together], order[together + apart], count))
    pairs = _decoded(np.concatenate(codes), count)
    blocks = np.split(pairs, range(COLUMNS, len(pairs), COLUMNS))
    alike = [np.einsum("nd,nd->n", vectors[block[:, 0]], vectors[block[:, 1]]) >= least for block in blocks]
    found: Pairs = pairs[np.concatenate(alike)]
    return found


def _code(first: Pairs, second: Pairs, count: int) -> Pairs:
    """One number for a pair, the smaller index first."""
    codes: Pairs = np.minimum(first, second) * np.intp(count)
    return codes + np.maximum(first, second)


def _decoded(codes: Pairs, count: int) -> Pairs:
    return np.stack(np.divmod(np.unique(codes), max(count, 1)), axis=1)


def _blocks(gathered: Vectors, least: float) -> Iterator[tuple[Pairs, Pairs]]:
    """Both ends of every pair that is alike, block by block."""
    for top in range(0, len(gathered), ROWS):
        for left in range(top, len(gathered), COLUMNS):
            products = gathered[top : top + ROWS] @ gathered[left : left + COLUMNS].T
            rows, columns = _best_of_rows(products, least)
            # Each pair once: what lies below the diagonal of the whole matrix is passed over.
            above = columns + left > rows + top
            yield rows[above] + top, columns[above] + left


def _best_of_rows(products: Vectors, least: float) -> tuple[Pairs, Pairs]:
    alike = products >= least
    for row in np.flatnonzero(np.count_nonzero(alike, axis=1) > MOST_A_ROW):
        alike[row] = False
        alike[row, np.argpartition(products[row], -MOST_A_ROW)[-MOST_A_ROW:]] = True
    rows, columns = np.divmod(np.flatnonzero(alike), max(products.shape[1], 1))
    return rows, columns


def _cells(vectors: Vectors, exhaustive: int) -> Iterator[Pairs]:
    """Indices of vectors that are compared with one another, in order."""
    count = len(vectors)
    if count <= exhaustive:
        yield np.arange(count)
        return
    # Seeded, so that the same folder gives the same groups.
    rng = np.random.default_rng(0)
    landmarks = vectors[np.sort(rng.choice(count, count // VECTORS_A_LANDMARK, replace=False))]
    filed = min(FILED_UNDER, len(landmarks))
    nearest = np.empty((count, filed), np.intp)
    for start in range(0, count, ROWS):
        products = vectors[start : start + ROWS] @ landmarks.T
        nearest[start : start + ROWS] = np.argpartition(-products, filed - 1, axis=1)[:, :filed]
    order = np.argsort(nearest.ravel(), kind="stable")
    borders = np.searchsorted(nearest.ravel()[order], np.arange(len(landmarks) + 1))
    for start, stop in pairwise(borders):
        yield np.asarray(order[start:stop] // filed)
