"""Signing in at a company account, through Chromium and a provider that is a process of its own."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import expect

from app.access.people import Role
from tests.app.access.openid_names import CLIENT, SECRET

from .conftest import PATIENCE_MS, ROOT, Site


@pytest.fixture(scope="module")
def issuer() -> Iterator[str]:
    environment = {"PATH": os.environ["PATH"], "AUTHLIB_INSECURE_TRANSPORT": "1"}
    with subprocess.Popen(
        [sys.executable, "-m", "tests.app.access.openid_provider"], cwd=ROOT, env=environment, text=True,
        stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.kill()


@pytest.fixture(scope="module")
def company(start_site, issuer) -> Site:
    return start_site(
        {"Ada Admin": Role.ADMIN},
        STEELSIGHT_OIDC_ISSUER=issuer,
        STEELSIGHT_OIDC_CLIENT_ID=CLIENT,
        STEELSIGHT_OIDC_CLIENT_SECRET=SECRET,
        STEELSIGHT_OIDC_ROLE_CLAIM="groups",
        STEELSIGHT_OIDC_ROLES="mill-quality=reviewer,mill-admins=admin",
    )


def test_the_company_account_leads_in_and_back_to_where_one_was(company, chromium):
    context = chromium.new_context()
    context.set_default_timeout(2 * PATIENCE_MS)
    page = context.new_page()
    page.goto(f"{company.desk.url}/coils?cursor=")
    page.get_by_role("link", name="company account").click()
    page.get_by_label("User").fill("olga")
    page.get_by_role("button", name="Continue").click()
    expect(page.locator(".desk-who")).to_contain_text("olga")
    expect(page.locator(".desk-who small")).to_have_text("reviewer")
    assert page.url == f"{company.desk.url}/coils?cursor="
    (session,) = (each for each in context.cookies() if each["name"] == "steelsight")
    assert session["httpOnly"] and session["sameSite"] == "Strict"
    page.get_by_role("button", name="Sign out").click()
    # Signing out leads somewhere itself: two navigations at once may end in neither.
    expect(page).to_have_title("Sign in · Steelsight")

    page.goto(f"{company.desk.url}/sign-in/openid")
    page.get_by_label("User").fill("otto")
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_role("alert")).to_contain_text("has a role here")
    page.goto(f"{company.desk.url}/sign-in/openid")
    page.get_by_label("User").fill("somebody else")
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_role("alert")).to_contain_text("did not let you in (access_denied)")
    context.close()


def test_an_answer_that_this_browser_did_not_ask_for_is_refused(company):
    with httpx.Client(base_url=company.desk.url, trust_env=False) as http:
        begun = http.get("/sign-in/openid")
        where = httpx.URL(begun.headers["location"])
        assert where.params["code_challenge_method"] == "S256" and len(where.params["nonce"]) >= 32
        cookie = next(each for each in begun.headers.get_list("set-cookie") if each.startswith("steelsight-openid="))
        assert "HttpOnly" in cookie and re.search("samesite=lax", cookie, re.IGNORECASE)
        for query in (
            "",
            "code=x",
            "code=x&state=another",
            f"error=x&state={where.params['state']}",
            "state=%00&code=%ff",
        ):
            for mine in ({}, {"cookie": cookie.partition(";")[0]}, {"cookie": "steelsight-openid=forged"}):
                http.cookies.clear()
                answer = http.get(f"/sign-in/openid/back?{query}", headers=mine)
                assert answer.status_code == 403, (query, mine)
                assert "steelsight=" not in str(answer.headers.get_list("set-cookie"))
