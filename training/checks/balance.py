"""Is there enough of every class, in enough groups, to train on and to evaluate?"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from model.tiling import Fit
from training.checks.finding import Finding, Severity
from training.dataset import choose_fit
from training.scan import NO_DEFECT, Record
from training.split import Part

# Every part of the split needs a group of every kind.
MIN_GROUPS = len(Part)
# Images of one class for one of the other; past it a network that always says the larger one is right nine times in
# ten, and the smaller one sets the width of every interval.
MAX_IMBALANCE = 10


def scarce(records: Sequence[Record]) -> Iterable[Finding]:
    """Too few groups: without ok images, tiles beside the masked defects are the good surface."""
    groups: dict[str, set[str | None]] = defaultdict(set)
    for record in records:
        groups[record.defect_type].add(record.group)
    any_defect = set().union(*(found for kind, found in groups.items() if kind != NO_DEFECT))
    if len(any_defect) < MIN_GROUPS:
        yield Finding("too_few_groups", Severity.ERROR, _need("defect surfaces", len(any_defect)), ())
    if len(groups[NO_DEFECT]) < MIN_GROUPS and choose_fit(records) is Fit.RESIZE:
        yield Finding("too_few_groups", Severity.ERROR, _need("ok surfaces", len(groups[NO_DEFECT])), ())
    for kind, found in sorted(groups.items()):
        if kind != NO_DEFECT and len(found) < MIN_GROUPS <= len(any_defect):
            yield Finding("too_few_groups_of_type", Severity.WARNING, _need(f"{kind} defects", len(found)), ())


def unbalanced(records: Sequence[Record]) -> Iterable[Finding]:
    """Classes that outnumber others more than MAX_IMBALANCE to one: ok to defect, and among the defect types."""
    labels = Counter(record.label for record in records)
    types = Counter(record.defect_type for record in records if record.label == "defect")
    # Without ok images, tiles beside the masked defects are the good surface, and there is plenty of it.
    for counts, what in ((labels, "images"), (types, "defect images")):
        ranked = counts.most_common()
        (most, many), (least, few) = ranked[0] if ranked else ("", 0), ranked[-1] if ranked else ("", 0)
        if many > MAX_IMBALANCE * few:
            yield Finding(
                "class_imbalance",
                Severity.WARNING,
                f"{many} {what} of {most} and {few} of {least} ({many / few:.0f} to 1); "
                f"collect more of {least}: it sets how wide every interval will be",
                (),
            )


def _need(what: str, found: int) -> str:
    *others, last = (part.value for part in Part)
    return (
        f"{found} group{'s' if found != 1 else ''} of {what}; {', '.join(others)} and {last} need one each: "
        f"{MIN_GROUPS - found} more (a hundred make intervals that can be signed)"
    )
