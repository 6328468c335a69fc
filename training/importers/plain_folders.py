"""Plain folders: ok/ and defect/, or one folder a class; names for good and bad surface are recognised in any case.

train/, test/ and the like, and images/, are looked through. masks/ or ground_truth/ may hold a mask for each
defect image, of the same stem or with _mask behind it, in a folder of the image's class where stems repeat.
"""

from pathlib import Path
from typing import NamedTuple

from training.errors import DataFault
from training.importers.listing import (
    UNNAMED_DEFECT,
    Listing,
    Region,
    Remarks,
    SourceImage,
    relative,
    remark,
)
from training.importers.masks import MaskFile
from training.scan import images_below

PARTS = frozenset({"train", "training", "val", "valid", "validation", "test", "testing"})
LOOKED_THROUGH = PARTS | {"images", "imgs"}
MASK_FOLDERS = frozenset({"masks", "mask", "ground_truth"})
OK_WORDS = frozenset({"ok", "okay", "good", "normal"})
OK_NAMES = OK_WORDS | {"no_defect", "no_defects", "non_defective", "defect_free", "without_defect", "faultless"}
DEFECT_NAMES = frozenset(
    {"defect", "defects", "defective", "bad", "ng", "nok", "not_ok", "no_good", "not_good", "anomaly", "anomalous"}
)
NO_FOLDER = "images outside any class folder"
NO_IMAGE_OF_MASK = "masks without a defect image"


class Place(NamedTuple):
    """What the folders say of a file: its part, its class ("" is ok, None unknown), and whether it is a mask."""

    part: str
    defect_class: str | None
    is_mask: bool


def read(source: Path) -> Listing:
    """All images below class folders. Groups are not named by folders. Raises `DataFault`."""
    left_out: Remarks = {}
    images: list[tuple[Path, Place]] = []
    masks: dict[tuple[str | None, str], Path] = {}
    for path in images_below(source):
        place = place_of(path.relative_to(source).parts[:-1])
        if place.is_mask:
            masks[(place.defect_class, path.stem.removesuffix("_mask"))] = path
        elif place.defect_class is None:
            remark(left_out, NO_FOLDER, relative(source, path))
        else:
            images.append((path, place))
    of_image = _masks_of(source, [pair for pair in images if pair[1].defect_class], masks)
    for mask in sorted(set(masks.values()) - set(of_image.values())):
        remark(left_out, NO_IMAGE_OF_MASK, relative(source, mask))
    return Listing([_image(path, place, of_image.get(path)) for path, place in images], left_out)


def place_of(folders: tuple[str, ...]) -> Place:
    """What the folders above a file say of it.

    >>> place_of(("train", "Good"))
    Place(part='train', defect_class='', is_mask=False)
    >>> place_of(("defect", "scratch", "day 2")).defect_class, place_of(("NG",)).defect_class
    ('scratch', 'defect')

    Raises `DataFault` for a class whose name has a word for good surface among others: it may mean either.
    """
    part, is_mask = "", False
    names = list(folders)
    while names and (name := _plain(names[0])) in LOOKED_THROUGH | MASK_FOLDERS:
        part = name if name in PARTS else part
        is_mask = is_mask or name in MASK_FOLDERS
        names.pop(0)
    if names and _plain(names[0]) in DEFECT_NAMES:
        return Place(part, names[1] if len(names) > 1 else UNNAMED_DEFECT, is_mask)
    if not names:
        return Place(part, None, is_mask)
    if _plain(names[0]) in OK_NAMES:
        return Place(part, "", is_mask)
    if OK_WORDS & set(_plain(names[0]).split("_")):
        raise DataFault(
            f"the folder {names[0]!r} may hold good surface or a defect class; "
            "call it ok if it is good, or defect/<class> if it is not"
        )
    return Place(part, names[0], is_mask)


def _plain(name: str) -> str:
    return "_".join(name.lower().replace("-", " ").replace("_", " ").split())


def _masks_of(
    source: Path, defects: list[tuple[Path, Place]], masks: dict[tuple[str | None, str], Path]
) -> dict[Path, Path]:
    """Image -> mask: that of its class, else one that lies in no class's folder. Raises `DataFault` for two takers."""
    taker: dict[Path, Path] = {}
    for path, place in defects:
        mask = masks.get((place.defect_class, path.stem)) or masks.get((None, path.stem))
        if mask is None:
            continue
        if other := taker.get(mask):
            listed = f"{relative(source, other)} or {relative(source, path)}"
            raise DataFault(f"{mask} may belong to {listed}; give the images different names")
        taker[mask] = path
    return {path: mask for mask, path in taker.items()}


def _image(path: Path, place: Place, mask: Path | None) -> SourceImage:
    note = f"part {place.part}" if place.part else ""
    if not place.defect_class:
        return SourceImage(path, note=note)
    return SourceImage(path, (Region(place.defect_class, MaskFile(mask) if mask else None),), note=note)
