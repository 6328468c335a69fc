"""`python -m training import` as a person uses it."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.importers import FORMATS, import_source
from training.scan import scan

ROOT = Path(__file__).parents[3]


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "training", "import", *map(str, arguments)]
    return subprocess.run(line, check=False, capture_output=True, text=True, timeout=60, cwd=ROOT)


@pytest.fixture
def folders(source, photograph):
    photograph(source / "good/a.png", seed=1)
    photograph(source / "dent/b.png", seed=2)
    photograph(source / "cover.png", seed=3)
    return source


def test_json_is_the_summary_and_what_is_left_out_is_said(folders, tmp_path):
    done = command("folders", folders, tmp_path / "data", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "images": 2,
        "ok": 1,
        "defect": 1,
        "masks": 0,
        "groups": 0,
        "defects_by_class": {"dent": 1},
        "left_out": {"images outside any class folder": ["cover.png"]},
        "remarks": {},
    }
    assert "left out: 1 images outside any class folder: cover.png" in done.stderr
    again = command("folders", folders, tmp_path / "data")
    assert again.returncode == 2
    assert "already holds files" in again.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        (["yolo", "{source}", "{data}"], 2, "invalid choice: 'yolo'"),
        (["folders", "{source}"], 2, "required: DATA"),
        (["severstal", "{source}", "{data}"], 1, "has no train.csv"),
        (["folders", "nowhere", "{data}"], 1, "is not a folder"),
    ],
)
def test_wrong_usage_and_faults_are_one_clear_line(folders, tmp_path, arguments, exit_code, message):
    done = command(*(argument.format(source=folders, data=tmp_path / "data") for argument in arguments))
    assert done.returncode == exit_code
    assert message in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert not (tmp_path / "data").exists()


def test_every_format_has_its_part_of_the_page():
    page = (ROOT / "docs/importers.md").read_text()
    for name in FORMATS:
        assert f"### {name}\n" in page


def test_photographed_steel_with_its_published_boxes(shared_data, tmp_path):
    """Boxes were drawn by other people than the masks: nearly all masked pixels lie in them."""
    real, source = shared_data / "data/neu_cls", tmp_path / "source"
    (source / "IMAGES").mkdir(parents=True)
    shutil.copytree(real / "boxes", source / "ANNOTATIONS")
    for path in real.glob("*/*.jpg"):
        if (real / "boxes" / f"{path.stem}.xml").is_file():
            shutil.copy(path, source / "IMAGES")
    annotations = len(list((source / "ANNOTATIONS").iterdir()))
    summary = import_source("neu-det", source, tmp_path / "data")
    assert summary.images == summary.masks == annotations
    assert not summary.left_out
    drawn = {record.path.stem: record for record in scan(tmp_path / "data")}
    inside = total = 0
    for mask in (real / "masks").glob("*.png"):
        if mask.stem in drawn:
            by_hand = np.asarray(Image.open(mask).convert("L")) >= 128
            inside += int((by_hand & (np.asarray(Image.open(drawn[mask.stem].mask)) > 0)).sum())
            total += int(by_hand.sum())
    assert inside > 0.9 * total > 0
