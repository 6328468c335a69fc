"""An experiment file is taken whole or refused with the value that is wrong."""

import pytest

from model.network import PRESETS
from training.config import load_experiment
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
