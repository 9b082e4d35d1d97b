"""The documentation says what the code does."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.server import ROOT, Server

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def settings_read() -> set[str]:
    """Every environment variable that the settings read, and the one that the Python API has, too."""
    read = (ROOT / "platform/atelier/settings.py").read_text() + (ROOT / "inference/hub/cache.py").read_text()
    return set(re.findall(r'env(?:iron)?\.\w+\("(\w+)"', read))


def test_every_setting_is_documented_and_no_other():
    documented = set(re.findall(r"`(ATELIER_\w+)`", (ROOT / "docs/settings.md").read_text()))
    assert {name for name in documented if not name.startswith("ATELIER_TEST_")} == settings_read()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path):
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text()):
        if not re.match(r"\w+:", target):
            assert (page.parent / target).exists(), target


def code_blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.S)


def for_server(code: str, server: Server) -> str:
    code = code.replace("http://localhost:8000", server.base_url).replace("http://127.0.0.1:8000", server.base_url)
    return re.sub(r"sk-atelier-\S*?(?=[\"'\s])", server.key, code)


EXAMPLES = [(page.name, number) for page in PAGES for number, _ in enumerate(code_blocks(page, "python"))]


@pytest.mark.parametrize(("name", "number"), EXAMPLES)
def test_python_examples_run(server: Server, name: str, number: int):
    page = next(page for page in PAGES if page.name == name)
    code = for_server(code_blocks(page, "python")[number], server)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_there_are_examples():
    assert EXAMPLES
