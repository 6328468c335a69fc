"""Health: what it reads out of the metrics, which light a state gets, and what it says to do about it."""

import math
import re

import numpy as np
import pytest
from playwright.sync_api import expect

from app.dashboard.pages import health_lights as lights
from app.dashboard.pages.health_lights import Finding, Light
from app.dashboard.pages.health_readings import Readings, percentile, read
from app.errors import STATUS
from app.metrics import SECONDS, Drop, Metrics
from app.replies import Stages

from .test_shell import contrasts


@pytest.fixture
def counted() -> Metrics:
    """What a server counts, with nothing counted yet."""
    return Metrics()


def readings(metrics: Metrics, at: float = 0.0) -> Readings:
    return read(metrics.exposition().decode(), at)


def timed(metrics: Metrics, seconds: float) -> None:
    metrics.frame_timed(Stages(**dict.fromkeys(Stages._fields, seconds)))


class TestReadings:
    def test_a_percentile_lies_in_the_bucket_of_the_true_one(self, counted):
        rng = np.random.default_rng(1)
        times = rng.lognormal(-3, 1, 500)
        for seconds in times:
            timed(counted, float(seconds))
        buckets = readings(counted).buckets("steelsight_stage_seconds", stage="total")
        edges = [0.0, *SECONDS, math.inf]
        for share in (0.5, 0.95, 0.99):
            true = float(np.quantile(times, share, method="inverted_cdf"))
            above = next(number for number, edge in enumerate(edges) if true <= edge)
            assert edges[above - 1] <= percentile(buckets, share) <= edges[above]

    def test_past_the_last_bound_nothing_more_is_known(self, counted):
        timed(counted, 1000)
        assert percentile(readings(counted).buckets("steelsight_stage_seconds", stage="total"), 0.5) == SECONDS[-1]

    @pytest.mark.parametrize("buckets", [(), ((math.inf, 0.0),), ((0.1, 0.0), (math.inf, 0.0))])
    def test_of_nothing_there_is_no_percentile(self, buckets):
        assert percentile(buckets, 0.95) is None

    def test_lately_is_what_was_counted_in_between(self, counted):
        for _ in range(3):
            timed(counted, 0.1)
        counted.refusals.labels("overloaded").inc(5)
        before = readings(counted)
        for _ in range(2):
            timed(counted, 10)
        counted.refusals.labels("overloaded").inc(2)
        lately = readings(counted, at=30).since(before)
        assert lately.by("steelsight_refusals_total", "code") == {"overloaded": 2}
        buckets = lately.buckets("steelsight_stage_seconds", stage="total")
        assert buckets[-1] == (math.inf, 2)
        assert percentile(buckets, 0.5) > 5
        assert readings(counted).since(readings(counted)).total("steelsight_refusals_total") == 0

    def test_a_server_that_was_started_anew_has_counted_only_new_things(self, counted):
        counted.refusals.labels("overloaded").inc(100)
        before, fresh = readings(counted), Metrics()
        fresh.refusals.labels("overloaded").inc(3)
        assert readings(fresh).since(before).total("steelsight_refusals_total") == 3

    def test_versions_that_serve_no_longer_are_not_told(self):
        series = 'steelsight_model_info{{version="{}",engine="onnx"}} {}\n'
        text = series.format("a", 0.0) + series.format("b", 1.0)
        assert read(text, 0).serving() == [("b", "onnx")]

    @pytest.mark.parametrize("text", ["steelsight_frames_total", "<html>no metrics</html>"])
    def test_what_is_not_in_the_format_is_refused(self, text):
        with pytest.raises(ValueError, match=r"."):
            read(text, 0)


class TestLights:
    def test_every_fault_of_the_server_has_advice_of_its_own(self):
        ours = {str(code) for code, status in STATUS.items() if status >= 500}
        assert ours <= set(lights.ADVICE), ours - set(lights.ADVICE)
        assert set(lights.ADVICE) <= {str(code) for code in STATUS}

    def test_a_finding_that_is_not_green_without_advice_is_a_mistake(self):
        with pytest.raises(AssertionError):
            Finding("Server", Light.RED, "broken")
        with pytest.raises(AssertionError):
            Finding("Server", Light.GREEN, "fine", "do something")

    def test_each_light_has_its_own_word(self):
        assert len({light.word for light in Light}) == 3

    def test_the_choice_that_does_not_serve_is_amber_and_none_at_all_is_red(self):
        model = {"version": "a", "engine": "onnx"}
        assert [each.light for each in lights.ready({"model": model, "failure": None})] == [Light.GREEN] * 2
        failed = list(lights.ready({"model": model, "failure": "b is damaged"}))[1]
        assert (failed.light, "b is damaged" in failed.state) == (Light.AMBER, True)
        assert list(lights.unready("model_loading", "loading"))[1].light is Light.AMBER
        none = list(lights.unready("no_active_model", "none"))[1]
        assert (none.light, none.advice) == (Light.RED, "Activate a version on the page Models.")

    def test_workers_that_do_not_agree_are_amber(self):
        (found,) = lights.workers([("a", "onnx"), ("b", "onnx")])
        assert (found.light, "a (onnx) and b (onnx)" in found.state) == (Light.AMBER, True)
        assert not list(lights.workers([]))

    def test_the_queue_is_red_for_dropped_frames_and_amber_for_slow_ones(self, counted):
        nothing = readings(Metrics())
        assert lights.queue(readings(counted), readings(counted).since(nothing)).light is Light.GREEN
        for _ in range(20):
            timed(counted, 2 * lights.SLOW_QUEUE_S)
        slow = lights.queue(readings(counted), readings(counted).since(nothing))
        assert (slow.light, "waited longer" in slow.state) == (Light.AMBER, True)
        counted.dropped(Drop.DEADLINE)
        late = lights.queue(readings(counted), readings(counted).since(nothing))
        assert (late.light, late.advice) == (Light.RED, lights.ADVICE["deadline_exceeded"])
        assert "1 frame dropped" in late.state

    def test_a_client_that_left_is_amber(self, counted):
        counted.dropped(Drop.CLIENT_LEFT)
        assert lights.queue(readings(counted), readings(counted)).light is Light.AMBER

    @pytest.mark.parametrize(
        ("codes", "light"),
        [
            ([], Light.GREEN),
            (["not_found", "method_not_allowed"], Light.GREEN),
            (["image_corrupt"], Light.AMBER),
            (["image_corrupt", "image_corrupt", "overloaded"], Light.RED),
        ],
    )
    def test_refusals_are_red_only_if_the_server_is_the_reason(self, counted, codes, light):
        for code in codes:
            counted.refusals.labels(code).inc()
        found = lights.refusals(readings(counted))
        assert found.light is light
        if light is Light.RED:
            assert found.advice == lights.ADVICE["overloaded"]

    def test_the_record_s_failures_show(self, counted):
        told = {
            "database": {"kind": "sqlite", "bytes": None, "inspections": 0},
            "archive": {"kind": "folder", "images": 0, "bytes": 0, "full": False, "free_bytes": None},
            "writer": {"waiting": 0},
        }
        assert [each.light for each in lights.record(told, Readings(0))] == [Light.GREEN] * 2
        counted.record_failures.inc()
        counted.images_not_kept.inc()
        assert [each.light for each in lights.record(told, readings(counted))] == [Light.RED] * 2
        full = {**told, "archive": {**told["archive"], "full": True}}
        assert [each.light for each in lights.record(full, Readings(0))] == [Light.GREEN, Light.RED]

    @pytest.mark.parametrize(
        ("about", "light"),
        [
            ({"seconds_since_last": 1.0, "gaps": 0}, Light.GREEN),
            ({"seconds_since_last": 1.0, "gaps": 2}, Light.AMBER),
            ({"seconds_since_last": 60.0, "gaps": 0}, Light.AMBER),
            ({"seconds_since_last": 1.0, "lag_ms": 300.0}, Light.GREEN),
            ({"seconds_since_last": 1.0, "lag_ms": 106_000.0}, Light.AMBER),
            ({"seconds_since_last": 1.0, "lag_ms": -400.0}, Light.GREEN),
            ({"seconds_since_last": 1.0, "lag_ms": -90_000.0}, Light.AMBER),
            ({}, Light.GREEN),
        ],
    )
    def test_a_camera_s_light(self, about, light):
        assert lights.camera({"camera_id": "c1", "side": None, "coil_id": None, **about}).light is light

    def test_a_camera_that_is_late_and_lost_frames_is_told_both(self):
        found = lights.camera({"camera_id": "c1", "seconds_since_last": 1.0, "gaps": 1, "lag_ms": 9_000.0})
        assert found.state == "sends, 9 s behind; 1 gap of late"
        assert found.advice == f"{lights.GAPS} {lights.LATE}"


def findings(page) -> dict[str, str]:
    """Subject and everything said of it."""
    rows = page.locator(".finding")
    return {row.locator(".subject").inner_text(): row.inner_text() for row in rows.all()}


def test_a_server_at_rest_is_well(bare, open_page):
    page = open_page(bare, "/health")
    expect(page.locator(".overall")).to_have_text("✓Everything is well")
    told = findings(page)
    assert set(told) == {"Server", "Model", "Shadow", "Queue", "Refusals", "Record", "Archive"}
    assert all("✓" in said and "well" in said for said in told.values()), told
    assert "tiny-classes serves, engine onnx" in told["Model"]
    assert "SQLite, 0 inspections" in told["Record"]
    expect(page.locator("#main")).to_contain_text("No camera has sent a frame yet.")
    expect(page.locator("#main")).to_contain_text("there is nothing to time")


def test_refused_frames_show_while_they_happen_with_what_to_do(start_site, open_page, steel_frame):
    own = start_site()
    page = open_page(own, "/health")
    own.post(steel_frame(128, 192, seed=1), camera_id="c1", coil_id="C-1", sequence=0)
    own.post(steel_frame(128, 192, seed=2), camera_id="c1", coil_id="C-1", sequence=4)
    with own.http as http:
        answer = http.post("/v1/inspect", content=b"\x89PNG\r\n\x1a\n", headers={"content-type": "image/png"})
    code = answer.json()["code"]
    refusals = page.locator(".finding").filter(has=page.get_by_text("Refusals", exact=True))
    expect(refusals).to_contain_text(code)
    expect(refusals).to_contain_text("look at it")
    expect(refusals.locator(".advice")).to_have_text(lights.CLIENTS_OWN)
    expect(page.locator(".overall")).to_contain_text("▲")
    camera = page.locator(".finding").filter(has=page.get_by_text("Camera c1", exact=True))
    expect(camera).to_contain_text("coil C-1; 1 gap of late")
    expect(page.get_by_role("row", name=code)).to_contain_text(lights.CLIENTS_OWN)
    times = page.locator(".panel").filter(has=page.get_by_text("Time of a frame, in ms"))
    # Not the minute's: the page has been there for some seconds.
    expect(times).to_contain_text(re.compile(r"2 frames in the last \d+ s, 2 since the start\."))
    expect(times.get_by_role("row", name="inference")).to_have_count(2)

    own.crash()
    expect(page.locator(".finding")).to_have_count(1)
    expect(page.locator(".finding")).to_contain_text("act now")
    expect(page.locator(".finding .advice")).to_have_text(lights.UNREACHABLE)
    own.restart()
    expect(page.locator(".finding").first).to_contain_text("answers and inspects frames")


@pytest.mark.parametrize(("width", "dark"), [(1280, True), (820, False)])
def test_the_page_fits_and_can_be_read(site, open_page, width, dark):
    page = open_page(site, "/health", width=width, dark=dark)
    page.on("dialog", lambda _: pytest.fail("what a client sent was run"))
    expect(page.locator(".finding").last).to_be_visible()
    # A camera's name is whatever a client says it is.
    expect(page.locator("#main")).to_contain_text("Camera <b>bold</b>/2")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert not [(text, round(value, 2)) for value, text in contrasts(page) if value < 4.5]
