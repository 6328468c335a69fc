"""Magnetic tile surface defects (Huang et al. 2018): MT_<Class>/Imgs/expE_num_N.jpg, each with a mask expE_num_N.png.

N numbers all photographs of the collection and E is the exposure. The published numbers show that a surface ran
through its exposures upwards before the next one came: in order of N, a new series begins where the exposure falls
back. Each series is a group. Of 143 known surfaces 131 lie within one series, 12 are spread over two to four.
"""

import re
from collections.abc import Iterable
from pathlib import Path

from training.errors import DataFault
from training.importers.listing import (
    UNLABELLED,
    Listing,
    Region,
    Remarks,
    SourceImage,
    folders_named,
    relative,
    remark,
)
from training.importers.masks import MaskFile
from training.scan import images_below

CLASSES = ("mt_blowhole", "mt_break", "mt_crack", "mt_fray", "mt_uneven", "mt_free")
OK = "mt_free"
NAME = re.compile(r"exp(\d+)_num_(\d+)", re.ASCII)


def read(source: Path) -> Listing:
    """All images; exposure series are groups. Raises `DataFault`."""
    folders = folders_named(source, CLASSES)
    if not folders:
        raise DataFault(f"{source} has no folders MT_Blowhole, MT_Break, MT_Crack, MT_Fray, MT_Uneven, MT_Free")
    photographs = {
        folder: [path for path in images_below(folder) if path.suffix.lower() != ".png"] for folder in folders
    }
    group_of = series(path.stem for paths in photographs.values() for path in paths)
    left_out: Remarks = {}
    images: list[SourceImage] = []
    for folder, paths in photographs.items():
        for path in paths:
            group = group_of.get(path.stem, "")
            mask = path.with_suffix(".png")
            if folder.name.lower() == OK:
                images.append(SourceImage(path, group=group, note=folder.name))
            elif mask.is_file():
                region = Region(folder.name[len("MT_") :].lower(), MaskFile(mask))
                images.append(SourceImage(path, (region,), group=group, note=folder.name))
            else:
                remark(left_out, UNLABELLED, relative(source, path))
    return Listing(images, left_out)


def series(stems: Iterable[str]) -> dict[str, str]:
    """Stem -> series, for stems that are named as the collection does.

    >>> list(series(["exp1_num_7", "exp1_num_8", "exp3_num_9", "exp1_num_12", "tile"]).items())[2:]
    [('exp3_num_9', 'series_0007'), ('exp1_num_12', 'series_0012')]
    >>> series(["exp1_num_7", "exp1_num_8"])
    {'exp1_num_7': 'series_0007', 'exp1_num_8': 'series_0007'}
    """
    numbered = sorted((int(found[2]), int(found[1]), stem) for stem in stems if (found := NAME.fullmatch(stem)))
    groups: dict[str, str] = {}
    first, before = 0, -1
    for number, exposure, stem in numbered:
        if exposure < before or before < 0:
            first = number
        groups[stem] = f"series_{first:04}"
        before = exposure
    return groups
