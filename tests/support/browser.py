"""A real Chromium: Debian's, driven by playwright."""

import contextlib
import shutil
from collections.abc import Iterator

from playwright.sync_api import Page, sync_playwright

from tests.support.server import Server
from tests.support.services import missing

FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]
DESKTOP = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}


@contextlib.contextmanager
def chromium_page(*, dark: bool = False, phone: bool = False) -> Iterator[Page]:
    """An empty page; errors in its console or scripts fail the test at the end."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        missing("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        page = browser.new_page(viewport=PHONE if phone else DESKTOP, color_scheme="dark" if dark else "light")
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        yield page
        browser.close()
        assert problems == []


def sign_in(page: Page, server: Server, *, name: str = "admin", password: str | None = None) -> None:
    """Fills in the page and sends it; password: the first admin's, if left out."""
    page.goto(f"{server.base_url}/account/login/")
    page.fill("input[name=login]", name)
    page.fill("input[name=password]", server.password if password is None else password)
    page.click("button[type=submit]")


def fits(page: Page) -> bool:
    """Whether nothing has to be scrolled to the side."""
    return bool(page.evaluate("document.documentElement.scrollWidth <= window.innerWidth + 1"))
