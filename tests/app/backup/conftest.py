"""A data root with everything in it, and its backup: made once, copied for each test."""

import shutil
from pathlib import Path

import pytest

from app.backup.taking import take
from app.settings import load
from tests.app.backup.roots import filled


@pytest.fixture(scope="session")
def filled_root(tmp_path_factory: pytest.TempPathFactory, tiny_models: Path) -> Path:
    return filled(tmp_path_factory.mktemp("filled") / "home", tiny_models)


@pytest.fixture(scope="session")
def saved_root(filled_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "saved"
    take(load({}, {"home": filled_root}), folder)
    return folder


@pytest.fixture
def home(filled_root: Path, tmp_path: Path) -> Path:
    """A root that the test may change."""
    return Path(shutil.copytree(filled_root, tmp_path / "home"))


@pytest.fixture
def saved(saved_root: Path, tmp_path: Path) -> Path:
    """A backup of it that the test may change."""
    return Path(shutil.copytree(saved_root, tmp_path / "saved"))
