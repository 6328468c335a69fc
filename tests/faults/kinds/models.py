"""Model versions that must not serve, activated under load: each is refused, and the one before goes on."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from model.registry import Registry
from tests.faults.fault import Fault, Stage
from tests.faults.server import WITHIN_S

Spoil = Callable[[Path, dict[str, Any]], None]


@contextmanager
def activated(stage: Stage, spoil: Spoil) -> Iterator[None]:
    """Asked for over HTTP, and then by the pointer that a careless hand has moved."""
    registry = Registry(stage.models)
    serving = registry.require_active()
    bad = spoiled(stage.models / serving, "spoiled", spoil)
    answer = httpx.post(f"{stage.server.url}/v1/models/{bad.name}/activate", timeout=WITHIN_S)
    assert (answer.status_code, answer.json()["code"]) == (409, "artifact_invalid"), answer.text
    assert registry.require_active() == serving
    pointer = stage.models / "active.json"
    before = pointer.read_bytes()
    pointer.write_text(json.dumps({"active": bad.name}))
    stage.meanwhile(2.5)
    assert httpx.get(f"{stage.server.url}/readyz", timeout=WITHIN_S).json()["model"]["version"] == serving
    pointer.write_bytes(before)
    yield
    assert {told.said["model"]["version"] for told in stage.line.answers.values()} == {serving}


def spoiled(good: Path, name: str, spoil: Spoil) -> Path:
    """A copy of a version under another name, with something wrong in it."""
    folder = Path(shutil.copytree(good, good.with_name(name)))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["version"] = name
    spoil(folder, manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def truncated(folder: Path, manifest: dict[str, Any]) -> None:
    """Half of a file is missing, and the manifest agrees: as if it had been copied from a broken one."""
    file = folder / "model.onnx"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    _listed(file, manifest)


def changed(folder: Path, _manifest: dict[str, Any]) -> None:
    """One bit of the weights."""
    file = folder / "model.onnx"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def without_numbers(folder: Path, manifest: dict[str, Any]) -> None:
    """Weights that are no numbers: whatever it sees, its output is none either."""
    import onnx
    from onnx import numpy_helper

    for file in sorted(folder.glob("*.onnx")):
        network = onnx.load(file)
        for weights in network.graph.initializer:
            if weights.data_type == onnx.TensorProto.FLOAT:
                nothing = np.full_like(numpy_helper.to_array(weights), np.nan)
                weights.CopyFrom(numpy_helper.from_array(nothing, weights.name))
        onnx.save(network, file)
        _listed(file, manifest)


def of_other_classes(_folder: Path, manifest: dict[str, Any]) -> None:
    """More names than the network has outputs."""
    manifest["classes"] = ["ok", "crack", "pit", "scratch"]


def _listed(file: Path, manifest: dict[str, Any]) -> None:
    data = file.read_bytes()
    manifest["files"][file.name] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}


FAULTS = [
    Fault(f"model {name}, activated", partial(activated, spoil=spoil), within_s=1, serves=True)
    for name, spoil in {
        "truncated": truncated,
        "with a wrong hash": changed,
        "whose output is no number": without_numbers,
        "of other classes": of_other_classes,
    }.items()
]
