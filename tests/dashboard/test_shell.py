"""What every page has: the frame, light and dark, widths, and words for when the API is not there."""

import re

import httpx
import pytest
from playwright.sync_api import Page, expect

from .conftest import COIL, Site, program, until

PAGES = ("/line", "/coils", f"/coil?coil_id={COIL}", "/review")
SCREENS = ((1280, 900), (820, 1180))
NAVIGATION = ["Line", "Coil", "Review", "Models", "Network", "Health"]


def luminance(colour: str) -> float:
    """Relative luminance of `rgb(r, g, b)`: WCAG 2.2."""
    shares = [int(each) / 255 for each in re.findall(r"\d+", colour)[:3]]
    linear = [each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrasts(page: Page) -> list[tuple[float, str]]:
    """The contrast of each piece of text with the colour it stands on, and the text."""
    found = page.evaluate(
        """() => {
            const under = (element) => {
                for (let each = element; each; each = each.parentElement) {
                    const colour = getComputedStyle(each).backgroundColor;
                    if (!/rgba\\(.*, 0\\)/.test(colour)) return colour;
                }
                return getComputedStyle(document.body).backgroundColor;
            };
            const texts = [];
            const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
            while (walker.nextNode()) {
                const element = walker.currentNode.parentElement, text = walker.currentNode.textContent.trim();
                const aside = "script, style, svg, :disabled, .nicegui-error-popup";
                if (!text || !element.checkVisibility() || element.closest(aside)) continue;
                texts.push([getComputedStyle(element).color, under(element), text]);
            }
            return texts;
        }"""
    )
    return [(ratio(luminance(ink), luminance(ground)), text) for ink, ground, text in found]


def ratio(one: float, other: float) -> float:
    return (max(one, other) + 0.05) / (min(one, other) + 0.05)


def test_the_measure_of_contrast():
    assert ratio(luminance("rgb(0, 0, 0)"), luminance("rgb(255, 255, 255)")) == pytest.approx(21)
    assert ratio(luminance("rgb(118, 118, 118)"), luminance("rgb(255, 255, 255)")) == pytest.approx(4.54, abs=0.01)


@pytest.mark.parametrize(
    ("path", "full"), [*((path, True) for path in PAGES), *((path, False) for path in PAGES if "?" not in path)]
)
def test_every_page_fits_and_can_be_read(site, bare, open_page, path, full):
    page = open_page(site if full else bare, path)
    expect(page.locator("#main *").first).to_be_visible()
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        expect(page.locator("body")).to_have_class(re.compile(f"body--{scheme}"))
        for width, height in SCREENS:
            page.set_viewport_size({"width": width, "height": height})
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert (luminance(ground) < 0.1) == (scheme == "dark")
            measured = contrasts(page)
            assert len(measured) > len(NAVIGATION)
            assert not [(text, round(value, 2)) for value, text in measured if value < 4.5], (scheme, width)


def test_the_navigation_leads_to_every_page(site, open_page):
    page = open_page(site, "/")
    links = page.locator("nav[aria-label=Pages] a")
    expect(links).to_have_text(NAVIGATION)
    for name in NAVIGATION[:3]:
        page.get_by_role("link", name=name, exact=True).click()
        expect(page.locator("nav [aria-current=page]")).to_have_text(name)
        expect(page).to_have_title(f"{name} · Steelsight")


def test_the_choice_of_colours_is_kept(site, open_page):
    page = open_page(site, "/line")
    button = page.locator("#theme")
    expect(button).to_contain_text("System")
    button.click()
    button.click()
    expect(button).to_contain_text("Dark")
    page.reload()
    expect(button).to_contain_text("Dark")
    assert luminance(page.evaluate("getComputedStyle(document.body).backgroundColor")) < 0.1


def test_a_page_of_what_is_not_there_says_so(site, open_page):
    page = open_page(site, "/coil?coil_id=none-such")
    expect(page.get_by_role("alert")).to_contain_text("none-such")


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """A desk whose API is not there."""
    folder = tmp_path_factory.mktemp("alone")
    with program("dashboard", folder / "desk.log", "--port", "0", "--api", "http://127.0.0.1:9") as desk:
        until(lambda: httpx.get(f"{desk.url}/line").is_success, desk.log.read_text)
        yield Site(desk, desk, [])


@pytest.mark.parametrize("path", ["/line", "/coils", "/review"])
def test_without_an_api_every_page_says_so_and_since_when(alone, open_page, path):
    page = open_page(alone, path)
    banner = page.locator(".connection-lost")
    expect(banner).to_contain_text("The API does not answer")
    expect(banner).to_contain_text(re.compile(r"since \d+:\d\d:\d\d"))
    expect(page.locator("#main .state")).to_be_visible()
