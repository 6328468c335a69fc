"""COCO JSON: lists of images, annotations and categories; boxes, polygons and both kinds of run lengths.

An image that is listed without annotations is ok; an image that is not listed was not labelled. A segmentation wins
over the box. The format: https://cocodataset.org/#format-data.
"""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from training.errors import DataFault
from training.importers.documents import documents_below, number, objects, points, size, text
from training.importers.listing import (
    NO_IMAGE,
    Listing,
    Region,
    Remarks,
    SourceImage,
    annotated,
    inside,
    pixels,
    relative,
    remark,
)
from training.importers.masks import Box, Polygon, Shape
from training.importers.run_lengths import from_counts, unpack_counts
from training.scan import images_below

Entry = dict[str, object]


def read(source: Path) -> Listing:
    """All images of all COCO files below the source. Groups are not named by them. Raises `DataFault`."""
    there = images_below(source)
    found: dict[Path, SourceImage] = {}
    left_out: Remarks = {}
    for file, document in documents_below(source, _is_coco, "the lists images, annotations and categories"):
        for name, image in _images(source, file, document, there):
            if image is None:
                remark(left_out, NO_IMAGE, name)
            elif image.path in found:
                raise DataFault(f"{file} lists {name!r}, which is listed before; keep one of the two")
            else:
                found[image.path] = image
    return annotated(source, found, there, left_out)


def _is_coco(document: object) -> bool:
    return isinstance(document, dict) and {"images", "annotations", "categories"} <= document.keys()


def _images(source: Path, file: Path, document: object, there: list[Path]) -> Iterator[tuple[str, SourceImage | None]]:
    """Name and image of every entry; None for one that is not there."""
    by_name: dict[str, list[Path]] = defaultdict(list)
    for image in there:
        by_name[image.name].append(image)
    regions = _regions(file, document)
    for entry in objects(document, "images", file):
        name = text(entry, "file_name", f"{file} images")
        where = f"{file} image {name!r}"
        path = _find(source, file, name, by_name)
        its_regions = tuple(regions.pop(number(entry, "id", where), ()))
        note = f"listed in {relative(source, file)}"
        drawn_on = size(entry, "height", "width", where)
        yield name, SourceImage(path, its_regions, note=note, size=drawn_on) if path else None
    if regions:
        raise DataFault(f"{file}: annotations name the image {next(iter(regions))}, which is not listed under images")


def _find(source: Path, file: Path, name: str, by_name: dict[str, list[Path]]) -> Path | None:
    """The image of an entry: beside the JSON file, else wherever below the source its path ends like `name`."""
    beside = inside(source, file.parent, name, file)
    candidates = by_name.get(beside.name, [])
    if beside in candidates:
        return beside
    wanted = Path(name.replace("\\", "/")).parts
    fitting = [path for path in candidates if path.parts[-len(wanted) :] == wanted]
    # annotations/instances_train2017.json goes with train2017/.
    fitting = [path for path in fitting if file.stem.endswith(path.parent.name)] or fitting
    if len(fitting) > 1:
        listed = " and ".join(relative(source, path) for path in fitting[:2])
        raise DataFault(f"{file}: {name!r} may be {listed}; put the JSON file beside its images")
    return fitting[0] if fitting else None


def _regions(file: Path, document: object) -> dict[int, list[Region]]:
    """Image id -> its defects."""
    names = {
        number(entry, "id", f"{file} categories"): text(entry, "name", f"{file} categories")
        for entry in objects(document, "categories", file)
    }
    found: dict[int, list[Region]] = defaultdict(list)
    for place, entry in enumerate(objects(document, "annotations", file)):
        where = f"{file} annotation {entry.get('id', place)}"
        category = number(entry, "category_id", where)
        if category not in names:
            raise DataFault(f"{where}: category_id {category} is not listed under categories")
        shapes: list[Shape | None] = [*_shapes(entry, where)] or [None]
        found[number(entry, "image_id", where)].extend(Region(names[category], shape) for shape in shapes)
    return found


def _shapes(entry: Entry, where: str) -> Iterator[Shape]:
    """What an annotation draws; nothing where it has neither a segmentation nor a box with an area."""
    match entry.get("segmentation") or None:
        case {"counts": counts, "size": [int(height), int(width)]} if height > 0 and width > 0:
            try:
                if isinstance(counts, str):
                    counts = unpack_counts(counts)
                yield from_counts(counts if isinstance(counts, list) else [None], height, width)
            except ValueError as error:
                raise DataFault(f"{where}: the run lengths cannot be read: {error}") from error
        case [_, *_] as polygons:
            yield from (_polygon(flat, where) for flat in polygons)
        case None:
            yield from _box(entry.get("bbox"), where)
        case other:
            raise DataFault(f"{where}: the segmentation is {repr(other)[:60]}; polygons or run lengths are expected")


def _polygon(flat: object, where: str) -> Polygon:
    if not isinstance(flat, list) or len(flat) < 6 or len(flat) % 2:
        raise DataFault(f"{where}: the polygon is {repr(flat)[:60]}; x, y of three points or more are expected")
    return Polygon(points([list(pair) for pair in zip(flat[::2], flat[1::2], strict=True)], where))


def _box(found: object, where: str) -> Iterator[Box]:
    if found in (None, []):
        return
    if not isinstance(found, list) or len(found) != 4:
        raise DataFault(f"{where}: bbox is {repr(found)[:60]}; [x, y, width, height] is expected")
    left, top, width, height = (pixels(value, where) for value in found)
    if width > 0 and height > 0:
        yield Box(left, top, left + width, top + height)
