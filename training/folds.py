"""Groups dealt to K folds for cross-validation: a group is never in two of them."""

import zlib
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from training.errors import DataFault
from training.scan import NO_DEFECT, Record
from training.split import rarest_types


def deal_folds(records: Sequence[Record], folds: int, seed: int) -> dict[str, int]:
    """Group -> fold, 0 to folds - 1, stratified by defect type; every record must have its group.

    A group counts for the rarest defect type it shows. Each type's groups, shuffled by the seed, are dealt out in turn,
    and the next type goes on where the last one ended: neither a type nor the whole differs by more than
    one group between folds, and rare types do not all meet in the first fold.

    Raises `DataFault` where fewer groups than folds show defects, or good surface if any image is of it.
    """
    of_type: dict[str, list[str]] = defaultdict(list)
    for group, kind in rarest_types(records).items():
        of_type[kind].append(group)
    _require_enough(records, of_type, folds)
    dealt: list[str] = []
    # Good surface last: all folds then have defects before any has the luck of good surface alone.
    for kind in sorted(of_type, key=lambda kind: (kind == NO_DEFECT, kind)):
        rng = np.random.default_rng([seed, zlib.crc32(kind.encode())])
        dealt += map(str, rng.permutation(sorted(of_type[kind])))
    return {group: number % folds for number, group in enumerate(dealt)}


def _require_enough(records: Sequence[Record], of_type: dict[str, list[str]], folds: int) -> None:
    defects = sum(len(groups) for kind, groups in of_type.items() if kind != NO_DEFECT)
    good = len({record.group for record in records if record.label == "ok"})
    for label, groups, wanted in (("defect", defects, True), ("ok", good, good > 0)):
        if wanted and groups < folds:
            raise DataFault(
                f"{folds} folds need at least {folds} groups that show {label} surface, one each, and there are "
                f"{groups}: take fewer folds, or add groups"
            )
