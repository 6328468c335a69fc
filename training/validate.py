"""What is wrong with a data folder before anyone trains on it."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from model.errors import SteelsightError
from model.image import Frame, decode
from model.tiling import Fit
from training.dataset import MASK_LEVEL, choose_fit
from training.scan import NO_DEFECT, Record


class Severity(StrEnum):
    """An error makes a training unsound; a warning is worth a look."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True)
class Finding:
    """One fault and every file it concerns."""

    kind: str
    severity: Severity
    message: str
    files: tuple[str, ...]


# Train, validation and test each need a group of every kind.
MIN_GROUPS = 3


def validate(records: Sequence[Record], on_image: Callable[[], object] = lambda: None) -> list[Finding]:
    """All findings, errors first. Records must have their groups; images are read once, one at a time."""
    faults: dict[str, list[str]] = defaultdict(list)
    same_pixels: dict[bytes, list[Record]] = defaultdict(list)
    cut_by_mask = choose_fit(records) is Fit.TILE
    for record in records:
        try:
            frame = decode(record.path.read_bytes())
        except (SteelsightError, OSError):
            faults["unreadable"].append(record.file)
        else:
            same_pixels[_pixel_hash(frame)].append(record)
            if frame.min() == frame.max():
                faults["constant"].append(record.file)
            for fault in _mask_faults(record, frame, cut_by_mask):
                faults[fault].append(record.file)
        on_image()
    for twins in same_pixels.values():
        if len(twins) > 1:
            faults[_twin_fault(twins)].extend(twin.file for twin in twins)
    found = [_finding(kind, files) for kind, files in faults.items()]
    return sorted([*found, *_scarce(records)], key=lambda finding: (finding.severity, finding.kind))


def _mask_faults(record: Record, frame: Frame, cut_by_mask: bool) -> Iterable[str]:
    if record.label == "ok":
        if record.mask and _has_defect(record):
            yield "mask_on_ok"
        return
    if record.mask is None:
        if cut_by_mask:
            yield "mask_missing"
        return
    try:
        mask = decode(record.mask.read_bytes())
    except (SteelsightError, OSError):
        yield "mask_unreadable"
        return
    if mask.shape != frame.shape:
        yield "mask_size"
    elif mask.max() < MASK_LEVEL:
        yield "mask_empty"


def _has_defect(record: Record) -> bool:
    try:
        return bool(record.mask and decode(record.mask.read_bytes()).max() >= MASK_LEVEL)
    except (SteelsightError, OSError):
        return True


def _pixel_hash(frame: Frame) -> bytes:
    return hashlib.sha256(repr(frame.shape).encode() + frame.tobytes()).digest()


def _twin_fault(twins: list[Record]) -> str:
    if len({twin.label for twin in twins}) > 1:
        return "labelled_both_ways"
    return "duplicate" if len({twin.group for twin in twins}) == 1 else "duplicate_across_groups"


# kind -> severity and what to do; the count and the files are put in front.
KINDS: dict[str, tuple[Severity, str]] = {
    "unreadable": (Severity.ERROR, "cannot be read as an image; mend or remove them"),
    "labelled_both_ways": (Severity.ERROR, "show the same pixels as ok and as defect; decide which is right"),
    "duplicate_across_groups": (Severity.ERROR, "show the same pixels in different groups; give them one group"),
    "mask_unreadable": (Severity.ERROR, "have a mask that cannot be read"),
    "mask_size": (Severity.ERROR, "have a mask of another size than the image; draw it anew"),
    "mask_empty": (Severity.ERROR, "are labelled defect but their mask is empty; draw it, or label them ok"),
    "mask_on_ok": (
        Severity.ERROR,
        "are labelled ok but have a mask with defect pixels; label them defect, or remove it",
    ),
    "mask_missing": (Severity.WARNING, "are labelled defect but have no mask, while others have: they are left out"),
    "duplicate": (Severity.WARNING, "are exact copies of one another within a group"),
    "constant": (Severity.WARNING, "have one grey value only"),
}


def _finding(kind: str, files: Sequence[str]) -> Finding:
    severity, advice = KINDS[kind]
    return Finding(kind, severity, f"{len(files)} image{'s' if len(files) > 1 else ''} {advice}", tuple(files))


def _scarce(records: Sequence[Record]) -> Iterable[Finding]:
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


def _need(what: str, found: int) -> str:
    return (
        f"{found} group{'s' if found != 1 else ''} of {what}; train, validation and test need one each: "
        f"{MIN_GROUPS - found} more"
    )
