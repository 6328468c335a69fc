"""NEU-DET: ANNOTATIONS/*.xml beside IMAGES/*.jpg, also below train/ and validation/ and with IMAGES split by class."""

from pathlib import Path

from training.errors import DataFault
from training.importers.listing import (
    NO_IMAGE,
    UNLABELLED,
    Listing,
    Remarks,
    SourceImage,
    folders_named,
    relative,
    remark,
)
from training.importers.voc import annotated
from training.scan import images_below


def read(source: Path) -> Listing:
    """All annotated images. Groups are not named by the source. Raises `DataFault`."""
    left_out: Remarks = {}
    images: list[SourceImage] = []
    annotation_folders = folders_named(source, ["annotations"])
    if not annotation_folders:
        raise DataFault(f"{source} has no folder ANNOTATIONS with an XML file for each image in IMAGES")
    for folder in annotation_folders:
        by_stem = _by_stem(source, folder)
        part = "" if folder.parent == source else f"part {folder.parent.name}"
        for annotation in sorted(folder.glob("*.xml")):
            image = by_stem.pop(annotation.stem, None)
            if image is None:
                remark(left_out, NO_IMAGE, relative(source, annotation))
            else:
                images.append(annotated(image, annotation, part))
        for image in by_stem.values():
            remark(left_out, UNLABELLED, relative(source, image))
    return Listing(images, left_out)


def _by_stem(source: Path, annotations: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for beside in folders_named(annotations.parent, ["images"]):
        for path in images_below(beside):
            if twin := found.get(path.stem):
                named = f"{relative(source, twin)} or {relative(source, path)}"
                raise DataFault(f"{annotations / path.stem}.xml may belong to {named}; keep one of them")
            found[path.stem] = path
    return found
