"""What browsers may do with the answers. No page logs a violation: `open_page` fails for any complaint of a browser."""

import httpx
import jinja2
import pytest
from playwright.sync_api import expect

from app.dashboard.policy import REPLACED, NonceLoader

from .conftest import PATIENCE_MS, watching

# Of the bundle, from outside; the browser refuses it as it is told to.
REDOC_LOGO = "cdn.redoc.ly"


def rules(answer: httpx.Response) -> dict[str, str]:
    return dict(each.split(" ", 1) for each in answer.headers["content-security-policy"].split("; "))


def test_a_page_runs_its_own_scripts_alone(site):
    answer = httpx.get(f"{site.desk.url}/line")
    policy = rules(answer)
    assert policy["default-src"] == policy["object-src"] == policy["frame-ancestors"] == "'none'"
    assert "unsafe-inline" not in answer.headers["content-security-policy"]
    assert not any("http" in sources or "*" in sources for sources in policy.values())
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "same-origin"
    nonce = policy["script-src"].split("'nonce-")[1].split("'")[0]
    assert len(nonce) >= 22 and answer.text.count(f'nonce="{nonce}"') == answer.text.count("nonce=") > 5
    again = httpx.get(f"{site.desk.url}/line")
    assert nonce not in again.text


@pytest.mark.parametrize("path", ["/static/desk.css", "/favicon.ico", "/none-such.png"])
def test_what_is_no_page_runs_nothing(site, path):
    answer = httpx.get(site.desk.url + path)
    assert "script-src" not in rules(answer) or answer.headers["x-nicegui-content"] == "page"
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "injected",
    [
        "document.body.insertAdjacentHTML('beforeend', '<img src=data:, onerror=\"window.ran = 1\">')",
        "document.body.append(Object.assign(document.createElement('script'), { textContent: 'window.ran = 1' }))",
        "document.body.append(Object.assign(document.createElement('script'), { src: 'data:,window.ran = 1' }))",
        "document.body.appendChild(Object.assign(document.createElement('a'), { href: 'javascript:ran = 1' })).click()",
        "document.body.insertAdjacentHTML('beforeend', '<p style=\"position:fixed\">')",
    ],
)
def test_what_got_into_a_page_is_not_run(site, open_page, injected):
    page = open_page(site, "/line", mishaps=("Content Security Policy", "net::ERR_"))
    page.evaluate("window.refused = []; addEventListener('securitypolicyviolation', (e) => refused.push(e.blockedURI))")
    page.evaluate(injected)
    page.wait_for_function("refused.length > 0")
    assert page.evaluate("window.ran") is None


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_the_api_s_own_pages_are_whole_under_theirs(site, chromium, path):
    context = chromium.new_context()
    with watching(context) as watched:
        page = context.new_page()
        page.goto(site.server.url + path)
        expect(page.locator("text=Inspect one frame >> visible=true").first).to_be_visible(timeout=PATIENCE_MS)
    context.close()
    assert [each for each in watched.complaints if REDOC_LOGO not in each] == []


def test_another_template_than_the_one_known_is_refused():
    template = "".join(REPLACED)
    environment = jinja2.Environment()
    source, _, _ = NonceLoader(jinja2.DictLoader({"index.html": template})).get_source(environment, "index.html")
    assert source.count("nonce") >= 4
    changed = jinja2.DictLoader({"index.html": template.replace("<script", "<SCRIPT")})
    with pytest.raises(LookupError, match=r"policy\.py"):
        NonceLoader(changed).get_source(environment, "index.html")
