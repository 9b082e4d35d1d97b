"""The dashboard and the live requests as a person sees them, with a real model at work."""

import re

import pytest

from tests.platform.test_admin_in_browser import fits, log_in
from tests.support.browser import chromium_page
from tests.support.streams import Stream, endless


def text(page):
    return " ".join(page.inner_text("#content").split())


def test_the_dashboard_follows_what_happens(server):
    with chromium_page() as page:
        log_in(page, server)
        assert page.locator("#nav-sidebar-apps >> text=Live requests").count() == 1
        before = page.inner_text(".refreshed")
        stream = Stream(server, endless(max_tokens=3000))
        # Not a reload: it refreshes itself, and its figures are the engine's.
        page.wait_for_function("() => /Running now\\s+1\\b/.test(document.querySelector('#content').innerText)")
        page.wait_for_function("() => /Tokens a second\\s+[1-9]/.test(document.querySelector('#content').innerText)")
        assert page.inner_text(".refreshed") != before
        assert re.search(r"atelier-tiny ready 1 of \d+ rows taken", text(page))
        stream.join(60)


def test_a_request_is_seen_and_cancelled(server):
    stream = Stream(server, endless(max_tokens=3000))
    with chromium_page() as page:
        log_in(page, server)
        page.click("text=Live requests")
        row = page.locator("table.requests tbody tr")
        row.wait_for()
        page.wait_for_function("() => document.querySelector('.requests')?.innerText.includes('decoding')")
        said = row.inner_text()
        assert "admin" in said and "atelier-tiny" in said and "chat.completions" in said and "sk-atelier-" in said
        row.locator("button").click()
        page.wait_for_load_state()
        assert "1 request cancelled." in page.inner_text("body")
        page.wait_for_selector("text=Nothing runs.")
    stream.join(20)
    assert not stream.is_alive()
    assert server.ledger()[-1]["outcome"] == "cancelled"


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("phone", [False, True], ids=["desktop", "phone"])
def test_they_fit_whatever_they_show(server, phone, dark):
    server.run("announce", "Averylongwordwithoutanyspace" * 12 + " <b>bold</b>")
    streams = [Stream(server, endless(max_tokens=3000)) for _ in range(2)]
    try:
        with chromium_page(phone=phone, dark=dark) as page:
            response = page.goto(f"{server.base_url}/admin/login/")
            assert response is not None and response.status == 200
            assert "<b>bold</b>" in page.inner_text("body") and fits(page)
            log_in(page, server)
            for path in ("", "requests/", "accounts/announcement/", "accounts/announcement/add/",
                         "accounts/maintenance/1/change/", "accounts/quota/", "accounts/quota/add/",
                         "inference/model/", "inference/sharedprefix/", "inference/sharedprefix/add/"):  # fmt: skip
                response = page.goto(f"{server.base_url}/admin/{path}")
                assert response is not None and response.status == 200, path
                assert fits(page), f"{path} is too wide"
                assert "<b>bold</b>" in page.inner_text(".notices")
    finally:
        for stream in streams:
            stream.join(60)
        server.run("announce", "--clear")
