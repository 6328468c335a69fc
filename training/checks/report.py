"""The check as files to hand on: `check.html`, one self-contained page with thumbnails, and `check.json` beside it."""

import base64
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from jinja2 import Environment, StrictUndefined
from PIL import Image

from model.errors import SteelsightError
from model.files import replace_text
from model.image import decode
from training.checks.finding import Finding, Severity
from training.checks.page import PAGE
from training.checks.shortcut import Shortcut
from training.errors import UsageFault
from training.scan import Record, as_text

T = TypeVar("T")

PAGE_FILE, DATA_FILE = "check.html", "check.json"
# Examples of each finding: enough to see what it is about, few enough that the page opens at once.
EXAMPLES = 8
THUMBNAIL_PX = 144


@dataclass(frozen=True)
class Thumbnail:
    """source: a data URL, or None for an image that cannot be read."""

    source: str | None
    caption: str
    label: str


def summary(
    records: Sequence[Record], findings: Sequence[Finding], shortcuts: Sequence[Shortcut], sound: bool
) -> dict[str, Any]:
    """What `check --json` prints and `check.json` holds."""
    return {
        "images": len(records),
        "groups": len({record.group for record in records}),
        "sound": sound,
        "findings": [asdict(found) for found in findings],
        "shortcuts": [asdict(one) for one in shortcuts],
    }


def write_report(folder: Path, data: Path, told: dict[str, Any], records: Sequence[Record]) -> Path:
    """Write both files of a check of `data` into `folder`; told: as of `summary`. The page's path.

    Raises `UsageFault` where `folder` is a file.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise UsageFault(f"--report {folder} is a file; name a folder, it may be a new one") from error
    by_file = {record.file: record for record in records}
    findings = [{**found, "examples": _examples(found, by_file)} for found in told["findings"]]
    page = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True).from_string(
        PAGE
    )
    labels = {label: sum(record.label == label for record in records) for label in ("ok", "defect")}
    counts = {severity.value: sum(found["severity"] == severity for found in findings) for severity in Severity}
    html = page.render(data=as_text(Path(data.name)), told={**told, "findings": findings}, labels=labels, counts=counts)
    replace_text(folder / DATA_FILE, json.dumps(told, indent=2) + "\n")
    replace_text(folder / PAGE_FILE, html)
    return folder / PAGE_FILE


def _examples(found: dict[str, Any], by_file: dict[str, Record]) -> list[list[Thumbnail]]:
    """Thumbnails that belong together, at most `EXAMPLES` sets: a pair, an image and its mask, or one image."""
    if found["pairs"]:
        return [[_thumbnail(by_file[file]) for file in pair] for pair in _spread(found["pairs"])]
    # A file that is not read has no record, and no picture.
    chosen = [by_file[file] for file in _spread(found["files"]) if file in by_file]
    with_mask = found["kind"].startswith("mask_")
    return [[_thumbnail(record), *([_mask(record)] if with_mask and record.mask else [])] for record in chosen]


def _spread(items: Sequence[T]) -> list[T]:
    """At most EXAMPLES items from all over: neighbours are often of one group."""
    return (
        [items[place * len(items) // EXAMPLES] for place in range(EXAMPLES)] if len(items) > EXAMPLES else list(items)
    )


def _thumbnail(record: Record) -> Thumbnail:
    label = record.label if record.label == "ok" else record.defect_type
    return Thumbnail(_picture(record.path), record.file, f"{label} · {record.group}")


def _mask(record: Record) -> Thumbnail:
    assert record.mask is not None
    return Thumbnail(_picture(record.mask), record.mask.name, "mask")


def _picture(path: Path) -> str | None:
    try:
        image = Image.fromarray(decode(path.read_bytes()))
    except (SteelsightError, OSError):
        return None
    image.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    encoded = io.BytesIO()
    image.save(encoded, "PNG")
    return "data:image/png;base64," + base64.b64encode(encoded.getvalue()).decode()
