"""model.registry: one pointer, always whole, and a way back."""

import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime

import pytest

from model.artifact import Fitting, Manifest, staging, write_manifest
from model.calibration import IdentityCalibrator
from model.errors import ErrorCode, SteelsightError
from model.network import Block, NetworkConfig
from model.registry import MAX_PREVIOUS, POINTER, Registry
from model.verdict import Thresholds

NAMES = ("a", "b", "c")


def publish(models, version, day=1):
    with staging(models, version) as folder:
        (folder / "model.onnx").write_text(version)
        manifest = Manifest(
            version=version,
            created_at=datetime(2026, 1, day, tzinfo=UTC),
            classes=("ok", "defect"),
            network=NetworkConfig(input_size=16, blocks=(Block(filters=2),)),
            fitting=Fitting(tile=16, stride=16),
            calibrator=IdentityCalibrator(),
            thresholds=Thresholds(review=0.2, defect=0.6),
            metrics={},
            parity={},
            data={},
            training={},
            packages={},
            files={},
        )
        write_manifest(folder, manifest)


@pytest.fixture
def registry(tmp_path):
    """Three versions, published in the order c, b, a."""
    for day, name in enumerate(reversed(NAMES), start=1):
        publish(tmp_path / "models", name, day)
    return Registry(tmp_path / "models")


def code_of(action):
    with pytest.raises(SteelsightError) as caught:
        action()
    return caught.value.code


class TestVersions:
    def test_of_a_folder_that_does_not_exist(self, tmp_path):
        registry = Registry(tmp_path / "none")
        assert registry.versions() == []
        assert registry.manifests() == []
        assert registry.active() is None
        assert code_of(registry.require_active) is ErrorCode.NO_ACTIVE_MODEL
        assert code_of(lambda: registry.activate("a")) is ErrorCode.MODEL_UNKNOWN
        assert code_of(lambda: registry.folder("a")) is ErrorCode.MODEL_UNKNOWN

    def test_rollback_in_a_folder_that_does_not_exist(self, tmp_path):
        assert code_of(Registry(tmp_path / "none").rollback) is ErrorCode.NO_PREVIOUS_MODEL

    def test_are_in_order_of_name_and_manifests_in_order_of_time(self, registry):
        assert registry.versions() == list(NAMES)
        assert [manifest.version for manifest in registry.manifests()] == ["c", "b", "a"]

    def test_only_folders_with_a_manifest_count(self, registry):
        (registry.models / "notes").mkdir()
        (registry.models / "readme.txt").write_text("hello")
        shutil.copytree(registry.models / "a", registry.models / ".publishing-x")
        assert registry.versions() == list(NAMES)

    @pytest.mark.parametrize("name", ["", ".", "..", "../a", "a/", "/", "A", "a\0", ".publish.lock"])
    def test_a_name_that_is_none_is_unknown(self, registry, name):
        assert code_of(lambda: registry.folder(name)) is ErrorCode.MODEL_UNKNOWN


class TestActivateAndRollback:
    def test_goes_back_the_way_it_came(self, registry):
        for name in ("a", "b", "c", "a"):
            registry.activate(name)
        assert [registry.rollback().active for _ in range(3)] == ["c", "b", "a"]
        assert registry.active() == "a"
        assert code_of(registry.rollback) is ErrorCode.NO_PREVIOUS_MODEL
        assert registry.active() == "a"

    def test_activating_the_active_one_changes_nothing(self, registry):
        for name in ("a", "b", "b", "b"):
            registry.activate(name)
        assert registry.rollback().active == "a"

    def test_a_change_names_both_versions(self, registry):
        assert registry.activate("a") == ("a", None, ())
        assert registry.activate("b") == ("b", "a", ())
        assert registry.rollback() == ("a", "b", ())

    def test_what_is_not_proven_is_not_activated(self, registry):
        seen = []

        def refuse(folder):
            seen.append(folder)
            raise SteelsightError(ErrorCode.ARTIFACT_INVALID, "it does not load")

        registry.activate("a")
        registry.activate("b")
        for change in (lambda: registry.activate("c", refuse), lambda: registry.rollback(refuse)):
            assert code_of(change) is ErrorCode.ARTIFACT_INVALID
            assert registry.active() == "b"
        assert seen == [registry.models / "c", registry.models / "a"]
        assert registry.rollback() == ("a", "b", ())

    def test_history_is_bounded(self, registry):
        for number in range(MAX_PREVIOUS + 10):
            registry.activate(NAMES[number % 2])
        for _ in range(MAX_PREVIOUS):
            registry.rollback()
        assert code_of(registry.rollback) is ErrorCode.NO_PREVIOUS_MODEL

    def test_a_damaged_version_is_not_activated(self, registry):
        registry.activate("a")
        (registry.models / "b" / "model.onnx").write_text("changed")
        assert code_of(lambda: registry.activate("b")) is ErrorCode.ARTIFACT_INVALID
        assert registry.active() == "a"

    def test_rolling_back_to_a_damaged_or_removed_version_changes_nothing(self, registry):
        registry.activate("a")
        registry.activate("b")
        (registry.models / "a" / "model.onnx").write_text("changed")
        assert code_of(registry.rollback) is ErrorCode.ARTIFACT_INVALID
        (registry.models / "a" / "manifest.json").unlink()
        assert code_of(registry.rollback) is ErrorCode.MODEL_UNKNOWN
        shutil.rmtree(registry.models / "a")
        assert code_of(registry.rollback) is ErrorCode.NO_PREVIOUS_MODEL
        assert registry.previous() is None
        assert registry.active() == "b"

    def test_rolling_back_passes_over_what_was_withdrawn_and_names_it(self, registry):
        for name in ("a", "b", "c"):
            registry.activate(name)
        shutil.rmtree(registry.models / "b")
        assert registry.previous() == "a"
        assert registry.rollback() == ("a", "c", ("b",))
        assert code_of(registry.rollback) is ErrorCode.NO_PREVIOUS_MODEL

    def test_rolling_back_never_leads_to_the_active_version(self, registry):
        for name in ("c", "a", "b", "a"):
            registry.activate(name)
        shutil.rmtree(registry.models / "b")
        assert registry.rollback() == ("c", "a", ("b",))

    def test_an_unknown_version_names_those_that_are_known(self, registry):
        with pytest.raises(SteelsightError, match="a, b, c"):
            registry.activate("d")


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"null", b'{"active": "../up"}', b'{"active": 3}', b'{"active": "a", "more": 1}', b"\xff\xfe", b"{}"],
)
def test_a_damaged_pointer_says_what_to_do(registry, content):
    (registry.models / POINTER).write_bytes(content)
    for action in (registry.active, registry.require_active, registry.rollback, lambda: registry.activate("a")):
        with pytest.raises(SteelsightError, match="remove it and run") as caught:
            action()
        assert caught.value.code is ErrorCode.ARTIFACT_INVALID
    (registry.models / POINTER).unlink()
    registry.activate("a")
    assert registry.active() == "a"


SWITCHER = """
import sys
from pathlib import Path
from model.registry import Registry
registry = Registry(Path(sys.argv[1]))
print("ready", flush=True)
while True:
    registry.activate("a")
    registry.activate("b")
"""


def start_switcher(models):
    process = subprocess.Popen([sys.executable, "-c", SWITCHER, models], stdout=subprocess.PIPE, text=True)
    process.stdout.readline()
    return process


def stop(process):
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()


def test_readers_see_one_or_the_other_while_two_processes_switch(registry):
    registry.activate("a")
    switchers = [start_switcher(registry.models) for _ in range(2)]
    seen, stopping, failures = set(), threading.Event(), []

    def read():
        while not stopping.is_set():
            try:
                seen.add(registry.require_active())
            except SteelsightError as error:
                failures.append(error)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    time.sleep(0.5)
    stopping.set()
    for reader in readers:
        reader.join()
    for switcher in switchers:
        stop(switcher)
    assert failures == []
    assert seen == {"a", "b"}


def test_killed_while_switching_leaves_a_pointer_that_works(registry):
    registry.activate("c")
    moments = random.Random(1)
    for _ in range(4):
        switcher = start_switcher(registry.models)
        time.sleep(moments.uniform(0.0, 0.05))
        stop(switcher)
        assert registry.active() in NAMES
        # Killed before its first switch it has left "c" active, and nothing before it.
        registry.activate("a")
        registry.activate("c")
        assert registry.rollback().active == "a"
    assert registry.versions() == list(NAMES)


def test_threads_that_activate_at_once_lose_no_step(registry):
    registry.activate("c")
    names = ["a", "b"] * 10
    threads = [threading.Thread(target=registry.activate, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    last = registry.active()
    assert last in {"a", "b"}
    steps = []
    while registry.active() != "c":
        steps.append(registry.rollback().active)
    assert steps[-1] == "c"
    assert all(one != other for one, other in zip([last, *steps], steps, strict=False))
