"""Real photographed surfaces, beside the checkout: what their README says of them is what the tools find."""

import json
import subprocess
import sys

import numpy as np

from model.artifact import Fitting
from training.config import SplitShares
from training.dataset import cut
from training.grouping import with_groups
from training.scan import scan
from training.split import Part, split
from training.validate import validate


def test_check_finds_the_known_faults_of_magnetic_tile(shared_data):
    findings = validate(with_groups(scan(shared_data / "data/magnetic_tile")))
    (empty,) = [finding for finding in findings if finding.kind == "mask_empty"]
    assert len(empty.files) == 4


def test_neu_tiles_come_from_the_masked_classes_only(shared_data, tmp_path):
    """3 x 3 tiles at stride 68 of each of the 270 masked images, as the protocol of the figures has it."""
    records = scan(shared_data / "data/neu_cls")
    tiles = cut(records, Fitting(tile=64, stride=68), 20, tmp_path)
    unclear = tiles.left_out["tiles with 1 to 19 masked pixels"]
    assert len(tiles) + unclear == 270 * 9
    assert tiles.left_out["defect images without a mask"] == 72
    assert {records[index].defect_type for index in np.unique(tiles.file)} == {"inclusion", "patches", "scratches"}


def test_no_surface_is_on_two_sides(shared_data):
    records = scan(shared_data / "data/magnetic_tile")
    parts = split(records, SplitShares(), seed=0)
    files = {part: {record.group for record in records if parts[record.group] is part} for part in Part}
    assert sum(map(len, files.values())) == len(set.union(*files.values()))


def test_training_on_photographed_steel_runs_to_the_end(shared_data, tmp_path):
    data = shared_data / "data/neu_cls"
    command = ["train", str(data), "--preset", "steel-64", "--epochs", "2", "--models", str(tmp_path / "m"), "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "training", *command], check=False, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    # Chance is 0.5; two epochs on real steel are far from good and far from chance.
    assert figures["metrics"]["auroc"]["value"] > 0.65
    assert figures["groups"] >= 9
