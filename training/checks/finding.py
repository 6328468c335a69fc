"""What a fault is called, how bad it is, and what to do about it."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """An error makes a training unsound; a warning is worth a look."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True)
class Finding:
    """One fault and every file it concerns.

    files: relative to the data folder. pairs: for faults between two images, who with whom; the report shows
    them side by side, at most `PAIRS_LISTED` of them.
    """

    kind: str
    severity: Severity
    message: str
    files: tuple[str, ...]
    pairs: tuple[tuple[str, str], ...] = ()


# Pairs grow with the square of a series; the files themselves are always listed all.
PAIRS_LISTED = 1000

# kind -> severity and what to do; the count is put in front. docs/check.md explains each one.
KINDS: dict[str, tuple[Severity, str]] = {
    "unreadable": (Severity.ERROR, "cannot be read as a whole image, broken or truncated; mend or remove them"),
    "labelled_both_ways": (Severity.ERROR, "show the same pixels as ok and as defect; decide which is right"),
    "duplicate_across_groups": (Severity.ERROR, "show the same pixels in different groups; give them one group"),
    "surface_both_ways": (
        Severity.ERROR,
        "show one surface labelled ok in one image and defect in another; decide which is right",
    ),
    "near_duplicate_across_groups": (
        Severity.ERROR,
        "are near-duplicates (flipped, turned or otherwise exposed copies) in different groups; give them one group",
    ),
    "overlap_across_groups": (
        Severity.ERROR,
        "show parts of one surface, shifted, in different groups; give tiles of one frame one group",
    ),
    "mask_unreadable": (Severity.ERROR, "have a mask that cannot be read"),
    "mask_size": (Severity.ERROR, "have a mask of another size than the image; draw it anew"),
    "mask_empty": (Severity.ERROR, "are labelled defect but their mask is empty; draw it, or label them ok"),
    "mask_dark": (
        Severity.ERROR,
        "have a mask that is darker than grey 128 all over and not black, as one of 0 and 1 or of a palette's colours: "
        "nothing of it counts; save masks as black and white, 0 and 255",
    ),
    "mask_on_ok": (
        Severity.ERROR,
        "are labelled ok but have a mask with defect pixels; label them defect, or remove it",
    ),
    "mask_missing": (Severity.WARNING, "are labelled defect but have no mask, while others have: they are left out"),
    "masks_mostly_white": (
        Severity.WARNING,
        "have a mask that is white over more than half of the image: white is the defect; see that it is not inverted",
    ),
    "mask_boxes": (
        Severity.WARNING,
        "have boxes for masks, whose corners are good surface: tiles of corners are learned as defects; draw outlines, "
        "or state mask_weight = 0 and a larger min_defect_pixels",
    ),
    "all_alike": (
        Severity.WARNING,
        "have no group, and copies among them cannot be told from other frames of one kind of part; "
        "give them groups in labels.csv",
    ),
    "duplicate": (Severity.WARNING, "are exact copies of one another within a group"),
    "format_not_read": (
        Severity.WARNING,
        "are in a format that is not read; save them as JPEG, PNG, BMP, TIFF or WebP",
    ),
    "unlabelled": (
        Severity.WARNING,
        "are not used: neither below ok/ or defect/ nor in labels.csv, or links to nothing",
    ),
    "mask_unused": (Severity.WARNING, "are masks of no image; name each mask after its image"),
    "constant": (Severity.WARNING, "have one grey value only"),
    "depth_unused": (
        Severity.WARNING,
        "are 16 bit and no pixel of any exceeds 4095, which leaves 16 grey values: shift data of 12 bits left by 4 "
        "before (times 16; of 10 bits by 6), or expose longer where the surface is as dark as that",
    ),
    "saturated": (Severity.WARNING, "have more than a fifth of their pixels black or white; see to lamp and exposure"),
}


def finding(kind: str, files: Sequence[str], pairs: Sequence[tuple[str, str]] = ()) -> Finding:
    """A finding whose message is in `KINDS`.

    >>> finding("constant", ["ok/a.png"]).message
    '1 image has one grey value only'
    >>> finding("unlabelled", ["new/a.png"]).message
    '1 image is not used: neither below ok/ or defect/ nor in labels.csv, or links to nothing'
    """
    severity, advice = KINDS[kind]
    many = f"{len(files)} images {advice}"
    one = f"1 image {advice}".replace("1 image have", "1 image has").replace("1 image are", "1 image is")
    return Finding(kind, severity, one if len(files) == 1 else many, tuple(files), tuple(pairs[:PAIRS_LISTED]))
