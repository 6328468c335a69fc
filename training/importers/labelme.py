"""labelme JSON: one file an image, with named shapes; the image inside (imageData) is ignored, the file counts.

An annotation file without shapes says that somebody looked and found nothing: ok. An image without an annotation file
was not labelled.
"""

import math
from pathlib import Path

from training.errors import DataFault
from training.importers.documents import documents_below, objects, points, size, text
from training.importers.listing import (
    NO_IMAGE,
    Listing,
    Region,
    Remarks,
    SourceImage,
    annotated,
    inside,
    relative,
    remark,
)
from training.importers.masks import Box, Circle, Line, Points, Polygon, Shape
from training.scan import images_below


def read(source: Path) -> Listing:
    """All annotated images. Groups are not named by the source. Raises `DataFault`."""
    there = images_below(source)
    found: dict[Path, SourceImage] = {}
    left_out: Remarks = {}
    known = set(there)
    for file, document in documents_below(source, _is_labelme, "a list of shapes, as labelme writes them"):
        image = _image(source, file, document, known)
        if image is None:
            remark(left_out, NO_IMAGE, relative(source, file))
        elif image.path in found:
            raise DataFault(f"{file} annotates {image.path.name}, which has an annotation already; keep one of the two")
        else:
            found[image.path] = image
    return annotated(source, found, there, left_out)


def _is_labelme(document: object) -> bool:
    return isinstance(document, dict) and "shapes" in document and "imagePath" in document


def _image(source: Path, file: Path, document: object, known: set[Path]) -> SourceImage | None:
    """The image of one annotation file, None if it is not there."""
    assert isinstance(document, dict)
    path = inside(source, file.parent, text(document, "imagePath", file), file)
    if path not in known:
        return None
    regions = tuple(
        _region(shape, f"{file} shape {place}") for place, shape in enumerate(objects(document, "shapes", file))
    )
    drawn_on = size(document, "imageHeight", "imageWidth", file)
    return SourceImage(path, regions, note=f"annotated in {relative(source, file)}", size=drawn_on)


def _region(entry: dict[str, object], where: str) -> Region:
    kind = entry.get("shape_type") or "polygon"
    return Region(text(entry, "label", where), _shape(str(kind), points(entry.get("points"), where), where))


def _shape(kind: str, corners: Points, where: str) -> Shape | None:
    """None for a kind that is not drawn: the defect is there, and its place stays unknown."""
    match kind, corners:
        case "polygon", (_, _, _, *_):
            return Polygon(corners)
        case "rectangle", ((x, y), (end_x, end_y)):
            return Box(min(x, end_x), min(y, end_y), max(x, end_x), max(y, end_y))
        case "circle", ((x, y), (rim_x, rim_y)):
            return Circle(x, y, math.hypot(rim_x - x, rim_y - y))
        case (("line" | "linestrip" | "point" | "points"), (_, *_)):
            return Line(corners)
        case (("polygon" | "rectangle" | "circle" | "line" | "linestrip" | "point"), _):
            raise DataFault(f"{where}: a {kind} of {len(corners)} points; draw it anew")
    return None
