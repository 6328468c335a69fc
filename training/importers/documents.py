"""JSON annotation files and the typed fields in them: every surprise is a `DataFault` that says where it is."""

import json
from collections.abc import Callable
from pathlib import Path

from training.errors import DataFault
from training.importers.listing import pixels
from training.importers.masks import Points
from training.scan import files_below


def load(file: Path) -> object:
    """The document. Raises `DataFault` for what is no UTF-8 JSON."""
    try:
        return json.loads(file.read_text(encoding="utf-8-sig"))
    except RecursionError as error:
        raise DataFault(f"{file} is nested too deeply to be an annotation file") from error
    except ValueError as error:
        raise DataFault(f"{file} cannot be read as UTF-8 JSON: {error}") from error


def documents_below(source: Path, belongs: Callable[[object], bool], expected: str) -> list[tuple[Path, object]]:
    """Every JSON file below the source whose document `belongs` to the format, in order of path.

    Raises `DataFault` where there is none; expected: what one is.
    """
    files = sorted(file for file in files_below(source) if file.suffix == ".json")
    found = [(file, document) for file in files if belongs(document := load(file))]
    if not found:
        raise DataFault(f"{source} holds no JSON file with {expected}")
    return found


def objects(document: object, key: str, where: object) -> list[dict[str, object]]:
    """The list of objects under `key` of an object.

    >>> objects({"shapes": [{"label": "scratch"}]}, "shapes", "a.json")
    [{'label': 'scratch'}]
    """
    found = document.get(key) if isinstance(document, dict) else None
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
        raise DataFault(f"{where}: {key!r} is {_shown(found)}; a list of objects is expected")
    return found


def text(entry: dict[str, object], key: str, where: object) -> str:
    """A text that is not empty."""
    found = entry.get(key)
    if not isinstance(found, str) or not found.strip():
        raise DataFault(f"{where}: {key!r} is {_shown(found)}; a text is expected")
    return found.strip()


def number(entry: dict[str, object], key: str, where: object) -> int:
    """A whole number."""
    found = entry.get(key)
    if not isinstance(found, int) or isinstance(found, bool):
        raise DataFault(f"{where}: {key!r} is {_shown(found)}; a whole number is expected")
    return found


def size(entry: dict[str, object], height: str, width: str, where: object) -> tuple[int, int] | None:
    """(height, width) in px; None where either is missing or 0, as some tools write it."""
    if not entry.get(height) or not entry.get(width):
        return None
    return number(entry, height, where), number(entry, width, where)


def points(found: object, where: object) -> Points:
    """(x, y) in px from a list of pairs.

    >>> points([[1, 2.5], [3, 4]], "a.json")
    ((1.0, 2.5), (3.0, 4.0))
    """
    if not isinstance(found, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in found):
        raise DataFault(f"{where}: the points are {_shown(found)}; a list of [x, y] is expected")
    return tuple((pixels(x, where), pixels(y, where)) for x, y in found)


def _shown(found: object) -> str:
    """What was received, short: annotation files hold whole images."""
    return "missing" if found is None else repr(found)[:60]
