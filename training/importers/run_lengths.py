"""Run lengths as the formats write them -> `Runs`.

All of them count pixels down the columns. Severstal writes pairs of first pixel (counted from 1) and length; COCO
writes counts that alternate between surface and defect, as a list or packed into a string
(cocodataset/cocoapi, common/maskApi.c: rleFrString).
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from training.importers.masks import Runs

# The packing puts 5 bits into a character, from "0" on. The sixth bit says that more follow; the fifth of the last
# character is the sign.
FIRST_CHARACTER = 48
BITS = 5
MORE, SIGN, PAYLOAD = 0x20, 0x10, 0x1F
# 13 characters hold 65 bits: no count needs as many, and past it the number would grow without bound.
LONGEST_COUNT = 13


def from_pairs(text: str) -> Runs:
    """Severstal's `first length first length ...`. Raises ValueError for what is not that.

    >>> runs = from_pairs("1 3 10 2")
    >>> runs.starts.tolist(), runs.lengths.tolist()
    ([0, 9], [3, 2])
    """
    numbers = _integers(text.split())
    if len(numbers) % 2:
        raise ValueError(f"{len(numbers)} numbers; pairs of first pixel and length are expected")
    starts, lengths = numbers[::2], numbers[1::2]
    if len(numbers) and (starts.min() < 1 or lengths.min() < 1):
        raise ValueError("a first pixel or a length below 1; both are counted from 1")
    return Runs(starts - 1, lengths)


def from_counts(counts: Sequence[object], height: int, width: int) -> Runs:
    """COCO's alternating counts, surface first, on height x width px. Raises ValueError if they do not fill it.

    >>> runs = from_counts([2, 3, 1], height=3, width=2)
    >>> runs.starts.tolist(), runs.lengths.tolist()
    ([2], [3])
    """
    if not all(isinstance(count, int) for count in counts):
        raise ValueError("a count that is not a whole number")
    lengths = _integers(counts)
    if len(lengths) and (lengths.min() < 0 or lengths.max() > height * width):
        raise ValueError(f"a count outside 0 to {height * width}, the pixels of the image")
    if int(lengths.sum()) != height * width:
        raise ValueError(f"the counts cover {int(lengths.sum())} pixels; {height} x {width} are {height * width}")
    starts = np.cumsum(lengths) - lengths
    return Runs(starts[1::2], lengths[1::2], (height, width))


def unpack_counts(text: str) -> list[int]:
    """COCO's packed counts; from the fourth on each is written as the difference to the one before the last.

    >>> unpack_counts("04")
    [0, 4]
    >>> unpack_counts("X122N")
    [40, 2, 2, 0]

    Raises ValueError for characters outside the packing or a number that does not end.
    """
    counts: list[int] = []
    value = place = 0
    for character in text:
        bits = ord(character) - FIRST_CHARACTER
        if not 0 <= bits <= (MORE | PAYLOAD) or place >= LONGEST_COUNT:
            raise ValueError(f"{character!r} does not belong to packed counts")
        value |= (bits & PAYLOAD) << (BITS * place)
        place += 1
        if bits & MORE:
            continue
        if bits & SIGN:
            value -= 1 << (BITS * place)
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        value = place = 0
    if place:
        raise ValueError("the packed counts end within a number")
    return counts


def _integers(values: Sequence[object]) -> npt.NDArray[np.int64]:
    try:
        return np.array([int(str(value)) for value in values], np.int64)
    except OverflowError as error:
        raise ValueError("a number that counts no pixels") from error
