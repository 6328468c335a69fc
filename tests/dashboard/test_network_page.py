"""Network: what the page shows is what the API computed, and the pixels are the frame's own."""

import io
import json
import re
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from app.dashboard.pages.network_reach import Axis, reaches
from app.dashboard.pages.signs import MINUS
from app.explain.words import kind_of
from model.feature_maps import reach, trace
from model.image import Frame
from model.network import PRESETS, build

from .conftest import Site
from .test_shell import contrasts

# The first one waits for TensorFlow.
EXPLAINED_MS = 60_000


def png(frame: Frame) -> bytes:
    target = io.BytesIO()
    Image.fromarray(frame).save(target, "PNG")
    return target.getvalue()


@pytest.fixture(scope="module")
def frame(steel_frame) -> Frame:
    """What is explained here: larger than a tile, and with a defect."""
    made: Frame = steel_frame(128, 192, seed=3, defects=3)
    return made


@pytest.fixture(scope="module")
def explained(site: Site, frame: Frame) -> dict[str, Any]:
    """The API's own explanation of it."""
    inspection_id = site.post(frame, camera_id="explained")["inspection_id"]
    with site.http as http:
        answer = http.get(f"/v1/inspections/{inspection_id}/explain", timeout=EXPLAINED_MS / 1000)
    told: dict[str, Any] = answer.raise_for_status().json()
    return told


@pytest.fixture
def page(site: Site, explained: dict[str, Any], open_page) -> Page:
    """The page on that inspection, explained."""
    opened: Page = open_page(site, f"/network?inspection={explained['inspection_id']}")
    opened.locator(".stage-probability").wait_for(timeout=EXPLAINED_MS)
    return opened


def stage(page: Page, number: int):
    return page.locator(f"#stage-{number}")


def test_every_stage_stands_there_in_order_with_its_sentence(page, explained):
    expect(page.locator(".stage .sentence")).to_have_text([each["sentence"] for each in explained["stages"]])
    kinds = [each["kind"] for each in explained["stages"]]
    assert {"pixels", "convolution", "pooling", "flatten", "dense", "probability"} <= set(kinds)
    expect(page.locator(".way li")).to_have_count(len(kinds))
    for number, told in enumerate(explained["stages"]):
        if told["kind"] in ("convolution", "pooling"):
            expect(stage(page, number).locator(".map")).to_have_count(told["picture"]["maps"])
        if told["kind"] == "convolution":
            # Each map has its filter beside it.
            expect(stage(page, number).locator(".cut")).to_have_count(2 * told["filters"]["maps"])


def test_the_pixels_are_those_of_the_frame(page, explained, frame):
    patch, tile = explained["stages"][0]["pixels"]["patch"], explained["tile"]
    top, left = tile["y"] + patch["y"], tile["x"] + patch["x"]
    rows = page.locator(".pixels .pixel-grid tr").all()
    shown = [[int(value) for value in row.locator("td").all_inner_texts()] for row in rows]
    assert np.array_equal(shown, frame[top : top + patch["height"], left : left + patch["width"]])


def test_the_probability_and_the_verdict_are_those_that_were_answered(page, site, explained):
    answered = next(each for each in site.sent if each["inspection_id"] == explained["inspection_id"])
    decided = page.locator(".panel").filter(has=page.get_by_role("heading", name="What was decided"))
    expect(decided).to_contain_text(f"defect probability {answered['defect_probability']:.3f}")
    expect(decided.locator(f".verdict-{answered['verdict']}")).to_be_visible()
    expect(page.locator(".stage-probability")).to_contain_text(f"{answered['defect_probability']:.3f}")


def test_the_sums_written_out_come_to_what_they_say(page, explained):
    for number, told in enumerate(explained["stages"]):
        for weighed in filter(None, [told["sum"], told["vector"] and told["vector"]["to_logit"]]):
            table = stage(page, number).locator(".sum table")
            cells = table.locator("tbody tr").all()
            products = [row.locator("td").nth(3).inner_text().replace(MINUS, "-") for row in cells]
            count = len(weighed["largest"]) + 2
            assert sum(map(float, products[:count])) == pytest.approx(float(products[count]), abs=0.001)
            expect(table).to_contain_text(weighed["of"])


def test_a_map_is_enlarged_and_says_which_pixels_a_cell_sees(page, explained):
    number, told = next((place, each) for place, each in enumerate(explained["stages"]) if each["kind"] == "pooling")
    stage(page, number).locator(".map").nth(1).click()
    close = page.get_by_role("dialog")
    expect(close).to_contain_text(f"map {told['picture']['numbers'][1]}")
    rows, columns, _ = told["shape"]
    large = close.get_by_role("application")
    large.focus()
    for _ in range(rows // 2):
        page.keyboard.press("ArrowUp")
    for _ in range(columns // 2):
        page.keyboard.press("ArrowLeft")
    down, across = reaches(explained["stages"])[number]
    seen = close.locator(".seen")
    expect(seen).to_contain_text("Cell row 0, column 0")
    first = [round(axis.first - (axis.field - 1) / 2) for axis in (down, across)]
    last = [start + axis.field - 1 for start, axis in zip(first, (down, across), strict=True)]
    expect(seen).to_contain_text(
        f"rows {max(0, first[0])} to {last[0]}, columns {max(0, first[1])} to {last[1]} of the tile"
    )
    # Past the edge there is no further cell.
    page.keyboard.press("ArrowLeft")
    expect(seen).to_contain_text("Cell row 0, column 0")
    large.hover(position={"x": 440, "y": 440})
    expect(seen).to_contain_text(f"Cell row {rows - 1}, column {columns - 1}")
    close.get_by_role("button", name="Close").click()
    expect(close).to_have_count(0)


def test_the_values_that_a_cell_sees_are_the_tile_s(page, explained, frame):
    number = next(place for place, each in enumerate(explained["stages"]) if each["kind"] == "convolution")
    stage(page, number).locator(".map").first.click()
    close = page.get_by_role("dialog")
    found = re.search(r"rows (\d+) to (\d+), columns (\d+) to (\d+)", close.locator(".seen").inner_text())
    assert found
    top, bottom, left, right = map(int, found.groups())
    shown = [
        [int(value) for value in row.locator("td").all_inner_texts()] for row in close.locator(".seen-numbers tr").all()
    ]
    tile = explained["tile"]
    cut = frame[tile["y"] : tile["y"] + tile["size"], tile["x"] : tile["x"] + tile["size"]]
    assert np.array_equal(shown, cut[top : bottom + 1, left : right + 1])


def test_an_upload_is_explained_and_not_recorded(site, open_page, frame):
    page = open_page(site, "/network")
    expect(page.locator(".state")).to_contain_text("Nothing is explained yet")
    before = site.get("/v1/record")["database"]["inspections"]
    page.locator("input[type=file]").set_input_files({"name": "one.png", "mimeType": "image/png", "buffer": png(frame)})
    page.locator(".stage-probability").wait_for(timeout=EXPLAINED_MS)
    expect(page.locator("#main")).to_contain_text("This is the image one.png.")
    assert site.get("/v1/record")["database"]["inspections"] == before


def test_what_is_no_image_is_refused_in_the_api_s_own_words(site, open_page):
    page = open_page(site, "/network")
    page.on("dialog", lambda _: pytest.fail("a file's name was run"))
    name = "<img src=x onerror=alert(1)>.png"
    page.locator("input[type=file]").set_input_files({"name": name, "mimeType": "image/png", "buffer": b"no image"})
    with site.http as http:
        problem = http.post("/v1/explain", content=b"no image", headers={"content-type": "image/png"}).json()
    expect(page.get_by_role("alert")).to_contain_text(problem["detail"])


@pytest.mark.parametrize("inspection", ["0000000000000000", "%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E"])
def test_an_inspection_that_is_not_there_is_refused_in_the_api_s_own_words(site, open_page, inspection):
    page = open_page(site, f"/network?inspection={inspection}")
    page.on("dialog", lambda _: pytest.fail("a part of the address was run"))
    with site.http as http:
        problem = http.get(f"/v1/inspections/{inspection}/explain").json()
    expect(page.get_by_role("alert")).to_contain_text(problem["detail"])


def test_one_of_the_latest_can_be_chosen(site, explained, open_page):
    page = open_page(site, "/network")
    page.get_by_role("button", name="Choose one of the latest").click()
    page.get_by_role("link", name=f"Explain inspection {explained['inspection_id']}").click()
    page.locator(".stage-probability").wait_for(timeout=EXPLAINED_MS)
    expect(page.get_by_label("Inspection id")).to_have_value(explained["inspection_id"])


def test_the_way_back_leads_to_what_was_explained_before(page):
    address = page.url
    page.get_by_label("Inspection id").fill("no such one")
    page.get_by_role("button", name="Explain it").click()
    expect(page.get_by_role("alert")).to_be_visible()
    assert page.url.endswith("/network?inspection=no+such+one")
    page.go_back()
    page.locator(".stage-probability").wait_for(timeout=EXPLAINED_MS)
    assert page.url == address


def test_where_nothing_was_inspected_there_is_nothing_to_choose(bare, open_page):
    page = open_page(bare, "/network")
    page.get_by_role("button", name="Choose one of the latest").click()
    expect(page.locator("#main")).to_contain_text("No frame has been inspected yet.")
    page.get_by_role("button", name="Explain it").click()
    expect(page.locator("#main")).to_contain_text("Enter an inspection's id")


def test_a_server_without_tensorflow_says_so(start_site, open_page, frame, tmp_path):
    # As in the container that only serves: the package cannot be found.
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['tensorflow'] = None\n")
    own = start_site(PYTHONPATH=str(tmp_path))
    page = open_page(own, "/network")
    page.locator("input[type=file]").set_input_files({"name": "one.png", "mimeType": "image/png", "buffer": png(frame)})
    expect(page.get_by_role("alert")).to_contain_text("needs tensorflow")


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (820, True)])
def test_the_page_fits_and_can_be_read(site, explained, open_page, width, dark):
    page = open_page(site, f"/network?inspection={explained['inspection_id']}", width=width, dark=dark)
    page.locator(".stage-probability").wait_for(timeout=EXPLAINED_MS)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert not [(text, round(value, 2)) for value, text in contrasts(page) if value < 4.5]
    page.locator(".stage-convolution .map").first.click()
    expect(page.get_by_role("dialog")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width


# Without padding, with it, strided, pooled whole, pooled first, and deep.
@pytest.mark.parametrize(
    "preset", ["steel-128", "steel-128-local", "steel-128-line", "steel-64-deeper", "pool-first-128"]
)
def test_which_pixels_a_cell_sees_is_what_the_network_has(preset, steel_frame):
    network = build(PRESETS[preset])
    size = PRESETS[preset].input_size
    inputs: tuple[int, ...] = (size, size, PRESETS[preset].channels)
    told = []
    for each in trace(network, steel_frame(size, size)):
        told.append(
            {"kind": kind_of(each), "input_shape": inputs, "shape": each.output.shape, "sees_px": each.field or None}
        )
        inputs = each.output.shape
    found = reaches(json.loads(json.dumps(told)))
    for index, (layer, axes) in enumerate(zip(network.layers, found, strict=True)):
        if len(layer.output.shape) != 4:
            assert axes is None
            continue
        expected = [Axis(each.first, each.step, round(each.field)) for each in reach(network, index)]
        assert list(axes or ()) == expected, layer.name
