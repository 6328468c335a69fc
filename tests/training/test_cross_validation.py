"""No fold's figures know its groups, a stopped run ends like one that was not, and the version says whose they are."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model.artifact import read_manifest
from model.engine import KerasEngine
from model.registry import Registry
from training import curves, report
from training.checkpoint import Checkpoint, Run
from training.command import main
from training.config import Experiment
from training.cross_figures import cross_figures
from training.cross_validation import LOGITS, OutOfFold, cross_validate, finished_folds, fold_checkpoint
from training.dataset import TileSet
from training.errors import DataFault
from training.evaluate import Examination, OutOfFoldFigures
from training.folds import deal_folds
from training.labelled_folder import groups_used
from training.prepare import labelled_records, read_folder
from training.recipe import fit_network
from training.run import evaluate_version, train
from training.scan import Record, fingerprint

RECIPE = {
    "network": {"input_size": 16, "dense_units": 4, "blocks": [{"filters": 2, "kernel": 5, "stride": 2}]},
    "epochs": 2,
    "batch_size": 8,
    "folds": 2,
    "group_pattern": r"/(coil\d+)_",
}
SMALL = Experiment.model_validate(RECIPE)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """20 coils of two images, ok or with a dark spot, that only their file names tell apart."""
    data = tmp_path_factory.mktemp("data") / "coils"
    for coil in range(20):
        kind = "ok" if coil % 2 else f"defect/{'pit' if coil % 4 else 'fold'}"
        (data / kind).mkdir(parents=True, exist_ok=True)
        for shot in range(2):
            grey = np.random.default_rng([coil, shot]).normal(140, 12, (16, 16))
            if not coil % 2:
                grey[4:10, 4:10] -= 60
            Image.fromarray(np.clip(grey, 0, 255).astype(np.uint8)).save(data / kind / f"coil{coil}_{shot}.png")
    return data


@pytest.fixture
def coils(made, tmp_path) -> Path:
    """The same in a folder that the test may change."""
    return Path(shutil.copytree(made, tmp_path / "coils"))


def started(data: Path, folder: Path, experiment: Experiment = SMALL) -> tuple[Run, Checkpoint]:
    run = Run(
        version=folder.name,
        data=data,
        fingerprint=fingerprint(labelled_records(data, experiment)),
        experiment=experiment,
    )
    checkpoint = Checkpoint(folder)
    checkpoint.start(run)
    return run, checkpoint


def cross_validated(run: Run, checkpoint: Checkpoint) -> OutOfFold:
    return cross_validate(run, read_folder(run, checkpoint.folder), checkpoint)


@pytest.fixture(scope="module")
def whole(made, tmp_path_factory) -> tuple[Run, Checkpoint, OutOfFold]:
    """A cross-validation that nobody stopped."""
    run, checkpoint = started(made, tmp_path_factory.mktemp("runs") / "whole")
    return run, checkpoint, cross_validated(run, checkpoint)


def weights_of(network: Path) -> list[np.ndarray]:
    import keras

    return [np.asarray(each) for each in keras.models.load_model(network, compile=False).get_weights()]


def same_networks(a: OutOfFold, b: OutOfFold) -> list[bool]:
    """Of each fold, whether both have the same weights to the bit."""
    pairs = zip(a.networks, b.networks, strict=True)
    weights = [[weights_of(folder / KerasEngine.file) for folder in pair] for pair in pairs]
    return [all(map(np.array_equal, *pair)) for pair in weights]


def test_a_network_does_not_change_with_the_groups_it_is_to_judge(whole, coils, tmp_path, write_image):
    _, _, before = whole
    group = "coil3"
    for file in coils.glob(f"*/{group}_*.png"):
        write_image(file, 99, (16, 16))
    after = cross_validated(*started(coils, tmp_path / "after"))
    assert before.fold_of == after.fold_of
    assert same_networks(before, after) == [number == before.fold_of[group] for number in range(2)]


def test_stopped_before_the_second_fold_and_resumed_it_ends_like_a_run_that_was_not(
    whole, coils, tmp_path, capsys, monkeypatch
):
    run, checkpoint = started(coils, tmp_path / "stopped")
    first, second = (fold_checkpoint(checkpoint, number).folder / LOGITS for number in range(2))

    def fitted(*arguments, **named):
        # Ctrl-C at the one moment that matters here; tests/training/test_kill.py has the random ones.
        if first.exists():
            raise KeyboardInterrupt
        return fit_network(*arguments, **named)

    monkeypatch.setattr("training.cross_validation.fit_network", fitted)
    assert main(["train", "--resume", str(checkpoint.folder), "--models", str(tmp_path / "models")]) == 130
    monkeypatch.undo()
    assert "stopped after 1 of 2 folds; resume with: python -m training train" in capsys.readouterr().err
    assert not second.exists()
    assert finished_folds(checkpoint, 2) == 1
    written = first.stat().st_mtime_ns
    resumed = cross_validated(run, checkpoint)
    assert first.stat().st_mtime_ns == written, "a finished fold must not be repeated"
    assert np.array_equal(resumed.logits, whole[2].logits)
    assert same_networks(resumed, whole[2]) == [True, True]


def test_the_version_says_whose_figures_they_are_and_that_no_group_is_left_to_test_it(whole, made, tmp_path):
    run, checkpoint, found = whole
    models = tmp_path / "models"
    outcome = train(run, checkpoint, models)
    manifest = read_manifest(models / "whole")
    assert (outcome.tiles, outcome.groups) == (40, 20)
    assert manifest.metrics == outcome.metrics == cross_figures(found, SMALL).metrics
    assert manifest.training["cross_validation"] == outcome.cross_validation
    assert manifest.training["best_epoch"] == SMALL.epochs
    assert "All this is said of networks of this recipe" in manifest.training["thresholds"]["sentence"]
    # The split can be had again from the seed and the data that have this fingerprint, and spares no group.
    records = labelled_records(made, SMALL)
    assert manifest.data["fingerprint"] == fingerprint(records)
    dealt = deal_folds(records, 2, SMALL.seed)
    assert manifest.data["split"] == {group: f"fold-{number + 1}" for group, number in dealt.items()}
    assert groups_used(manifest) == {f"coil{number}" for number in range(20)}
    assert len(manifest.data["images_used"]) == len(records)
    with pytest.raises(DataFault, match="no group that whole was not fitted"):
        evaluate_version("whole", made, models, unseen=True)

    told = json.loads((models / "whole/report/report.json").read_text())
    assert told["metrics"] == {name: each.model_dump() for name, each in outcome.metrics.items()}
    assert told["known_groups"] == 0
    passed = told["confusion"]["defect"]["ok"]
    for rows in (told["by_defect_class"], told["by_defect_size"]):
        escapes = sum(row["metrics"]["escape_rate"]["value"] * row["tiles"] for row in rows)
        assert not rows or escapes == pytest.approx(passed)
    assert told["robustness"][0]["metrics"]["escape_rate"] == told["metrics"]["escape_rate"]
    for file in ("model-card.md", "report.html"):
        page = (models / "whole/report" / file).read_text()
        assert "The figures are those of 2 networks of this recipe" in page
        assert "no group is left to test it" in page
    # Evaluated on a folder, it is the version itself that is measured.
    evaluate_version("whole", made, models, report=tmp_path / "again")
    assert "The figures are those of 2 networks" not in (tmp_path / "again/model-card.md").read_text()


def test_figures_alone_are_printed_and_nothing_is_published(coils, tmp_path, capsys):
    config = tmp_path / "experiment.toml"
    config.write_text(
        "epochs = 1\n[network]\ninput_size = 16\ndense_units = 4\n"
        "[[network.blocks]]\nfilters = 2\nkernel = 5\nstride = 2\n"
    )
    flags = ["--folds", "2", "--figures-only", "--group-pattern", SMALL.group_pattern, "--max-escape", "0.3"]
    common = ["--config", str(config), "--models", str(tmp_path / "models"), "--json"]
    assert main(["train", str(coils), *flags, *common]) == 0
    out, err = capsys.readouterr()
    figures = json.loads(out.splitlines()[-1])
    assert figures["version"] is None
    assert (figures["tiles"], figures["groups"]) == (40, 20)
    assert {"auroc", "escape_rate", "expected_calibration_error"} <= figures["metrics"].keys()
    assert [fold["auroc"].keys() for fold in figures["cross_validation"]["folds"]] == [{"value", "low", "high"}] * 2
    assert "auroc of each fold alone" in err
    assert Registry(tmp_path / "models").versions() == []
    (run,) = (tmp_path / "runs").iterdir()
    assert main(["train", "--resume", str(run), "--models", str(tmp_path / "models"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == figures


def test_defect_classes_without_ok_images_have_the_figures_of_classes(coils, tmp_path):
    shutil.rmtree(coils / "ok")
    classes = SMALL.model_copy(update={"heads": "defect_class", "figures_only": True, "epochs": 1})
    outcome = train(*started(coils, tmp_path / "run", classes), tmp_path / "models")
    assert outcome.version is None
    assert 0 <= outcome.metrics["class_accuracy"].value <= 1
    assert "auroc" not in outcome.metrics
    assert "class_accuracy" in outcome.cross_validation["mean"]


def test_ok_tiles_in_one_fold_alone_are_a_fault_of_the_data(coils, tmp_path):
    """Nobody said ok of an image, but the masks leave ok surface on one: then every fold needs some."""
    shutil.rmtree(coils / "ok")
    (coils / "masks").mkdir()
    images = sorted(coils.glob("defect/*/*.png"))
    for number, image in enumerate(images):
        width = 48 if number == 0 else 16
        Image.open(image).resize((width, 16)).save(image)
        mask = np.zeros((16, width), np.uint8)
        mask[4:10, 4:10] = 255
        Image.fromarray(mask).save(coils / "masks" / image.name)
    classes = SMALL.model_copy(update={"heads": "defect_class", "figures_only": True, "epochs": 1})
    with pytest.raises(DataFault, match=r"fold-[12] of 2 has no ok tiles"):
        train(*started(coils, tmp_path / "run", classes), tmp_path / "models")


def test_folds_that_lack_a_label_are_a_fault_of_the_data(coils, tmp_path):
    many = SMALL.model_copy(update={"folds": 11})
    with pytest.raises(DataFault, match="11 folds need at least 11 groups that show defect surface"):
        train(*started(coils, tmp_path / "run", many), tmp_path / "models")


@pytest.fixture(scope="module")
def found() -> OutOfFold:
    """Made-up logits of 90 coils in three folds: no network is needed to see who is judged by whom."""
    rng = np.random.default_rng(4)
    group = np.repeat([f"coil{number}" for number in range(90)], 6)
    defect = np.repeat(np.arange(90) % 3 == 0, 6)
    logits = (2 * rng.normal(size=540) + 3 * defect)[:, np.newaxis].astype(np.float32)
    fold_of = {f"coil{number}": number // 3 % 3 for number in range(90)}
    fold = np.array([fold_of[name] for name in group])
    tiles = TileSet(np.zeros((540, 2, 2), np.uint8), defect, group, np.arange(540))
    kinds = np.where(defect, "pit", "none")
    return OutOfFold(3, ("ok", "defect"), fold_of, tiles, kinds, fold, logits, ())


@pytest.fixture(scope="module")
def figures(found):
    return cross_figures(found, SMALL)


class TestCrossFigures:
    def test_a_fold_has_no_say_in_its_own_calibrator_and_verdicts(self, found, figures):
        inside = found.fold == 1
        upset = replace(found, logits=np.where(inside[:, np.newaxis], -found.logits, found.logits))
        after = cross_figures(upset, SMALL)
        same_one = [one == other for one, other in zip(figures.calibrators, after.calibrators, strict=True)]
        assert same_one == [False, True, False]
        expected = figures.calibrators[1].probabilities(found.logits[inside])
        assert np.array_equal(figures.probabilities[inside], expected)

    def test_pooled_counts_are_the_sums_of_the_folds(self, found, figures):
        for name, shown in (("escape_rate", found.tiles.defect), ("overkill_rate", ~found.tiles.defect)):
            tiles = np.bincount(found.fold[shown], minlength=3)
            rates = [fold[name].value for fold in figures.folds]
            assert figures.metrics[name].value == pytest.approx(float((tiles * rates).sum() / tiles.sum()))
        assert sum(sum(row.values()) for row in figures.confusion.values()) == 540

    def test_the_cost_is_that_of_tiles_that_did_not_choose_the_thresholds(self, found, figures):
        costs = {"escape_cost": 20.0, "overkill_cost": 3.0, "line_defect_share": 0.02}
        metrics = cross_figures(found, SMALL.model_copy(update=costs)).metrics
        escaped, called = (metrics[name].value for name in ("escape_rate", "overkill_rate_at_defect"))
        assert metrics["cost_per_tile"].value == pytest.approx(0.02 * 20 * escaped + 0.98 * 3 * called)
        assert "cost_per_tile" not in figures.metrics

    def test_probabilities_out_of_fold_are_true(self, figures):
        assert figures.metrics["expected_calibration_error"].value < 0.05

    def test_mean_and_spread_are_those_of_the_folds(self, figures):
        values = [fold["auroc"].value for fold in figures.folds]
        assert figures.summary()["mean"]["auroc"] == pytest.approx(np.mean(values))
        assert figures.summary()["spread"]["auroc"] == pytest.approx(np.std(values, ddof=1))


@pytest.fixture(scope="module")
def reported(found, figures, examine, synthetic_folder) -> tuple[Examination, dict]:
    """What a report says of the made-up logits, of which the published thresholds 0.4 and 0.6 would call others.

    A change of the tiles changes nothing, so that every row of robustness is about the same verdicts.
    """
    manifest = examine(synthetic_folder, lambda tiles: np.zeros(len(tiles))).manifest
    types = ["fold" if number % 2 else "pit" for number in range(540)]
    records = [
        Record(f"{number}.png", Path(), "defect" if defect else "ok", types[number] if defect else "none", None, None)
        for number, defect in enumerate(found.tiles.defect.tolist())
    ]
    examination = Examination(
        manifest=manifest,
        data="made-up",
        records=records,
        fitting=manifest.fitting,
        tiles=replace(found.tiles, masked=np.where(found.tiles.defect, 20 + np.arange(540), 0)),
        probabilities=figures.probabilities,
        score=lambda tiles: np.zeros(len(tiles)),
        seed=SMALL.seed,
        out_of_fold=OutOfFoldFigures(
            figures.thresholds, lambda tiles, numbers: figures.probabilities[numbers], "of folds"
        ),
    )
    return examination, report.examine(examination)


class TestReportOfFolds:
    def test_every_row_counts_the_verdicts_of_the_confusion_table(self, figures, reported):
        examination, told = reported
        assert told["confusion"] == figures.confusion
        assert told["metrics"] == {name: each.model_dump() for name, each in figures.metrics.items()}
        escapes = told["confusion"]["defect"]["ok"]
        false_calls = sum(told["confusion"]["ok"][verdict] for verdict in ("review", "defect"))
        assert examination.escaped.sum() == escapes != (examination.probabilities < 0.4)[examination.tiles.defect].sum()
        assert examination.false_called.sum() == false_calls
        assert len(told["worst_escapes"]) == escapes
        assert len(told["worst_false_calls"]) == false_calls
        for rows in (told["by_defect_class"], told["by_defect_size"]):
            assert len(rows) > 1
            counted = sum(row["metrics"]["escape_rate"]["value"] * row["tiles"] for row in rows)
            assert counted == pytest.approx(escapes)
        assert sum(row["escapes"] for row in told["by_group"]) == escapes
        assert sum(row["false_calls"] for row in told["by_group"]) == false_calls

    def test_changed_tiles_are_judged_at_their_fold_s_thresholds(self, reported):
        _, told = reported
        for row in told["robustness"]:
            assert row["metrics"] == {name: told["metrics"][name] for name in row["metrics"]}

    def test_curves_mark_no_threshold_for_none_judges_all_tiles(self, reported):
        examination, _ = reported
        for draw in (curves.roc_picture, curves.precision_recall_picture, curves.histogram_picture):
            own, shared = draw(examination.scores), draw(replace(examination.scores, own_thresholds=None))
            marks = [str(picture).count(curves.MARK_COLOUR) for picture in (own, shared)]
            assert marks[0] == 0 < marks[1]
