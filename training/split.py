"""Groups -> train, calibration, threshold, test: a group is never on two sides."""

import zlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from enum import StrEnum

import numpy as np

from training.config import SplitShares
from training.scan import NO_DEFECT, Record

# No folder name can be this, so it is no defect type's name.
POOLED = "rare/types"


class Part(StrEnum):
    """What a group is used for."""

    TRAIN = "train"
    CALIBRATION = "calibration"
    THRESHOLD = "threshold"
    TEST = "test"


def split(records: Sequence[Record], shares: SplitShares, seed: int) -> dict[str, Part]:
    """Group -> part, stratified by defect type; every record must have its group.

    A group counts for the rarest defect type it shows, so that rare types reach every part if they can:
    with four groups or more each part gets one.
    """
    strata: dict[str, list[str]] = defaultdict(list)
    for group, kind in rarest_types(records).items():
        strata[kind].append(group)
    _pool_the_rare(strata)
    parts: dict[str, Part] = {}
    for kind, groups in sorted(strata.items()):
        # A generator per stratum: what one defect type gains or loses does not reshuffle the others.
        order = np.random.default_rng([seed, zlib.crc32(kind.encode())]).permutation(sorted(groups))
        parts |= dict(zip(map(str, order), _deal(len(groups), shares), strict=True))
    return parts


def _pool_the_rare(strata: dict[str, list[str]]) -> None:
    """Defect types with too few groups for every part share them out together: each part needs some defect."""
    rare = [kind for kind, groups in strata.items() if kind != NO_DEFECT and len(groups) < len(Part)]
    pooled = [group for kind in rare for group in strata.pop(kind)]
    if 0 < len(pooled) < len(Part):
        common = max((kind for kind in strata if kind != NO_DEFECT), key=lambda kind: len(strata[kind]), default=None)
        if common is not None:
            strata[common] = [*strata[common], *pooled]
            return
    if pooled:
        strata[POOLED] = pooled


def _deal(count: int, shares: SplitShares) -> list[Part]:
    """Parts for `count` groups in random order; where they are too few for all: train, test, threshold come first."""
    wanted = {Part.TEST: shares.test, Part.THRESHOLD: shares.threshold, Part.CALIBRATION: shares.calibration}
    left, dealt = count, {}
    for waiting, (part, share) in zip((3, 2, 1), wanted.items(), strict=True):
        # One stays for train and for each part that still waits, if there are so many.
        spare = max(left - waiting, min(left - 1, 1))
        dealt[part] = min(max(round(count * share), 1), spare)
        left -= dealt[part]
    dealt[Part.TRAIN] = left
    return [part for part in Part for _ in range(dealt[part])]


def rarest_types(records: Sequence[Record]) -> dict[str, str]:
    """Group -> the defect type it counts for: the rarest in it, "none" where it shows only ok surface."""
    kinds: dict[str, set[str]] = defaultdict(set)
    for record in records:
        kinds[str(record.group)].add(record.defect_type)
    spread = Counter(kind for group in kinds.values() for kind in group)
    return {
        group: min(found - {NO_DEFECT} or {NO_DEFECT}, key=lambda kind: (spread[kind], kind))
        for group, found in kinds.items()
    }
