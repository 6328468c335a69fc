"""Thresholds from the threshold part: from an escape budget, with what is certain of it, or from tolerated overkill.

An escape budget asks for a promise about defects that were not seen yet. The promise rests on one score of
each defect group, because tiles of one surface are no independent evidence, and on how many groups there are. With
n of them, the k-th smallest score is passed by an unknown share of all defects, and that share follows a beta
distribution (k, n - k + 1) whatever the network and the defects are like (Wilks 1941). k follows from n and
the budget alone and never from the scores: choosing the threshold on these very data spends nothing of
the confidence. Ties only make the promise safer. `docs/decisions/0008` says why this and not another procedure.
"""

import hashlib
from enum import StrEnum
from math import ceil, log, log1p

import numpy as np
import numpy.typing as npt
from pydantic import Field
from scipy.special import betaincinv

from model.artifact import Interval, Record
from model.tiling import Probabilities
from model.verdict import Thresholds
from training.errors import DataFault, UsageFault
from training.rates import rate
from training.wording import percent, percent_of, probability

Labels = npt.NDArray[np.bool_]
Groups = npt.NDArray[np.str_]

REVIEW_OVERKILL = 0.05
DEFECT_OVERKILL = 0.01


class EscapeOf(StrEnum):
    """What is passed as ok when something escapes; in each sense every surface (group) counts the same.

    tile: a defect tile. frame: a frame that shows the defect, passed when all of its defect tiles are. surface:
    everything that was seen of the defect on one surface.
    """

    TILE = "tile"
    FRAME = "frame"
    SURFACE = "surface"


class CertifiedThresholds(Record):
    """Thresholds, and what can be signed for them.

    escape_bound: upper bound of the escape rate at `review`, at the stated confidence; it is valid also where
    `certified` is false, and above `max_escape` then. defect_groups: groups that showed a defect, the independent
    evidence. escaped_groups: of these, those whose score lies below `review`. groups_needed: the fewest with which
    the budget can be certified. escape_rate: of the tiles at hand, below `review`. overkill: of the ok tiles at hand,
    at `review` or above; overkill_defect: at `defect` or above. sentence: all of it for a reader.
    """

    thresholds: Thresholds
    certified: bool
    max_escape: float = Field(gt=0, lt=1)
    confidence: float = Field(gt=0, lt=1)
    escape_of: EscapeOf
    escape_bound: float = Field(ge=0, le=1)
    defect_groups: int = Field(ge=1)
    escaped_groups: int = Field(ge=0)
    groups_needed: int = Field(ge=1)
    escape_rate: Interval
    overkill: Interval
    overkill_defect: Interval
    sentence: str


def certify(
    probabilities: Probabilities,
    defect: Labels,
    group: Groups,
    max_escape: float,
    confidence: float,
    *,
    defect_overkill: float = DEFECT_OVERKILL,
    escape_of: EscapeOf = EscapeOf.TILE,
    frame: npt.NDArray[np.intp] | None = None,
    part: float = 1.0,
) -> CertifiedThresholds:
    """The largest `review` threshold that keeps the escape budget with certainty, and a `defect` threshold above.

    probabilities, defect, group: of shape (n,), tiles on which neither the network nor the calibrator was fitted.
    max_escape, confidence: the budget, such as 0.01 and 0.95. defect_overkill: share of ok tiles that may be called
    a defect; `defect` is the lowest threshold that keeps to it, or `review` if that is higher. frame: number of the
    image each tile is from, of shape (n,), for `EscapeOf.FRAME`. part: share of a folder's groups that come here, to
    say how many more the folder needs.

    With too few defect groups `review` is the smallest score among theirs: none escapes that was drawn, though other
    tiles of these groups may, and `escape_bound` says how little that proves.

    Raises `UsageFault` on a budget or share outside 0 to 1, `DataFault` where a label is missing or a probability is
    not a number.

    >>> coils = np.arange(1000).astype(str)
    >>> found = certify(np.linspace(0, 1, 1000), np.arange(1000) >= 400, coils, 0.01, 0.95)
    >>> found.certified, found.defect_groups, found.escaped_groups, round(found.escape_bound, 4)
    (True, 600, 1, 0.0079)
    """
    _require_shares(max_escape=max_escape, confidence=confidence, defect_overkill=defect_overkill)
    require_scored(probabilities, defect)
    scores = np.sort(independent_scores(probabilities[defect], group[defect], escape_of, _of(frame, defect)))
    allowed = allowed_escapes(len(scores), max_escape, confidence)
    # Too few groups: the threshold that would lose none of them, for what it is worth.
    rank = 0 if allowed is None else allowed
    review = float(scores[rank])
    at_least = _above(np.sort(probabilities[~defect])[::-1], defect_overkill)
    thresholds = Thresholds(review=review, defect=max(review, at_least))
    found = CertifiedThresholds(
        thresholds=thresholds,
        certified=allowed is not None,
        max_escape=max_escape,
        confidence=confidence,
        escape_of=escape_of,
        escape_bound=escape_bound(rank, len(scores), confidence),
        defect_groups=len(scores),
        escaped_groups=int((scores < review).sum()),
        groups_needed=groups_needed(max_escape, confidence),
        escape_rate=rate(probabilities[defect] < review, group[defect]),
        overkill=rate(probabilities[~defect] >= review, group[~defect]),
        overkill_defect=rate(probabilities[~defect] >= thresholds.defect, group[~defect]),
        sentence="",
    )
    return found.model_copy(update={"sentence": _sentence(found, part)})


def escape_bound(escapes: int, groups: int, confidence: float) -> float:
    """One-sided Clopper-Pearson: the largest escape rate that explains so few escapes among so many groups.

    >>> round(escape_bound(0, 299, 0.95), 4), round(escape_bound(0, 41, 0.95), 4)
    (0.01, 0.0705)
    """
    return float(betaincinv(escapes + 1, groups - escapes, confidence)) if escapes < groups else 1.0


def allowed_escapes(groups: int, max_escape: float, confidence: float) -> int | None:
    """How many of the groups a threshold may pass and still be certified; None if not even 0.

    >>> [allowed_escapes(groups, 0.01, 0.95) for groups in (298, 299, 472, 473)]
    [None, 0, 0, 1]
    """
    # The bound is never below the observed share, so that there are no others to try.
    escapes = np.arange(min(groups - 1, int(groups * max_escape)) + 1)
    bounds = betaincinv(escapes + 1, groups - escapes, confidence)
    kept = int((bounds <= max_escape).sum())
    return kept - 1 if kept else None


def groups_needed(max_escape: float, confidence: float) -> int:
    """The fewest defect groups that can certify the budget, if not one of them escapes.

    >>> groups_needed(0.01, 0.95), groups_needed(0.001, 0.95), groups_needed(0.05, 0.9)
    (299, 2995, 45)
    """
    return ceil(log(1 - confidence) / log1p(-max_escape))


def independent_scores(
    probabilities: Probabilities, group: Groups, escape_of: EscapeOf, frame: npt.NDArray[np.intp] | None = None
) -> Probabilities:
    """One score for each group, of shape (groups,); something escapes there if it lies below the threshold.

    All arrays are of shape (n,) and hold the defect tiles alone. A surface has its largest score. Of tiles and
    frames, one is drawn from each group: its chance to escape is the share of the group's that do. The draw is a
    hash of the group's name: it cannot look at the scores, and there is no seed to try until the number pleases.

    >>> independent_scores(np.array([0.2, 0.7, 0.4]), np.array(["a", "a", "b"]), EscapeOf.SURFACE).tolist()
    [0.7, 0.4]
    """
    if escape_of is EscapeOf.FRAME:
        if frame is None:
            raise ValueError("EscapeOf.FRAME needs to know the frame of each tile; received frame=None")
        probabilities, group = _largest_of_frames(probabilities, group, frame)
    names, number = np.unique(group, return_inverse=True)
    # By group, and by score within it.
    rising = probabilities[np.lexsort((probabilities, number))]
    sizes = np.bincount(number)
    chosen = np.cumsum(sizes) - 1
    if escape_of is not EscapeOf.SURFACE:
        chosen -= [_draw(str(name), int(size)) for name, size in zip(names, sizes, strict=True)]
    return rising[chosen]


def from_overkill(probabilities: Probabilities, defect: Labels) -> Thresholds:
    """The lowest thresholds that call at most 5 % of the ok tiles for review or worse, and 1 % a defect.

    probabilities, defect: of shape (n,), with at least one ok tile. They say nothing about escapes. No threshold is
    above 1, so that ok tiles with that very probability are called however many there are.

    >>> ok = np.linspace(0, 0.99, 100)
    >>> from_overkill(ok, np.zeros(100, bool)).review > 0.94
    True
    """
    ok = np.sort(probabilities[~defect])[::-1]
    return Thresholds(review=_above(ok, REVIEW_OVERKILL), defect=_above(ok, DEFECT_OVERKILL))


def require_scored(probabilities: Probabilities, defect: Labels) -> None:
    """Raises `DataFault` unless both labels occur and every probability is a number."""
    for label, count in (("defect", int(defect.sum())), ("ok", int((~defect).sum()))):
        if not count:
            raise DataFault(f"the threshold part has no {label} tiles, and thresholds need both; add such groups")
    broken = int(np.isnan(probabilities).sum())
    if broken:
        raise DataFault(
            f"{broken} of {len(probabilities)} probabilities are not numbers: the network is broken and gets no "
            "thresholds; train it anew with a smaller learning rate"
        )


def _draw(group: str, size: int) -> int:
    """A number from 0 to size - 1 that belongs to the group's name."""
    return int.from_bytes(hashlib.sha256(group.encode()).digest()[:8], "big") % size


def _largest_of_frames(
    probabilities: Probabilities, group: Groups, frame: npt.NDArray[np.intp]
) -> tuple[Probabilities, Groups]:
    """A frame is called as soon as one of its tiles is. Groups hold frames whole."""
    _, first, number = np.unique(frame, return_index=True, return_inverse=True)
    largest = np.zeros(len(first))
    np.maximum.at(largest, number, probabilities)
    return largest, group[first]


def _of(frame: npt.NDArray[np.intp] | None, chosen: Labels) -> npt.NDArray[np.intp] | None:
    return None if frame is None else frame[chosen]


def _above(descending: Probabilities, overkill: float) -> float:
    """The smallest number that at most a share of `overkill` of the values reach."""
    allowed = int(overkill * len(descending))
    return float(min(1.0, np.nextafter(descending[allowed], 2.0)))


def _require_shares(**shares: float) -> None:
    for name, value in shares.items():
        if not 0 < value < 1:
            raise UsageFault(f"{name} is a share between 0 and 1, such as 0.01 for 1 %; received {value}")


def _sentence(found: CertifiedThresholds, part: float) -> str:
    at_hand = (
        f"Of the tiles at hand {percent_of(found.escape_rate)} of the defects escape below "
        f"{probability(found.thresholds.review)}, and {percent_of(found.overkill)} of the ok tiles are called."
    )
    sense = f"{found.escape_of.value}s"
    if found.escape_of is not EscapeOf.SURFACE:
        sense += ", each surface counting the same"
    proof = (
        f"at most {percent(found.escape_bound)} of the defects ({sense}) escape, with {percent(found.confidence)} "
        "confidence"
    )
    seen = f"{found.escaped_groups} escapes among {found.defect_groups} independent defects"
    if found.escape_of is not EscapeOf.SURFACE:
        seen += f", one {found.escape_of.value} drawn of each surface"
    if found.certified:
        return f"Certified: {proof} ({seen}). {at_hand}"
    more = found.groups_needed - found.defect_groups
    collect = ""
    if part < 1:
        collect = (
            f" Of a folder's groups {percent(part)} come here: this one needs some {ceil(more / part)} more that show "
            "defects. With folds all of its groups count."
        )
    return (
        f"Not certified: with 0 escapes, at least {found.groups_needed} independent defects are needed to certify "
        f"{percent(found.max_escape)} at {percent(found.confidence)}: {found.defect_groups} are there, "
        f"{more} more are needed.{collect} What they prove is that {proof} ({seen}). {at_hand}"
    )
