"""Defect classes from end to end: folder -> command line -> version -> figures, pages and HTTP replies."""

import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model.command import main as model_main
from model.registry import Registry
from training.command import EXIT_FAULT, EXIT_USAGE, main
from training.explain import explain_image

TYPES = ("blob", "line", "stripes")
CLASSES = ("ok", *TYPES)
EXPERIMENT = """
heads = "defect_class"
epochs = 5
batch_size = 8
learning_rate = 0.01
averaging = 0.8
[network]
input_size = 32
dense_units = 16
[[network.blocks]]
filters = 8
kernel = 5
[[network.blocks]]
filters = 8
"""


def picture(kind: str, rng: np.random.Generator) -> np.ndarray:
    """Even noise, and on it a dark disc, a bright line or stripes across: uint8 (32, 32)."""
    grey = rng.normal(130, 4, (32, 32))
    ys, xs = np.mgrid[:32, :32]
    y, x = rng.integers(8, 24, 2)
    if kind == "blob":
        grey[(ys - y) ** 2 + (xs - x) ** 2 < 50] -= 100
    elif kind == "line":
        grey[:, x : x + 4] += 100
    elif kind == "stripes":
        grey += np.where((ys + y) % 8 < 4, 50, -50)
    return np.clip(grey, 0, 255).astype(np.uint8)


def write_folder(data: Path, counts: dict[str, int], seed: int = 0) -> Path:
    """Each image is a surface of its own."""
    rng = np.random.default_rng(seed)
    rows = ["file,label,defect_type,group"]
    for kind, count in counts.items():
        label, folder = ("ok", "ok") if kind == "ok" else ("defect", f"defect/{kind}")
        (data / folder).mkdir(parents=True)
        for number in range(count):
            file = f"{folder}/{number}.png"
            Image.fromarray(picture(kind, rng)).save(data / file)
            rows.append(f"{file},{label},{'none' if kind == 'ok' else kind},{kind}-{number}")
    (data / "labels.csv").write_text("\n".join(rows) + "\n")
    return data


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder of three types to train on, another to judge, and one trained, active version that tells them apart."""
    home = tmp_path_factory.mktemp("classes")
    (home / "experiment.toml").write_text(EXPERIMENT)
    write_folder(home / "steel", {"ok": 80} | dict.fromkeys(TYPES, 60))
    write_folder(home / "unseen", {"ok": 20} | dict.fromkeys(TYPES, 15), seed=1)
    arguments = ["train", home / "steel", "--config", home / "experiment.toml", "--models", home / "models"]
    assert main([*map(str, arguments), "--activate"]) == 0
    return home


@pytest.fixture(scope="module")
def version(home):
    return Registry(home / "models").require_active()


@pytest.fixture
def run(home, capsys):
    """`run("evaluate", VERSION, DATA)`: the JSON line a command of `python -m training` ends with."""

    def run(*arguments):
        capsys.readouterr()
        assert main([*map(str, arguments), "--models", str(home / "models"), "--json"]) == 0
        return json.loads(capsys.readouterr().out.splitlines()[-1])

    return run


def test_the_manifest_names_the_classes(home, version):
    manifest = Registry(home / "models").manifest(version)
    assert manifest.classes == CLASSES
    assert manifest.network.outputs == len(CLASSES)
    assert {"auroc", "class_accuracy", "balanced_class_accuracy", "defect_class_accuracy"} <= manifest.metrics.keys()


def test_the_report_shows_what_was_taken_for_what(home, version, run, tmp_path):
    told = run("evaluate", version, home / "unseen", "--report", tmp_path)
    assert list(told["class_confusion"]) == list(CLASSES)
    found = json.loads((tmp_path / "report.json").read_text())
    assert found["metrics"] == told["metrics"]
    assert found["classes"]["confusion"] == told["class_confusion"]
    assert [row["tiles"] for row in found["classes"]["table"]] == [20, 15, 15, 15]
    assert sum(told["class_confusion"][name][name] for name in CLASSES) == pytest.approx(
        65 * told["metrics"]["class_accuracy"]["value"]
    )
    page, card = (tmp_path / "report.html").read_text(), (tmp_path / "model-card.md").read_text()
    assert all(f">named: {name}</th>" in page for name in CLASSES)
    assert all(f"named {name}" in card for name in CLASSES)


def test_a_type_the_version_has_no_class_for_is_counted_apart(home, version, run, tmp_path):
    data = write_folder(tmp_path / "steel", {"ok": 6, "blob": 6, "dent": 5}, seed=2)
    told = run("evaluate", version, data, "--report", tmp_path / "report")
    assert sum(sum(row.values()) for row in told["class_confusion"].values()) == 12
    assert told["tiles"] == 17
    assert (
        "5 tiles show defect types that this version has no class for"
        in (tmp_path / "report" / "report.html").read_text()
    )


@pytest.mark.anyio
async def test_the_server_names_classes_and_the_command_line_says_the_same(home, start, capsys):
    images = sorted((home / "unseen").rglob("*.png"))
    capsys.readouterr()
    assert model_main(["inspect", "active", *map(str, images), "--models", str(home / "models")]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    right: Counter[str] = Counter()
    async with start(models=home / "models") as running:
        await running.until_ready()
        for image, line in zip(images, lines, strict=True):
            body, headers = image.read_bytes(), {"content-type": "image/png"}
            answer = await running.http.post("/v1/inspect", content=body, headers=headers)
            events = answer.json()["events"]
            assert [event["defect_class"] for event in events] == [event["defect_class"] for event in line["events"]]
            right.update(image.parent.name for event in events if event["defect_class"] == image.parent.name)
    assert set(right) == set(TYPES)
    # Chance would name one in three; a class that is never found is no class.
    assert right.total() >= 0.6 * 15 * len(TYPES), right


def test_explain_says_which_class_it_speaks_of(home, version, run, tmp_path):
    image = home / "unseen/defect/blob/3.png"
    told = run("explain", version, image, "--out", tmp_path / "page")
    explanation = explain_image(version, image, tmp_path / "page", home / "models")
    assert told["defect_class"] == explanation.defect_class
    (event,) = explanation.inspection.events
    assert event.defect_class == explanation.defect_class
    logits = explanation.worst.stage("logits").output
    assert explanation.worst.logit == pytest.approx(logits[1:].max() - logits[0], abs=1e-5)
    page = (tmp_path / "page/explain.html").read_text()
    assert f"most likely <strong>{explanation.defect_class}</strong>" in page
    assert f"<td>{explanation.defect_class} over ok</td>" in page


def test_compare_sets_classes_side_by_side(home, version, run):
    told = run("compare", version, version, home / "unseen")
    assert told["metrics"]["class_accuracy"]["difference"]["value"] == 0
    same = run("evaluate", version, home / "unseen")["metrics"]["defect_class_accuracy"]
    assert told["metrics"]["defect_class_accuracy"]["a"] == same


def test_defects_alone_teach_no_verdict(home, tmp_path, capsys):
    data = write_folder(tmp_path / "steel", dict.fromkeys(TYPES, 6))
    arguments = ["train", data, "--config", home / "experiment.toml", "--models", tmp_path / "models"]
    assert main(list(map(str, arguments))) == EXIT_FAULT
    assert "no ok tiles" in capsys.readouterr().err.splitlines()[-1]


def test_a_type_named_ok_is_refused(home, tmp_path, capsys):
    data = write_folder(tmp_path / "steel", {"ok": 6, "Ok": 6})
    arguments = ["train", data, "--config", home / "experiment.toml", "--models", tmp_path / "models"]
    assert main(list(map(str, arguments))) == EXIT_FAULT
    assert "'Ok' has the name of good surface" in capsys.readouterr().err.splitlines()[-1]


def test_ten_outputs_without_classes_are_refused_with_the_way_out(home, capsys):
    assert main(["train", str(home / "steel"), "--preset", "rgb-224", "--models", str(home / "models")]) == EXIT_USAGE
    assert re.search(r'10 outputs.*heads = "defect_class"', capsys.readouterr().err)
