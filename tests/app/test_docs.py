"""What is written about the API is true and whole, and its pages load nothing from outside."""

import json
import re
from pathlib import Path

import pytest

from app.errors import STATUS
from app.main import create_app
from app.metrics import Metrics
from app.settings import PREFIX, Settings

DOCUMENT = (Path(__file__).parents[2] / "docs" / "api.md").read_text(encoding="utf-8")


def rows(heading: str) -> dict[str, list[str]]:
    """The table below a heading of docs/api.md: first column, without code marks -> the others."""
    section = DOCUMENT.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line.startswith("|")
    ]
    return {first.strip("`"): others for first, *others in cells[2:]}


def test_every_setting_is_documented_with_its_default():
    documented = rows("Settings")
    assert set(documented) == {PREFIX + name.upper() for name in Settings.model_fields}
    for name, field in Settings.model_fields.items():
        default, meaning = documented[PREFIX + name.upper()]
        assert meaning == field.description
        if field.default_factory is None:
            assert default.strip("`") == ("" if field.default is None else str(field.default)), name


def test_every_code_is_documented_with_its_status():
    documented = rows("Refusals")
    assert {code: cells[0] for code, cells in documented.items()} == {
        code.value: str(status.value) for code, status in STATUS.items()
    }


def test_every_metric_is_documented():
    metrics = {family.name: family for family in Metrics().registry.collect()}
    documented = {name.removesuffix("_total"): cells for name, cells in rows("Metrics").items()}
    assert set(documented) == set(metrics)
    for name, (kind, _labels, meaning) in documented.items():
        assert (kind, meaning) == (metrics[name].type, metrics[name].documentation)


def test_every_endpoint_is_documented():
    paths = create_app(Settings()).openapi()["paths"]
    endpoints = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    assert set(rows("Endpoints")) == endpoints


def test_every_parameter_is_documented():
    operation = create_app(Settings()).openapi()["paths"]["/v1/inspect"]["post"]
    described = {each["name"]: each["description"] for each in operation["parameters"]}
    assert {name: cells[-1] for name, cells in rows("Parameters").items()} == described


def test_the_description_has_all_three_forms_and_all_refusals():
    operation = create_app(Settings()).openapi()["paths"]["/v1/inspect"]["post"]
    assert {"image/png", "image/jpeg", "multipart/form-data", "application/octet-stream"} <= set(
        operation["requestBody"]["content"]
    )
    assert set(operation["responses"]) == {"200", "400", "401", "403", "408", "413", "415", "422", "429", "503", "504"}
    assert all(
        list(response["content"]) == ["application/problem+json"]
        for status, response in operation["responses"].items()
        if status != "200"
    )
    assert operation["responses"]["200"]["content"]["application/json"]["schema"]["$ref"].endswith("/InspectionReply")


@pytest.mark.anyio
async def test_whoever_refuses_a_query_says_so_in_the_description(http):
    paths = create_app(Settings()).openapi()["paths"]
    answers = {path: await http.get(f"{path}?x=1&x=2") for path in paths if "get" in paths[path] and "live" not in path}
    refusing = [path for path, answer in answers.items() if answer.status_code == 422]
    assert {"/v1/record", "/v1/coils", "/v1/inspections"} <= set(refusing)
    assert [path for path in refusing if "422" not in paths[path]["get"]["responses"]] == []


def test_every_reference_in_the_description_leads_somewhere():
    description = create_app(Settings()).openapi()
    references = re.findall(r'"\$ref": "([^"]+)"', json.dumps(description))
    assert len(references) > 20
    for reference in references:
        found = description
        for part in reference.removeprefix("#/").split("/"):
            found = found[part]


@pytest.mark.anyio
@pytest.mark.parametrize("page", ["/docs", "/redoc"])
async def test_a_page_loads_everything_from_here(http, page):
    answer = await http.get(page)
    assert answer.status_code == 200
    loaded = re.findall(r"""(?:src|href|url|spec-url)\s*[=:]\s*["']([^"']+)""", answer.text)
    assert len(loaded) >= 3
    assert any("favicon" in address for address in loaded)
    for address in loaded:
        assert address.startswith("/"), address
        assert (await http.get(address)).status_code == 200, address
    assert "//" not in re.sub(r"<!--.*?-->|\s//.*", "", answer.text).replace("<!DOCTYPE html>", "")
    # What the bundles themselves would fetch, the browser is told to refuse.
    policy = dict(rule.split(" ", 1) for rule in answer.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert not any("http" in sources or "*" in sources for sources in policy.values())
    assert "unsafe" not in policy["script-src"]
    assert "unsafe" not in policy["style-src"] or page == "/redoc"
    assert answer.headers["x-content-type-options"] == "nosniff"
