"""Signing in, second factors and invitations as a person meets them."""

import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value
from playwright.sync_api import Page

from tests.support.browser import chromium_page, fits, sign_in
from tests.support.server import Server

PASSWORD = "a long enough pass phrase"


@pytest.fixture
def name() -> str:
    """Of a user that no other test has."""
    return f"nina-{uuid.uuid4().hex[:8]}"


def invitation(server: Server) -> str:
    server.run("createteam", team := f"team {uuid.uuid4().hex[:8]}")
    link = server.run("invite", "--team", team, "--quiet").strip()
    # The command knows the port of its environment, and this server was given another one by a flag.
    return server.base_url + link[link.index("/invitation/") :]


def join(page: Page, server: Server, name: str) -> None:
    page.goto(invitation(server))
    page.fill("input[name=username]", name)
    page.fill("input[name=password1]", PASSWORD)
    page.fill("input[name=password2]", PASSWORD)
    page.click("button:has-text('Join')")
    page.wait_for_url(f"{server.base_url}/account/")


def code(secret: str) -> str:
    return format_hotp_value(hotp_value(secret, int(time.time()) // 30))


@pytest.fixture(params=["light-desktop", "dark-phone"])
def page(request: pytest.FixtureRequest) -> Iterator[Page]:
    with chromium_page(dark="dark" in request.param, phone="phone" in request.param) as page:
        page.set_default_timeout(10_000)
        yield page


def test_a_wrong_and_a_right_password(page: Page, server: Server) -> None:
    sign_in(page, server, password="wrong")
    assert "No user has this name and this password." in page.inner_text("main")
    assert fits(page)
    sign_in(page, server)
    page.wait_for_url(f"{server.base_url}/admin/")


def test_joining_by_an_invitation(page: Page, server: Server, name: str) -> None:
    page.goto(link := invitation(server))
    assert page.url == f"{server.base_url}/invitation/", "the token has left the address bar"
    assert fits(page)
    page.fill("input[name=username]", "admin")
    page.fill("input[name=password1]", PASSWORD)
    page.fill("input[name=password2]", PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_selector(".errorlist")
    assert "already exists" in page.inner_text("main")
    join(page, server, name)
    assert fits(page)
    assert name in page.inner_text("h1") and "member" in page.inner_text("main")
    page.goto(link)
    assert "Join as" in page.inner_text("main"), "the first link is still open, for who is signed in now"
    page.goto(f"{server.base_url}/admin/")
    assert page.url == f"{server.base_url}/account/", "no admin"
    page.click("text=Sign out")
    page.wait_for_url("**/account/login/")


def test_a_second_factor_from_the_first_code_to_the_next_sign_in(page: Page, server: Server, name: str) -> None:
    join(page, server, name)
    page.click("text=set it up")
    page.fill("input[type=password]", PASSWORD)
    page.click("button:has-text('Confirm')")
    page.wait_for_selector("img")
    assert page.evaluate("document.querySelector('img').naturalWidth") > 0, "the QR code can be seen"
    assert fits(page)
    secret = page.input_value("#authenticator_secret")
    page.fill("input[name=code]", code(secret))
    page.click("button:has-text('Activate')")
    page.wait_for_url("**/recovery-codes/")
    codes = page.input_value("textarea").split()
    assert len(codes) == 10 and fits(page)
    page.goto(f"{server.base_url}/account/2fa/")
    assert fits(page)
    page.goto(f"{server.base_url}/account/")
    page.click("text=Sign out")
    page.wait_for_url("**/account/login/")

    sign_in(page, server, name=name, password=PASSWORD)
    page.wait_for_url("**/2fa/authenticate/")
    assert fits(page)
    page.fill("input[name=code]", codes[0])
    page.keyboard.press("Enter")
    page.wait_for_url(f"{server.base_url}/account/")
    assert "Second factor" in page.inner_text("main")


def test_a_link_for_a_new_password(page: Page, server: Server, name: str) -> None:
    server.run("createuser", name)
    link: Any = server.run("resetlink", name)
    page.goto(server.base_url + link[link.index("/password/") :].split()[0])
    assert page.url.endswith("/set-password/") and fits(page)
    page.fill("input[name=new_password1]", PASSWORD)
    page.fill("input[name=new_password2]", PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url("**/account/login/")
    assert "Your password is set" in page.inner_text("main")
    sign_in(page, server, name=name, password=PASSWORD)
    page.wait_for_url(f"{server.base_url}/account/")


def test_offboarding_asks_first(page: Page, server: Server, name: str) -> None:
    server.run("createuser", name)
    sign_in(page, server)
    page.wait_for_url(f"{server.base_url}/admin/")
    page.goto(f"{server.base_url}/admin/accounts/user/?q={name}")
    page.check("input[name=_selected_action]")
    page.select_option("select[name=action]", "offboard")
    page.click("button[name=index], button:has-text('Run')")
    page.wait_for_selector("text=Offboard these users?")
    assert fits(page)
    page.click("button:has-text('Offboard')")
    page.wait_for_selector(f"text={name} is out")
