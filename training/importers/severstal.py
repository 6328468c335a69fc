"""Severstal steel defect detection: train.csv with run lengths, train_images/*.jpg of 1600 x 256 px, classes 1 to 4.

Two layouts of the table were published: `ImageId,ClassId,EncodedPixels` lists defects only, so an image that it
does not name is ok; `ImageId_ClassId,EncodedPixels` has four lines an image, empty where the class does not occur,
so an image that it does not name was not labelled.
"""

import csv
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from training.errors import DataFault
from training.importers.listing import (
    NO_IMAGE,
    UNLABELLED,
    Listing,
    Region,
    Remarks,
    SourceImage,
    inside,
    relative,
    remark,
)
from training.importers.run_lengths import from_pairs
from training.scan import images_below

TABLE, IMAGES = "train.csv", "train_images"
JOINED = "ImageId_ClassId"
COLUMNS = ("ImageId", "ClassId", "EncodedPixels")
# A mask that alternates at every pixel of 1600 x 256 is 2 MB of text; csv would stop at 128 kB.
LONGEST_FIELD = 4_000_000


def read(source: Path) -> Listing:
    """All labelled images. Groups are not named by the source. Raises `DataFault`."""
    for name in (TABLE, IMAGES):
        if not (source / name).exists():
            raise DataFault(f"{source} has no {name}; {TABLE} and the folder {IMAGES} of the training part are needed")
    regions, every_image_is_listed = _regions(source / TABLE)
    left_out: Remarks = {}
    images: list[SourceImage] = []
    for path in images_below(source / IMAGES):
        found = regions.pop(path.name, None)
        if found is None and every_image_is_listed:
            remark(left_out, UNLABELLED, relative(source, path))
        else:
            images.append(SourceImage(path, tuple(found or ())))
    for name in regions:
        inside(source, source / IMAGES, name, source / TABLE)
        remark(left_out, NO_IMAGE, name)
    return Listing(images, left_out)


def _regions(table: Path) -> tuple[dict[str, list[Region]], bool]:
    """Image name -> its defects, and whether the table lists images without any, too."""
    found: dict[str, list[Region]] = defaultdict(list)
    csv.field_size_limit(max(csv.field_size_limit(), LONGEST_FIELD))
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            columns = set(reader.fieldnames or ())
            if not ({JOINED, "EncodedPixels"} <= columns or set(COLUMNS) <= columns):
                raise DataFault(
                    f"{table} has the columns {reader.fieldnames}; {', '.join(COLUMNS)} or {JOINED}, EncodedPixels "
                    "are expected"
                )
            for name, regions in _rows(reader, table):
                found[name].extend(regions)
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataFault(f"{table} cannot be read as UTF-8 comma-separated values: {error}") from error
    return found, JOINED in columns


def _rows(reader: "csv.DictReader[str]", table: Path) -> Iterator[tuple[str, list[Region]]]:
    for row in reader:
        where = f"{table} line {reader.line_num}"
        if JOINED in row:
            name, _, number = (row[JOINED] or "").strip().rpartition("_")
        else:
            name, number = (row["ImageId"] or "").strip(), (row["ClassId"] or "").strip()
        runs = (row["EncodedPixels"] or "").strip()
        if not name or (runs and not number.isdecimal()):
            raise DataFault(
                f"{where}: image {name!r} and class {number!r}; a file name and a class number are expected"
            )
        yield name, [_region(number, runs, where)] if runs else []


def _region(number: str, runs: str, where: str) -> Region:
    try:
        return Region(f"class_{int(number)}", from_pairs(runs))
    except ValueError as error:
        raise DataFault(f"{where}: the run lengths cannot be read: {error}") from error
