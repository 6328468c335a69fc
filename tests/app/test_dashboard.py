"""The dashboard and the alerts ask for what a server has."""

import json
import re
from pathlib import Path

import pytest

from app.main import create_app
from app.metrics import Drop, Metrics
from app.settings import Settings

pytestmark = pytest.mark.anyio
DEPLOY = Path(__file__).parents[2] / "deploy"
DASHBOARD = json.loads((DEPLOY / "grafana" / "steelsight.json").read_text(encoding="utf-8"))
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
ALERTS = (DEPLOY / "steelsight-alerts.yml").read_text(encoding="utf-8")
EXPRESSIONS = [target["expr"] for panel in PANELS for target in panel["targets"]] + re.findall(
    r"expr: (?:>-)?((?:.|\n)*?)\n +(?:for|annotations):", ALERTS
)
# Prometheus itself knows these of every target, and a histogram has one more.
EVERYWHERE = {"job", "instance", "le"}


def asked(expression: str) -> list[str]:
    return re.findall(r"steelsight_\w+", expression)


async def test_every_metric_asked_for_is_there(http):
    text = (await http.get("/metrics")).text
    types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    there = {name for name, kind in types.items() if kind != "histogram"}
    there |= {
        name + part for name, kind in types.items() if kind == "histogram" for part in ("_bucket", "_sum", "_count")
    }
    wanted = {name for expression in EXPRESSIONS for name in asked(expression)}
    assert len(wanted) > 15
    assert wanted <= there, wanted - there


def test_every_metric_of_ours_is_shown():
    shown = " ".join(EXPRESSIONS)
    missing = [family.name for family in Metrics().registry.collect() if family.name not in shown]
    assert not missing


def test_every_label_asked_for_is_there():
    labels = {each._name: set(each._labelnames) for each in vars(Metrics()).values() if hasattr(each, "_labelnames")}
    for expression in EXPRESSIONS:
        (family,) = {re.sub(r"_(total|bucket|sum|count)$", "", name) for name in asked(expression)} or {None}
        grouped = {label.strip() for by in re.findall(r"by \(([^)]*)\)", expression) for label in by.split(",")}
        matched = set(re.findall(r"[{,]\s*(\w+)\s*(?:=~|!=|=)", expression))
        if family is not None:
            assert grouped | matched <= labels[family] | EVERYWHERE, expression


def test_inspections_are_what_is_asked_for_by_route():
    """An export of a million rows is no slow inspection."""
    patterns = {pattern for expression in EXPRESSIONS for pattern in re.findall(r'route=~"([^"]+)"', expression)}
    paths = create_app(Settings()).openapi()["paths"]
    assert patterns
    for pattern in patterns:
        matched = {path for path in paths if re.fullmatch(pattern, path)}
        assert matched == {"/v1/inspect", "/v1/inspect/batch"}, pattern


def test_every_counter_that_an_alert_watches_begins_at_zero():
    """The rate of a series that begins with a burst is 0: of one without a beginning only what lasts is seen."""
    fresh = Metrics().exposition().decode()
    watched = set(re.findall(r"steelsight_\w+_total", ALERTS)) - {"steelsight_requests_total"}
    assert len(watched) > 3
    for name in watched:
        assert re.search(rf"^{name}(\{{.*\}})? 0\.0$", fresh, re.MULTILINE), name
    for reason in Drop:
        assert f'steelsight_dropped_total{{reason="{reason}"}} 0.0' in fresh.splitlines()


def test_panels_are_apart_and_say_what_they_show():
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells
    assert all(len(panel["description"]) > 20 for panel in PANELS)


def test_nothing_is_fetched_from_outside():
    assert "http" not in re.sub(r"\bhttp_\w+", "", json.dumps(DASHBOARD))
