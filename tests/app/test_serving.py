"""The model slot: which version serves, and what happens when the active one cannot."""

from pathlib import Path

import pytest

from app.metrics import Metrics
from app.serving import ModelSlot
from app.settings import load
from model.engine import OnnxEngine
from model.registry import POINTER, Registry

pytestmark = pytest.mark.anyio


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def slot(own_models: Path, metrics: Metrics) -> ModelSlot:
    return ModelSlot(load({}, {"models": own_models}), metrics)


@pytest.fixture
def versions(own_models: Path) -> list[str]:
    return Registry(own_models).versions()


def damage(models: Path, version: str) -> None:
    """Break a published version, as a failing disk would."""
    (models / version / OnnxEngine.file).write_bytes(b"not a network")


def failures(metrics: Metrics) -> float | None:
    return metrics.registry.get_sample_value("steelsight_model_load_failures_total")


async def test_the_active_version_is_loaded(slot, versions):
    await slot.refresh()
    assert slot.require().version == versions[0]


async def test_a_newly_activated_version_takes_over(slot, own_models, versions, metrics):
    await slot.refresh()
    Registry(own_models).activate(versions[1])
    await slot.refresh()
    assert slot.require().version == versions[1]
    infos = {
        version: metrics.registry.get_sample_value("steelsight_model_info", {"version": version, "engine": "onnx"})
        for version in versions
    }
    assert infos == {versions[0]: 0, versions[1]: 1}


async def test_a_version_that_cannot_be_loaded_leaves_the_old_one_serving(slot, own_models, versions, metrics):
    await slot.refresh()
    Registry(own_models).activate(versions[1])
    damage(own_models, versions[1])
    await slot.refresh()
    assert slot.require().version == versions[0]
    assert versions[1] in slot.failure.message
    assert failures(metrics) == 1
    await slot.refresh()
    assert failures(metrics) == 1, "tried again at once"
    Registry(own_models).rollback()
    await slot.refresh()
    assert slot.failure is None


@pytest.mark.parametrize(("retry_s", "mended"), [(0, True), (3600, False)])
async def test_a_failed_version_is_tried_again_after_a_while(own_models, versions, metrics, retry_s, mended):
    slot = ModelSlot(load({}, {"models": own_models}), metrics, retry_s)
    whole = (own_models / versions[0] / OnnxEngine.file).read_bytes()
    damage(own_models, versions[0])
    await slot.refresh()
    (own_models / versions[0] / OnnxEngine.file).write_bytes(whole)
    await slot.refresh()
    assert (slot.failure is None) == mended


async def test_a_damaged_pointer_is_shown_and_counted_once(slot, own_models, versions, metrics):
    await slot.refresh()
    (own_models / POINTER).write_text("{")
    await slot.refresh()
    await slot.refresh()
    assert slot.require().version == versions[0]
    assert slot.failure.code == "model_unavailable"
    assert failures(metrics) == 1


async def test_before_the_first_look_the_model_is_loading(start, tiny_models, png):
    async with start(models=tiny_models) as running:
        first = await running.http.post("/v1/inspect", content=png, headers={"content-type": "image/png"})
        await running.until_ready()
    assert (first.status_code, first.json()["code"], first.headers["retry-after"]) == (503, "model_loading", "1")


async def test_without_an_active_model_the_server_says_so_and_needs_no_restart(start, own_models, versions, png):
    (own_models / POINTER).unlink()
    async with start(models=own_models) as running:
        await running.service.slot.refresh()
        ready = await running.http.get("/readyz")
        answer = await running.http.post("/v1/inspect", content=png, headers={"content-type": "image/png"})
        assert (await running.http.get("/healthz")).status_code == 200
        Registry(own_models).activate(versions[1])
        await running.until_ready(versions[1])
    for refusal in (ready, answer):
        assert (refusal.status_code, refusal.json()["code"]) == (503, "no_active_model")
        assert "python -m model activate" in refusal.json()["detail"]
        assert int(refusal.headers["retry-after"]) > 0


async def test_without_a_loadable_model_the_reason_is_given(start, own_models, versions):
    damage(own_models, versions[0])
    async with start(models=own_models) as running:
        await running.service.slot.refresh()
        answer = await running.http.get("/readyz")
    assert (answer.status_code, answer.json()["code"]) == (503, "model_unavailable")
    assert OnnxEngine.file in answer.json()["detail"]


async def test_ready_names_the_version_and_a_failure_behind_it(start, own_models, versions):
    async with start(models=own_models) as running:
        await running.until_ready()
        assert (await running.http.get("/readyz")).json() == {
            "status": "ready",
            "model": {"version": versions[0], "engine": "onnx"},
            "failure": None,
        }
        Registry(own_models).activate(versions[1])
        damage(own_models, versions[1])
        await running.service.slot.refresh()
        answer = await running.http.get("/readyz")
    assert answer.status_code == 200
    assert versions[1] in answer.json()["failure"]


async def test_the_keras_engine_gives_the_same_verdicts(start, tiny_models, png):
    replies = []
    for engine in ("onnx", "keras"):
        async with start(models=tiny_models, engine=engine) as running:
            await running.until_ready()
            answer = await running.http.post("/v1/inspect", content=png, headers={"content-type": "image/png"})
            replies.append(answer.json())
    assert [reply["model"]["engine"] for reply in replies] == ["onnx", "keras"]
    assert replies[0]["verdict"] == replies[1]["verdict"]
    assert replies[0]["defect_probability"] == pytest.approx(replies[1]["defect_probability"], abs=1e-5)
