"""Line: what the wall shows, how soon, and what it says when nothing comes."""

import re
import time
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import expect

from .conftest import COIL, PATIENCE_MS

SYMBOLS = {"ok": "✓ OK", "review": "? REVIEW", "defect": "✕ DEFECT"}


def card(page, camera_id):
    return page.locator("article.camera", has=page.get_by_role("heading", name=camera_id, exact=False))


def test_nothing_yet(bare, open_page):
    page = open_page(bare, "/line")
    expect(page.locator(".state")).to_contain_text("No camera has sent a frame yet")
    expect(page.locator(".state")).to_contain_text("python -m app simulate")


def test_every_camera_has_a_card(site, open_page):
    page = open_page(site, "/line")
    expect(card(page, "top-1")).to_contain_text(COIL)
    expect(card(page, "top-1").locator("img")).to_have_js_property("complete", True)
    assert card(page, "top-1").locator("img").evaluate("image => image.naturalWidth") > 0
    expect(card(page, "<b>bold</b>/2")).to_be_visible()
    assert page.locator("main b b, main h2 b").count() == 0


@pytest.mark.alone
def test_a_camera_that_stopped_is_not_ok(site, open_page, surface):
    page = open_page(site, "/line")
    sent = site.post(surface(0), camera_id="stops")
    verdict = card(page, "stops").locator(".camera-verdict")
    expect(verdict).to_have_text(SYMBOLS[sent["verdict"]].replace(" ", ""))
    expect(verdict).to_have_text(re.compile(r"NO FRAME\s*for [56] s"), timeout=PATIENCE_MS)
    expect(verdict).not_to_contain_text("OK")


@pytest.mark.alone
def test_a_frame_is_on_the_wall_within_a_second(site, open_page, surface):
    page = open_page(site, "/line")
    expect(card(page, "top-1")).to_be_visible()
    took = []
    for number in range(4):
        shown = card(page, f"live-{number}")
        began = time.perf_counter()
        sent = site.post(surface(number), camera_id=f"live-{number}", coil_id="C-live")
        expect(shown.locator(".camera-verdict")).to_have_text(SYMBOLS[sent["verdict"]].replace(" ", ""))
        expect(shown.locator("img")).to_have_js_property("complete", True)
        shown.locator("img").wait_for(state="visible")
        took.append(time.perf_counter() - began)
    assert max(took) < 1, took


def test_each_new_frame_brings_its_own_picture(site, open_page, steel_frame):
    page = open_page(site, "/line")
    sizes = []
    for height in (128, 160, 192):
        site.post(steel_frame(height, 192, seed=height), camera_id="grows")
        shown = card(page, "grows").locator("img")
        expect(shown).to_have_js_property("naturalHeight", height)
        sizes.append(shown.evaluate("image => image.naturalHeight"))
    assert sizes == [128, 160, 192]


def test_a_finding_stays_readable_after_the_next_good_frame(site, open_page, surface):
    page = open_page(site, "/line")
    good, bad = surface(0), surface(2)
    for frame in (bad, good):
        site.post(frame, camera_id="finds", coil_id="C-live", position_mm=7000.0, mm_per_pixel=0.5)
    shown = card(page, "finds")
    expect(shown.locator(".camera-word")).to_have_text("OK")
    expect(shown.locator(".camera-finding")).to_contain_text("DEFECT")
    expect(shown.locator(".camera-finding")).to_contain_text("7.0 m")
    # A desk runs for weeks: a time of day alone would be taken for today's.
    told = shown.locator(".camera-finding").inner_text()
    assert not re.search(r"[A-Z][a-z]{2} \d", told), told
    page.clock.set_fixed_time(datetime.now(UTC) + timedelta(days=2))
    expect(shown.locator(".camera-finding")).to_contain_text(re.compile(r"[A-Z][a-z]{2} \d{1,2}, \d\d:\d\d"))


def test_a_clock_that_is_wrong_is_no_lag(site, open_page, surface):
    page = open_page(site, "/line")
    for camera_id, days in (("ahead", 1), ("behind", -3)):
        captured_at = (datetime.now(UTC) + timedelta(days=days)).isoformat()
        site.post(surface(0), camera_id=camera_id, captured_at=captured_at)
    lag = ".camera-facts div:has(dt:text-is('Lag')) dd"
    expect(card(page, "ahead").locator(lag)).to_have_text(re.compile("^none: clock 2[34] h .* ahead ⚠$"))
    expect(card(page, "behind").locator(lag)).to_have_text("3 days ⚠")


def test_a_server_that_stops_is_said_and_one_that_returns_is_heard(site, open_page, surface):
    site.post(surface(1), camera_id="one")
    # The browser's own words for a picture that could not be had just then.
    page = open_page(site, "/line", mishaps=("502",))
    shown, banner = card(page, "one"), page.locator(".connection-lost")
    expect(shown.locator(".camera-word")).not_to_have_text("NO FRAME")
    site.crash()
    expect(banner).to_contain_text("The API does not answer")
    expect(shown.locator(".camera-word")).to_have_text("NO FRAME")
    site.restart()
    expect(banner).to_have_count(0)
    site.post(surface(2), camera_id="two")
    expect(card(page, "two").locator(".camera-word")).not_to_have_text("NO FRAME")
    expect(shown).to_be_visible()
