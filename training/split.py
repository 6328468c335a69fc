"""Groups -> train, validation, test: a group is never on two sides."""

import zlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from enum import StrEnum

import numpy as np

from training.config import SplitShares
from training.scan import NO_DEFECT, Record


class Part(StrEnum):
    """What a group is used for."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


def split(records: Sequence[Record], shares: SplitShares, seed: int) -> dict[str, Part]:
    """Group -> part, stratified by defect type; every record must have its group.

    A group counts for the rarest defect type it shows, so that rare types reach every part if they can:
    with three groups or more each part gets one.
    """
    strata: dict[str, list[str]] = defaultdict(list)
    for group, kind in _strata(records).items():
        strata[kind].append(group)
    parts: dict[str, Part] = {}
    for kind, groups in sorted(strata.items()):
        # A generator per stratum: what one defect type gains or loses does not reshuffle the others.
        order = np.random.default_rng([seed, zlib.crc32(kind.encode())]).permutation(sorted(groups))
        parts |= dict(zip(map(str, order), _deal(len(groups), shares), strict=True))
    return parts


def _deal(count: int, shares: SplitShares) -> list[Part]:
    """Parts for `count` groups in random order; train comes first when there are too few for all."""
    test = max(round(count * shares.test), 1) if count >= 2 else 0
    validation = max(round(count * shares.validation), 1) if count >= 3 else 0
    train = count - test - validation
    return [Part.TRAIN] * train + [Part.VALIDATION] * validation + [Part.TEST] * test


def _strata(records: Sequence[Record]) -> dict[str, str]:
    """Group -> the rarest defect type in it, "none" where it shows only ok surface."""
    kinds: dict[str, set[str]] = defaultdict(set)
    for record in records:
        kinds[str(record.group)].add(record.defect_type)
    spread = Counter(kind for group in kinds.values() for kind in group)
    return {
        group: min(found - {NO_DEFECT} or {NO_DEFECT}, key=lambda kind: (spread[kind], kind))
        for group, found in kinds.items()
    }
