"""model.artifact: a version is there whole or not at all, and nothing that was changed is loaded."""

import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from model import artifact
from model.artifact import MANIFEST, STAGING_PREFIX, Fitting, Manifest, new_version, staging, verify, write_manifest
from model.calibration import IdentityCalibrator
from model.errors import ErrorCode, SteelsightError
from model.network import Block, NetworkConfig
from model.registry import Registry
from model.verdict import Thresholds


def manifest_of(version, **fields):
    return Manifest(
        version=version,
        created_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        classes=("ok", "defect"),
        network=NetworkConfig(input_size=16, blocks=(Block(filters=2),)),
        fitting=Fitting(tile=16, stride=16),
        calibrator=IdentityCalibrator(),
        thresholds=Thresholds(review=0.2, defect=0.6),
        metrics={"auroc": artifact.Interval(value=0.9, low=0.8, high=None)},
        parity={"onnx": artifact.Parity(tiles=3, max_probability_difference=1e-7, verdict_flips=0)},
        data={"images": 3},
        training={"seed": 1},
        packages={"numpy": "2"},
        files={},
        **fields,
    )


def publish(models, version, size=100):
    with staging(models, version) as folder:
        (folder / "model.onnx").write_bytes(random.Random(version).randbytes(size))
        (folder / "report").mkdir()
        (folder / "report" / "index.html").write_text("<p>report</p>")
        write_manifest(folder, manifest_of(version))
    return models / version


@pytest.fixture
def models(tmp_path):
    return tmp_path / "models"


@pytest.fixture
def version(models):
    return publish(models, "first")


def refused(folder, match=None):
    with pytest.raises(SteelsightError, match=match) as caught:
        verify(folder)
    assert caught.value.code is ErrorCode.ARTIFACT_INVALID
    assert str(folder) in caught.value.message
    return caught.value.message


def edit(folder, change):
    manifest = json.loads((folder / MANIFEST).read_text())
    change(manifest)
    (folder / MANIFEST).write_text(json.dumps(manifest))


class TestPublish:
    def test_save_then_load_is_identical(self, version):
        loaded = verify(version)
        assert set(loaded.files) == {"model.onnx", "report/index.html"}
        assert loaded.model_copy(update={"files": {}}) == manifest_of("first")
        assert (version / "model.onnx").read_bytes() == random.Random("first").randbytes(100)

    def test_a_failing_block_leaves_nothing(self, models):
        with pytest.raises(KeyError), staging(models, "first") as folder:
            (folder / "model.onnx").write_bytes(b"half")
            raise KeyError
        assert Registry(models).versions() == []
        assert [path.name for path in models.iterdir()] == [".publish.lock"]

    def test_without_a_manifest_is_refused(self, models):
        with pytest.raises(SteelsightError) as caught, staging(models, "first"):
            pass
        assert caught.value.code is ErrorCode.ARTIFACT_INVALID
        assert not (models / "first").exists()

    def test_a_file_written_after_the_manifest_is_refused(self, models):
        with pytest.raises(SteelsightError, match=r"late\.txt"), staging(models, "first") as folder:
            write_manifest(folder, manifest_of("first"))
            (folder / "late.txt").write_text("late")
        assert not (models / "first").exists()

    def test_a_version_is_never_replaced(self, models, version):
        before = (version / MANIFEST).read_bytes()
        with pytest.raises(OSError, match="not empty"):
            publish(models, "first", size=50)
        assert (version / MANIFEST).read_bytes() == before
        verify(version)
        assert Registry(models).versions() == ["first"]

    def test_an_abandoned_publish_is_removed_by_the_next(self, models, version):
        (models / f"{STAGING_PREFIX}dead" / "report").mkdir(parents=True)
        (models / f"{STAGING_PREFIX}dead" / "model.onnx").write_bytes(b"half")
        assert Registry(models).versions() == ["first"]
        publish(models, "second")
        assert sorted(path.name for path in models.iterdir()) == [".publish.lock", "first", "second"]

    def test_many_at_once_all_arrive(self, models):
        names = [f"version-{number}" for number in range(8)]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda name: publish(models, name, 20_000), names))
        assert Registry(models).versions() == names
        for name in names:
            verify(models / name)

    def test_new_names_sort_by_time_and_differ(self):
        names = {new_version("steel-128") for _ in range(50)}
        assert len(names) > 45
        assert all(manifest_of(name).version == name for name in names)


class TestRefusedBeforeAnythingIsRead:
    def test_one_changed_byte(self, version):
        for path in (version / "model.onnx", version / "report" / "index.html"):
            original = path.read_bytes()
            for position in (0, len(original) // 2, len(original) - 1):
                changed = bytearray(original)
                changed[position] ^= 1
                path.write_bytes(changed)
                refused(version, match=path.name)
            path.write_bytes(original)
        verify(version)

    @pytest.mark.parametrize("change", [lambda data: data + b"\0", lambda data: data[:-1], lambda _: b""])
    def test_another_size(self, version, change):
        path = version / "model.onnx"
        path.write_bytes(change(path.read_bytes()))
        refused(version, match=r"model\.onnx")

    def test_a_missing_file(self, version):
        (version / "model.onnx").unlink()
        refused(version, match=r"model\.onnx is missing")

    @pytest.mark.parametrize("name", ["extra.bin", ".hidden", "report/extra", "sub/folder/extra", "model.keras"])
    def test_an_extra_file(self, version, name):
        (version / name).parent.mkdir(parents=True, exist_ok=True)
        (version / name).write_bytes(b"x")
        refused(version, match="not in its manifest")

    def test_a_link_to_the_same_bytes(self, version, tmp_path):
        outside = tmp_path / "outside.onnx"
        shutil.move(version / "model.onnx", outside)
        (version / "model.onnx").symlink_to(outside)
        refused(version, match="not a plain file")

    def test_a_linked_folder(self, version, tmp_path):
        shutil.move(version / "report", tmp_path / "report")
        (version / "report").symlink_to(tmp_path / "report")
        refused(version)

    def test_a_linked_manifest(self, version, tmp_path):
        shutil.move(version / MANIFEST, tmp_path / MANIFEST)
        (version / MANIFEST).symlink_to(tmp_path / MANIFEST)
        refused(version)

    def test_a_broken_link_and_a_pipe(self, version):
        (version / "dangling").symlink_to("nowhere")
        refused(version, match="dangling")
        (version / "dangling").unlink()
        os.mkfifo(version / "pipe")
        refused(version, match="pipe")

    def test_a_folder_in_place_of_a_file(self, version):
        (version / "model.onnx").unlink()
        (version / "model.onnx").mkdir()
        refused(version, match=r"model\.onnx")

    @pytest.mark.parametrize(
        "name",
        ["../outside", "/etc/passwd", "report/../../outside", "..", ".", "", "a//b", "a\\b", "a\n", "a/", ".x", "é"],
    )
    def test_a_name_that_leads_elsewhere(self, version, name):
        (version.parent / "outside").write_bytes(b"x")
        entry = json.loads((version / MANIFEST).read_text())["files"]["model.onnx"]
        edit(version, lambda manifest: manifest["files"].update({name: entry}))
        refused(version, match="manifest is not valid")

    def test_a_manifest_of_another_version(self, version):
        """A copied folder: every record would name a version that nobody published."""
        copy = version.with_name("copy")
        shutil.copytree(version, copy)
        refused(copy, match="first")

    def test_no_manifest(self, version):
        (version / MANIFEST).unlink()
        refused(version, match="manifest cannot be read")

    def test_a_manifest_that_is_a_folder(self, version):
        (version / MANIFEST).unlink()
        (version / MANIFEST).mkdir()
        refused(version, match="not a plain file")

    def test_a_manifest_that_is_a_pipe_is_not_waited_for(self, version):
        (version / MANIFEST).unlink()
        os.mkfifo(version / MANIFEST)
        refused(version, match="not a plain file")

    def test_an_oversize_manifest_is_not_read(self, version, monkeypatch):
        monkeypatch.setattr(artifact, "MAX_MANIFEST_BYTES", 10)
        refused(version, match="more than 10 bytes")

    @pytest.mark.parametrize("text", ["", "{", "null", "[]", "{}", "\ud800", "[" * 100_000])
    def test_a_manifest_that_is_no_json_object(self, version, text):
        (version / MANIFEST).write_bytes(text.encode("utf-8", "surrogatepass"))
        refused(version, match="manifest is not valid")

    @pytest.mark.parametrize(
        "change",
        [
            lambda manifest: manifest.update(schema_version=2),
            lambda manifest: manifest.update(schema_version="1"),
            lambda manifest: manifest.update(code="import os"),
            lambda manifest: manifest["network"].update(activation="evil"),
            lambda manifest: manifest["thresholds"].update(review=0.9),
            lambda manifest: manifest["calibrator"].update(kind="pickle"),
            lambda manifest: manifest["fitting"].update(stride=0),
            lambda manifest: manifest["files"]["model.onnx"].update(sha256="A" * 64),
            lambda manifest: manifest["files"]["model.onnx"].update(size=-1),
            lambda manifest: manifest.pop("parity"),
            lambda manifest: manifest.update(version="../up"),
            lambda manifest: manifest.update(classes=["ok"]),
            lambda manifest: manifest.update(classes=["ok", "pit", "fold"]),
            lambda manifest: manifest["network"].update(outputs=4),
            lambda manifest: manifest["metrics"]["auroc"].update(value=math.nan),
            lambda manifest: manifest["parity"]["onnx"].update(max_probability_difference=math.inf),
            lambda manifest: manifest["thresholds"].update(defect=math.nan),
            lambda manifest: manifest["data"].update(mean=math.nan),
            lambda manifest: manifest["training"].update(losses=[1.0, {"last": -math.inf}]),
        ],
        ids=lambda change: str(change.__code__.co_consts[1:] + change.__code__.co_names),
    )
    def test_an_invalid_field(self, version, change):
        edit(version, change)
        refused(version, match="manifest is not valid")


PUBLISHER = """
import sys
from pathlib import Path
from model.artifact import Manifest, staging, write_manifest
models, source = Path(sys.argv[1]), Path(sys.argv[2])
manifest = Manifest.model_validate_json(source.read_bytes())
for number in range(100_000):
    version = f"{sys.argv[3]}-{number:06d}"
    with staging(models, version) as folder:
        for name in ("model.onnx", "model.keras"):
            with (folder / name).open("wb") as file:
                for _ in range(20):
                    file.write(b"x" * 5_000)
                    file.flush()
        write_manifest(folder, manifest.model_copy(update={"version": version}))
    print(version, flush=True)
"""


class TestKilled:
    def test_at_any_moment_leaves_whole_versions_only(self, models, version):
        moments = random.Random(0)
        for attempt in range(4):
            process = subprocess.Popen(
                [sys.executable, "-c", PUBLISHER, models, version / MANIFEST, f"run-{attempt}"],
                stdout=subprocess.PIPE,
                text=True,
            )
            process.stdout.readline()
            time.sleep(moments.uniform(0.02, 0.12))
            process.send_signal(signal.SIGKILL)
            process.wait()
            process.stdout.close()
            for name in Registry(models).versions():
                verify(models / name)
        assert len(Registry(models).versions()) > 4
        publish(models, "last")
        assert list(models.glob(f"{STAGING_PREFIX}*")) == []
        assert "last" in Registry(models).versions()


def test_paths_in_a_manifest_are_the_folder_s_own(version):
    assert all(not Path(name).is_absolute() for name in verify(version).files)
