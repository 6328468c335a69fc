"""Synthetic steel as a data folder: images, masks and labels in their places."""

import csv
import io
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from synthetic.camera import GreyImage
from synthetic.defects import DEFECT_CLASSES
from synthetic.series import plan_series, shoot

# Below 32 px the shift within a series eats most of the tile, and a defect no longer fits.
SMALLEST_SIZE_PX = 32
# Sensor noise does not compress: a higher zlib level costs time and saves nothing.
PNG_COMPRESSION = 1


@dataclass(frozen=True)
class SynthesisSummary:
    """What was written: images, their groups, and the images of each defect class (every class is listed)."""

    tiles: int
    ok: int
    defect: int
    groups: int
    defects_by_class: dict[str, int]


def synthesize(
    data: Path,
    tiles: int,
    seed: int,
    *,
    defect_share: float = 0.4,
    size: int = 128,
    on_progress: Callable[[int], None] | None = None,
) -> SynthesisSummary:
    """Write `tiles` grey images of size x size px, with masks and labels, into the empty folder `data`.

    The same arguments give the same bytes, and more tiles only append: the first images stay what they were.
    labels.csv comes last and whole; a folder without it was interrupted. `on_progress` is called after every
    image with the number written so far. ValueError when an argument or the folder will not do.
    """
    _refuse_unsound(tiles, seed, defect_share, size)
    _refuse_occupied(data)
    rows: list[tuple[str, str, str, str]] = []
    for series in plan_series(seed, tiles, defect_share):
        defect_class = series.defect_class
        folder = "ok" if defect_class is None else f"defect/{defect_class}"
        for shot, (image, mask) in enumerate(shoot(seed, series, size)):
            stem = f"{series.group}_{shot}"
            _write_png(data / folder / f"{stem}.png", image)
            if defect_class is not None:
                _write_png(data / "masks" / f"{stem}.png", mask.astype(np.uint8) * np.uint8(255))
            label = "ok" if defect_class is None else "defect"
            rows.append((f"{folder}/{stem}.png", label, defect_class or "none", series.group))
            if on_progress is not None:
                on_progress(len(rows))
    _write_labels(data / "labels.csv", rows)
    return _summary(rows)


def _refuse_unsound(tiles: int, seed: int, defect_share: float, size: int) -> None:
    if tiles < 1:
        raise ValueError(f"tiles must be at least 1. Received: {tiles}")
    if seed < 0:
        raise ValueError(f"seed must be 0 or more. Received: {seed}")
    if not 0 <= defect_share <= 1:
        raise ValueError(f"defect_share must lie between 0 and 1. Received: {defect_share}")
    if size < SMALLEST_SIZE_PX:
        raise ValueError(f"size must be at least {SMALLEST_SIZE_PX} px. Received: {size}")


def _refuse_occupied(data: Path) -> None:
    """Synthetic tiles mixed into a plant's own images could never be told apart again."""
    if data.exists() and not data.is_dir():
        raise ValueError(f"{data} is a file; name a folder that is empty or does not exist yet")
    found = next((path for path in data.rglob("*") if not path.is_dir()), None)
    if found is not None:
        raise ValueError(
            f"{data} already holds files, such as {found.relative_to(data).as_posix()}; "
            "synthetic steel is written only into an empty folder: name another one, or empty this one first"
        )


def _write_png(path: Path, image: GreyImage) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    encoded = io.BytesIO()
    Image.fromarray(image).save(encoded, "PNG", compress_level=PNG_COMPRESSION)
    path.write_bytes(encoded.getvalue())


def _write_labels(path: Path, rows: list[tuple[str, str, str, str]]) -> None:
    """Written beside and renamed: labels.csv is there whole or not at all."""
    beside = path.with_suffix(".csv.part")
    with beside.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("file", "label", "defect_type", "group"))
        writer.writerows(rows)
    beside.replace(path)


def _summary(rows: list[tuple[str, str, str, str]]) -> SynthesisSummary:
    by_type = Counter(defect_type for _, _, defect_type, _ in rows)
    return SynthesisSummary(
        tiles=len(rows),
        ok=by_type["none"],
        defect=len(rows) - by_type["none"],
        groups=len({group for _, _, _, group in rows}),
        defects_by_class={name: by_type[name] for name in DEFECT_CLASSES},
    )
