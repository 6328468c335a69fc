"""Pairs of images that are one: the same pixels, or the same surface in another light, flipped or turned."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.checks.candidates import Pairs, candidate_pairs
from training.checks.finding import Finding, finding
from training.checks.survey import Survey
from training.scan import Record

# Measured on generated exposure series: 98 % of the pairs of one surface lie above it, no pair of different surfaces;
# on photographed hot-rolled steel no pair of different surfaces lies above 0.54.
SAME_SURFACE = 0.6
# Enough to contradict the groups a person gave: of photographed tiles whose groups are known, no pair of
# different groups lies above it.
COPY = 0.85
# Flips and turns are made by software, from the same pixels: noise apart, such a copy correlates by 0.95.
TURNED_COPY = 0.9
# Pairs drawn to see how alike images of different groups are, and how many there must be.
SAMPLED, MIN_SAMPLED = 2000, 10
# Share of those pairs below SAME_SURFACE, from which on they tell of the others. A folder of which four fifths show one
# surface again and again has as many; of frames of one part, placed alike, there are next to none.
MIN_UNLIKE = 1 / 3
# A pair at SAME_SURFACE has sketches at least this much alike, and one at TURNED_COPY this much (see likeness).
SKETCH_ALIKE, UNTURNED_ALIKE = 0.55, 0.8


@dataclass(frozen=True)
class Twins:
    """Pairs (i, j) of images that are one, as intp (pairs, 2).

    same_pixels: the first image with these pixels, and another. same_surface: near-duplicates as they lie, with their
    correlation float32 (pairs,), SAME_SURFACE or more; turned: those flipped or turned, TURNED_COPY or more. Of images
    with the same pixels only the first is among these two. Constant images have no surface to share and are in none.
    """

    same_pixels: Pairs
    same_surface: Pairs
    correlation: npt.NDArray[np.float32]
    turned: Pairs


@dataclass(frozen=True)
class Usual:
    """Correlations that two images of this folder rarely reach without being one; 0 where too few can be compared.

    to_accuse: to tell a person of a fault. As long as nobody gave groups, copies are among the pairs it comes from, and
    where they are many it is too high.
    to_join: to put two images into one group, where a copy that is missed is worse than two surfaces in one group.
    """

    to_accuse: float
    to_join: float


def find_twins(seen: Survey) -> Twins:
    """All pairs of images that are one."""
    firsts: dict[str, int] = {}
    copies = []
    for number, signature in enumerate(seen.signatures):
        if signature is not None and not signature.constant:
            first = firsts.setdefault(signature.pixels, number)
            if first != number:
                copies.append((first, number))
    apart = np.array(list(firsts.values()), np.intp)
    upright, unturned = (sketches[apart] for sketches in seen.surfaces.sketches)
    same, turned = (
        apart[candidate_pairs(upright, SKETCH_ALIKE)],
        apart[candidate_pairs(unturned, UNTURNED_ALIKE)],
    )
    correlation = seen.surfaces.upright_likeness(*same.T)
    turned = turned[seen.surfaces.turned_likeness(*turned.T) >= TURNED_COPY]
    kept = correlation >= SAME_SURFACE
    return Twins(np.array(copies, np.intp).reshape(-1, 2), same[kept], correlation[kept], turned)


def usual_likeness(seen: Survey, records: Sequence[Record]) -> Usual:
    """Of records as they were scanned, from pairs that no given group joins.

    0.2 to 0.6 for rolled surfaces; it reaches 1 for parts in a small folder. Clusters of near-duplicates are no groups
    here: of parts that are all alike they make one, and no pair would be left to tell so.
    """
    surface = np.flatnonzero([signature is not None and not signature.constant for signature in seen.signatures])
    if not len(surface):
        return Usual(0.0, 0.0)
    first, second = surface[np.random.default_rng(0).integers(0, len(surface), (2, SAMPLED))]
    apart = np.array([_may_differ(records, *pair) for pair in zip(first.tolist(), second.tolist(), strict=True)])
    if apart.sum() < MIN_SAMPLED:
        return Usual(0.0, 0.0)
    likeness = seen.surfaces.upright_likeness(first[apart], second[apart])
    unlike = likeness[likeness < SAME_SURFACE]
    return Usual(_reached(likeness), _reached(unlike if len(unlike) >= MIN_UNLIKE * len(likeness) else likeness))


def _may_differ(records: Sequence[Record], first: int, second: int) -> bool:
    group = records[first].group
    return first != second and (group is None or group != records[second].group)


def _reached(likeness: npt.NDArray[np.float32]) -> float:
    """Median and three deviations above it, by the median deviation, for some of the pairs may be copies."""
    median = np.median(likeness)
    # 1.48 times the median deviation estimates the standard deviation.
    return float(median + 3 * 1.48 * np.median(np.abs(likeness - median)))


def twin_findings(records: Sequence[Record], given: Sequence[bool], twins: Twins, usual: Usual) -> Iterable[Finding]:
    """Faults among twins. records: with groups; given: whether a person gave the group, not `training.grouping`."""
    labels = np.array([record.label for record in records])
    groups = np.array([record.group for record in records])
    by_person = np.array(given, np.bool_)
    # Where other images are as alike as copies, no image is one for certain.
    alike = usual.to_accuse >= COPY
    telling = np.inf if alike else usual.to_accuse

    def differ(pairs: Pairs, of: npt.NDArray[np.str_]) -> npt.NDArray[np.bool_]:
        return np.asarray(of[pairs[:, 0]] != of[pairs[:, 1]])

    same, exact = twins.same_surface, twins.same_pixels
    turned = twins.turned[:0] if alike else twins.turned
    sure = twins.correlation >= max(COPY, telling)
    # Two witnesses: a person who says that both show one surface, and their structure, which then need not be beyond
    # doubt.
    agreed = ~differ(same, groups) & by_person[same].all(axis=1) & (twins.correlation >= telling)
    faults = {
        "labelled_both_ways": exact[differ(exact, labels)],
        "duplicate_across_groups": exact[~differ(exact, labels) & differ(exact, groups)],
        "duplicate": exact[~differ(exact, labels) & ~differ(exact, groups)],
        "surface_both_ways": _together(same[(sure | agreed) & differ(same, labels)], turned[differ(turned, labels)]),
        "near_duplicate_across_groups": _together(
            same[sure & ~differ(same, labels) & differ(same, groups)],
            turned[~differ(turned, labels) & differ(turned, groups)],
        ),
    }
    for kind, pairs in faults.items():
        if len(pairs):
            yield pair_finding(kind, records, pairs)
    untold = [number for number in np.unique(same).tolist() if not given[number]]
    if alike and untold:
        yield finding("all_alike", [records[number].file for number in untold])


def pair_finding(kind: str, records: Sequence[Record], pairs: Pairs) -> Finding:
    """A finding about pairs (i, j) of records."""
    files = [records[number].file for number in np.unique(pairs)]
    return finding(kind, files, [(records[i].file, records[j].file) for i, j in pairs])


def _together(*pairs: Pairs) -> Pairs:
    """Pairs (i < j), each once."""
    return np.unique(np.concatenate(pairs), axis=0)
