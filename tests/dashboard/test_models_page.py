"""Models: what is told of versions, and that nothing changes before somebody has read what it will do."""

import json
import shutil
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect

from app.dashboard.pages import models_words
from model.artifact import MANIFEST, Interval, read_manifest, write_manifest
from model.engine import OnnxEngine

from .conftest import Site, program, until
from .test_shell import contrasts

FIRST, SECOND, THIRD = "tiny-64-first", "tiny-64-second", "tiny-64-third"
HOSTILE = "<img src=x onerror=alert(1)> 0 escapes among 41"
METRICS = {
    "auroc": Interval(value=0.9568, low=0.9348, high=0.9739),
    "escape_rate": Interval(value=0.1339, low=0.09, high=0.189),
    "overkill_rate": Interval(value=0.0084),
}


def rewrite(models: Path, version: str, **fields: object) -> None:
    folder = models / version
    manifest = read_manifest(folder)
    # Else it would be listed among the files, with the hash of what it was.
    (folder / MANIFEST).unlink()
    write_manifest(folder, manifest.model_copy(update=fields))


def three_versions(tiny_models: Path, folder: Path) -> Path:
    """The first active, with figures, a certificate and a report; the third without any of them."""
    models = Path(shutil.copytree(tiny_models, folder / "models"))
    third = Path(shutil.copytree(models / SECOND, models / THIRD))
    manifest = json.loads((third / MANIFEST).read_text())
    (third / MANIFEST).write_text(json.dumps({**manifest, "version": THIRD}))
    (models / FIRST / "report").mkdir()
    (models / FIRST / "report" / "report.html").write_text("<title>Figures</title><p>AUROC 0.957", encoding="utf-8")
    certificate = {"certified": True, "sentence": f"Certified: {HOSTILE}"}
    rewrite(models, FIRST, metrics=METRICS, training={"seed": 0, "thresholds": certificate})
    return models


@pytest.fixture(scope="module")
def own(start_site, tiny_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A server of this module alone: whoever changes what serves there changes it back."""
    site: Site = start_site(STEELSIGHT_MODELS=str(three_versions(tiny_models, tmp_path_factory.mktemp("versions"))))
    return site


def version(page: Page, name: str):
    return page.get_by_role("article", name=f"Version {name}")


def question(page: Page):
    return page.get_by_role("alertdialog")


def active(site: Site) -> str:
    told: str = site.get("/v1/models")["active"]
    return told


def test_every_version_is_told_with_its_figures(own, open_page):
    page = open_page(own, "/models")
    written = own.get("/v1/models")["versions"]
    newest = [each["version"] for each in sorted(written, key=lambda each: str(each["created_at"]), reverse=True)]
    names = page.locator(".version .version-name").all_inner_texts()
    # The second and the third were published in the same moment.
    assert names[-1] == newest[-1] == FIRST
    assert sorted(names) == sorted(newest)
    told = version(page, FIRST)
    for figure in ("0.957", "0.935 to 0.974", "13.4 %", "9.00 % to 18.9 %", "0.84 %", "no interval: too few surfaces"):
        expect(told).to_contain_text(figure)
    expect(told).to_contain_text("● active")
    expect(version(page, THIRD)).to_contain_text("not measured")
    assert version(page, FIRST).get_by_role("button").count() == 0


def test_a_certificate_is_shown_as_text_and_the_report_opens(own, open_page):
    page = open_page(own, "/models")
    page.on("dialog", lambda _: pytest.fail("what a manifest says was run"))
    expect(page.locator(".certificate").first).to_have_text(f"✓ Certified{HOSTILE}")
    version(page, FIRST).get_by_text("Everything measured of it").click()
    details = version(page, FIRST).locator(".details")
    expect(details.get_by_role("row", name="False calls")).to_contain_text("0.84 %")
    expect(details).to_contain_text("onnx")
    address = details.get_by_role("link", name="Report").get_attribute("href")
    report = httpx.get(own.desk.url + (address or ""))
    assert (report.status_code, report.text) == (200, "<title>Figures</title><p>AUROC 0.957")
    assert report.headers["content-security-policy"].startswith("default-src 'none'")


def test_a_version_without_figures_says_so(own, open_page):
    page = open_page(own, "/models")
    version(page, THIRD).get_by_text("Everything measured of it").click()
    details = version(page, THIRD).locator(".details")
    expect(details).to_contain_text("No report was published with it.")
    expect(details).to_contain_text("No figure was measured")
    expect(details).to_contain_text(models_words.NO_PROMISE)


def test_a_version_is_activated_only_after_yes_and_rolled_back(own, open_page):
    page = open_page(own, "/models")
    page.get_by_role("button", name=f"Activate {SECOND} …").click()
    expect(question(page)).to_contain_text(f"{SECOND} judges every frame, in place of {FIRST}")
    page.get_by_role("button", name="Leave everything as it is").click()
    expect(question(page)).to_have_count(0)
    assert active(own) == FIRST

    page.get_by_role("button", name=f"Activate {SECOND} …").click()
    page.get_by_role("button", name=f"Activate {SECOND}", exact=True).click()
    expect(page.locator(".outcome.done")).to_have_text(f"✓{SECOND} serves now, in place of {FIRST}.")
    expect(version(page, SECOND)).to_contain_text("● active")
    expect(version(page, FIRST)).not_to_contain_text("active")
    assert active(own) == SECOND
    assert own.get("/readyz")["model"]["version"] == SECOND

    page.get_by_role("button", name="Roll back …").click()
    expect(question(page)).to_contain_text(f"Roll back from {SECOND} to {FIRST}?")
    question(page).get_by_role("button", name=f"Roll back to {FIRST}").click()
    expect(page.locator(".outcome.done")).to_have_text(f"✓{FIRST} serves now, in place of {SECOND}.")
    assert active(own) == FIRST


def test_a_shadow_is_begun_told_and_ended(own, open_page, steel_tiles):
    page = open_page(own, "/models")
    expect(page.locator("#main")).to_contain_text("No version shadows")
    page.get_by_role("button", name=f"Let {SECOND} shadow …").click()
    expect(question(page)).to_contain_text(f"Let {SECOND} shadow {FIRST}?")
    question(page).get_by_role("spinbutton").fill("100")
    page.get_by_role("button", name=f"Let {SECOND} shadow", exact=True).click()
    expect(page.locator(".outcome.done")).to_contain_text(f"{SECOND} shadows now and scores 100 % of the live frames.")
    assert own.get("/v1/models")["shadow"]["share"] == 1

    for tile in steel_tiles(24, 64):
        own.post(tile)
    until(lambda: own.get("/v1/models")["shadow"]["frames"] == 24, own.server.log.read_text)
    differences = own.get("/v1/models/shadow/differences")["differences"]
    assert differences
    rows = page.get_by_role("row").filter(has=page.get_by_role("link", name="What the network saw"))
    expect(rows).to_have_count(min(20, len(differences)))
    link = page.get_by_role("link", name=differences[0]["inspection_id"])
    expect(link).to_have_attribute("href", f"/network?inspection={differences[0]['inspection_id']}")
    expect(page.locator("#main")).to_contain_text(
        f"24 frames scored by the worker that answers, {len(differences)} with"
    )

    page.get_by_role("button", name=f"End the shadow of {SECOND} …").click()
    page.get_by_role("button", name=f"End the shadow of {SECOND}", exact=True).click()
    expect(page.locator(".outcome.done")).to_contain_text(f"{SECOND} shadows no more.")
    assert own.get("/v1/models")["shadow"] is None


def test_a_share_is_what_was_entered(own, open_page):
    with own.http as http:
        http.post(f"/v1/models/{SECOND}/shadow", json={"share": 0.004}).raise_for_status()
    page = open_page(own, "/models")
    expect(page.locator("#main")).to_contain_text("scores 0.4 % of the live frames")
    page.get_by_role("button", name="Change the share …").click()
    entered = question(page).get_by_role("spinbutton")
    expect(entered).to_have_value("0.4")
    for none in ("", "0"):
        entered.fill(none)
        page.get_by_role("button", name=f"Change the share of {SECOND}", exact=True).click()
        expect(question(page).locator(".outcome.failed")).to_contain_text("share: received 0")
        assert own.get("/v1/models")["shadow"]["share"] == 0.004
    with own.http as http:
        http.delete(f"/v1/models/{SECOND}/shadow").raise_for_status()


def test_a_question_stands_while_frames_come_and_goes_with_what_it_speaks_of(
    start_site, tiny_models, tmp_path, open_page, steel_tiles
):
    busy = start_site(STEELSIGHT_MODELS=str(three_versions(tiny_models, tmp_path)))
    with busy.http as http:
        http.post(f"/v1/models/{SECOND}/activate").raise_for_status()
        http.post(f"/v1/models/{THIRD}/shadow", json={"share": 1.0}).raise_for_status()
    page = open_page(busy, "/models")
    for number, name in enumerate(("Roll back …", f"End the shadow of {THIRD} …")):
        pressed = page.get_by_role("button", name=name)
        pressed.focus()
        page.keyboard.press("Enter")
        asked = question(page).inner_text()
        frames = 6 * (number + 1)
        for tile in steel_tiles(6, 64, seed=number):
            busy.post(tile)
        # The page has looked meanwhile: it counts what came.
        expect(page.locator("#main")).to_contain_text(f"{frames} frames scored by the worker")
        assert question(page).inner_text() == asked
        page.get_by_role("button", name="Leave everything as it is").click()
        expect(question(page)).to_have_count(0)
        expect(pressed).to_be_focused()

    page.get_by_role("button", name="Roll back …").click()
    expect(question(page)).to_contain_text(f"Roll back from {SECOND} to {FIRST}?")
    with busy.http as http:
        http.post(f"/v1/models/{THIRD}/activate").raise_for_status()
    expect(question(page)).to_have_count(0)


def test_refusals_in_the_api_s_own_words_and_changes_by_others(start_site, tiny_models, tmp_path, open_page):
    models = three_versions(tiny_models, tmp_path)
    spare = start_site(STEELSIGHT_MODELS=str(models))
    page = open_page(spare, "/models")
    # There is nothing to roll back to.
    expect(page.get_by_role("button", name="Roll back …")).to_have_count(0)

    (models / SECOND / OnnxEngine.file).write_bytes(b"not a network")
    with spare.http as http:
        expected = http.post(f"/v1/models/{SECOND}/activate").json()["detail"]
    page.get_by_role("button", name=f"Activate {SECOND} …").click()
    page.get_by_role("button", name=f"Activate {SECOND}", exact=True).click()
    expect(question(page).locator(".outcome.failed")).to_contain_text(expected)
    page.get_by_role("button", name="Leave everything as it is").click()
    assert active(spare) == FIRST

    with spare.http as http:
        http.post(f"/v1/models/{THIRD}/activate").raise_for_status()
    (models / SECOND / MANIFEST).write_text("{")
    expect(version(page, THIRD)).to_contain_text("● active")
    expect(version(page, SECOND)).to_contain_text("✕ damaged")
    expect(version(page, SECOND).locator(".note")).to_contain_text("not valid JSON")
    assert version(page, SECOND).get_by_role("button").count() == 0


def test_live_rates_stand_beside_the_test_s(site, open_page):
    page = open_page(site, "/models")
    rates = site.get("/v1/reviews/rates")["versions"]
    assert rates
    expect(page.locator("#main")).to_contain_text(f"On the line: {rates[0]['sentence']}")
    header = page.get_by_role("columnheader")
    expect(header.filter(has_text="In the test, of tiles")).to_be_visible()
    expect(header.filter(has_text="On the line, of frames")).to_be_visible()


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (820, True)])
def test_the_page_fits_and_can_be_read(own, open_page, width, dark):
    page = open_page(own, "/models", width=width, dark=dark)
    page.get_by_text("Everything measured of it").last.click()
    expect(page.locator(".details .table").last).to_be_visible()
    page.get_by_role("button", name=f"Let {SECOND} shadow …").click()
    expect(question(page)).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    low = [(text, round(value, 2)) for value, text in contrasts(page) if value < 4.5]
    assert not low


def test_no_version_at_all_and_what_to_do_then(tmp_path, open_page):
    with (
        program("serve", tmp_path / "server.log", "--port", "0") as server,
        program("dashboard", tmp_path / "desk.log", "--port", "0", "--api", server.url) as desk,
    ):
        until(lambda: httpx.get(f"{desk.url}/models").is_success, desk.log.read_text)
        page = open_page(Site(server, desk, [], ExitStack()), "/models")
        expect(page.locator(".state")).to_contain_text("No version is published yet")
        expect(page.locator("#main")).to_contain_text("no frame is inspected")
        page.get_by_role("link", name="Health").click()
        model = page.locator(".finding").filter(has=page.get_by_text("Model", exact=True))
        expect(model).to_contain_text("act now")
        expect(model.locator(".advice")).to_have_text("Activate a version on the page Models.")


@pytest.mark.parametrize("active", [None, "a"])
def test_no_plan_speaks_of_none(active):
    plans = [
        models_words.activation("b", active),
        models_words.shadowing("b", active, None),
        models_words.ending("b", active),
    ]
    for plan in plans:
        assert "None" not in " ".join([plan.title, *plan.sentences, plan.do])
        assert plan.title.endswith("?")


def test_another_shadow_s_end_is_told():
    assert any("c, which shadows now" in sentence for sentence in models_words.shadowing("b", "a", "c").sentences)
    assert models_words.shadowing("b", "a", "b").do == "Change the share of b"
