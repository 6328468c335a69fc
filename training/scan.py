"""Data folder -> records: which image carries which label, by folders and `labels.csv`. No pixel is read here.

The contract is in data/README.md.
"""

import csv
import hashlib
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePath, PurePosixPath
from typing import Literal

from training.errors import DataFault

Label = Literal["ok", "defect"]

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"})
# What else may be a picture of steel. A folder of a thousand of these must not train on the ten PNGs among them unseen.
OTHER_IMAGES = frozenset(
    {
        *(".gif", ".jp2", ".j2k", ".jpf", ".jpx", ".jxl", ".jxr", ".heic", ".heif", ".avif", ".ico", ".tga", ".psd"),
        *(".pgm", ".ppm", ".pbm", ".pnm", ".pcx", ".exr", ".hdr", ".raw", ".dng", ".nef", ".cr2", ".arw", ".npy"),
        *(".npz", ".mat", ".dcm", ".fits", ".jfif", ".jpe", ".dib"),
    }
)
LABELS_FILE = "labels.csv"
COLUMNS = ("file", "label", "defect_type", "group")
MASKS_FOLDER = "masks"
NO_DEFECT = "none"


@dataclass(frozen=True)
class Record:
    """One labelled image.

    file: relative to the data folder, with forward slashes, as text (`as_text`). defect_type: "none" for ok.
    group: images that show the same piece of surface share it; None where nobody said.
    mask: the mask's path, or None where there is none; that of an ok image and a defect of one name is the defect's.
    """

    file: str
    path: Path
    label: Label
    defect_type: str
    group: str | None
    mask: Path | None


def scan(data: Path) -> list[Record]:
    """All records of a data folder, in order of file name. Raises `DataFault`."""
    if not data.is_dir():
        raise DataFault(f"{data} is not a folder; see data/README.md for how one is laid out")
    masks = _masks(data / MASKS_FOLDER)
    records = _by_file(_from_folders(data, masks))
    records |= {record.file: record for record in _from_labels(data, masks)}
    if not records:
        raise DataFault(f"{data} holds no labelled images: put them below {data}/ok and {data}/defect")
    return _with_masks_of_their_own([records[file] for file in sorted(records)])


def images_below(folder: Path) -> list[Path]:
    """All image files below a folder, in order of path. Raises `OSError` as `files_below` does."""
    return sorted(path for path in files_below(folder) if path.suffix.lower() in SUFFIXES and path.is_file())


def unread(data: Path, records: Iterable[Record]) -> dict[str, list[str]]:
    """Files below `data` that look like images and are no record's, by the finding they are; records: all of them.

    `format_not_read`: of another format. `unlabelled`: where no label reaches, or a link to nothing.
    `mask_unused`: below masks/, and of no image.
    """
    read = {path for record in records for path in (record.path, record.mask)}
    found: dict[str, list[str]] = defaultdict(list)
    for path in sorted(set(files_below(data)) - read):
        suffix = path.suffix.lower()
        if suffix in OTHER_IMAGES:
            found["format_not_read"].append(as_text(path.relative_to(data)))
        elif suffix in SUFFIXES:
            kind = "mask_unused" if (data / MASKS_FOLDER) in path.parents else "unlabelled"
            found[kind].append(as_text(path.relative_to(data)))
    return dict(found)


def unread_columns(data: Path) -> list[str]:
    """What labels.csv says of each image besides the contract's columns, where it has no `group`. Raises `DataFault`.

    A spreadsheet's `coil_id` may well be the group, and without one surfaces are told apart by their looks alone.
    """
    table = data / LABELS_FILE
    if not table.is_file():
        return []
    with _rows(table) as reader:
        columns = list(reader.fieldnames or ())
    return [] if "group" in columns else [name for name in columns if name and name not in COLUMNS]


def as_text(path: PurePath) -> str:
    r"""A path as text, for files, people and JSON: with forward slashes, bytes that are not UTF-8 written out.

    >>> print(as_text(PurePath(os.fsdecode(b"ok/Fl\xe4che.png"))))
    ok/Fl\xe4che.png
    """
    return os.fsencode(path.as_posix()).decode("utf-8", "backslashreplace")


def _by_file(records: Iterable[Record]) -> dict[str, Record]:
    found: dict[str, Record] = {}
    for record in records:
        if record.file in found:
            raise DataFault(f"two images are called {record.file}, one of them in bytes that are not UTF-8; rename it")
        found[record.file] = record
    return found


def _with_masks_of_their_own(records: Sequence[Record]) -> list[Record]:
    """A mask shows where a defect is, so it is of the defect of its name; of an ok image only where there is none.

    Raises `DataFault` where two defects have one name.
    """
    owners: dict[Path, str] = {}
    for record in records:
        if record.label == "defect" and record.mask:
            if record.mask in owners:
                raise DataFault(
                    f"{owners[record.mask]} and {record.file} share the mask {record.mask.name}, which can only "
                    "be of one of them; give every image a name of its own"
                )
            owners[record.mask] = record.file
    return [
        replace(record, mask=None) if record.label == "ok" and record.mask in owners else record for record in records
    ]


def fingerprint(records: Iterable[Record]) -> str:
    """sha256 over every image's bytes, mask, label and group: equal fingerprints are equal training data."""
    digest = hashlib.sha256()
    for record in records:
        mask = record.mask.read_bytes() if record.mask else b""
        for part in (record.file, record.label, record.defect_type, record.group or ""):
            digest.update(part.encode() + b"\0")
        digest.update(hashlib.sha256(record.path.read_bytes()).digest() + hashlib.sha256(mask).digest())
    return digest.hexdigest()


def _masks(folder: Path) -> dict[str, Path]:
    masks: dict[str, Path] = {}
    for path in images_below(folder):
        if path.stem in masks:
            raise DataFault(f"{masks[path.stem]} and {path} are masks for the same image name; keep one of them")
        masks[path.stem] = path
    return masks


def _from_folders(data: Path, masks: dict[str, Path]) -> Iterable[Record]:
    for path in images_below(data / "ok"):
        yield _record(path.relative_to(data), path, "ok", NO_DEFECT, None, masks)
    for path in images_below(data / "defect"):
        file = path.relative_to(data)
        parts = as_text(file).split("/")
        defect_type = parts[1] if len(parts) > 2 else "defect"
        yield _record(file, path, "defect", _defect_type(defect_type, str(path)), None, masks)


def _from_labels(data: Path, masks: dict[str, Path]) -> Iterable[Record]:
    table = data / LABELS_FILE
    if not table.is_file():
        return
    with _rows(table) as reader:
        if not {"file", "label"} <= set(reader.fieldnames or ()):
            raise DataFault(f"{table} has the columns {reader.fieldnames}; `file` and `label` are needed")
        lines: dict[str, int] = {}
        for row in reader:
            record = _from_row(data, table, reader.line_num, row, masks)
            if record.file in lines:
                raise DataFault(
                    f"{table} line {reader.line_num}: {record.file} is listed twice (line {lines[record.file]})"
                )
            lines[record.file] = reader.line_num
            yield record


@contextmanager
def _rows(table: Path) -> Iterator["csv.DictReader[str]"]:
    """Its rows, the contract's columns as the contract spells them. Raises `DataFault`, also while they are read."""
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            header = file.readline()
            file.seek(0)
            reader = csv.DictReader(file, strict=True, delimiter=_delimiter(header))
            spelled = [_spelled(name) for name in reader.fieldnames or ()]
            twice = [name for name in COLUMNS if spelled.count(name) > 1]
            if twice:
                raise DataFault(f"{table} has several columns {twice[0]!r}; keep one of them")
            reader.fieldnames = spelled
            yield reader
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataFault(f"{table} cannot be read as UTF-8 comma-separated values: {error}") from error


def _delimiter(header: str) -> str:
    r"""What stands between columns: a comma, or what spreadsheets write where a comma stands in numbers.

    >>> _delimiter("file,label;x"), _delimiter("\"File\"; Label ;group"), _delimiter("file\tlabel")
    (',', ';', '\t')
    """
    for delimiter in ",;\t":
        if {"file", "label"} <= {_spelled(name.strip().strip('"')) for name in header.split(delimiter)}:
            return delimiter
    return ","


def _spelled(name: str) -> str:
    """A column of the contract whatever its case, and with blanks or hyphens: spreadsheets write `Defect Type`.

    >>> _spelled(" Defect Type "), _spelled("Coil")
    ('defect_type', 'Coil')
    """
    plain = re.sub(r"[\s_-]+", "_", name.strip().lower())
    return plain if plain in COLUMNS else name


def _from_row(data: Path, table: Path, line: int, row: dict[str, str], masks: dict[str, Path]) -> Record:
    named = (row["file"] or "").strip()
    # A name may hold a backslash here, and a program elsewhere may have meant a folder by it.
    if "\\" in named and not _is_file(data / named):
        named = named.replace("\\", "/")
    file = PurePosixPath(named)
    if file.is_absolute() or ".." in file.parts or not file.name:
        raise DataFault(f"{table} line {line}: file {row['file']!r} is not a path inside the data folder")
    path = data / file
    if not _is_file(path):
        raise DataFault(f"{table} line {line}: there is no file {path}")
    group = (row.get("group") or "").strip() or None
    defect_type = (row.get("defect_type") or "").strip() or "defect"
    label = (row["label"] or "").strip()
    match label.lower():
        case "ok":
            return _record(file, path, "ok", NO_DEFECT, group, masks)
        case "defect":
            return _record(file, path, "defect", _defect_type(defect_type, f"{table} line {line}"), group, masks)
        case _:
            raise DataFault(f"{table} line {line}: label {label!r} is neither `ok` nor `defect`")


def _defect_type(name: str, where: str) -> str:
    if name == NO_DEFECT:
        raise DataFault(f"{where}: a defect cannot be of the type `{NO_DEFECT}`, which stands for ok; rename it")
    return name


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that no file can have
        return False


def _record(
    file: PurePath, path: Path, label: Label, defect_type: str, group: str | None, masks: dict[str, Path]
) -> Record:
    return Record(as_text(file), path, label, defect_type, group, masks.get(path.stem))


def files_below(folder: Path) -> Iterator[Path]:
    """Everything below a folder that is no folder and whose name starts with no dot; nothing if there is no folder.

    Linked folders are followed, every folder once. Raises `OSError` for a folder that cannot be listed.
    """
    if not folder.is_dir():
        return
    # A link may lead to what is read anyway, or back to a folder that this one lies in.
    seen = {os.path.realpath(above) for above in folder.absolute().parents}
    for at, folders, files in os.walk(folder, onerror=_refuse, followlinks=True):
        real = os.path.realpath(at)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        # Real folders before links, so that their files keep their own names.
        folders.sort(key=lambda name: (Path(at, name).is_symlink(), name))
        yield from (Path(at, name) for name in files if not name.startswith("."))


def _refuse(error: OSError) -> None:
    raise error
