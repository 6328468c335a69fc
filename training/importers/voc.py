"""Pascal VOC annotation files: one XML a photograph, with a named box for each object.

M. Everingham and J. Winn, The PASCAL Visual Object Classes Challenge 2012 Development Kit: pixels are counted
from 1 and the last one belongs to the box. The `<filename>` inside is not trusted: the XML's own name is the image's.
"""

from pathlib import Path
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from training.errors import DataFault
from training.importers.listing import Region, SourceImage, pixels
from training.importers.masks import Box

# Real ones are a few kilobytes; beyond this the file is something else.
MAX_BYTES = 4_000_000


def annotated(image: Path, annotation: Path, note: str = "") -> SourceImage:
    """The image with the boxes of its annotation; without objects it is ok. Raises `DataFault`."""
    root = parse(annotation)
    regions = tuple(_region(found, annotation) for found in root.findall("object"))
    return SourceImage(image, regions, note=note, size=_size(root, annotation))


def parse(file: Path) -> Element:
    """The root element. Raises `DataFault` for a file that is broken, too large or declares a document type.

    Without a document type there are no entities: nothing can be fetched, and nothing can grow when it is unfolded.
    """
    if file.stat().st_size > MAX_BYTES:
        raise DataFault(f"{file} is larger than {MAX_BYTES} bytes; a Pascal VOC annotation has a few thousand")
    builder = TreeBuilder()
    parser = expat.ParserCreate()
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = _refuse_document_type
    try:
        parser.Parse(file.read_bytes(), True)
        root: Element = builder.close()
    except _DocumentType as error:
        raise DataFault(f"{file} declares a document type, which annotations do not need; remove the line") from error
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise DataFault(f"{file} cannot be read as XML: {error}") from error
    return root


class _DocumentType(Exception):
    """Raised out of the parser as soon as a document type begins."""


def _refuse_document_type(*_: object) -> None:
    raise _DocumentType


def _region(found: Element, file: Path) -> Region:
    name = (found.findtext("name") or "").strip()
    if not name:
        raise DataFault(f"{file}: an object has no name; the defect class is expected there")
    box = found.find("bndbox")
    if box is None:
        raise DataFault(f"{file}: the object {name!r} has no bndbox")
    left, top, right, bottom = (
        pixels(box.findtext(edge), f"{file} {edge}") for edge in ("xmin", "ymin", "xmax", "ymax")
    )
    # Drawn from right to left, or upwards, by mistake: which defect was meant cannot be told from it.
    known = left <= right and top <= bottom
    return Region(name, Box(left - 1, top - 1, right, bottom) if known else None)


def _size(root: Element, file: Path) -> tuple[int, int] | None:
    """(height, width) in px; some tools write 0 for what they did not look up."""
    given = [root.findtext(f"size/{side}") for side in ("height", "width")]
    height, width = (int(pixels(side, f"{file} size")) if side else 0 for side in given)
    return (height, width) if height > 0 and width > 0 else None
