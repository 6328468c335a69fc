"""KolektorSDD and KolektorSDD2: a mask file beside every image, black where the surface is good.

KolektorSDD: kosNN/PartM.jpg with PartM_label.bmp; kosNN is the item, whose surfaces are one group.
KolektorSDD2: train/ and test/ with NNNNN.png and NNNNN_GT.png; items are not named.
"""

from pathlib import Path

from training.errors import DataFault
from training.importers.listing import (
    NO_IMAGE,
    UNLABELLED,
    UNNAMED_DEFECT,
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


def read_first(source: Path) -> Listing:
    """KolektorSDD; the item is the group. Raises `DataFault`."""
    items = sorted(path for path in source.glob("kos*") if path.is_dir())
    if not items:
        raise DataFault(f"{source} has no folders kos01, kos02, ... with images and their _label.bmp")
    return _read(source, items, "_label", as_group=True)


def read_second(source: Path) -> Listing:
    """KolektorSDD2. Raises `DataFault`."""
    parts = [path for path in folders_named(source, ["train", "test"]) if path.parent == source]
    if not parts:
        raise DataFault(f"{source} has neither a folder train nor test with images and their _GT.png")
    return _read(source, parts, "_GT", as_group=False)


def _read(source: Path, folders: list[Path], ending: str, *, as_group: bool) -> Listing:
    """`ending` is what the stem of a mask has more than that of its image."""
    left_out: Remarks = {}
    images: list[SourceImage] = []
    for folder in folders:
        files = images_below(folder)
        masks = {path.with_name(path.stem.removesuffix(ending)): path for path in files if path.stem.endswith(ending)}
        for path in files:
            if path.stem.endswith(ending):
                continue
            mask = masks.pop(path.with_suffix(""), None)
            if mask is None:
                remark(left_out, UNLABELLED, relative(source, path))
                continue
            region = Region(UNNAMED_DEFECT, MaskFile(mask))
            group, note = (folder.name, "") if as_group else ("", f"part {folder.name}")
            images.append(SourceImage(path, (region,), group=group, note=note, empty_is_ok=True))
        for mask in masks.values():
            remark(left_out, NO_IMAGE, relative(source, mask))
    return Listing(images, left_out)
