"""app.loading: a version is tried by another process before this one opens it, and only it is refused."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from app import loading
from app.loading import Loader
from app.process import StartError, serve
from app.settings import load
from model.artifact import MANIFEST, read_manifest, write_manifest
from model.errors import SteelsightError
from model.registry import Registry
from model.signing import keygen, sign, signing_key

pytestmark = pytest.mark.anyio

FIRST, SECOND = "tiny-64-first", "tiny-64-second"


def overflow(folder: Path) -> None:
    """Weights that are numbers, and whose sums are none: only scoring shows it."""
    network = onnx.load(folder / "model.onnx")
    for constant in network.graph.initializer:
        if constant.data_type == onnx.TensorProto.FLOAT:
            values = numpy_helper.to_array(constant) * np.float32(1e25)
            constant.CopyFrom(numpy_helper.from_array(values, constant.name))
    onnx.save(network, folder / "model.onnx")
    write_manifest(folder, read_manifest(folder))


async def test_a_version_that_fails_on_trial_changes_nothing(start, own_models: Path, png: bytes) -> None:
    overflow(own_models / SECOND)
    async with start(models=own_models, engine="onnx") as running:
        await running.until_ready(FIRST)
        answer = await running.http.post(f"/v1/models/{SECOND}/activate")
        shadow = await running.http.post(f"/v1/models/{SECOND}/shadow", json={"share": 1})
        after = await running.http.post("/v1/inspect", content=png, headers={"content-type": "image/png"})
    for refusal in (answer, shadow):
        assert (refusal.status_code, refusal.json()["code"]) == (409, "artifact_invalid")
        assert "on trial" in refusal.json()["detail"]
    assert after.json()["model"]["version"] == FIRST
    assert Registry(own_models).active() == FIRST


def test_what_has_passed_is_not_tried_again(own_models: Path) -> None:
    """Of the same manifest, which names every byte: another one is another version, whatever it is called."""
    loader = Loader(load({}, {"models": own_models, "engine": "onnx"}))
    loader.open(FIRST)
    passed = len(loading._passed)
    loader.open(FIRST)
    assert len(loading._passed) == passed
    folder = own_models / FIRST
    write_manifest(folder, read_manifest(folder).model_copy(update={"training": {"seed": 12345}}))
    loader.open(FIRST)
    assert len(loading._passed) == passed + 1
    (folder / "model.onnx").write_bytes(b"x")
    with pytest.raises(SteelsightError, match="is not the file that was published"):
        loader.open(FIRST)
    loader.close()


async def test_with_public_keys_only_signed_versions_serve(start, own_models: Path, tmp_path: Path) -> None:
    key = tmp_path / "plant.pem"
    keygen(key)
    folder = own_models / FIRST
    sign(folder, (folder / MANIFEST).read_bytes(), signing_key(key))
    async with start(models=own_models, model_public_keys=f"{key}.pub") as running:
        await running.until_ready(FIRST)
        answer = await running.http.post(f"/v1/models/{SECOND}/activate")
        listed = (await running.http.get("/v1/models")).json()["versions"]
    assert (answer.status_code, answer.json()["code"]) == (409, "artifact_invalid")
    assert "not signed" in answer.json()["detail"]
    assert {each["version"]: each["fault"] is None for each in listed} == {FIRST: True, SECOND: False}


def test_a_server_without_the_keys_it_is_to_ask_for_does_not_start(own_models: Path, tmp_path: Path) -> None:
    settings = load({}, {"home": tmp_path, "models": own_models, "model_public_keys": str(tmp_path / "none.pub")})
    with pytest.raises(StartError, match=r"STEELSIGHT_MODEL_PUBLIC_KEYS: .*none\.pub"):
        serve(settings)
