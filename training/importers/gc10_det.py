"""GC10-DET: folders 1 to 10 with the images of one defect class each, and lable/ (so spelled) with Pascal VOC boxes.

About a third of the published images have no boxes: their folder names the class, and nothing says where it is.
"""

import re
from dataclasses import replace
from pathlib import Path

from training.errors import DataFault
from training.importers.listing import (
    NO_IMAGE,
    Listing,
    Region,
    Remarks,
    SourceImage,
    folders_named,
    relative,
    remark,
)
from training.importers.voc import annotated
from training.scan import images_below

# The names in the annotations, by the number of the folder. Some files spell the last one `10_yaozhed`.
CLASSES = {
    "1": "1_chongkong",
    "2": "2_hanfeng",
    "3": "3_yueyawan",
    "4": "4_shuiban",
    "5": "5_youban",
    "6": "6_siban",
    "7": "7_yiwu",
    "8": "8_yahen",
    "9": "9_zhehen",
    "10": "10_yaozhe",
}


def read(source: Path) -> Listing:
    """All images of the numbered folders. Groups are not named by the source. Raises `DataFault`."""
    annotations = {
        path.stem: path
        for folder in folders_named(source, ["lable", "label", "labels", "annotations"])
        for path in sorted(folder.glob("*.xml"))
    }
    folders = folders_named(source, CLASSES)
    if not folders:
        raise DataFault(f"{source} has no folders 1 to 10 with the images of a class each")
    images = [
        _image(path, folder.name, annotations.get(path.stem)) for folder in folders for path in images_below(folder)
    ]
    left_out: Remarks = {}
    for stem in sorted(annotations.keys() - {image.path.stem for image in images}):
        remark(left_out, NO_IMAGE, relative(source, annotations[stem]))
    return Listing(images, left_out)


def class_name(name: str) -> str:
    """One spelling a class; what has no number of a class stays as it is.

    >>> class_name("10_yaozhed"), class_name("d")
    ('10_yaozhe', 'd')
    """
    number = re.match(r"(\d+)_", name)
    return CLASSES.get(number[1], name) if number else name


def _image(path: Path, folder: str, annotation: Path | None) -> SourceImage:
    note = f"folder {folder}"
    somewhere = Region(CLASSES[folder], None)
    if annotation is None:
        return SourceImage(path, (somewhere,), note=f"{note}; no boxes")
    found = annotated(path, annotation, note)
    regions = tuple(replace(region, defect_class=class_name(region.defect_class)) for region in found.regions)
    # The folder says that there is a defect, also where nobody drew a box.
    return replace(found, regions=regions or (somewhere,))
