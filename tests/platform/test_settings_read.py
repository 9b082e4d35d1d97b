"""What the settings refuse to read, by name."""

import os
import subprocess
import sys

import pytest
from django.core.exceptions import ImproperlyConfigured

from atelier import env
from tests.support.server import ROOT


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("", ""),
        (" https://atelier.example.org/ ", "https://atelier.example.org"),
        ("http://[fd00::7]:8000", "http://[fd00::7]:8000"),
        ("https://id.example.org/realms/office", "https://id.example.org/realms/office"),
    ],
)
def test_an_address(monkeypatch: pytest.MonkeyPatch, given: str, read: str):
    monkeypatch.setenv("ATELIER_PUBLIC_URL", given)
    assert env.url("ATELIER_PUBLIC_URL") == read


@pytest.mark.parametrize(
    "given",
    ["atelier", "ftp://x", "javascript:alert(1)", "https://", "https://x:port", "https://x:99999", "http://[::1",
     "https://a b", "https://user@x", "https://x?y=z", "https://x#y", "https://x\r\nhost: y"],
)  # fmt: skip
def test_what_is_no_address_is_refused(monkeypatch: pytest.MonkeyPatch, given: str):
    monkeypatch.setenv("ATELIER_PUBLIC_URL", given)
    with pytest.raises(ImproperlyConfigured, match="ATELIER_PUBLIC_URL must be an address"):
        env.url("ATELIER_PUBLIC_URL")


def test_single_sign_on_wants_to_know_its_name_there():
    given = {**os.environ, "ATELIER_OIDC_ISSUER": "https://id.example.org"}
    command = [sys.executable, str(ROOT / "manage.py"), "check"]
    refused = subprocess.run(command, env=given, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert refused.stderr == "atelier: ATELIER_OIDC_CLIENT_ID is missing; ATELIER_OIDC_ISSUER needs it.\n"
    given["ATELIER_OIDC_CLIENT_ID"] = "atelier"
    assert subprocess.run(command, env=given, capture_output=True, check=False).returncode == 0
