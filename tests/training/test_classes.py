"""Which classes an experiment tells apart, and which of them each tile is."""

import numpy as np
import pytest
from PIL import Image

from model.artifact import Fitting
from model.engine import network_input
from model.network import PRESETS, Block, NetworkConfig
from model.tiling import Fit
from training.checkpoint import Checkpoint, Run
from training.classes import class_names, class_numbers, tile_kinds
from training.config import Experiment
from training.crops import CropSampler, Surface
from training.dataset import cut, surface
from training.errors import DataFault, UsageFault
from training.grouping import with_groups
from training.prepare import require_binary
from training.scan import scan

MANY = Experiment(heads="defect_class")


def test_binary_has_two_classes_whatever_the_types_are():
    assert class_names([], "binary") == class_names(["none", "pit", "OK"], "binary") == ("ok", "defect")


def test_ok_is_the_first_class_also_where_nothing_is_ok():
    assert class_names(["scratch", "pit"], "defect_class") == ("ok", "pit", "scratch")
    assert class_names(["none", "defect"], "defect_class") == ("ok", "defect")


@pytest.mark.parametrize("name", ["ok", "OK", "None"])
def test_a_type_named_like_good_surface_is_refused(name):
    with pytest.raises(DataFault, match=f"'{name}' has the name of good surface"):
        class_names(["none", name], "defect_class")


def test_there_must_be_types_and_not_too_many():
    with pytest.raises(DataFault, match="and the tiles show 0"):
        class_names(["none"], "defect_class")
    assert len(class_names(map(str, range(999)), "defect_class")) == 1000
    with pytest.raises(DataFault, match="1 to 999 defect types to name, and the tiles show 1000"):
        class_names(map(str, range(1000)), "defect_class")


def test_the_data_set_the_number_of_outputs():
    classes = ("ok", "fold", "pit")
    own = NetworkConfig(input_size=32, blocks=(Block(filters=2),), outputs=7)
    assert MANY.resolved_network(classes) == PRESETS["steel-128"].model_copy(update={"outputs": 3})
    assert MANY.model_copy(update={"network": own}).resolved_network(classes).outputs == 3
    assert Experiment(preset="rgb-224", heads="defect_class").resolved_network(classes).outputs == 3
    assert Experiment().resolved_network(("ok", "defect")) == PRESETS["steel-128"]


def test_ten_outputs_need_defect_classes():
    with pytest.raises(UsageFault, match=r'rgb-224\) has 10 outputs.*heads = "defect_class"'):
        require_binary(Experiment(preset="rgb-224"))
    require_binary(Experiment(preset="rgb-224", heads="defect_class"))


def test_an_ok_tile_of_a_defect_image_is_ok(tmp_path, write_image):
    grey = np.random.default_rng(0).integers(0, 256, (32, 64), np.uint8)
    write_image(tmp_path / "defect/pit/a.png", grey)
    mask = np.zeros((32, 64), np.uint8)
    mask[:, :16] = 255
    write_image(tmp_path / "masks/a.png", mask)
    write_image(tmp_path / "ok/b.png", 1, (32, 32))
    records = with_groups(scan(tmp_path))
    kinds = tile_kinds(cut(records, Fitting(tile=32, stride=32), 20, tmp_path), records)
    assert kinds.tolist() == ["pit", "none", "none"]
    assert class_numbers(kinds, ("ok", "fold", "pit")).tolist() == [2, 0, 0]


def test_grey_and_colour_images_train_a_network_with_three_channels(tmp_path, write_image):
    """As in the preset rgb-224: the data set the number of outputs, and grey is repeated over the channels."""
    from training.fit import fit, trained_network

    for number in range(6):
        write_image(tmp_path / f"ok/{number}.png", np.full((20, 20), 120 + number, np.uint8))
        Image.new("RGB", (20, 20), (250, 240, 200)).save(write_image(tmp_path / f"defect/pit/p{number}.png", 0))
        write_image(tmp_path / f"defect/fold/f{number}.png", np.full((20, 20), number, np.uint8))
    records, fitting = with_groups(scan(tmp_path)), Fitting(fit=Fit.RESIZE, tile=16, stride=16)
    tiles = cut(records, fitting, 20, tmp_path)
    kinds = tile_kinds(tiles, records)
    classes = class_names(kinds, "defect_class")
    own = NetworkConfig(input_size=16, channels=3, blocks=(Block(filters=2),), dense_units=4, outputs=10)
    experiment = Experiment(heads="defect_class", network=own, epochs=1, batch_size=8)
    network = experiment.resolved_network(classes)
    surfaces = {
        number: Surface(*surface(record, fitting)[:2], record.defect_type, str(record.group))
        for number, record in enumerate(records)
    }
    run = Checkpoint(tmp_path / "run")
    run.start(Run(version="v", data=tmp_path, fingerprint="", experiment=experiment))
    crops = CropSampler(surfaces, tiles, 20)
    state = fit(network, crops, 16, tiles, experiment, run, classes=classes, validation_kinds=kinds)
    assert state.best.validation_accuracy is not None
    model = trained_network(network, run, state)
    assert (model.input_shape, model.output_shape) == ((None, 16, 16, 3), (None, 3))
    shown = model(network_input(np.asarray(tiles.tiles), 3)).numpy()
    np.testing.assert_allclose(shown.sum(axis=1), 1, atol=1e-5)


class TestWholeImages:
    """`fit = "resize"`: labelled by the folder, whatever masks there are."""

    FITTING = Fitting(fit=Fit.RESIZE, tile=32, stride=32)

    @pytest.fixture
    def records(self, tmp_path, write_image):
        for number, kind in enumerate(("pit", "fold")):
            write_image(tmp_path / f"defect/{kind}/{kind}.png", number, (50, 40))
        mask = np.zeros((50, 40), np.uint8)
        mask[0, 0] = 255
        write_image(tmp_path / "masks/pit.png", mask)
        return with_groups(scan(tmp_path))

    def test_masks_are_not_looked_at(self, records, tmp_path):
        tiles = cut(records, self.FITTING, 20, tmp_path)
        assert not tiles.left_out
        assert tile_kinds(tiles, records).tolist() == ["fold", "pit"]

    def test_tiles_are_drawn_whole_and_none_is_ok(self, records, tmp_path):
        tiles = cut(records, self.FITTING, 20, tmp_path)
        surfaces = {
            number: Surface(*surface(record, self.FITTING)[:2], record.defect_type, str(record.group))
            for number, record in enumerate(records)
        }
        drawn, kinds, _ = CropSampler(surfaces, tiles, 20, defect_share=0.1).draw(60, np.random.default_rng(0))
        assert set(kinds) == {"fold", "pit"}
        for tile, kind in zip(drawn, kinds, strict=True):
            assert np.array_equal(tile, tiles.tiles[["fold", "pit"].index(kind)])


def test_where_all_is_ok_only_ok_is_drawn(tmp_path, write_image):
    write_image(tmp_path / "ok/a.png", 0, (50, 40))
    records = with_groups(scan(tmp_path))
    tiles = cut(records, Fitting(tile=32, stride=32), 20, tmp_path)
    only = Surface(*surface(records[0], Fitting(tile=32, stride=32))[:2], "none", "a")
    _, kinds, _ = CropSampler({0: only}, tiles, 20).draw(20, np.random.default_rng(0))
    assert set(kinds) == {"none"}
