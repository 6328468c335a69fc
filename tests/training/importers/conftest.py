"""Small sources, written as each format has them, and what becomes of them."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model.artifact import Fitting
from training.dataset import TileSet, cut
from training.importers import ImportSummary, import_source
from training.scan import Record, scan

TILE = 32
MIN_DEFECT_PIXELS = 20


def save_grey(path: Path, grey: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(grey).save(path)
    return path


def write_photograph(path: Path, height: int = 64, width: int = 96, seed: int = 0) -> Path:
    """An image file of random grey, in the format that its name says."""
    return save_grey(path, np.random.default_rng(seed).integers(0, 256, (height, width), np.uint8))


def write_voc(
    path: Path, objects: list[tuple[str, int, int, int, int]], size: tuple[int, int] | None = (64, 96)
) -> Path:
    """A Pascal VOC file; objects are (name, xmin, ymin, xmax, ymax), size is (height, width)."""
    boxes = "".join(
        f"<object><name>{name}</name><pose>Unspecified</pose><bndbox><xmin>{left}</xmin><ymin>{top}</ymin>"
        f"<xmax>{right}</xmax><ymax>{bottom}</ymax></bndbox></object>"
        for name, left, top, right, bottom in objects
    )
    shape = f"<size><width>{size[1]}</width><height>{size[0]}</height><depth>1</depth></size>" if size else ""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"<annotation><filename>{path.stem}.jpg</filename>{shape}{boxes}</annotation>")
    return path


def make_block(height: int, width: int, rows: slice, columns: slice) -> np.ndarray:
    """A mask that is True in a rectangle."""
    mask = np.zeros((height, width), bool)
    mask[rows, columns] = True
    return mask


class Imported:
    """A finished import: its summary, the rows of labels.csv by source file, and the folder's records."""

    def __init__(self, data: Path, summary: ImportSummary) -> None:
        self.data, self.summary = data, summary
        with (data / "labels.csv").open(encoding="utf-8", newline="") as file:
            self.rows = {row["source_file"]: row for row in csv.DictReader(file)}

    @property
    def records(self) -> list[Record]:
        return scan(self.data)

    def record(self, source_file: str) -> Record:
        (found,) = [record for record in self.records if record.file == self.rows[source_file]["file"]]
        return found

    def mask(self, source_file: str) -> np.ndarray | None:
        """bool (height, width) as training reads it; every value must be black or white."""
        path = self.record(source_file).mask
        if path is None:
            return None
        grey = np.asarray(Image.open(path))
        assert set(np.unique(grey)) <= {0, 255}
        return grey == 255

    def cut(self, tmp_path: Path) -> TileSet:
        return cut(self.records, Fitting(tile=TILE, stride=TILE), MIN_DEFECT_PIXELS, tmp_path)

    def tile_labels(self, source_file: str, tmp_path: Path) -> list[bool]:
        """Labels of the tiles of one image, in order; the unclear ones are missing."""
        records = self.records
        tiles = cut(records, Fitting(tile=TILE, stride=TILE), MIN_DEFECT_PIXELS, tmp_path)
        chosen = [record.file for record in records].index(self.rows[source_file]["file"])
        return tiles.defect[tiles.file == chosen].tolist()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    return folder


@pytest.fixture
def imported(source: Path, tmp_path: Path) -> Callable[[str], Imported]:
    """`imported(format)`: imports `source` and checks what holds for every format."""

    def run(format_name: str) -> Imported:
        before = {path: path.read_bytes() for path in source.rglob("*") if path.is_file()}
        data = tmp_path / "data"
        done = Imported(data, import_source(format_name, source, data))
        assert before == {path: path.read_bytes() for path in source.rglob("*") if path.is_file()}
        for record in done.records:
            (source_file,) = [name for name, row in done.rows.items() if row["file"] == record.file]
            assert record.path.read_bytes() == (source / source_file).read_bytes()
            assert not record.path.samefile(source / source_file)
        stems = [record.path.stem.casefold() for record in done.records]
        assert len(set(stems)) == len(stems) == done.summary.images == len(done.rows)
        assert len(list(data.glob("masks/*"))) == done.summary.masks
        return done

    return run


def count_tiles(mask: np.ndarray) -> list[bool]:
    """Labels by the contract of data/README.md, counted here without the code under test."""
    labels = []
    for y in range(0, mask.shape[0], TILE):
        for x in range(0, mask.shape[1], TILE):
            count = int(mask[y : y + TILE, x : x + TILE].sum())
            if count == 0 or count >= MIN_DEFECT_PIXELS:
                labels.append(count > 0)
    return labels


@pytest.fixture
def save() -> Callable[..., Path]:
    """`save(path, grey)`: writes uint8 (height, width) as an image file."""
    return save_grey


@pytest.fixture
def photograph() -> Callable[..., Path]:
    """`photograph(path, height, width, seed)`: writes random grey."""
    return write_photograph


@pytest.fixture
def voc() -> Callable[..., Path]:
    """`voc(path, objects, size)`: writes a Pascal VOC file."""
    return write_voc


@pytest.fixture
def block() -> Callable[..., np.ndarray]:
    """`block(height, width, rows, columns)`: a mask that is True in a rectangle."""
    return make_block


@pytest.fixture
def expected_tiles() -> Callable[[np.ndarray], list[bool]]:
    """`expected_tiles(mask)`: what the tiles of an image with this mask must be labelled."""
    return count_tiles
