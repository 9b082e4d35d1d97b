"""The admin as a person sees it."""

import re

import pytest

from tests.support.browser import chromium_page, fits, sign_in


def log_in(page, server):
    sign_in(page, server)
    page.wait_for_url(f"{server.base_url}/admin/")


def test_a_key_made_in_the_admin_is_shown_once_and_works(server):
    with chromium_page() as page:
        log_in(page, server)
        page.goto(f"{server.base_url}/admin/accounts/apikey/add/")
        page.fill("input[name=note]", "from the browser")
        page.click("#id_user + .select2")
        page.fill(".select2-search__field", "admin")
        page.click(".select2-results__option--highlighted:has-text('admin')")
        page.click("[name=_save]")
        page.wait_for_load_state()
        shown = re.search(r"sk-atelier-[0-9A-Za-z]{46}", page.inner_text("body"))
        assert shown is not None
        with server.client() as client:
            answer = client.get("/v1/models", headers={"authorization": f"Bearer {shown[0]}"})
            assert answer.status_code == 200
        page.reload()
        assert shown[0] not in page.content()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("phone", [False, True], ids=["desktop", "phone"])
def test_every_page_opens_without_an_error_and_fits(server, phone, dark):
    with chromium_page(phone=phone, dark=dark) as page:
        log_in(page, server)
        for path in ("", "accounts/user/", "accounts/team/", "accounts/apikey/", "accounts/usagerecord/",
                     "accounts/usagerecord/?p=2020-01-01", "accounts/usagedaily/", "accounts/price/add/",
                     "accounts/auditevent/", "accounts/invitation/", "accounts/invitation/add/",
                     "accounts/apikey/add/", "inference/engine/"):  # fmt: skip
            response = page.goto(f"{server.base_url}/admin/{path}")
            assert response is not None and response.status == 200, path
            assert fits(page), f"{path} is too wide"
        page.click("text=atelier-tiny")
        page.wait_for_url("**/inference/engine/*/change/")
        assert fits(page), "an engine's page is too wide"
        assert "seconds ago" in page.inner_text("body"), "the engine's last heartbeat is shown"


def test_what_was_used_is_drawn(server):
    with server.client() as client:
        body = {"model": "default", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 3}
        assert client.post("/v1/chat/completions", json=body).status_code == 200
    with chromium_page() as page:
        log_in(page, server)
        page.goto(f"{server.base_url}/admin/accounts/usagedaily/?by=user&show=requests")
        drawn = "Chart.getChart(document.querySelector('canvas.chart')).data.datasets"
        names, last = page.evaluate(f"[{drawn}.map(each => each.label), {drawn}[0].data.at(-1)]")
        assert "admin" in names and last >= 1
        assert page.inner_text("[data-total=requests]") != "0"


def test_a_page_that_is_not_there(server):
    with chromium_page() as page:
        response = page.goto(f"{server.base_url}/no/such/page")
        assert response is not None and response.status == 404
        assert "no such page" in page.inner_text("h1")
