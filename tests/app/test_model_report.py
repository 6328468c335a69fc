"""The report of a version over HTTP: what was published, closed to everything else, and nothing beside it."""

import json
from pathlib import Path

import pytest

from model.artifact import MANIFEST, read_manifest, write_manifest
from model.registry import Registry

pytestmark = pytest.mark.anyio

PAGE = "<!doctype html><title>Figures</title><p>AUROC 0.957"
FIGURES = {"metrics": {"auroc": {"value": 0.957, "low": 0.93, "high": 0.97}}}


def add_report(models: Path, version: str) -> Path:
    """As a publisher leaves it: three files, listed with their hashes."""
    folder = models / version
    report = folder / "report"
    report.mkdir()
    (report / "report.html").write_text(PAGE, encoding="utf-8")
    (report / "report.json").write_text(json.dumps(FIGURES), encoding="utf-8")
    (report / "model-card.md").write_text("# Card\n", encoding="utf-8")
    manifest = read_manifest(folder)
    # Else it would be listed among the files, with the hash of what it was.
    (folder / MANIFEST).unlink()
    write_manifest(folder, manifest)
    return report


@pytest.fixture
async def running(start, own_models):
    async with start(models=own_models) as one:
        yield one


@pytest.fixture
def version(own_models: Path) -> str:
    return Registry(own_models).versions()[0]


@pytest.fixture
def report(own_models: Path, version: str) -> Path:
    return add_report(own_models, version)


async def test_the_page_comes_closed(running, version, report):
    answer = await running.http.get(f"/v1/models/{version}/report")
    assert (answer.status_code, answer.text) == (200, PAGE)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "sandbox" in policy.split("; ")
    assert "script-src" not in policy


async def test_the_files_beside_it_have_their_own_types(running, version, report):
    figures = await running.http.get(f"/v1/models/{version}/report/report.json")
    assert (figures.headers["content-type"], figures.json()) == ("application/json", FIGURES)
    card = await running.http.get(f"/v1/models/{version}/report/model-card.md")
    assert (card.headers["content-type"], card.text) == ("text/markdown; charset=utf-8", "# Card\n")
    assert "sandbox" in card.headers["content-security-policy"]


@pytest.mark.parametrize(
    "name",
    [
        "../manifest.json",
        "..%2fmanifest.json",
        "%2e%2e/model.onnx",
        "../../active.json",
        "/etc/passwd",
        "report.html/../../model.keras",
        "unlisted.html",
        "report",
        "",
        "report.html%00",
        "REPORT.HTML",
    ],
)
async def test_nothing_else_is_served(running, version, report, name):
    (report / "unlisted.html").write_text("laid there later", encoding="utf-8")
    answer = await running.http.get(f"/v1/models/{version}/report/{name}")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_version_without_a_report_says_so(running, version):
    answer = await running.http.get(f"/v1/models/{version}/report")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert "published without one" in answer.json()["detail"]


async def test_an_unknown_version_is_named(running, report):
    answer = await running.http.get("/v1/models/none-such/report")
    assert (answer.status_code, answer.json()["code"]) == (404, "model_unknown")


@pytest.mark.parametrize("content", [PAGE.replace("0.957", "0.999"), PAGE + " "], ids=["changed", "longer"])
async def test_a_page_that_is_not_the_published_one_is_refused(running, version, report, content):
    (report / "report.html").write_text(content, encoding="utf-8")
    answer = await running.http.get(f"/v1/models/{version}/report")
    assert (answer.status_code, answer.json()["code"]) == (409, "artifact_invalid")


async def test_a_link_is_refused_even_to_the_same_words(running, version, report, tmp_path):
    elsewhere = tmp_path / "elsewhere.html"
    (report / "report.html").rename(elsewhere)
    (report / "report.html").symlink_to(elsewhere)
    answer = await running.http.get(f"/v1/models/{version}/report")
    assert (answer.status_code, answer.json()["code"]) == (409, "artifact_invalid")


async def test_a_missing_page_and_a_damaged_manifest_are_refused(running, version, report, own_models):
    (report / "report.html").unlink()
    answer = await running.http.get(f"/v1/models/{version}/report")
    assert (answer.status_code, answer.json()["code"]) == (409, "artifact_invalid")
    assert "missing" in answer.json()["detail"]
    (own_models / version / MANIFEST).write_text("{", encoding="utf-8")
    answer = await running.http.get(f"/v1/models/{version}/report")
    assert (answer.status_code, answer.json()["code"]) == (409, "artifact_invalid")
