"""What every format reader hands over: images, the defect regions in each, and what had to stay behind.

Readers look at annotations and file names only; no image is read here.
"""

import math
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from training.errors import DataFault, printable
from training.importers.masks import Shape

# The class of a defect that the source does not name.
UNNAMED_DEFECT = "defect"
# px; no image that is accepted is longer, and arithmetic on coordinates stays exact far beyond it.
FARTHEST = 1e7

UNLABELLED = "images without an annotation"
NO_IMAGE = "annotations whose image is missing"

# Reason -> the files it concerns, relative to the source.
Remarks = dict[str, list[str]]


@dataclass(frozen=True)
class Region:
    """One annotated defect; `shape` is None where the source does not say where in the image it lies."""

    defect_class: str
    shape: Shape | None


@dataclass(frozen=True)
class SourceImage:
    """One image as the source describes it; without regions it is ok.

    group: images that show the same piece of surface, "" where the source does not name one.
    note: provenance for the people who read labels.csv.
    size: (height, width) in px that the annotation was drawn on, None where it does not say.
    empty_is_ok: the masks decide; regions that draw no pixel are good surface, not a fault.
    doubt: why a person should look at the defects although they are imported, "" where nothing says so.
    """

    path: Path
    regions: tuple[Region, ...] = ()
    group: str = ""
    note: str = ""
    size: tuple[int, int] | None = None
    empty_is_ok: bool = False
    doubt: str = ""


@dataclass(frozen=True)
class Listing:
    """All images of a source, and what is left out with the reason why."""

    images: list[SourceImage]
    left_out: Remarks = field(default_factory=dict)


def annotated(source: Path, found: dict[Path, SourceImage], there: Iterable[Path], left_out: Remarks) -> Listing:
    """The images that an annotation was found for, in order of path; the others that are there are left out."""
    for path in there:
        if path not in found:
            remark(left_out, UNLABELLED, relative(source, path))
    return Listing([found[path] for path in sorted(found)], left_out)


def folders_named(source: Path, names: Iterable[str]) -> list[Path]:
    """Folders of these names (lower case; the folder's own case is free) in `source` and one level below."""
    wanted = set(names)
    return sorted(
        path for path in (*source.glob("*"), *source.glob("*/*")) if path.name.lower() in wanted and path.is_dir()
    )


def inside(source: Path, folder: Path, name: str, where: object) -> Path:
    """The path that an annotation names, seen from `folder`. Raises `DataFault` for one outside the source.

    Backslashes count as slashes: annotation tools on Windows write them.
    """
    path = Path(os.path.normpath(folder / name.replace("\\", "/")))
    if not path.is_relative_to(os.path.normpath(source)):
        raise DataFault(
            f"{where} names the image {name!r}, which lies outside {source}; put it inside, or mend the name"
        )
    return path


def pixels(value: object, where: object) -> float:
    """A coordinate in px. Raises `DataFault` for what is no finite number within +-10,000,000.

    >>> pixels("12.5", "a.xml")
    12.5
    """
    try:
        number = float(value) if isinstance(value, str | int | float) else math.nan
    except (ValueError, OverflowError):
        number = math.nan
    if not abs(number) <= FARTHEST:
        raise DataFault(f"{where}: the coordinate {str(value)[:40]!r} is not a number of pixels")
    return number


def relative(source: Path, path: Path) -> str:
    """How remarks and labels.csv name a file: relative to the source, with forward slashes, printable."""
    return printable(path.relative_to(source).as_posix())


def remark(remarks: Remarks, reason: str, file: str) -> None:
    """Add one file to a reason."""
    remarks.setdefault(reason, []).append(file)
