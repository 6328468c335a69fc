"""Coil: the list, the map, the gallery, and what was not seen."""

import re

from playwright.sync_api import expect

from app.dashboard.pages.coil import COILS, GALLERY_EVENTS

from .conftest import COIL, HOSTILE_COIL


def test_no_coil(bare, open_page):
    expect(open_page(bare, "/coils").locator(".state")).to_contain_text("No coil yet")


def test_open_coils_stand_first(site, open_page):
    page = open_page(site, "/coils")
    panels = page.locator("section.panel")
    expect(panels.first).to_contain_text("Open now")
    expect(panels.first).to_contain_text(COIL)
    expect(panels.nth(1)).to_contain_text("C-0")
    expect(panels.nth(1)).not_to_contain_text(COIL)


def test_a_name_is_text_whatever_it_contains(site, open_page):
    page = open_page(site, "/coils")
    page.get_by_role("link", name=HOSTILE_COIL).click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Coil {HOSTILE_COIL}")
    assert page.locator("main img[src=x]").count() == 0


def test_the_coil_as_the_api_knows_it(site, open_page):
    known = site.get(f"/v1/coils/{COIL}")
    page = open_page(site, f"/coil?coil_id={COIL}")
    main = page.locator("main")
    expect(page.locator(".acceptance .verdict-large")).to_contain_text(known["acceptance"]["verdict"].capitalize())
    if known["acceptance"]["decided_by"]:
        expect(page.locator(".acceptance .decided")).to_contain_text(known["acceptance"]["decided_by"]["rule"])
    expect(main).to_contain_text(f"{known['inspected_mm'] / 1000:.1f} m")
    (gap,) = (gap for camera in known["cameras"] for gap in camera["gaps"])
    row = page.locator("tr", has_text="unknown: never received")
    expect(row).to_contain_text("bottom-1")
    expect(row).to_contain_text(f"{gap['from_mm'] / 1000:.2f} m")
    expect(page.locator(".strip-gap")).to_have_count(1)
    expect(main).to_contain_text("Nothing repeats at a fixed interval")


def test_every_event_is_on_the_map_and_in_the_gallery(site, open_page):
    events = site.get(f"/v1/coils/{COIL}/events", limit=200)["events"]
    mapped = [event for side in site.get(f"/v1/coils/{COIL}/map")["sides"] for event in side["events"]]
    page = open_page(site, f"/coil?coil_id={COIL}")
    expect(page.locator(".strip-event")).to_have_count(len(mapped))
    assert page.locator(".crop").count() == min(12, len(events))
    first = page.locator(".crop strong").first
    worst = site.get(f"/v1/coils/{COIL}")["worst_events"][0]
    expect(first).to_have_text(worst["defect_class"] or "no class")
    crop = page.locator(".crop img").first
    expect(crop).to_have_js_property("complete", True)
    assert crop.evaluate("image => image.naturalWidth") == 192


def test_events_on_frames_that_no_browser_shows_are_seen(site, open_page, surface):
    sent = site.post(surface(2), "tiff", coil_id="C-tiff-map", camera_id="tiff")
    page = open_page(site, f"/coil?coil_id=C-tiff-map&inspection_id={sent['inspection_id']}")
    expect(page.locator(".crop img")).to_have_js_property("naturalWidth", 192)
    expect(page.locator(".event-picture img")).to_have_js_property("naturalWidth", 192)
    expect(page.locator(".event-box")).to_be_visible()


def test_a_click_on_the_map_shows_the_event_in_its_frame(site, open_page):
    page = open_page(site, f"/coil?coil_id={COIL}")
    page.locator(".strip-event").first.click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    expect(dialog.locator(".event-picture img")).to_have_js_property("naturalWidth", 192)
    expect(dialog.locator(".event-box")).to_be_visible()
    dialog.get_by_role("button", name="Show the heat map").click()
    expect(dialog.locator(".event-picture img")).to_have_attribute("src", re.compile("heatmap.png$"))
    page.keyboard.press("Escape")
    expect(dialog).not_to_be_visible()


def test_zoom_and_pan_move_the_map_and_nothing_is_picked_by_them(site, open_page):
    page = open_page(site, f"/coil?coil_id={COIL}")
    span = page.locator(".strip-span")
    whole = span.inner_text()
    page.get_by_role("button", name="Zoom in").click()
    zoomed = span.inner_text()
    assert zoomed != whole
    area = page.locator(".strip-map").bounding_box()
    assert area is not None
    page.mouse.move(area["x"] + 600, area["y"] + 60)
    page.mouse.down()
    page.mouse.move(area["x"] + 400, area["y"] + 60, steps=4)
    page.mouse.up()
    assert span.inner_text() != zoomed
    expect(page.get_by_role("dialog")).not_to_be_visible()
    page.get_by_role("button", name="Whole coil").click()
    assert span.inner_text() == whole


def test_a_finding_of_the_wall_leads_to_its_event(site, open_page):
    event = site.get(f"/v1/coils/{COIL}")["worst_events"][0]
    page = open_page(site, f"/coil?coil_id={COIL}&inspection_id={event['inspection_id']}")
    expect(page.get_by_role("dialog")).to_contain_text(event["inspection_id"])


def test_ids_of_any_length_fit_the_page(site, open_page, surface):
    site.post(surface(2), coil_id="L" * 128, camera_id="K" * 128, position_mm=0, mm_per_pixel=0.5)
    page = open_page(site, f"/coil?coil_id={'L' * 128}", width=820)
    expect(page.locator(".strip")).to_contain_text("not in the plant file")
    assert page.evaluate("document.documentElement.scrollWidth") <= 820


def test_a_finding_leads_to_its_event_however_many_are_worse(site, open_page, surface):
    sent = [site.post(surface(number), coil_id="C-many") for number in range(12)]
    slight = min((each for each in sent if each["events"]), key=lambda each: each["defect_probability"])
    for _ in range(GALLERY_EVENTS):
        site.post(surface(2), coil_id="C-many")
    page = open_page(site, f"/coil?coil_id=C-many&inspection_id={slight['inspection_id']}")
    expect(page.get_by_role("dialog")).to_contain_text(slight["inspection_id"])
    (listed,) = (each for each in site.get("/v1/coils")["coils"] if each["coil_id"] == "C-many")
    expect(page.locator("main")).to_contain_text(f"The worst {GALLERY_EVENTS} of {listed['events']} events")
    link = page.get_by_role("dialog").get_by_role("link", name="what the network saw")
    expect(link).to_have_attribute("href", f"/network?inspection={slight['inspection_id']}")


def test_every_open_coil_can_be_reached(start_site, open_page):
    own = start_site()
    with own.http as http:
        for number in range(COILS + 2):
            http.post("/v1/coils", json={"coil_id": f"S-{number}"}).raise_for_status()
    page = open_page(own, "/coils")
    expect(page.locator(".coil-link")).to_have_count(COILS)
    page.get_by_role("link", name="Older open coils").click()
    expect(page.locator(".coil-link")).to_have_text(["S-1", "S-0"])
    expect(page.locator("section.panel")).to_contain_text("Open now")


def test_a_coil_is_closed_after_asking(site, open_page, surface):
    site.post(surface(5), coil_id="C-to-close", camera_id="closing")
    page = open_page(site, "/coil?coil_id=C-to-close")
    page.get_by_role("button", name="Close this coil").click()
    page.get_by_role("button", name="Leave it open").click()
    assert site.get("/v1/coils/C-to-close")["closed_at"] is None
    page.get_by_role("button", name="Close this coil").click()
    page.get_by_role("button", name="Close the coil").click()
    expect(page.get_by_text("closed", exact=True)).to_be_visible()
    assert site.get("/v1/coils/C-to-close")["closed_by"] == "api"


def test_the_report_opens_from_the_desk(site, open_page):
    page = open_page(site, f"/coil?coil_id={COIL}")
    with page.context.expect_page() as opened:
        page.get_by_role("link", name="Print").click()
    report = opened.value
    report.wait_for_load_state()
    assert report.url == f"{site.desk.url}/report/v1/coils/{COIL}/report"
    expect(report.locator("body")).to_contain_text(COIL)


def test_the_page_of_no_coil_in_particular_is_the_list(site, open_page):
    page = open_page(site, "/coil")
    page.wait_for_url("**/coils")
    expect(page.locator("section.panel").first).to_contain_text("Open now")
