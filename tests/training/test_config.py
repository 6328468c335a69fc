"""An experiment file is taken whole or refused with the value that is wrong."""

import re
from pathlib import Path

import pytest

from model.network import PRESETS
from training.config import Augmentation, Experiment, Settings, SplitShares, load_experiment
from training.errors import UsageFault


def test_the_command_line_wins_over_the_file_and_the_file_over_the_defaults(tmp_path):
    file = tmp_path / "experiment.toml"
    file.write_text('preset = "steel-64"\nepochs = 5\nseed = 9\n[augmentation]\nflips = false\n')
    experiment = load_experiment(file, {"epochs": 7, "seed": None})
    assert (experiment.preset, experiment.epochs, experiment.seed) == ("steel-64", 7, 9)
    assert not experiment.augmentation.flips
    assert experiment.resolved_network() == PRESETS["steel-64"]
    assert experiment.resolved_stride() == 32


def test_a_preset_brings_its_own_recipe_and_the_user_still_wins(tmp_path):
    assert load_experiment(None, {"preset": "rgb-224"}).epochs == 20
    assert load_experiment(None, {"preset": "rgb-224", "epochs": 3}).epochs == 3
    assert load_experiment(None, {"preset": "steel-128-deeper"}).optimizer == "muon"
    assert load_experiment(None, {"preset": "steel-128-deeper", "optimizer": "adamw"}).optimizer == "adamw"
    assert load_experiment(None, {"preset": "steel-128-deeper"}).mask_weight == 0.5


@pytest.mark.parametrize(
    ("preset", "epochs", "blended", "scale", "noise"),
    [
        ("steel-128-local", 12, 0.5, 0.2, 4.0),
        ("steel-64-local", 60, 0.0, 0.0, 1.5),
        ("steel-128-deeper", 12, 0.5, 0.2, 4.0),
        ("steel-64-deeper", 60, 0.0, 0.0, 1.5),
    ],
)
def test_what_is_said_of_one_change_leaves_the_recipe_s_others(tmp_path, preset, epochs, blended, scale, noise):
    file = tmp_path / "experiment.toml"
    file.write_text(f'preset = "{preset}"\n[augmentation]\nflips = false\n')
    experiment = load_experiment(file, {})
    assert not experiment.augmentation.flips
    assert experiment.epochs == epochs
    assert experiment.augmentation.scale == scale
    assert experiment.augmentation.noise == noise
    assert (experiment.synthetic_defects, experiment.moved_share) == (blended, 1)
    file.write_text(f'preset = "{preset}"\nmoved_share = 0.25\n[augmentation]\nscale = 0.1\n')
    own = load_experiment(file, {})
    assert (own.moved_share, own.augmentation.scale) == (0.25, 0.1)


def test_a_network_of_ones_own(tmp_path):
    file = tmp_path / "experiment.toml"
    file.write_text("[network]\ninput_size = 32\n[[network.blocks]]\nfilters = 4\n")
    assert load_experiment(file, {}).resolved_network().input_size == 32


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epochs = 0", "epochs = 0"),
        ("epoch = 3", "epoch = 3"),
        ('preset = "steel-256"', "steel-256"),
        ('preset = ["steel-128"]', r"preset = \['steel-128'\]: .*valid string"),
        ("preset = { name = 1 }", "preset = .*valid string"),
        ("[augmentation]\nblur = 0.5", "blur is 0 or more than 1 px: a pixel is one long"),
        ("[augmentation]\nblur = 1.0", "blur = 1.0: blur is 0 or more than 1 px"),
        ("learning_rate = nan", "learning_rate"),
        ("seed = -1", "seed = -1"),
        ("epochs = ", "not valid TOML"),
        ("\x00", "not valid TOML"),
        ("[split]\ncalibration = 0.6\ntest = 0.5", "share to train on"),
        ("[network]\ninput_size = 8\n[[network.blocks]]\nfilters = 4\nkernel = 9", "convolution_1"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, text, message):
    file = tmp_path / "experiment.toml"
    file.write_text(text)
    with pytest.raises(UsageFault, match=message):
        load_experiment(file, {})


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UsageFault, match=r"nowhere\.toml cannot be read"):
        load_experiment(tmp_path / "nowhere.toml", {})


GUIDE = Path(__file__).parents[2] / "docs" / "training.md"


@pytest.mark.parametrize("settings", [Experiment, Augmentation, SplitShares])
def test_every_key_has_a_row_with_its_default_in_the_guide(settings: type[Settings]):
    rows = dict(re.findall(r"^\| `([a-z_]+)` \| ([^|]+) \|", GUIDE.read_text(encoding="utf-8"), re.MULTILINE))
    told = {name: rows.get(name, "no row").strip("` ") for name in settings.model_fields}
    words = {None: "none", True: "true", False: "false", (): "all", Augmentation(): "below", SplitShares(): "below"}
    expected = {}
    for name, default in settings():
        expected[name] = default if isinstance(default, str) or type(default) in (int, float) else words[default]
    # A number may be written as 4 or as 4.0.
    assert {name: type(expected[name])(value) for name, value in told.items()} == expected
