"""Small data folders, made by the tests."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model.artifact import Fitting, Manifest
from model.calibration import IdentityCalibrator
from model.network import PRESETS
from model.verdict import Thresholds
from synthetic import synthesize
from training.dataset import choose_fit, cut
from training.evaluate import Examination
from training.grouping import with_groups
from training.scan import scan


@pytest.fixture(scope="session")
def synthetic_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 generated images with masks, groups and labels.csv."""
    data = tmp_path_factory.mktemp("synthetic") / "data"
    synthesize(data, 120, 3)
    return data


@pytest.fixture
def write_image():
    """Writes a PNG of the given grey values, or of random ones from a seed, and makes its folders."""

    def write(path: Path, content: int | np.ndarray, size: tuple[int, int] = (40, 40)) -> Path:
        grey = np.random.default_rng(content).integers(0, 256, size, np.uint8) if isinstance(content, int) else content
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(grey).save(path)
        return path

    return write


@pytest.fixture(scope="session")
def examine(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Examination]:
    """`examine(data, score)`: what a scorer of uint8 tiles (n, 64, 64) says of a folder, without any network."""

    def examine(data: Path, score: Callable[[np.ndarray], np.ndarray], version: str = "made-up", tile: int = 64):
        records = with_groups(scan(data))
        fitting = Fitting(fit=choose_fit(records), tile=tile, stride=tile)
        tiles = cut(records, fitting, 20, tmp_path_factory.mktemp("tiles"))
        history = [{"number": number, "loss": 1 / number, "note": "text"} for number in (1, 2, 3)]
        manifest = Manifest(
            version=version,
            created_at=datetime(2026, 1, 2, tzinfo=UTC),
            classes=("ok", "defect"),
            network=PRESETS["steel-64"],
            fitting=fitting,
            calibrator=IdentityCalibrator(),
            thresholds=Thresholds(review=0.4, defect=0.6),
            metrics={},
            parity={},
            data={"folder": "plant", "tiles": {"train": 5}, "split": {}},
            training={"history": history, "best_epoch": 2},
            packages={},
            files={},
        )
        return Examination(manifest, data.name, records, fitting, tiles, score(tiles.tiles), score, seed=0)

    return examine
