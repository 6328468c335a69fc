"""`python -m training` as a person uses it: real processes, exit codes, one clear line on stderr."""

import json
import os
import re
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from model.artifact import Interval
from model.image import decode
from model.registry import Registry
from training import command
from training.checkpoint import Checkpoint, Run
from training.command import main
from training.config import Experiment, SplitShares
from training.identity import pixel_digest
from training.outcome import Outcome
from training.prepare import labelled_records
from training.scan import fingerprint
from training.split import split
from training.terminal import tell_outcome

SMALL = """
epochs = {epochs}
patience = 1000
batch_size = 16
[network]
input_size = 32
dense_units = 8
[[network.blocks]]
filters = 4
kernel = 5
stride = 2
"""


def training(*arguments: object, **options) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "training", *map(str, arguments)]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=120, **options)


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    def write(epochs: int) -> Path:
        file = tmp_path_factory.mktemp("experiment") / f"experiment-{epochs}.toml"
        file.write_text(SMALL.format(epochs=epochs))
        return file

    return write


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    data = tmp_path_factory.mktemp("cli") / "data"
    done = training("synthesize", data, "--tiles", 90, "--seed", 1)
    assert done.returncode == 0, done.stderr
    return data


@pytest.fixture(scope="module")
def whole(folder, experiment, tmp_path_factory):
    """The experiment of a run that nobody stopped, its models folder, and what it said in JSON."""
    config, models = experiment(6), tmp_path_factory.mktemp("whole") / "models"
    done = training("train", folder, "--config", config, "--models", models, "--seed", 3, "--activate", "--json")
    assert done.returncode == 0, done.stderr
    # TensorFlow's own words of the machine.
    assert "InitializeLog" not in done.stderr
    return config, models, json.loads(done.stdout.splitlines()[-1])


def test_train_evaluate_and_json(folder, whole, capsys):
    _, models, summary = whole
    assert summary["version"].startswith("steel-128-")
    assert {"auroc", "average_precision", "recall_at_5pct_false_calls"} <= summary["metrics"].keys()
    assert summary["metrics"]["auroc"].keys() == {"value", "low", "high"}
    assert json.loads((models / "active.json").read_text())["active"] == summary["version"]

    manifest = json.loads((models / summary["version"] / "manifest.json").read_text())
    assert manifest["data"]["tiles"]["test"] == summary["tiles"]
    # Seed and fingerprint give the split again.
    records = labelled_records(folder, Experiment())
    assert manifest["data"]["fingerprint"] == fingerprint(records)
    assert manifest["data"]["split"] == {group: str(part) for group, part in split(records, SplitShares(), 3).items()}
    assert set(manifest["data"]["split"].values()) == {"train", "calibration", "threshold", "test"}
    shown = [(manifest["data"]["split"][record.group], decode(record.path.read_bytes())) for record in records]
    used = {pixel_digest(frame) for part, frame in shown if part != "test"}
    assert manifest["data"]["images_used"] == sorted(used)
    assert manifest["parity"]["onnx"]["verdict_flips"] == 0
    assert manifest["parity"]["onnx"]["max_probability_difference"] < 1e-6
    assert manifest["fitting"] == {"fit": "tile", "tile": 32, "stride": 16}

    # The thresholds were chosen on the scale of what is served: few good tiles of the whole folder are called.
    assert summary["metrics"]["overkill_rate"]["value"] < 0.5

    assert main(["evaluate", "active", str(folder), "--models", str(models), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert figures["version"] == summary["version"]
    assert figures["tiles"] == sum(manifest["data"]["tiles"].values())


def test_ctrl_c_keeps_the_best_epoch_and_resuming_ends_like_an_uninterrupted_run(folder, whole, tmp_path):
    config, _, first = whole
    command = ["train", folder, "--config", config, "--models", tmp_path / "stopped here/models", "--seed", 3]
    process = subprocess.Popen(
        [sys.executable, "-m", "training", *map(str, command)],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("stopped here/runs/*/state.json")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 130, stderr
    assert stdout == ""
    assert "Traceback" not in stderr
    assert "best so far: epoch" in stderr
    (resume,) = re.findall(r"resume with: python -m training (train --resume .*)", stderr)
    assert not Registry(tmp_path / "stopped here/models").versions()

    resumed = training(*shlex.split(resume), "--json")
    assert resumed.returncode == 0, resumed.stderr
    again = training(*shlex.split(resume))
    assert again.returncode == 2
    assert "is trained and published" in again.stderr
    assert json.loads(resumed.stdout.splitlines()[-1])["metrics"] == first["metrics"]


def test_names_that_are_not_utf_8_are_trained_on_and_reported(folder, experiment, tmp_path, capsys):
    """As a plant has them that names its images in Latin-1."""
    data, models = tmp_path / os.fsdecode(b"Fl\xe4che"), tmp_path / "models"
    shutil.copytree(folder, data)
    (data / "labels.csv").unlink()
    for path in [path for path in data.rglob("*") if path.is_file()]:
        path.rename(path.with_name(os.fsdecode(b"B\xe4nder_") + path.name))
    options = ["--group-pattern", r"(B.*_coil\d+)", "--max-escape", "0.5", "--confidence", "0.5"]
    command = ["--config", str(experiment(2)), "--models", str(models), *options]
    assert main(["train", str(data), *command]) == 2
    assert r"Fl\xe4che has bytes that are not UTF-8" in capsys.readouterr().err
    assert main(["check", str(data), "--group-pattern", options[1], "--report", str(tmp_path / "check")]) == 0
    assert r"Fl\xe4che" in (tmp_path / "check/check.html").read_text()

    assert main(["train", str(data.rename(tmp_path / "data")), *command]) == 0
    (version,) = Registry(models).versions()
    assert r"B\xe4nder_" in (models / version / "report/report.html").read_text()


def test_a_network_that_learned_nothing_is_not_published(folder, experiment, tmp_path, capsys):
    config = experiment(1)
    config.write_text("learning_rate = 1.0\n" + config.read_text())
    models = tmp_path / "models"
    assert main(["train", str(folder), "--config", str(config), "--models", str(models), "--activate"]) == 1
    assert "says the same of every tile" in capsys.readouterr().err.splitlines()[-1]
    assert not Registry(models).versions()
    assert Registry(models).active() is None


@pytest.mark.parametrize(
    ("auroc", "told"),
    [
        (Interval(value=0.6, low=0.4, high=0.8), True),
        (Interval(value=0.9, low=0.7, high=0.95), False),
        (Interval(value=0.45), True),
        (Interval(value=0.9), False),
    ],
)
def test_a_version_that_may_be_no_better_than_a_coin_is_warned_of(capsys, auroc, told):
    tell_outcome(Outcome("v", 10, 5, {"auroc": auroc}, {}), as_json=False)
    assert ("no better than by a coin" in capsys.readouterr().err) == told


def test_check_tells_faults_and_exits_1(folder, tmp_path):
    clean = training("check", folder, "--json")
    assert clean.returncode == 0, clean.stderr
    assert json.loads(clean.stdout)["sound"]
    (tmp_path / "ok").mkdir()
    (tmp_path / "ok/broken.png").write_bytes(b"nothing")
    faulty = training("check", tmp_path, "--json")
    assert faulty.returncode == 1
    assert {finding["kind"] for finding in json.loads(faulty.stdout)["findings"]} == {"unreadable", "too_few_groups"}
    assert "ok/broken.png" in faulty.stderr


def test_check_takes_groups_from_file_names_and_tells_a_faulty_folder_in_json(tmp_path, write_image):
    """Two images of one surface, in what the names call two coils, leak."""
    for coil in range(8):
        write_image(tmp_path / f"ok/coil{coil}_a.png", coil)
    write_image(tmp_path / "ok/coil8_a.png", 3)
    command = ["check", tmp_path, "--json", "--group-pattern"]
    found = json.loads(training(*command, r"coil(\d+)_").stdout)
    assert found["groups"] == 9
    assert "duplicate_across_groups" in {finding["kind"] for finding in found["findings"]}
    nameless = training(*command, r"coil(\d)_b")
    assert nameless.returncode == 1
    assert "names no group for 9 of 9 files" in json.loads(nameless.stdout)["error"]
    assert "names no group for 9 of 9 files" in nameless.stderr.splitlines()[-1]
    assert training(*command, "coil(").returncode == 2


def test_what_publishes_nothing_is_not_activated_wherever_that_is_said(folder, tmp_path, capsys):
    config = tmp_path / "figures.toml"
    config.write_text("folds = 2\nfigures_only = true\n")
    command = ["--models", str(tmp_path / "home/models"), "--activate"]
    assert main(["train", str(folder), "--config", str(config), *command]) == 2
    assert "leave out one of them" in capsys.readouterr().err
    assert not (tmp_path / "home/runs").exists(), "wrong usage must not leave a run behind"

    kept = Checkpoint(tmp_path / "home/runs/v")
    records = labelled_records(folder, Experiment())
    measured = Experiment(folds=2, figures_only=True)
    kept.start(Run(version="v", data=folder, fingerprint=fingerprint(records), experiment=measured))
    assert main(["train", "--resume", str(kept.folder), *command]) == 2
    assert "leave out one of them" in capsys.readouterr().err
    assert not (kept.folder / "fold-1").exists()


def test_moved_defects_alone_cannot_pretrain_on_whole_images(folder, tmp_path, capsys):
    config = tmp_path / "whole.toml"
    config.write_text('fit = "resize"\nmoved_share = 1.0\npretraining = 2\n')
    assert main(["train", str(folder), "--config", str(config), "--models", str(tmp_path / "home/models")]) == 2
    assert "pretraining = 2 with moved_share = 1 has nothing to" in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "home/runs").exists(), "wrong usage must not leave a run behind"


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        (["train"], 2, "DATA is needed"),
        (["train", "{data}", "--epochs", "0"], 2, "epochs = 0"),
        (["train", "{data}", "--preset", "steel-999"], 2, "invalid choice"),
        (["train", "{data}", "--preset", "rgb-224"], 2, "take a network with one output"),
        (["train", "{data}", "--config", "nowhere.toml"], 2, "cannot be read"),
        (["train", "--resume", "nowhere"], 2, "not a training run"),
        (["train", "{data}", "--resume", "nowhere"], 2, "leave out data"),
        (["train", "nowhere"], 1, "is not a folder"),
        (["train", "{data}", "--folds", "1"], 2, "folds = 1"),
        (["train", "{data}", "--figures-only"], 2, "state folds too"),
        (["train", "{data}", "--folds", "2", "--figures-only", "--activate"], 2, "leave out one of them"),
        (["train", "{data}", "--confidence", "0.99"], 2, "how surely max_escape is kept"),
        (["train", "{data}", "--escape-cost", "9"], 2, "overkill_cost is not"),
        (["train", "{data}", "--escape-cost", "9", "--overkill-cost", "1", "--max-escape", "0.1"], 2, "leave out"),
        (["train", "{data}", "--group-pattern", "coil"], 2, "needs brackets"),
        (["train", "{data}", "--models", "/proc/models"], 1, "/proc/models"),
        (["check", "nowhere"], 1, "is not a folder"),
        (["evaluate", "v1", "{data}"], 1, "no model version 'v1'"),
        (["synthesize", "{data}"], 2, "already"),
        (["synthesize", "new", "--tiles", "0"], 2, "tiles"),
        ([], 2, "required"),
        (["fly"], 2, "invalid choice"),
    ],
)
def test_wrong_usage_is_one_clear_line(folder, tmp_path, monkeypatch, capsys, arguments, exit_code, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STEELSIGHT_HOME", str(tmp_path / "home"))
    try:
        code = main([argument.format(data=folder) for argument in arguments])
    except SystemExit as ended:
        code = ended.code
    told = capsys.readouterr()
    assert code == exit_code, told.err
    assert message in told.err.splitlines()[-1]
    assert told.out == ""
    assert not list(tmp_path.rglob("run.json")), "wrong usage must not leave a run behind"


def test_what_a_file_is_called_reaches_no_terminal_raw(tmp_path, capsys):
    name = "a\x1b[2J\nerror: all is well.png"
    (tmp_path / "ok").mkdir()
    (tmp_path / "ok" / name).write_bytes(b"no image")
    assert main(["check", str(tmp_path)]) == 1
    told = capsys.readouterr().err
    assert r"a\x1b[2J\nerror: all is well.png" in told
    assert "\x1b" not in told
    assert not any(line.startswith("error: all is well") for line in told.splitlines())


def test_a_folder_without_enough_groups_is_a_fault_of_the_data(tmp_path, write_image, experiment):
    for name in ("ok/a.png", "defect/b.png"):
        write_image(tmp_path / "data" / name, len(name))
    done = training("train", tmp_path / "data", "--config", experiment(1), "--models", tmp_path / "models")
    assert done.returncode == 1
    assert "at least 4 groups" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("ask", "told"),
    [
        (lambda: np.empty((1 << 25, 1 << 25), np.uint8), "memory ran out (Unable to allocate 1.00 PiB"),
        (lambda: tf.zeros((1 << 20, 1 << 20, 256)), "memory ran out; "),
    ],
    ids=["numpy", "tensorflow"],
)
def test_a_lack_of_memory_is_one_line_that_says_what_takes_less(monkeypatch, capsys, ask, told):
    """A petabyte, which no machine has to give."""
    monkeypatch.setattr(command, "run_check", lambda arguments: ask())
    assert main(["check", "anything"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {told}")
    assert "a larger stride, a smaller batch_size" in line


def test_a_full_disk_is_one_line_that_says_what_takes_less(folder, experiment, tmp_path):
    """Of a file that may not grow past a megabyte the system says as much as of a disk that is full."""

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))

    command = ["train", folder, "--config", experiment(1), "--models", tmp_path / "models"]
    done = training(*command, preexec_fn=limited)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "File too large; make room, or cut fewer tiles" in done.stderr.splitlines()[-1]


def test_a_network_too_large_for_a_version_is_refused_before_anything_is_done(folder, tmp_path, capsys):
    config = tmp_path / "wide.toml"
    config.write_text("[network]\ndense_units = 65536\n[[network.blocks]]\nfilters = 32\n")
    assert main(["train", str(folder), "--config", str(config), "--models", str(tmp_path / "home/models")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "weights" in line
    assert "fewer dense_units" in line
    assert not (tmp_path / "home/runs").exists(), "wrong usage must not leave a run behind"


def test_help_names_every_command():
    done = training("--help")
    assert done.returncode == 0
    assert all(command in done.stdout for command in ("synthesize", "check", "train", "evaluate"))


def test_who_trains_on_parts_that_all_look_alike_is_told_that_copies_may_be_parted(tmp_path, write_image, capsys):
    rings = 120 + 60 * np.sin(np.hypot(*np.mgrid[-32:32, -32:32]) / 2)
    for number in range(6):
        frame = rings + np.random.default_rng(number).normal(0, 12, rings.shape)
        write_image(tmp_path / f"data/ok/{number}.png", np.clip(frame, 0, 255).astype(np.uint8))
    assert main(["train", str(tmp_path / "data"), "--models", str(tmp_path / "models")]) == 1
    told = capsys.readouterr().err
    assert "warning: all_alike: 6 images have no group" in told
    assert "no defect tiles" in told


def test_faults_of_the_data_are_told_in_what_is_signed_too(folder, experiment, tmp_path, capsys):
    data = shutil.copytree(folder, tmp_path / "data")
    header, *rows = (data / "labels.csv").read_text().splitlines()
    original = next(row for row in rows if ",ok," in row)
    name, _, rest = original.partition(",")
    shutil.copy(data / name, data / "ok/copy.png")
    groups = header.split(",").index("group")
    cells = ["ok/copy.png", *rest.split(",")]
    cells[groups] = "another coil"
    (data / "labels.csv").write_text("\n".join([header, *rows, ",".join(cells)]) + "\n")

    assert main(["train", str(data), "--config", str(experiment(1)), "--models", str(tmp_path / "models")]) == 0
    told = capsys.readouterr()
    fault = "2 images show the same pixels in different groups"
    assert f"warning: duplicate_across_groups: {fault}" in told.err
    version = tmp_path / "models" / told.out.strip()
    (kept,) = json.loads((version / "manifest.json").read_text())["data"]["faults"]
    assert kept.startswith(f"duplicate_across_groups: {fault}")
    for signed in ("report.html", "report.json", "model-card.md"):
        assert fault in (version / "report" / signed).read_text()


def test_a_run_is_trained_by_one_process_at_a_time(folder, tmp_path, capsys):
    run = Run(version="v", data=folder, fingerprint="another", experiment=Experiment())
    checkpoint = Checkpoint(tmp_path / "run")
    checkpoint.start(run)
    command = ["train", "--resume", str(tmp_path / "run"), "--models", str(tmp_path / "models")]
    with checkpoint.held():
        assert main(command) == 2
    assert "is being trained by another process" in capsys.readouterr().err
    assert main(command) == 1, "the lock is gone with whoever held it"


def test_a_resumed_run_tells_its_faults_again(folder, tmp_path, capsys):
    run = Run(version="v", data=folder, fingerprint="another", experiment=Experiment(), faults=("duplicate: one",))
    Checkpoint(tmp_path / "run").start(run)
    assert main(["train", "--resume", str(tmp_path / "run"), "--models", str(tmp_path / "models")]) == 1
    told = capsys.readouterr().err
    assert "warning: duplicate: one; see python -m training check" in told
    assert "has changed since this run was started" in told
