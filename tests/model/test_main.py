"""python -m model: lines a script can read, exit codes it can act on, and no traceback."""

import json
import shutil
import signal
import subprocess
import sys

import pytest

from model.artifact import Interval, read_manifest, write_manifest
from model.command import main
from model.errors import ErrorCode, SteelsightError
from model.image import decode
from model.inspector import Inspector
from model.registry import Registry
from model.shadow import SHADOW, Choice, chosen

FIRST, SECOND = "tiny-64-first", "tiny-64-second"


@pytest.fixture
def run(capfd):
    """`run(*arguments)` -> exit code, lines on stdout, lines on stderr."""

    def run_main(*arguments):
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as leaving:
            code = leaving.code
        captured = capfd.readouterr()
        return code, captured.out.splitlines(), captured.err.splitlines()

    return run_main


@pytest.fixture
def image(tmp_path, make_file, steel_frame):
    path = tmp_path / "frame.png"
    path.write_bytes(make_file(steel_frame(100, 200, defects=3), "png"))
    return path


class TestInspect:
    def test_prints_one_json_line_an_image(self, run, tiny_models, image):
        code, lines, errors = run("inspect", FIRST, image, image, "--models", tiny_models)
        assert (code, errors) == (0, [])
        assert len(lines) == 2
        assert lines[0] == lines[1]
        inspection = Inspector.load(Registry(tiny_models), FIRST, "onnx").inspect(decode(image.read_bytes()))
        found = json.loads(lines[0])
        assert found["file"] == str(image)
        assert found["verdict"] == inspection.verdict
        assert found["defect_probability"] == pytest.approx(inspection.defect_probability, abs=1e-9)
        assert found["thresholds"] == {"review": 0.3, "defect": 0.7}
        assert found["model"] == {"version": FIRST, "engine": "onnx"}
        assert found["image"] == {"width": 200, "height": 100, "tiles": 8, "method": "shared"}
        assert found["quality"] == {"accepted": True, "warnings": list(inspection.quality.warnings)}
        assert len(found["events"]) == len(inspection.events)
        keys = {"x", "y", "width", "height", "defect_probability", "defect_class", "continued"}
        assert all(set(event) == keys and event["defect_class"] is None for event in found["events"])

    def test_active_stands_for_the_active_version(self, run, tiny_models, image):
        code, lines, _ = run("inspect", "active", image, "--models", tiny_models)
        assert code == 0
        assert json.loads(lines[0])["model"]["version"] == FIRST

    def test_keras_engine_gives_the_same_verdict(self, run, tiny_models, image):
        onnx, keras = (
            json.loads(run("inspect", FIRST, image, "--models", tiny_models, "--engine", engine)[1][-1])
            for engine in ("onnx", "keras")
        )
        assert keras["model"]["engine"] == "keras"
        assert keras["verdict"] == onnx["verdict"]
        assert keras["defect_probability"] == pytest.approx(onnx["defect_probability"], abs=1e-5)

    def test_a_refused_image_has_its_line_and_the_rest_go_on(self, run, tiny_models, image, tmp_path):
        text, empty = tmp_path / "notes.txt", tmp_path / "empty.png"
        text.write_text("hello")
        empty.write_bytes(b"")
        files = [tmp_path / "missing.png", tmp_path, text, empty, image]
        code, lines, errors = run("inspect", FIRST, *files, "--models", tiny_models)
        assert (code, errors) == (1, [])
        found = [json.loads(line) for line in lines]
        assert [line["file"] for line in found] == [str(path) for path in files]
        assert [line["error"]["code"] for line in found[:4]] == [
            "file_unreadable",
            "file_unreadable",
            "image_format_unsupported",
            "body_empty",
        ]
        assert all(line["error"]["detail"] for line in found[:4])
        assert "verdict" in found[4]

    def test_a_cut_image_of_every_kind(self, run, tiny_models, tmp_path, make_file, steel_frame, containers):
        files = []
        for container in containers["lossless"] + containers["lossy"]:
            files.append(tmp_path / container)
            data = make_file(steel_frame(64, 64), container)
            files[-1].write_bytes(data[: len(data) // 2])
        code, lines, _ = run("inspect", FIRST, *files, "--models", tiny_models)
        assert code == 1
        assert {json.loads(line)["error"]["code"] for line in lines} == {"image_corrupt"}

    def test_an_unknown_version_is_one_line(self, run, tiny_models, image):
        code, lines, errors = run("inspect", "none", image, "--models", tiny_models)
        assert (code, lines, len(errors)) == (1, [], 1)
        assert FIRST in errors[0]

    def test_a_damaged_version_is_one_line(self, run, own_models, image):
        (own_models / FIRST / "model.onnx").write_bytes(b"changed")
        code, lines, errors = run("inspect", FIRST, image, "--models", own_models)
        assert (code, lines, len(errors)) == (1, [], 1)
        assert "model.onnx" in errors[0]

    def test_without_an_active_version(self, run, image, tmp_path):
        code, lines, errors = run("inspect", "active", image, "--models", tmp_path / "none")
        assert (code, lines, len(errors)) == (1, [], 1)
        assert "activate" in errors[0]


class TestInspectAsServed:
    """Where the server's variables are set, a command that is not told otherwise goes by them."""

    @pytest.mark.parametrize(
        ("name", "value", "found"),
        [
            ("STRIDE", "32", {"tiles": 18}),
            ("STRIDE", "", {"tiles": 8}),
            ("MAX_PIXELS", "19999", "image_too_large"),
            ("MIN_SIDE", "101", "image_too_small"),
        ],
    )
    def test_a_variable_counts_and_a_flag_wins(self, run, tiny_models, image, monkeypatch, name, value, found):
        monkeypatch.setenv(f"STEELSIGHT_{name}", value)
        _, (line,), _ = run("inspect", FIRST, image, "--models", tiny_models)
        said = json.loads(line)
        assert said["error"]["code"] == found if "error" in said else found.items() <= said["image"].items()
        flags = {"STRIDE": "--stride=64", "MAX_PIXELS": "--max-pixels=20000", "MIN_SIDE": "--min-side=100"}
        code, (line,), _ = run("inspect", FIRST, image, "--models", tiny_models, flags[name])
        assert (code, json.loads(line)["image"]["tiles"]) == (0, 8)

    def test_the_largest_image_is_that_which_is_scored(self, run, tiny_models, image, tmp_path, make_file, steel_frame):
        image.write_bytes(make_file(steel_frame(8, 300), "png"))
        code, (line,), _ = run("inspect", FIRST, image, "--models", tiny_models, "--max-pixels", 64 * 300 - 1)
        assert (code, json.loads(line)["error"]["code"]) == (1, "image_too_large")

    def test_the_engine(self, run, tiny_models, image, monkeypatch):
        monkeypatch.setenv("STEELSIGHT_ENGINE", "openvino")
        code, _, (error,) = run("inspect", FIRST, image, "--models", tiny_models)
        assert code == 1
        assert "openvino" in error

    @pytest.mark.parametrize("name", ["ENGINE", "STRIDE", "MAX_PIXELS", "MIN_SIDE"])
    @pytest.mark.parametrize("value", ["no", "0", "-1", "1e3", "9" * 30, " "])
    def test_a_wrong_value_is_wrong_usage_and_named(self, run, tiny_models, image, monkeypatch, name, value):
        monkeypatch.setenv(f"STEELSIGHT_{name}", value)
        code, lines, errors = run("inspect", FIRST, image, "--models", tiny_models)
        assert (code, lines) == (2, [])
        assert f"received {value!r}, from the flag or STEELSIGHT_{name}; " in errors[-1]
        assert run("list", "--models", tiny_models)[0] == 0


class TestList:
    def test_marks_the_active_version(self, run, tiny_models):
        code, lines, errors = run("list", "--models", tiny_models)
        assert (code, errors) == (0, [])
        assert [line[: 2 + len(FIRST)] for line in lines] == [f"* {FIRST}", f"  {SECOND}"[: 2 + len(FIRST)]]
        assert all("AUROC not measured" in line for line in lines)

    def test_says_where_the_figure_is_of_the_recipe_and_not_of_the_version(self, run, own_models):
        for version, training in ((FIRST, {"cross_validation": {}}), (SECOND, {})):
            manifest = read_manifest(own_models / version)
            measured = {"metrics": {"auroc": Interval(value=0.9, low=0.8, high=0.95)}, "training": training}
            write_manifest(own_models / version, manifest.model_copy(update=measured))
        _, (first, second), _ = run("list", "--models", own_models)
        assert first.endswith("  AUROC of the recipe 0.900 (0.800 to 0.950)")
        assert second.endswith("  AUROC 0.900 (0.800 to 0.950)")

    def test_of_an_empty_folder_says_how_to_begin(self, run, tmp_path):
        code, lines, errors = run("list", "--models", tmp_path / "none")
        assert (code, lines, len(errors)) == (0, [], 1)
        assert "training train" in errors[0]

    def test_folder_is_taken_from_the_environment(self, run, own_models, monkeypatch):
        monkeypatch.setenv("STEELSIGHT_HOME", str(own_models.parent))
        assert len(run("list")[1]) == 2


class TestActivateAndRollback:
    def test_there_and_back(self, run, own_models):
        assert run("activate", SECOND, "--models", own_models) == (0, [f"active: {SECOND}"], [])
        assert Registry(own_models).active() == SECOND
        assert run("rollback", "--models", own_models) == (0, [f"active: {FIRST}"], [])
        code, lines, errors = run("rollback", "--models", own_models)
        assert (code, lines, len(errors)) == (1, [], 1)
        assert Registry(own_models).active() == FIRST

    def test_what_was_withdrawn_is_told(self, run, own_models):
        pointer = {"active": SECOND, "previous": [FIRST, "gone"]}
        (own_models / "active.json").write_text(json.dumps(pointer))
        for withdraw in ((own_models / SECOND / "manifest.json").unlink, lambda: shutil.rmtree(own_models / SECOND)):
            withdraw()
            code, lines, errors = run("list", "--models", own_models)
            assert (code, len(lines), len(errors)) == (1, 1, 1)
            assert lines[0].startswith(f"  {FIRST}")
            assert f"the active version {SECOND} is not in {own_models}" in errors[0]
        skipped = [f"skipped: gone, not in {own_models} any more"]
        assert run("rollback", "--models", own_models) == (0, [f"active: {FIRST}"], skipped)
        assert run("list", "--models", own_models)[0] == 0

    @pytest.mark.parametrize("version", ["none", "..", "", "tiny-64-first/"])
    def test_an_unknown_version(self, run, own_models, version):
        code, lines, errors = run("activate", version, "--models", own_models)
        assert (code, lines, len(errors)) == (1, [], 1)
        assert Registry(own_models).active() == FIRST

    def test_in_a_folder_that_does_not_exist(self, run, tmp_path):
        for command in (["rollback"], ["activate", "x"]):
            code, lines, errors = run(*command, "--models", tmp_path / "none")
            assert (code, lines, len(errors)) == (1, [], 1)

    def test_in_a_folder_that_cannot_be_written(self, run, own_models):
        (own_models / ".active.lock").unlink()
        (own_models / ".active.lock").mkdir()
        for command in (["rollback"], ["activate", SECOND]):
            code, lines, errors = run(*command, "--models", own_models)
            assert (code, lines, len(errors)) == (1, [], 1)

    def test_with_a_damaged_pointer(self, run, own_models):
        (own_models / "active.json").write_text("{")
        for command in (["rollback"], ["activate", SECOND], ["list"], ["inspect", "active", "x.png"]):
            code, lines, errors = run(*command, "--models", own_models)
            assert (code, lines, len(errors)) == (1, [], 1)
            assert "active.json" in errors[0]


class TestShadow:
    def test_on_and_off(self, run, own_models):
        where = ("--models", own_models)
        assert run("shadow", SECOND, "--share", 0.25, *where) == (0, [f"shadow: {SECOND}, 0.25 of the frames"], [])
        assert chosen(Registry(own_models)) == Choice(version=SECOND, share=0.25)
        assert run("shadow", "--off", *where) == (0, ["shadow: none"], [])
        assert chosen(Registry(own_models)) is None
        assert run("shadow", "--off", *where)[0] == 0

    def test_a_version_that_is_none_or_damaged(self, run, own_models):
        for version in ("../x", "none", SECOND):
            (own_models / SECOND / "model.onnx").write_bytes(b"not a network")
            code, lines, errors = run("shadow", version, "--models", own_models)
            assert (code, lines, len(errors)) == (1, [], 1)
            assert version in errors[0]
        assert not (own_models / SHADOW).exists()

    @pytest.mark.parametrize("share", ["0", "-0.1", "1.01", "nan", "inf", "much"])
    def test_a_share_that_is_none(self, run, own_models, share):
        code, _, errors = run("shadow", SECOND, f"--share={share}", "--models", own_models)
        assert code == 2
        assert "--share" in errors[-1]

    @pytest.mark.parametrize("text", ["{", "[]", '{"version": "../x", "share": 1}', '{"version": "a", "share": 2}'])
    def test_a_damaged_file_is_refused_by_name(self, own_models, text):
        (own_models / SHADOW).write_text(text)
        with pytest.raises(SteelsightError, match=SHADOW) as caught:
            chosen(Registry(own_models))
        assert caught.value.code is ErrorCode.ARTIFACT_INVALID


class TestUsage:
    @pytest.mark.parametrize(
        "arguments",
        [
            [],
            ["explode"],
            ["inspect"],
            ["inspect", "x"],
            ["activate"],
            ["list", "--colour"],
            ["inspect", "x", "y", "--engine", "torch"],
        ],
    )
    def test_wrong_usage_is_2(self, run, arguments):
        code, lines, errors = run(*arguments)
        assert (code, lines) == (2, [])
        assert errors[-1].startswith("python -m model")

    @pytest.mark.parametrize(
        "arguments",
        [
            ["--help"],
            ["inspect", "--help"],
            ["list", "--help"],
            ["activate", "--help"],
            ["rollback", "--help"],
            ["shadow", "--help"],
        ],
    )
    def test_help_is_0(self, run, arguments):
        code, lines, errors = run(*arguments)
        assert (code, errors) == (0, [])
        assert lines[0].startswith("usage: python -m model")


def test_as_a_command(tiny_models, image):
    done = subprocess.run(
        [sys.executable, "-m", "model", "inspect", "none", image, "--models", tiny_models],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("error: ")


def test_one_damaged_version_does_not_hide_the_others(run, own_models):
    (own_models / SECOND / "manifest.json").write_text("{")
    code, lines, errors = run("list", "--models", own_models)
    assert code == 1
    assert any(line.startswith(f"* {FIRST}") and "damaged" not in line for line in lines)
    assert f"  {SECOND}  damaged" in lines
    assert len(errors) == 1


def test_a_file_that_matches_its_hash_but_is_no_model_is_one_clear_line(run, own_models, image):
    folder = own_models / FIRST
    (folder / "model.onnx").write_bytes(b"nothing")
    manifest = read_manifest(folder)
    (folder / "manifest.json").unlink()
    write_manifest(folder, manifest)
    code, lines, errors = run("inspect", FIRST, image, "--models", own_models)
    assert (code, lines, len(errors)) == (1, [], 1)
    assert "model.onnx cannot be loaded" in errors[0]


def test_ctrl_c_is_one_line_and_130(tiny_models, image):
    command = [sys.executable, "-m", "model", "inspect", FIRST, *[str(image)] * 5000, "--models", str(tiny_models)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (130, b"stopped\n")


def test_a_reader_that_has_seen_enough_is_no_error(tiny_models, image):
    command = [sys.executable, "-m", "model", "inspect", FIRST, *[str(image)] * 50, "--models", str(tiny_models)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
