"""A teacher's share of the targets is its own probability, and it never carries held-out groups into the student."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from model.artifact import MANIFEST, read_manifest, write_manifest
from model.engine import KerasEngine
from model.errors import SteelsightError
from model.export import save_keras
from model.network import PRESETS, Block, NetworkConfig
from model.tiling import Fit
from synthetic import synthesize
from training.checkpoint import Run
from training.config import Experiment, load_experiment
from training.errors import DataFault, UsageFault
from training.prepare import labelled_records
from training.scan import fingerprint
from training.split import Part, split
from training.teacher import Teacher, open_teacher, require_teacher, teachers_split

VERSION = "tiny-64-first"
STUDENT = NetworkConfig(input_size=64, blocks=(Block(filters=4, kernel=5, stride=4),), dense_units=8)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logits.astype(np.float64)))


@pytest.fixture(scope="module")
def engine(tiny_models):
    return KerasEngine(tiny_models / VERSION, 0)


@pytest.fixture
def images(steel_tiles):
    """As augmentation leaves them: float32, between grey values too."""
    return steel_tiles(12, 64)[..., np.newaxis].astype(np.float32) * np.float32(0.97)


@pytest.mark.parametrize("weight", [0.25, 1.0])
def test_targets_move_towards_the_teacher_by_its_weight(engine, images, weight):
    targets = (np.arange(len(images)) % 2)[:, np.newaxis].astype(np.float32)
    softened = Teacher(engine, weight).soften(images, targets)
    taught = sigmoid(engine.logits(images[..., 0]))
    assert np.ptp(taught) > 0.5, "a teacher that says the same of everything would prove nothing"
    assert softened.dtype == np.float32
    assert softened == pytest.approx((1 - weight) * targets + weight * taught, abs=1e-6)


def test_targets_over_classes_still_add_up_to_one(seeded_network, images, tmp_path):
    save_keras(seeded_network(NetworkConfig(input_size=64, blocks=(Block(filters=4),), outputs=4), 3), tmp_path)
    targets = np.eye(4, dtype=np.float32)[np.arange(len(images)) % 4]
    softened = Teacher(KerasEngine(tmp_path, 0), 0.5).soften(images, targets)
    assert softened.shape == targets.shape
    assert softened.sum(axis=1) == pytest.approx(1)
    assert (softened[targets == 1] >= 0.5).all()


def test_all_channels_are_the_same_grey(seeded_network, images, tmp_path):
    save_keras(seeded_network(NetworkConfig(input_size=64, channels=3, blocks=(Block(filters=4),)), 3), tmp_path)
    engine = KerasEngine(tmp_path, 0)
    softened = Teacher(engine, 1.0).soften(np.repeat(images, 3, axis=3), np.zeros((len(images), 1), np.float32))
    assert softened == pytest.approx(sigmoid(engine.logits(images[..., 0])), abs=1e-6)


def test_it_answers_the_same_from_any_thread(engine, images):
    teacher = Teacher(engine, 0.5)
    targets = np.zeros((len(images), 1), np.float32)
    alone = teacher.soften(images, targets)
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda _: teacher.soften(images, targets), range(16)))
    assert all(np.array_equal(alone, each) for each in together)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    data = tmp_path_factory.mktemp("teacher") / "data"
    synthesize(data, 60, 1, size=64)
    return data


@pytest.fixture
def student(folder):
    """A run of a student of `VERSION`; `fields` are of its experiment."""

    def student(**fields) -> Run:
        experiment = Experiment(**{"teacher": VERSION, "network": STUDENT, "seed": 5} | fields)
        records = labelled_records(folder, experiment)
        return Run(version="student", data=folder, fingerprint=fingerprint(records), experiment=experiment)

    return student


@pytest.fixture
def taught(own_models, folder):
    """The models folder with `VERSION` as if it had been trained on `folder` with seed 0; `fields` replace others."""

    def taught(**fields) -> Path:
        experiment = Experiment()
        records = labelled_records(folder, experiment)
        parts = {group: str(part) for group, part in split(records, experiment.split, 0).items()}
        manifest = read_manifest(own_models / VERSION)
        (own_models / VERSION / MANIFEST).unlink()
        # It had itself begun with a version of other data.
        before = {"groups_before": ["older"], "images_used": ["0" * 64]}
        own = {"classes": ("ok", "defect"), "data": {"fingerprint": fingerprint(records), "split": parts} | before}
        write_manifest(own_models / VERSION, manifest.model_copy(update=own | fields))
        return own_models

    return taught


def test_the_student_takes_over_the_teachers_split(taught, student):
    run, models = student(), taught()
    require_teacher(run, Fit.TILE, models)
    agreed = teachers_split(run, models)
    own = split(labelled_records(run.data, run.experiment), run.experiment.split, run.experiment.seed)
    assert agreed is not None
    assert agreed.keys() == own.keys()
    assert agreed != own
    assert {group: str(part) for group, part in agreed.items()} == read_manifest(models / VERSION).data["split"]
    assert set(agreed.values()) == set(Part)


def test_without_a_teacher_nothing_is_asked(student, tmp_path):
    run = student(teacher=None)
    require_teacher(run, Fit.TILE, tmp_path / "nowhere")
    assert teachers_split(run, tmp_path / "nowhere") is None


def test_a_preview_shows_what_the_teachers_split_leaves_to_draw_from(taught, student, tmp_path):
    from training.preview import write_preview

    def drawn(run: Run, models: Path) -> bytes:
        write_preview(run.data, run.experiment, tmp_path / "out", models)
        return (tmp_path / "out/drawn.png").read_bytes()

    alone = student(teacher=None)
    own = split(labelled_records(alone.data, alone.experiment), alone.experiment.split, alone.experiment.seed)
    as_ever = drawn(alone, tmp_path)
    agreeing = {"fingerprint": alone.fingerprint, "split": {group: str(part) for group, part in own.items()}}
    models = taught()
    assert drawn(student(), models) != as_ever
    assert drawn(student(), taught(data=agreeing)) == as_ever


def test_a_teacher_of_other_data_is_refused(taught, student):
    with pytest.raises(DataFault, match="train the teacher on this folder as it is now"):
        require_teacher(student(), Fit.TILE, taught(data={"fingerprint": "0" * 64, "split": {"a": "train"}}))


def test_a_teacher_that_leaves_no_group_to_test_on_is_refused(taught, student):
    run = student()
    for parts in ({}, {"a": "fold 1", "b": "fold 2"}, {"a": "train"}):
        models = taught(data={"fingerprint": run.fingerprint, "split": parts})
        with pytest.raises(DataFault, match="without folds"):
            require_teacher(run, Fit.TILE, models)


def test_another_input_is_refused(taught, student):
    models = taught()
    larger = STUDENT.model_copy(update={"input_size": 128})
    with pytest.raises(UsageFault, match="64 x 64 px in 1 channels, and the student 128 x 128"):
        require_teacher(student(network=larger), Fit.TILE, models)
    coloured = STUDENT.model_copy(update={"channels": 3})
    with pytest.raises(UsageFault, match="and the student 64 x 64 px in 3"):
        require_teacher(student(network=coloured), Fit.TILE, models)
    with pytest.raises(UsageFault, match='fit = "tile" and the student would be with "resize"'):
        require_teacher(student(), Fit.RESIZE, models)


def test_other_classes_are_refused(taught, student):
    models, run = taught(classes=("ok", "pit")), student()
    with pytest.raises(UsageFault, match="tells ok, pit apart and the student ok, defect"):
        open_teacher(run.experiment, ("ok", "defect"), read_manifest(models / VERSION).fitting, models)
    with pytest.raises(UsageFault, match='has 1 outputs, which does not fit heads = "defect_class"'):
        require_teacher(student(heads="defect_class"), Fit.TILE, models)


def test_a_changed_teacher_is_refused(taught, student):
    models = taught()
    with (models / VERSION / "model.keras").open("ab") as file:
        file.write(b"more")
    with pytest.raises(SteelsightError, match="not the file that was published"):
        require_teacher(student(), Fit.TILE, models)


def test_folds_have_no_teacher(tmp_path):
    file = tmp_path / "experiment.toml"
    file.write_text('teacher = "v"\nfolds = 5\n')
    with pytest.raises(UsageFault, match="leave out teacher or folds"):
        load_experiment(file, {})


def test_the_documented_teacher_and_student_fit_together(tmp_path):
    text = Path("docs/training.md").read_text(encoding="utf-8")
    section = text.split("\n## The teacher\n")[1].split("\n## ")[0]
    teacher, student = (_experiment(block.split("```")[0], tmp_path) for block in section.split("```toml")[1:])
    large, small = teacher.resolved_network(), student.resolved_network()
    assert len(large.blocks) == 8
    assert (large.input_size, large.channels) == (small.input_size, small.channels)
    assert large.multiply_adds() == pytest.approx(9 * PRESETS["steel-128"].multiply_adds(), rel=0.05)
    assert student.teacher is not None


def _experiment(text: str, folder: Path) -> Experiment:
    file = folder / "experiment.toml"
    file.write_text(text)
    return load_experiment(file, {})


CONFIG = """
teacher = "{teacher}"
teacher_weight = 0.25
epochs = 2
batch_size = 16
seed = 5
[network]
input_size = {size}
dense_units = 8
[[network.blocks]]
filters = 4
kernel = 5
stride = 4
"""


def train(folder: Path, models: Path, tmp_path: Path, teacher: str, size: int = 64) -> int:
    from training.command import main

    config = tmp_path / "experiment.toml"
    config.write_text(CONFIG.format(teacher=teacher, size=size))
    return main(["train", str(folder), "--config", str(config), "--models", str(models), "--json"])


def test_train_with_a_teacher(folder, taught, tmp_path, capsys):
    models = taught()
    assert train(folder, models, tmp_path, VERSION) == 0
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    manifest = json.loads((models / summary["version"] / "manifest.json").read_text())
    assert manifest["data"]["split"] == read_manifest(models / VERSION).data["split"]
    experiment = manifest["training"]["experiment"]
    assert (experiment["teacher"], experiment["teacher_weight"]) == (VERSION, 0.25)
    assert "older" in manifest["data"]["groups_before"], "what a teacher knew has come down to its student"
    assert "0" * 64 in manifest["data"]["images_used"]
    card = (models / summary["version"] / "report" / "model-card.md").read_text()
    assert f"It was taught, too, by {VERSION}." in card


@pytest.mark.parametrize(
    ("teacher", "size", "exit_code", "message"),
    [("nobody", 64, 1, "no model version 'nobody'"), (VERSION, 32, 2, "both must have the same input")],
)
def test_what_cannot_teach_is_said_before_anything_is_started(
    folder, taught, tmp_path, capsys, teacher, size, exit_code, message
):
    models = taught()
    assert train(folder, models, tmp_path, teacher, size) == exit_code
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert not list(tmp_path.rglob("run.json"))
