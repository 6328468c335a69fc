"""A fit that begins with a version's convolutions, and never hands on what that version knows unseen."""

import json
from pathlib import Path

import numpy as np
import pytest

from model.artifact import MANIFEST, read_manifest, write_manifest
from model.engine import KerasEngine
from model.errors import SteelsightError
from model.image import decode
from model.network import Block, NetworkConfig, build
from synthetic import synthesize
from tests.conftest import TINY_NETWORK
from training.checkpoint import Run
from training.command import main
from training.config import Experiment
from training.errors import DataFault, UsageFault
from training.identity import pixel_digest
from training.prepare import labelled_records
from training.scan import fingerprint
from training.start import Start, open_start, require_start

VERSION = "tiny-64-first"
CLASSES = TINY_NETWORK.model_copy(update={"outputs": 3, "dense_units": 5})


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory) -> Path:
    """What the version to start from was trained on."""
    data = tmp_path_factory.mktemp("elsewhere") / "data"
    synthesize(data, 40, 8, size=64)
    return data


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The new line's; its images are others, and the names of its groups are too."""
    data = tmp_path_factory.mktemp("start") / "data"
    synthesize(data, 60, 1, size=64)
    labels = data / "labels.csv"
    labels.write_text(labels.read_text().replace(",coil", ",new"))
    return data


@pytest.fixture
def published(own_models, elsewhere):
    """`published(**data)`: the models, with `VERSION` as if fitted on all of `elsewhere`; `data` says otherwise."""

    def published(**data) -> Path:
        records = labelled_records(elsewhere, Experiment())
        known = {
            "split": {str(record.group): "train" for record in records},
            "images_used": sorted(pixel_digest(decode(record.path.read_bytes())) for record in records),
        }
        manifest = read_manifest(own_models / VERSION)
        (own_models / VERSION / MANIFEST).unlink()
        training = {"experiment": Experiment().model_dump(mode="json")}
        write_manifest(own_models / VERSION, manifest.model_copy(update={"training": training, "data": known | data}))
        return own_models

    return published


def run_of(data: Path, **fields) -> Run:
    experiment = Experiment(**{"start": VERSION, "network": TINY_NETWORK} | fields)
    marks = fingerprint(labelled_records(data, experiment))
    return Run(version="new", data=data, fingerprint=marks, experiment=experiment)


def weights(model) -> dict[str, np.ndarray]:
    return {layer.name: layer.get_weights()[0] for layer in model.layers if layer.get_weights()}


def test_convolutions_are_taken_over_and_dense_layers_are_not(published):
    start = open_start(Experiment(start=VERSION, network=CLASSES), published())
    source = weights(KerasEngine(published() / VERSION, 0).network)
    fresh = build(CLASSES)
    before = weights(fresh)
    start.begin(fresh)
    after = weights(fresh)
    for name in ("convolution_1", "convolution_2"):
        assert np.array_equal(after[name], source[name])
        assert not np.array_equal(after[name], before[name])
    for name in ("dense", "logits"):
        assert np.array_equal(after[name], before[name])


def test_normalisation_is_taken_over_whole():
    network = NetworkConfig(input_size=16, blocks=(Block(filters=2, normalize=True),), dense_units=4)
    source, fresh = build(network), build(network)
    statistics = [np.array(each, np.float32) for each in ([1, 2], [3, 4], [5, 6], [7, 8])]
    source.get_layer("normalization_1").set_weights(statistics)
    Start.of(source).begin(fresh)
    assert np.array_equal(fresh.get_layer("normalization_1").get_weights(), statistics)


def test_without_a_start_nothing_is_asked(folder, tmp_path):
    require_start(run_of(folder, start=None), tmp_path / "nowhere")
    assert open_start(Experiment(), tmp_path / "nowhere") is None


def test_a_version_of_other_data_will_do_also_for_larger_tiles(folder, published):
    require_start(run_of(folder), published())
    require_start(run_of(folder, network=TINY_NETWORK.model_copy(update={"input_size": 48})), published())


@pytest.mark.parametrize(
    "change",
    [{"levelled": True}, {"centred": True}, {"channels": 3}, {"blocks": (Block(filters=4), Block(filters=9))}],
)
def test_other_convolutions_are_refused(folder, published, change):
    other = NetworkConfig.model_validate(TINY_NETWORK.model_dump() | change)
    with pytest.raises(UsageFault, match="has other convolutions than the network to be trained"):
        require_start(run_of(folder, network=other), published())
    with pytest.raises(UsageFault, match="start from a version of the same preset"):
        open_start(Experiment(start=VERSION, network=other), published())


def test_a_version_that_knows_the_data_is_refused(folder, elsewhere, published):
    with pytest.raises(DataFault, match=r"knows 40 of the images .* the figures would flatter"):
        require_start(run_of(elsewhere), published())
    one_group = str(labelled_records(folder, Experiment())[0].group)
    with pytest.raises(DataFault, match="or others of their groups"):
        require_start(run_of(folder), published(split={one_group: "train"}, images_used=[]))


def test_a_version_that_does_not_say_what_it_knows_is_refused(folder, own_models):
    with pytest.raises(DataFault, match="without a list of the images"):
        require_start(run_of(folder), own_models)


def test_a_changed_version_is_refused(folder, published):
    models = published()
    with (models / VERSION / "model.keras").open("ab") as file:
        file.write(b"more")
    with pytest.raises(SteelsightError, match="not the file that was published"):
        require_start(run_of(folder), models)


CONFIG = """
start = "{start}"
epochs = 1
batch_size = 16
learning_rate = {rate}
{more}
[network]
input_size = 64
dense_units = 16
[[network.blocks]]
filters = 4
[[network.blocks]]
filters = 8
"""


def train(folder: Path, models: Path, tmp_path: Path, start: str = VERSION, rate: float = 1e-3, more: str = "") -> int:
    config = tmp_path / "experiment.toml"
    config.write_text(CONFIG.format(start=start, rate=rate, more=more))
    return main(["train", str(folder), "--config", str(config), "--models", str(models), "--json"])


def told(capsys) -> dict:
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_a_version_that_began_with_another_knows_what_that_one_knew(folder, elsewhere, published, tmp_path, capsys):
    models = published()
    assert train(folder, models, tmp_path, rate=1e-7) == 0
    version = told(capsys)["version"]
    before, manifest = (read_manifest(models / name) for name in (VERSION, version))
    assert manifest.training["experiment"]["start"] == VERSION
    assert set(manifest.data["groups_before"]) == set(before.data["split"])
    assert set(manifest.data["images_used"]) > set(before.data["images_used"])
    card = (models / version / "report" / "model-card.md").read_text()
    assert f"Its convolutions began as those of {VERSION}." in card
    # So short a step leaves the convolutions where they began.
    began, ended = (weights(KerasEngine(models / name, 0).network) for name in (VERSION, version))
    assert ended["convolution_2"] == pytest.approx(began["convolution_2"], abs=1e-4)
    assert main(["evaluate", version, str(elsewhere), "--models", str(models), "--json"]) == 0
    assert told(capsys)["known_groups"] == len(before.data["split"])


def test_every_fold_begins_with_it(folder, published, tmp_path, capsys):
    models = published()
    assert train(folder, models, tmp_path, rate=1e-7, more="folds = 2\nfigures_only = true") == 0
    networks = sorted((tmp_path / "runs").rglob("network"))
    assert len(networks) == 2
    began = weights(KerasEngine(models / VERSION, 0).network)["convolution_2"]
    for each in networks:
        assert weights(KerasEngine(each, 0).network)["convolution_2"] == pytest.approx(began, abs=1e-4)


def test_what_cannot_be_begun_with_is_said_before_anything_is_started(folder, published, tmp_path, capsys):
    assert train(folder, published(), tmp_path, start="nobody") == 1
    assert "no model version 'nobody'" in capsys.readouterr().err.splitlines()[-1]
    assert not list(tmp_path.rglob("run.json"))
