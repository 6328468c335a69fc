"""Small data folders, made by the tests."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.synthetic import synthesize


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
