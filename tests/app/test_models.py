"""Versions over HTTP: which there are, and changing the one that serves without losing a frame."""

import asyncio
import hashlib
import json
import os
import shutil
import weakref
from pathlib import Path

import httpx
import pytest

from model.artifact import MANIFEST
from model.engine import OnnxEngine
from model.registry import POINTER, Registry

pytestmark = pytest.mark.anyio
WITHIN_S = 20


@pytest.fixture
async def running(start, own_models):
    async with start(models=own_models) as one:
        await one.until_ready()
        yield one


@pytest.fixture
def versions(own_models: Path) -> list[str]:
    return Registry(own_models).versions()


def damage(models: Path, version: str) -> None:
    (models / version / OnnxEngine.file).write_bytes(b"not a network")


def replace_network(models: Path, version: str) -> None:
    """A file that is what the manifest says, and no network: only loading finds out."""
    (models / version / OnnxEngine.file).write_bytes(b"not a network")
    manifest = json.loads((models / version / MANIFEST).read_text())
    manifest["files"][OnnxEngine.file] = {"sha256": hashlib.sha256(b"not a network").hexdigest(), "size": 13}
    (models / version / MANIFEST).write_text(json.dumps(manifest))


async def inspect(http: httpx.AsyncClient, png: bytes) -> httpx.Response:
    return await http.post("/v1/inspect", content=png, headers={"content-type": "image/png"})


async def test_the_versions_are_listed(running, versions):
    answer = (await running.http.get("/v1/models")).json()
    assert answer["active"] == versions[0]
    assert answer["serving"] == {"version": versions[0], "engine": "onnx"}
    assert (answer["failure"], answer["shadow"], answer["shadow_failure"]) == (None, None, None)
    assert [each["version"] for each in answer["versions"]] == versions
    assert [each["active"] for each in answer["versions"]] == [True, False]
    first = answer["versions"][0]
    assert first["classes"] == ["ok", "defect_1"]
    assert first["thresholds"] == {"review": 0.3, "defect": 0.7}
    assert {"keras", "onnx"} <= set(first["engines"])
    assert first["parity"]["onnx"]["max_probability_difference"] < 1e-4


async def test_one_version_is_told_with_its_manifest(running, own_models, versions):
    told = (await running.http.get(f"/v1/models/{versions[1]}")).json()
    written = json.loads((own_models / versions[1] / MANIFEST).read_text())
    del written["files"]
    assert told["manifest"] == written
    assert (told["version"], told["active"]) == (versions[1], False)


async def test_a_damaged_version_does_not_hide_the_others(running, own_models, versions):
    (own_models / versions[1] / MANIFEST).write_text("{")
    listed = (await running.http.get("/v1/models")).json()["versions"]
    assert [each["version"] for each in listed] == versions
    assert [bool(each["fault"]) for each in listed] == [False, True]
    one = await running.http.get(f"/v1/models/{versions[1]}")
    assert (one.status_code, one.json()["code"]) == (409, "artifact_invalid")


async def test_a_damaged_pointer_is_a_failure_that_the_list_shows(running, own_models, versions):
    (own_models / POINTER).write_text("{")
    listed = (await running.http.get("/v1/models")).json()
    assert (listed["active"], listed["serving"]["version"]) == (None, versions[0])
    assert POINTER in listed["failure"]


async def test_there_and_back(running, versions, png):
    there = await running.http.post(f"/v1/models/{versions[1]}/activate")
    assert (there.status_code, there.json()) == (200, {"active": versions[1], "previous": versions[0]})
    assert (await inspect(running.http, png)).json()["model"]["version"] == versions[1]
    back = await running.http.post("/v1/models/rollback")
    assert (back.status_code, back.json()) == (200, {"active": versions[0], "previous": versions[1], "skipped": []})
    assert (await inspect(running.http, png)).json()["model"]["version"] == versions[0]
    again = await running.http.post("/v1/models/rollback")
    assert (again.status_code, again.json()["code"]) == (409, "no_previous_model")


async def test_a_rollback_passes_over_what_was_withdrawn_and_says_so(running, own_models, versions):
    (first, withdrawn), last = versions, "tiny-64-third"
    shutil.copytree(own_models / withdrawn, own_models / last)
    manifest = json.loads((own_models / last / MANIFEST).read_text())
    (own_models / last / MANIFEST).write_text(json.dumps(manifest | {"version": last}))
    for version in (withdrawn, last):
        assert (await running.http.post(f"/v1/models/{version}/activate")).status_code == 200
    shutil.rmtree(own_models / withdrawn)
    assert (await running.http.get("/v1/models")).json()["previous"] == first
    back = await running.http.post("/v1/models/rollback")
    assert (back.status_code, back.json()) == (200, {"active": first, "previous": last, "skipped": [withdrawn]})
    assert running.service.slot.require().version == first


async def test_activating_what_is_active_changes_nothing(running, own_models, versions):
    serving = running.service.slot.require()
    answer = await running.http.post(f"/v1/models/{versions[0]}/activate")
    assert answer.json() == {"active": versions[0], "previous": versions[0]}
    assert running.service.slot.require() is serving
    assert (await running.http.post("/v1/models/rollback")).status_code == 409


@pytest.mark.parametrize("spoil", [damage, replace_network])
async def test_a_version_that_cannot_serve_changes_nothing(running, own_models, versions, png, spoil):
    spoil(own_models, versions[1])
    answer = await running.http.post(f"/v1/models/{versions[1]}/activate")
    assert (answer.status_code, answer.json()["code"]) == (409, "artifact_invalid")
    assert OnnxEngine.file in answer.json()["detail"]
    assert Registry(own_models).active() == versions[0]
    assert (await inspect(running.http, png)).json()["model"]["version"] == versions[0]
    assert (await running.http.get("/readyz")).json()["failure"] is None


async def test_a_rollback_to_a_version_that_cannot_serve_changes_nothing(running, own_models, versions):
    await running.http.post(f"/v1/models/{versions[1]}/activate")
    replace_network(own_models, versions[0])
    answer = await running.http.post("/v1/models/rollback")
    assert (answer.status_code, answer.json()["code"]) == (409, "artifact_invalid")
    assert Registry(own_models).active() == versions[1]
    assert running.service.slot.require().version == versions[1]


@pytest.mark.parametrize("version", ["none", "..", ".publishing-x", "active.json", "%2e%2e%2fx", "%F0%9F%92%A9", "%00"])
async def test_an_unknown_version_is_not_found(running, version):
    for answer in (
        await running.http.get(f"/v1/models/{version}x"),
        await running.http.post(f"/v1/models/{version}/activate"),
        await running.http.post(f"/v1/models/{version}/shadow", json={"share": 0.5}),
        await running.http.delete(f"/v1/models/{version}/shadow"),
    ):
        assert answer.status_code == 404, answer.text


async def test_a_name_that_no_version_can_have_is_refused(running):
    answer = await running.http.post(f"/v1/models/{'x' * 5000}/activate")
    assert (answer.status_code, answer.json()["code"]) == (422, "parameters_invalid")
    assert len(answer.content) < 2000


async def test_a_pointer_that_cannot_be_written_leaves_the_old_version(running, own_models, versions):
    (own_models / f".{POINTER}.{os.getpid()}").mkdir()
    answer = await running.http.post(f"/v1/models/{versions[1]}/activate")
    assert (answer.status_code, answer.json()["code"]) == (503, "model_unavailable")
    assert running.service.slot.require().version == Registry(own_models).active() == versions[0]


async def test_frames_are_answered_through_every_change(running, versions, png):
    expected = {}
    for version in reversed(versions):
        await running.http.post(f"/v1/models/{version}/activate")
        expected[version] = (await inspect(running.http, png)).json()["defect_probability"]
    assert expected[versions[0]] != pytest.approx(expected[versions[1]], abs=1e-3)
    done, seen = asyncio.Event(), []

    async def camera():
        while not done.is_set():
            answer = await inspect(running.http, png)
            seen.append((answer.status_code, answer.json()))

    async with asyncio.TaskGroup() as cameras:
        for _ in range(4):
            cameras.create_task(camera())
        for number in range(20):
            assert (await running.http.post(f"/v1/models/{versions[number % 2]}/activate")).status_code == 200
        done.set()
    assert {status for status, _ in seen} == {200}
    # Each reply names the version whose probability it carries.
    for _, reply in seen:
        assert reply["defect_probability"] == pytest.approx(expected[reply["model"]["version"]], abs=1e-6)
    assert {reply["model"]["version"] for _, reply in seen} == set(versions)


async def test_changes_at_once_end_with_the_last(running, own_models, versions):
    wanted = [versions[number % 2] for number in range(8)]
    answers = await asyncio.gather(*(running.http.post(f"/v1/models/{version}/activate") for version in wanted))
    assert [answer.json()["active"] for answer in answers] == wanted
    assert running.service.slot.require().version == Registry(own_models).active() == wanted[-1]


async def test_the_version_before_is_let_go(running, versions, png):
    before = weakref.ref(running.service.slot.require().engine)
    await inspect(running.http, png)
    await running.http.post(f"/v1/models/{versions[1]}/activate")
    await inspect(running.http, png)
    async with asyncio.timeout(WITHIN_S):
        while before() is not None:
            await asyncio.sleep(0.01)
