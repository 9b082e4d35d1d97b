"""What the settings refuse to read, by name."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError

from atelier import env
from atelier.management.commands.serve import share_media_settings
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


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("", []),
        ("nas.local", [("nas.local", None)]),
        ("NAS.Local.:80, 10.0.0.5:8080,", [("nas.local", 80), ("10.0.0.5", 8080)]),
        ("::1, [::1]:9, [0:0::1]", [("::1", None), ("::1", 9), ("::1", None)]),
        ("under_score", [("under_score", None)]),
    ],
)
def test_hosts(monkeypatch: pytest.MonkeyPatch, given: str, read: list[tuple[str, int | None]]):
    monkeypatch.setenv("ATELIER_ALLOW_MEDIA_HOSTS", given)
    assert env.hosts("ATELIER_ALLOW_MEDIA_HOSTS") == read


@pytest.mark.parametrize(
    "given",
    ["http://nas", "nas/a", "*", "*.local", "nas:", "nas:0", "nas:65536", "nas:-1", "nas:80:80", "nas:²", "[", "[]",
     "[nas", "]:1", "a b", "user@nas", "10.0.0.0/8", "nas\\", "-nas", "."],
)  # fmt: skip
def test_what_is_no_host_is_refused(monkeypatch: pytest.MonkeyPatch, given: str):
    monkeypatch.setenv("ATELIER_ALLOW_MEDIA_HOSTS", f"good.local,{given}")
    with pytest.raises(ImproperlyConfigured, match="ATELIER_ALLOW_MEDIA_HOSTS must be hosts"):
        env.hosts("ATELIER_ALLOW_MEDIA_HOSTS")


def test_a_folder_that_has_to_be_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / "link").symlink_to(tmp_path)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "file").touch()
    for given, read in (("", None), (str(tmp_path / "link"), tmp_path.resolve())):
        monkeypatch.setenv("ATELIER_MEDIA_DIR", given)
        assert env.existing_folder("ATELIER_MEDIA_DIR") == read
    for given in ("missing", "file", "loop", "~nobody-of-this-name/a"):
        monkeypatch.setenv("ATELIER_MEDIA_DIR", str(tmp_path / given) if given[0] != "~" else given)
        with pytest.raises(ImproperlyConfigured, match="ATELIER_MEDIA_DIR must be a folder"):
            env.existing_folder("ATELIER_MEDIA_DIR")


def test_flags_for_media_become_settings_of_the_children(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("ATELIER_MEDIA_DIR", "before")
    monkeypatch.setenv("ATELIER_ALLOW_MEDIA_HOSTS", "before")
    share_media_settings(None, [])
    assert os.environ["ATELIER_MEDIA_DIR"] == os.environ["ATELIER_ALLOW_MEDIA_HOSTS"] == "before"
    monkeypatch.chdir(tmp_path)
    share_media_settings(".", ["nas.local", "[::1]:80"])
    assert env.existing_folder("ATELIER_MEDIA_DIR") == tmp_path.resolve()
    assert env.hosts("ATELIER_ALLOW_MEDIA_HOSTS") == [("nas.local", None), ("::1", 80)]
    for folder, hosts in (("missing", []), (None, ["good", "not good"])):
        with pytest.raises(CommandError, match=r"--media-dir|--allow-media-host"):
            share_media_settings(folder, hosts)
