"""What the recommended recipe does to a folder: what is drawn with masks, without them, and for each head."""

from pathlib import Path

import numpy as np
import pytest

from model.network import PRESETS, Block, NetworkConfig
from model.tiling import Fit
from synthetic import synthesize
from training.blend import blended, blended_share
from training.checkpoint import Checkpoint, Run
from training.config import Experiment
from training.errors import UsageFault
from training.prepare import Prepared, labelled_records, prepare
from training.recipe import fit_network
from training.scan import fingerprint
from training.split import Part

PRESET = "steel-64-line"
# All that the preset's network has, smaller: its pooling, normalisation, dropout and centring.
TINY = NetworkConfig(
    input_size=16,
    blocks=(Block(filters=2, kernel=5, padding="same", normalize=True, pooling="max_and_average", pool_after=4),),
    dense_units=4,
    dropout=PRESETS[PRESET].dropout,
    centred=PRESETS[PRESET].centred,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    data = tmp_path_factory.mktemp("recipe") / "data"
    synthesize(data, 90, 1, size=64)
    return data


def prepared(data: Path, scratch: Path, **stated) -> tuple[Experiment, Prepared, Checkpoint]:
    """The recipe of the preset on a tiny network; `stated` comes first."""
    settings = {"preset": PRESET, "network": TINY, "epochs": 2, "batch_size": 64, "stride": 16, "seed": 1}
    experiment = Experiment.model_validate(settings | stated)
    run = Run(
        version="v", data=data, fingerprint=fingerprint(labelled_records(data, experiment)), experiment=experiment
    )
    checkpoint = Checkpoint(scratch / "run")
    checkpoint.start(run)
    return experiment, prepare(run, checkpoint), checkpoint


def drawn_by(experiment: Experiment, ready: Prepared, count: int) -> tuple[np.ndarray, np.ndarray]:
    share = blended_share(experiment, ready.fitting.fit)
    tiles, kinds, _ = blended(ready.crops, share, experiment.moved_share).draw(count, np.random.default_rng(0))
    return tiles, kinds


def test_only_the_plant_s_own_types_are_drawn(folder, tmp_path):
    experiment, ready, _ = prepared(folder, tmp_path)
    tiles, kinds = drawn_by(experiment, ready, 300)
    own, own_kinds, _ = ready.crops.draw(300, np.random.default_rng(0))
    assert set(kinds.tolist()) <= {record.defect_type for record in ready.records} | {"none"}
    assert not np.array_equal(tiles[: len(own)], own), "something must have been blended, or nothing is shown"
    assert "none" in own_kinds


def test_whole_images_are_drawn_as_they_are_and_it_is_said(folder, tmp_path, capsys):
    experiment, ready, _ = prepared(folder, tmp_path, fit="resize")
    assert blended(ready.crops, blended_share(experiment, Fit.RESIZE), experiment.moved_share) is ready.crops
    assert "synthetic_defects = 0.5 is dropped" in capsys.readouterr().err
    # Not even resized: a smaller window may show nothing of the defect it is labelled with.
    assert experiment.augmentation.scale == 0.2
    train = ready.parts[Part.TRAIN]
    known = {tile.tobytes() for tile in train.tiles}
    tiles, kinds, _ = ready.crops.draw(200, np.random.default_rng(0))
    assert all(tile.tobytes() in known for tile in tiles)
    defect = {tile.tobytes() for tile in train.tiles[train.defect]}
    assert [tile.tobytes() in defect for tile in tiles] == (kinds != "none").tolist()


def test_tiles_are_shown_at_other_distances(folder, tmp_path):
    _, near, _ = prepared(folder, tmp_path / "scaled")
    _, plain, _ = prepared(folder, tmp_path / "plain", augmentation={"scale": 0})
    tiles, unscaled = (each.crops.draw(20, np.random.default_rng(0)).tiles for each in (near, plain))
    assert not np.array_equal(tiles, unscaled)


def test_drawn_defects_still_pretrain_on_whole_images(folder, tmp_path, capsys):
    experiment, ready, _ = prepared(folder, tmp_path, fit="resize", moved_share=0.5, pretraining=1)
    _, kinds = drawn_by(experiment, ready, 200)
    assert "synthetic" in kinds
    assert "is dropped" not in capsys.readouterr().err


def test_moved_defects_alone_are_refused_for_pretraining_on_whole_images(folder, tmp_path):
    with pytest.raises(UsageFault, match=r"pretraining = 1 with moved_share = 1 .* set pretraining = 0"):
        prepared(folder, tmp_path, fit="resize", pretraining=1)


@pytest.mark.parametrize("fit", ["tile", "resize"])
def test_it_fits_a_network_for_each_defect_class(folder, tmp_path, fit):
    experiment, ready, checkpoint = prepared(folder, tmp_path, heads="defect_class", fit=fit, epochs=1)
    types = sorted({record.defect_type for record in ready.records} - {"none"})
    assert ready.classes == ("ok", *types)
    model, state = fit_network(experiment, ready, checkpoint)
    assert model.output_shape == (None, len(types) + 1)
    assert state.finished == 1
    assert state.best.validation_accuracy is not None


@pytest.mark.parametrize("fit", ["tile", "resize"])
def test_masks_are_taught_with_each_head_where_there_are_masks(folder, tmp_path, fit, capsys):
    two = TINY.model_copy(update={"blocks": (Block(filters=2, padding="same", normalize=True), *TINY.blocks)})
    taught = {"network": two, "heads": "defect_class", "fit": fit, "epochs": 1}
    losses = []
    for weight in (0.0, 100.0):
        experiment, ready, checkpoint = prepared(folder, tmp_path / str(weight), mask_weight=weight, **taught)
        model, state = fit_network(experiment, ready, checkpoint)
        assert model.get_layer("logits").units == len(ready.classes)
        losses.append(state.history[-1].loss)
    # The loss that is told is the sum; where nothing is taught the weight changes nothing at all.
    assert (losses[1] > losses[0] + 10) if fit == "tile" else (losses[1] == losses[0])
    assert ("mask_weight = 100 is dropped" in capsys.readouterr().err) == (fit == "resize")
