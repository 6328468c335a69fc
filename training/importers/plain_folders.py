"""Plain folders: ok/ and defect/, or one folder a class; names for good and bad surface are recognised in any case.

They may lie in the source or deeper, in a collection: steel/ of steel/ok and steel/scratch. train/, test/ and the
like, and images/, are looked through wherever they are. masks/ or ground_truth/ may hold a mask for each defect
image, of the same stem or with _mask behind it, in a folder of the image's class where stems repeat. Whatever the
names leave open is a fault: a wrong guess would train good surface as a defect, or a defect as good surface.
"""

from collections import defaultdict
from collections.abc import Iterable, Set
from pathlib import Path, PurePath
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
from training.importers.names import DEFECT_NAMES, MASK_NAMES, MASK_WORDS, OK_NAMES, OK_WORDS, PARTS, plain, words
from training.scan import images_below

LOOKED_THROUGH = PARTS | {"images", "imgs"}
MASK_ENDING = "_mask"
NO_FOLDER = "images outside any class folder"
NO_IMAGE_OF_MASK = "masks without a defect image"

# Folders from the source down, without those that are looked through and those of masks.
Names = tuple[str, ...]


class Place(NamedTuple):
    """What the folders above a file say of it.

    collection: the folders around the class folders, () where those lie in the source. part: "" where none is named.
    defect_class: "" is ok, None unknown.
    """

    collection: Names
    part: str
    defect_class: str | None
    is_mask: bool


def read(source: Path) -> Listing:
    """All images below class folders. Groups are not named by folders. Raises `DataFault`."""
    left_out: Remarks = {}
    images: list[tuple[Path, Place]] = []
    masks: dict[str, list[tuple[Path, Place]]] = defaultdict(list)
    files = {path: path.relative_to(source) for path in images_below(source)}
    collections = collections_of(files.values())
    for path, file in files.items():
        place = place_of(file, collections)
        if place.is_mask:
            masks[path.stem.removesuffix(MASK_ENDING)].append((path, place))
        elif place.defect_class is None:
            remark(left_out, NO_FOLDER, relative(source, path))
        else:
            images.append((path, place))
    defects = [(path, place) for path, place in images if place.defect_class]
    of_image = _masks_of(source, defects, masks)
    for mask in sorted({path for found in masks.values() for path, _ in found} - set(of_image.values())):
        remark(left_out, NO_IMAGE_OF_MASK, relative(source, mask))
    return Listing([_image(path, place, of_image.get(path)) for path, place in images], left_out)


def collections_of(files: Iterable[PurePath]) -> Set[Names]:
    """The folders in which good surface or defects have a folder: what lies beside that one is a class.

    >>> collections_of([PurePath("steel/train/ok/1.png"), PurePath("steel/test/scratch/2.png")])
    {('steel',)}

    Empty where only classes are named. Raises `DataFault` where one lies in another.
    """
    found = set()
    for names in {_names(file) for file in files if not _is_mask(file)}:
        labels = (depth for depth, name in enumerate(names) if plain(name) in OK_NAMES | DEFECT_NAMES)
        if (depth := next(labels, None)) is not None:
            found.add(names[:depth])
    for inner in sorted(found):
        if any(inner[:depth] in found for depth in range(len(inner))):
            raise DataFault(
                f"the folder {'/'.join(inner)!r} holds folders of good surface or defects and lies beside such "
                "folders, too; move its images into those, or import it alone"
            )
    return found


def place_of(file: PurePath, collections: Set[Names]) -> Place:
    """What the folders above a file say of it; file: relative to the source.

    >>> place_of(PurePath("train/Good/1.png"), {()})
    Place(collection=(), part='train', defect_class='', is_mask=False)
    >>> place_of(PurePath("steel/defect/scratch/day 2/1.png"), {("steel",)}).defect_class
    'scratch'

    Raises `DataFault` for folders that leave open what the file shows.
    """
    names, is_mask = _names(file), _is_mask(file)
    part = next((name for name in map(plain, reversed(file.parts[:-1])) if name in PARTS), "")
    around = next((found for found in collections if names[: len(found)] == found), None)
    if around is None and any(found[: len(names)] == names for found in collections):
        return Place((), part, None, is_mask)
    if around is None and collections:
        raise DataFault(
            f"the folder {'/'.join(names)!r} lies beside {'/'.join(min(collections))!r}, which holds folders of good "
            "surface or defects; move its images into those, or import the two apart"
        )
    collection = around or ()
    defect_class = _class_of(names[len(collection) :], is_mask)
    if not collections and len(names) > 1 and not is_mask:
        raise DataFault(
            f"the folder {names[0]!r} may be a class or hold the classes, such as {names[1]!r}; name it as the source "
            "if it holds them, or move it into a folder defect if it is one"
        )
    return Place(collection, part, defect_class, is_mask)


def _names(file: PurePath) -> Names:
    return tuple(name for name in file.parts[:-1] if plain(name) not in LOOKED_THROUGH | MASK_NAMES)


def _is_mask(file: PurePath) -> bool:
    """Whether a file is no photograph but a mask. Raises `DataFault` for a folder that may hold either."""
    folders = file.parts[:-1]
    for name in folders:
        if MASK_WORDS & set(words(name)) and plain(name) not in MASK_NAMES:
            raise DataFault(f"the folder {name!r} may hold masks; call it masks if it does, or else by another name")
    return any(plain(name) in MASK_NAMES for name in folders) or file.stem.endswith(MASK_ENDING)


def _class_of(names: Names, is_mask: bool) -> str | None:
    """The class that folders name, the first of them the class folder: "" is ok, None unknown. Raises `DataFault`."""
    if not names:
        return None
    head, *below = names
    if plain(head) in OK_NAMES:
        _refuse_contrary(head, below, DEFECT_NAMES)
        return ""
    if plain(head) in DEFECT_NAMES:
        _refuse_contrary(head, below, OK_NAMES)
        # A mask beside the folders of several classes may be of any of them.
        unnamed = None if is_mask else UNNAMED_DEFECT
        return below[0] if below else unnamed
    for name in names:
        if OK_WORDS & set(words(name)):
            raise DataFault(
                f"the folder {name!r} may hold good surface or a defect class; "
                "call it ok if it is good, or defect/<class> if it is not"
            )
    return head


def _refuse_contrary(head: str, below: list[str], contrary: Set[str]) -> None:
    for name in below:
        if plain(name) in contrary:
            raise DataFault(f"the folder {name!r} lies in {head!r}, which means the contrary; move it out of there")


def _masks_of(
    source: Path, defects: list[tuple[Path, Place]], masks: dict[str, list[tuple[Path, Place]]]
) -> dict[Path, Path]:
    """Image -> the mask of its stem whose folders say most. Raises `DataFault` for two masks, or two takers of one."""
    taker: dict[Path, Path] = {}
    for path, place in defects:
        fitting = [(_said(mask), file) for file, mask in masks.get(path.stem, ()) if _belongs(mask, place)]
        most = max((said for said, _ in fitting), default=None)
        best = [file for said, file in fitting if said == most]
        if len(best) > 1:
            listed = " or ".join(relative(source, file) for file in best[:2])
            raise DataFault(f"the mask of {relative(source, path)} may be {listed}; keep one of them")
        for mask in best:
            if other := taker.get(mask):
                listed = f"{relative(source, other)} or {relative(source, path)}"
                raise DataFault(f"{mask} may belong to {listed}; give the images different names")
            taker[mask] = path
    return {path: mask for mask, path in taker.items()}


def _belongs(mask: Place, image: Place) -> bool:
    """Whether the folders of a mask say the same as those of an image, or less."""
    return (
        mask.collection in ((), image.collection)
        and (mask.part == image.part or not mask.part or not image.part)
        and mask.defect_class in (None, image.defect_class)
    )


def _said(mask: Place) -> tuple[bool, bool, bool]:
    return mask.defect_class is not None, mask.part != "", mask.collection != ()


def _image(path: Path, place: Place, mask: Path | None) -> SourceImage:
    note = f"part {place.part}" if place.part else ""
    if not place.defect_class:
        return SourceImage(path, note=note)
    return SourceImage(path, (Region(place.defect_class, MaskFile(mask) if mask else None),), note=note)
