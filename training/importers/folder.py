"""The writer that all formats share: a listing becomes a data folder as data/README.md lays it out.

Image bytes are copied as they are. labels.csv comes last and whole, and an import that stops early takes away
what it wrote, so that no half of a data set is ever taken for one.
"""

import csv
import io
import itertools
import os
import re
import shutil
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from PIL import Image

from model.errors import SteelsightError
from model.files import replace_text
from model.image import decode
from training.errors import DataFault, UsageFault, printable
from training.importers.listing import UNNAMED_DEFECT, Listing, Remarks, SourceImage, relative, remark
from training.importers.masks import Mask, Undrawable
from training.importers.names import OK_NAMES, plain
from training.scan import LABELS_FILE, MASKS_FOLDER, NO_DEFECT

COLUMNS = ("file", "label", "defect_type", "group", "source_file", "defect_types", "note")
# File systems end names at 255 bytes; this leaves room for an ending and for a number that tells twins apart.
LONGEST_NAME = 200
MARKED_GOOD = "images with annotations that are named like good surface and mark no defect"


@dataclass
class ImportSummary:
    """What was written. groups: named by the source; left_out and remarks: reason -> files of the source."""

    images: int = 0
    ok: int = 0
    defect: int = 0
    masks: int = 0
    groups: int = 0
    defects_by_class: dict[str, int] = field(default_factory=dict)
    left_out: Remarks = field(default_factory=dict)
    remarks: Remarks = field(default_factory=dict)


@dataclass(frozen=True)
class Drawn:
    """The defects of one image. areas: class -> px; mask: all of them, None where one has no known place."""

    areas: dict[str, int]
    mask: Mask | None

    @property
    def primary(self) -> str:
        """The class that covers most; of equal ones the first by name."""
        return min(self.areas, key=lambda name: (-self.areas[name], name))


def refuse_unfit(source: Path, data: Path) -> None:
    """Raise `DataFault` without a source folder, `UsageFault` unless `data` is an empty or new folder apart from it."""
    if not source.is_dir():
        raise DataFault(f"{source} is not a folder; name the unpacked data set (docs/importers.md)")
    apart = source.resolve(), data.resolve()
    if apart[0].is_relative_to(apart[1]) or apart[1].is_relative_to(apart[0]):
        raise UsageFault(f"{data} and {source} lie in one another; name a folder elsewhere")
    if data.exists() and not data.is_dir():
        raise UsageFault(f"{data} is a file; name a folder that is empty or does not exist yet")
    found = next((path for path in data.rglob("*") if not path.is_dir()), None)
    if found is not None:
        raise UsageFault(
            f"{data} already holds files, such as {found.relative_to(data).as_posix()}; "
            "an import is written only into an empty folder: name another one, or empty this one first"
        )


def write(
    listing: Listing, source: Path, data: Path, on_progress: Callable[[int, int], object] = lambda done, total: None
) -> ImportSummary:
    """Write all images of a listing into the empty folder `data`; `on_progress` gets (done, total) after each.

    Raises `DataFault` when nothing is left to write.
    """
    summary = ImportSummary(left_out=dict(listing.left_out))
    rows: list[dict[str, str]] = []
    existed = data.exists()
    try:
        stems = unique_stems([relative(source, image.path) for image in listing.images])
        for done, (image, stem) in enumerate(zip(listing.images, stems, strict=True), start=1):
            try:
                rows.append(_write_image(image, stem, source, data, summary))
            except Undrawable as error:
                remark(summary.left_out, str(error), relative(source, image.path))
            on_progress(done, len(listing.images))
        if not rows:
            raise DataFault(f"{source} holds no image to import{_reasons(summary.left_out)} (docs/importers.md)")
        _write_labels(data, rows)
    except BaseException:  # also Ctrl-C: half a data set must not stay behind
        _take_away(data, existed)
        raise
    return _counted(summary, rows)


def unique_stems(files: Sequence[str]) -> list[str]:
    """A stem for each file that no other has, also where case does not count: masks are found by stem.

    A stem that occurs once stays; others get their folders in front, and twins that remain a number.

    >>> unique_stems(["a/1.jpg", "b/1.jpg", "b/2.jpg", "b/1.png"])
    ['a_1', 'b_1', '2', 'b_1_2']
    """
    plain = [safe_name(Path(file).stem) for file in files]
    often = Counter(stem.casefold() for stem in plain)
    taken = {stem for stem, count in often.items() if count == 1}
    stems = []
    for file, short in zip(files, plain, strict=True):
        if often[short.casefold()] == 1:
            stems.append(short)
            continue
        long = safe_name(Path(file).with_suffix("").as_posix().replace("/", "_"))
        numbered = itertools.chain([long], (f"{long}_{number}" for number in itertools.count(2)))
        stems.append(next(stem for stem in numbered if stem.casefold() not in taken))
        taken.add(stems[-1].casefold())
    return stems


def safe_name(text: str) -> str:
    """A name that is one plain file name on every system.

    >>> safe_name("rolled-in_scale"), safe_name("../../etc"), safe_name(" "), safe_name("Fleck 7")
    ('rolled-in_scale', '_.._etc', '_', 'Fleck_7')
    """
    plain = re.sub(r"[^\w.-]", "_", unicodedata.normalize("NFC", text)).lstrip(".-").rstrip(".")
    return plain.encode()[:LONGEST_NAME].decode(errors="ignore") or "unnamed"


def _write_image(image: SourceImage, stem: str, source: Path, data: Path, summary: ImportSummary) -> dict[str, str]:
    """Copy one image and write its mask; the row of labels.csv. Raises `Undrawable`."""
    file = relative(source, image.path)
    defects = tuple(region for region in image.regions if plain(region.defect_class) not in OK_NAMES)
    drawn = _draw(replace(image, regions=defects))
    if defects != image.regions:
        remark(summary.remarks, MARKED_GOOD, file)
    if drawn and drawn.mask is not None and not drawn.mask.any() and image.empty_is_ok:
        drawn = None
    for doubt in (image.doubt, _doubt(drawn)) if drawn else ():
        if doubt:
            remark(summary.remarks, doubt, file)
    folder = Path("defect", safe_name(drawn.primary)) if drawn else Path("ok")
    target = data / folder / (stem + image.path.suffix)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(image.path, target)
    if drawn and drawn.mask is not None:
        _write_mask(data / MASKS_FOLDER / f"{stem}.png", drawn.mask)
        summary.masks += 1
    shown = sorted(drawn.areas.items(), key=lambda pair: (-pair[1], pair[0])) if drawn else []
    return {
        "file": target.relative_to(data).as_posix(),
        "label": "defect" if drawn else "ok",
        "defect_type": drawn.primary if drawn else NO_DEFECT,
        "group": image.group,
        "source_file": file,
        "defect_types": "; ".join(f"{name} {area} px" if area else name for name, area in shown),
        "note": printable(image.note),
    }


def _draw(image: SourceImage) -> Drawn | None:
    """The defects of one image, None if it has none. Raises `Undrawable` for an image that contradicts them."""
    if not image.regions:
        return None
    try:
        height, width = decode(image.path.read_bytes()).shape
    except SteelsightError as error:
        raise Undrawable("images that cannot be read") from error
    if image.size not in (None, (height, width)):
        raise Undrawable("images of another size than their annotation says")
    by_class: dict[str, Mask] = {}
    placed = True
    for region in image.regions:
        mask = by_class.setdefault(_class_name(region.defect_class), np.zeros((height, width), np.bool_))
        if region.shape is None:
            placed = False
        else:
            mask |= region.shape.draw(height, width)
    areas = {name: int(mask.sum()) for name, mask in by_class.items()}
    return Drawn(areas, np.logical_or.reduce(list(by_class.values())) if placed else None)


def _doubt(drawn: Drawn) -> str | None:
    """What a person should look at, although the image is imported."""
    placed = [area > 0 for area in drawn.areas.values()]
    if drawn.mask is None:
        return "defect images without a mask, for not every defect in them has a place" if any(placed) else None
    if not any(placed):
        return "defect images with an empty mask"
    return None if all(placed) else "defect images with a class that lies outside of them"


def _class_name(name: str) -> str:
    """One line that is not empty."""
    return printable(" ".join(name.split())) or UNNAMED_DEFECT


def _write_mask(path: Path, mask: Mask) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask.astype(np.uint8) * np.uint8(255)).save(path, "PNG")


def _write_labels(data: Path, rows: Sequence[dict[str, str]]) -> None:
    table = io.StringIO()
    writer = csv.DictWriter(table, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    replace_text(data / LABELS_FILE, table.getvalue())


def _take_away(data: Path, existed: bool) -> None:
    """`data` held no file before, so all of these are ours."""
    for folder in ("ok", "defect", MASKS_FOLDER):
        shutil.rmtree(data / folder, ignore_errors=True)
    for part in data.glob(f".{LABELS_FILE}.{os.getpid()}"):
        part.unlink()
    if not existed and data.is_dir() and not any(data.iterdir()):
        data.rmdir()


def _counted(summary: ImportSummary, rows: Sequence[dict[str, str]]) -> ImportSummary:
    defects = Counter(row["defect_type"] for row in rows if row["label"] == "defect")
    summary.images = len(rows)
    summary.defect = defects.total()
    summary.ok = summary.images - summary.defect
    summary.groups = len({row["group"] for row in rows if row["group"]})
    summary.defects_by_class = dict(sorted(defects.items()))
    return summary


def _reasons(left_out: Remarks) -> str:
    listed = ", ".join(f"{len(files)} {reason}" for reason, files in left_out.items())
    return f": {listed}" if listed else ""
