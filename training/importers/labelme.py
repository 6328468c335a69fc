"""labelme JSON: one file an image, with named shapes; the image inside (imageData) is ignored, the file counts.

An annotation file without shapes says that somebody looked and found nothing: ok. An image without an annotation file
was not labelled.
"""

import base64
import math
from pathlib import Path

from model.errors import SteelsightError
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
from training.importers.masks import Box, Circle, Line, Patch, Polygon, Shape
from training.scan import images_below

NOT_DRAWN = "images with a shape of a kind that is not drawn"


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
    note = f"annotated in {relative(source, file)}"
    doubt = NOT_DRAWN if any(region.shape is None for region in regions) else ""
    return SourceImage(path, regions, note=note, size=drawn_on, doubt=doubt)


def _region(entry: dict[str, object], where: str) -> Region:
    return Region(text(entry, "label", where), _shape(entry, where))


def _shape(entry: dict[str, object], where: str) -> Shape | None:
    """None for a kind that is not drawn: the defect is there, and its place stays unknown."""
    kind = str(entry.get("shape_type") or "polygon")
    corners = points(entry.get("points"), where)
    match kind, corners:
        case ("polygon", (_, _, _, *_)) | ("oriented_rectangle", (_, _, _, _)):
            return Polygon(corners)
        case "rectangle", ((x, y), (end_x, end_y)):
            return Box(min(x, end_x), min(y, end_y), max(x, end_x), max(y, end_y))
        case "circle", ((x, y), (rim_x, rim_y)):
            return Circle(x, y, math.hypot(rim_x - x, rim_y - y))
        case (("line" | "linestrip" | "point" | "points"), (_, *_)):
            return Line(corners)
        case "mask", ((x, y), (end_x, end_y)):
            # The second point is the last pixel, not the one behind it.
            spanned = round(end_y - y) + 1, round(end_x - x) + 1
            return _patch(text(entry, "mask", where), round(x), round(y), spanned, where)
        case (("polygon" | "oriented_rectangle" | "rectangle" | "circle" | "line" | "linestrip" | "point" | "mask"), _):
            raise DataFault(f"{where}: {kind} of {len(corners)} points; draw it anew")
    return None


def _patch(encoded: str, left: int, top: int, spanned: tuple[int, int], where: str) -> Patch:
    """The image file in a shape, read once before anything is written; spanned: (height, width) in px of its points."""
    try:
        patch = Patch(base64.b64decode(encoded, validate=True), left, top)
        height, width = patch.unfold().shape
    except (ValueError, SteelsightError) as error:
        raise DataFault(f"{where}: the mask cannot be read: {error}") from error
    if (height, width) != spanned:
        raise DataFault(f"{where}: the mask has {width} x {height} px; its points span {spanned[1]} x {spanned[0]} px")
    return patch
