"""Faults of single images, and what differs between the images of one folder."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from model.image import SIXTEEN_BIT_MODES
from model.quality import SATURATED_SHARE
from training.checks.finding import Finding, Severity, finding
from training.checks.signature import Signature
from training.checks.survey import Survey

# Decoding keeps the upper 8 of 16 bits: of 12 bits at the lower end so few grey values are left. Of 14 bits it is 64,
# and a dim surface in 16 bits looks no different.
GREYS_OF_12_BITS = 16
# Sizes or types named in a message.
NAMED = 3
# Shares of the masks of a folder, of so many at the least: one defect may well be square or large. Of a mask that is
# white over more than half of its image nobody can tell what is drawn on it.
MOST, MIN_MASKS, MOSTLY_WHITE = 0.5, 5, 0.5


def image_findings(seen: Survey) -> Iterable[Finding]:
    """What is wrong with single images and their masks."""
    faults: dict[str, list[str]] = defaultdict(list)
    for record, signature in zip(seen.records, seen.signatures, strict=True):
        for fault in _faults(signature):
            faults[fault].append(record.file)
    for kind, files in faults.items():
        yield finding(kind, files)


def _faults(signature: Signature | None) -> Iterable[str]:
    if signature is None:
        yield "unreadable"
        return
    if signature.constant:
        yield "constant"
    elif signature.dark + signature.bright > SATURATED_SHARE:
        yield "saturated"
    if signature.mask_fault:
        yield signature.mask_fault


def depth_findings(seen: Survey) -> Iterable[Finding]:
    """A camera's 12 bits or fewer, stored in 16 as they are.

    All images of a pixel type share the camera's depth, but not their exposure: one that is brighter acquits the rest.
    """
    of_type: dict[str, dict[str, int]] = defaultdict(dict)
    for record, found in zip(seen.records, seen.signatures, strict=True):
        if found and found.pixel_type.split()[-1] in SIXTEEN_BIT_MODES:
            of_type[found.pixel_type][record.file] = found.brightest
    unused = [file for files in of_type.values() if max(files.values()) < GREYS_OF_12_BITS for file in files]
    if unused:
        yield finding("depth_unused", unused)


def mask_findings(seen: Survey) -> Iterable[Finding]:
    """Masks that are sound one by one, and as a folder mean something else than where the defects are."""
    sound = {
        record.file: found
        for record, found in zip(seen.records, seen.signatures, strict=True)
        if found and not found.mask_fault
    }
    white = {file: found.masked > MOSTLY_WHITE for file, found in sound.items() if found.masked is not None}
    yield from _of_most("masks_mostly_white", white)
    told = {file: sound[file].mask_boxes for file, mostly in white.items() if not mostly}
    # Boxes round the defects, as detectors are taught with.
    yield from _of_most("mask_boxes", {file: boxes for file, boxes in told.items() if boxes is not None})


def _of_most(kind: str, flags: Mapping[str, bool]) -> Iterable[Finding]:
    """flags: whether it is so of each file."""
    files = [file for file, flag in flags.items() if flag]
    if len(flags) >= MIN_MASKS and len(files) > MOST * len(flags):
        yield finding(kind, files)


def mixture_findings(seen: Survey) -> Iterable[Finding]:
    """Sizes and stored pixel types that differ: two cameras or two exports that the network could tell apart."""
    sizes = {
        record.file: f"{found.width} x {found.height} px"
        for record, found in zip(seen.records, seen.signatures, strict=True)
        if found
    }
    types = {
        record.file: found.pixel_type for record, found in zip(seen.records, seen.signatures, strict=True) if found
    }
    yield from _mixed("mixed_sizes", "sizes", sizes, "bring them to one scale: a defect's size is part of how it looks")
    yield from _mixed("mixed_depths", "pixel types", types, "see that depth or container does not tell the label")


def _mixed(kind: str, what: str, values: dict[str, str], advice: str) -> Iterable[Finding]:
    """Files are those that differ from the most common value."""
    counts = Counter(values.values()).most_common()
    if len(counts) < 2:
        return
    named = ", ".join(f"{count} of {value}" for value, count in counts[:NAMED])
    more = f" and {len(counts) - NAMED} more" if len(counts) > NAMED else ""
    files = tuple(file for file, value in values.items() if value != counts[0][0])
    yield Finding(kind, Severity.WARNING, f"{len(counts)} {what}: {named}{more}; {advice}", files)
