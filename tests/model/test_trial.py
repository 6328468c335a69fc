"""model.trial: what a version may do before it serves, and how it ends if it does more."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from model.artifact import read_manifest, write_manifest
from model.errors import ErrorCode, SteelsightError
from model.inspector import Inspector
from model.registry import Registry
from model.trial import confine, process
from model.trial.scores import check_scores, fixed_tiles

FIRST, SECOND = "tiny-64-first", "tiny-64-second"


@pytest.fixture
def registry(own_models: Path) -> Registry:
    return Registry(own_models, keys=())


def rewritten(folder: Path, **fields: Any) -> None:
    write_manifest(folder, read_manifest(folder).model_copy(update=fields))


def refused(registry: Registry, match: str) -> None:
    with pytest.raises(SteelsightError, match=match) as caught:
        process.require(registry, FIRST, "onnx")
    assert caught.value.code is ErrorCode.ARTIFACT_INVALID


def change_constants(path: Path, change: Any) -> None:
    """Each float constant of an ONNX file, through `change`."""
    network = onnx.load(path)
    for constant in network.graph.initializer:
        if constant.data_type == onnx.TensorProto.FLOAT:
            constant.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(constant)), constant.name))
    onnx.save(network, path)


def test_a_good_version_passes_and_every_layer_held(registry: Registry) -> None:
    passed = process.require(registry, FIRST, "onnx", stride=32)
    assert passed.known
    assert "audit hook" in passed.confined
    if sys.platform == "linux":
        assert "seccomp" in passed.confined


class TestScores:
    """In this process: what is compared, and how closely."""

    @pytest.fixture
    def inspector(self, registry: Registry) -> Inspector:
        return Inspector.load(registry, FIRST, "onnx", threads=1)

    def check(self, registry: Registry, inspector: Inspector, **fields: Any) -> bool:
        folder = registry.folder(FIRST)
        return check_scores(folder, registry.manifest(FIRST).model_copy(update=fields), inspector)

    def test_are_those_recorded(self, registry: Registry, inspector: Inspector) -> None:
        assert self.check(registry, inspector)
        known = registry.manifest(FIRST).fixed_scores
        assert len(known.logits) == len(fixed_tiles(64))
        assert known.differences["keras"] == 0
        assert 0 <= known.differences["onnx"] < 1e-4

    def test_of_an_earlier_release_are_not_known(self, registry: Registry, inspector: Inspector) -> None:
        assert not self.check(registry, inspector, fixed_scores=None)

    def test_a_difference_beyond_another_processor_s_is_refused(self, registry: Registry, inspector: Inspector) -> None:
        known = registry.manifest(FIRST).fixed_scores
        logits = np.array(known.logits)
        largest = np.abs(logits).max()
        for shift, passes in ((0.0005, True), (0.002, False), (1.0, False)):
            moved = known.model_copy(update={"logits": tuple(map(tuple, (logits + shift * largest).tolist()))})
            if passes:
                assert self.check(registry, inspector, fixed_scores=moved)
            else:
                with pytest.raises(SteelsightError, match="gives other scores than when it was published"):
                    self.check(registry, inspector, fixed_scores=moved)

    def test_of_another_shape_are_refused(self, registry: Registry, inspector: Inspector) -> None:
        known = registry.manifest(FIRST).fixed_scores
        with pytest.raises(SteelsightError, match="recorded scores are of shape"):
            self.check(registry, inspector, fixed_scores=known.model_copy(update={"logits": ((0.0, 1.0),)}))

    def test_another_number_of_classes_is_refused(self, registry: Registry, inspector: Inspector) -> None:
        network = registry.manifest(FIRST).network.model_copy(update={"outputs": 4})
        with pytest.raises(SteelsightError, match="and its manifest has 4"):
            self.check(registry, inspector, network=network)


class TestRefused:
    """In the process of a trial."""

    def test_other_weights_than_those_that_were_measured(self, registry: Registry) -> None:
        folder = registry.folder(FIRST)
        for name in ("model.onnx", "trunk.onnx", "head.onnx"):
            shutil.copy(registry.folder(SECOND) / name, folder / name)
        rewritten(folder)
        refused(registry, "gives other scores than when it was published")

    def test_weights_whose_sums_are_no_numbers(self, registry: Registry) -> None:
        folder = registry.folder(FIRST)
        change_constants(folder / "model.onnx", lambda values: values * np.float32(1e20))
        rewritten(folder)
        refused(registry, "NaN, infinite|as infinite")

    def test_a_network_cut_off_behind_a_true_hash(self, registry: Registry) -> None:
        path = registry.folder(FIRST) / "model.onnx"
        path.write_bytes(path.read_bytes()[:-100])
        rewritten(registry.folder(FIRST))
        refused(registry, r"model\.onnx cannot be loaded")

    def test_unknown_and_unsigned_ones_as_everywhere(self, registry: Registry) -> None:
        with pytest.raises(SteelsightError) as caught:
            process.require(registry, "none", "onnx")
        assert caught.value.code is ErrorCode.MODEL_UNKNOWN
        with pytest.raises(SteelsightError, match="not signed"):
            process.require(Registry(registry.models, [bytes(32)]), FIRST, "onnx")

    def test_late(self, registry: Registry) -> None:
        with pytest.raises(SteelsightError, match=r"not done within 0\.05 s and was killed"):
            process.require(registry, FIRST, "onnx", limit_s=0.05)


CONFINED = """
import json, os, resource, sys
from model.trial import confine
namespace = confine.leave_network() if {namespace} else False
import ctypes, socket, threading, numpy
sys.path.insert(0, "")
confine.limit(200_000_000, 1.0)
seccomp = confine._filter() if {seccomp} else False
if {audit}: sys.addaudithook(confine._refuse)
told = {{}}
def tried(name, work):
    try:
        work()
        told[name] = "done"
    except BaseException as error:
        told[name] = type(error).__name__
target = {target!r}
tried("write", lambda: open(target, "w").close())
tried("make", lambda: os.mkdir(target))
tried("link", lambda: os.symlink("/etc/passwd", target))
tried("remove", lambda: os.unlink({victim!r}))
tried("connect", lambda: socket.create_connection(("127.0.0.1", {port}), 2).close())
tried("system", lambda: (_ for _ in ()).throw(OSError()) if os.system("touch " + target) else None)
tried("fork", lambda: os._exit(0) if os.fork() == 0 else os.wait())
tried("exec", lambda: os.posix_spawn("/bin/touch", ["touch", target], {{}}))
tried("kill", lambda: os.kill(os.getppid(), 0))
tried("memory", lambda: numpy.ones(100_000_000))
tried("thread", lambda: (lambda each: (each.start(), each.join()))(threading.Thread(target=lambda: None)))
tried("read", lambda: open("/proc/self/status").read())
print(json.dumps([told, namespace, seccomp]), flush=True)
while True: pass
"""


@pytest.mark.parametrize("layer", ["seccomp", "audit", "namespace"])
def test_what_each_layer_forbids_alone(layer: str, tmp_path: Path) -> None:
    """A process that tries it all; a server listens, so that a connection would be made."""
    if layer != "audit" and sys.platform != "linux":
        pytest.skip("seccomp and namespaces are Linux's: left out is what they forbid")
    target, victim = tmp_path / "canary", tmp_path / "victim"
    victim.touch()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        source = CONFINED.format(
            target=str(target),
            victim=str(victim),
            port=listener.getsockname()[1],
            **{name: name == layer for name in ("seccomp", "audit", "namespace")},
        )
        done = subprocess.run(
            [sys.executable, "-c", source],
            cwd=process.SOURCES,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        told, namespace, seccomp = json.loads(done.stdout)
        if layer == "seccomp":
            assert seccomp
        if layer == "namespace" and not namespace:
            pytest.skip("this system lets us make no network namespace: left out is what one forbids")
        with pytest.raises(BlockingIOError):
            listener.accept()
    assert told["connect"] != "done"
    assert (told["thread"], told["read"], told["memory"]) == ("done", "done", "MemoryError") or (
        layer == "seccomp" and told["memory"] in ("MemoryError", "_ArrayMemoryError")
    )
    # Time of the processor: it would go on for ever.
    assert done.returncode in (-signal.SIGXCPU, -signal.SIGKILL)
    if layer != "namespace":
        assert not target.exists()
        assert victim.exists()
        for name in ("write", "make", "link", "remove", "system", "fork", "exec", "kill"):
            assert told[name] in ("PermissionError", "OSError"), (name, told[name])


@pytest.mark.parametrize("machine", confine.MACHINES)
def test_the_filter_is_a_program_the_kernel_takes(machine: str) -> None:
    """Eight bytes an instruction, at most 4096 of them, and no jump leads past the end."""
    code = confine.program(machine)
    count = len(code) // 8
    assert len(code) % 8 == 0
    assert count < 4096
    for at in range(count):
        operation, yes, no = int.from_bytes(code[8 * at : 8 * at + 2], "little"), code[8 * at + 2], code[8 * at + 3]
        if operation & 7 == 5:
            assert at + 1 + max(yes, no) < count
    assert code[-8:-6] == b"\x06\x00"


def test_nothing_of_the_environment_is_handed_on() -> None:
    ours = {"DATABASE_URL": "postgresql://steelsight:secret@db/x", "AWS_SECRET_ACCESS_KEY": "secret", "PATH": "/bin"}
    handed = process.environment(ours | {"STEELSIGHT_ANYTHING": "secret", "PYTHONPATH": "/srv"})
    assert "secret" not in str(handed)
    assert handed["PATH"] == "/bin"
    assert handed["PYTHONPATH"].endswith(os.pathsep + "/srv")
