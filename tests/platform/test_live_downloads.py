"""Downloads by whole servers and commands, from a hub of the tests' own."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from inference.sources import BUILTIN_FOLDER
from tests.support.hub import FakeHub, fake_hub, slowly, wait_until
from tests.support.server import ROOT, Server

ID = "org/tiny"


@pytest.fixture
def tiny() -> Iterator[FakeHub]:
    with fake_hub() as hub:
        hub.add_folder(ID, BUILTIN_FOLDER / "atelier-tiny")
        yield hub


def surroundings(hub: FakeHub, folder: Path) -> dict[str, str]:
    return {"HF_ENDPOINT": hub.url, "ATELIER_MODEL_DIR": str(folder / "models"), "HF_TOKEN": "hf_never_logged"}


def command(hub: FakeHub, folder: Path, *words: str) -> subprocess.Popen[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ATELIER_")}
    environment = {**kept, "ATELIER_DATA_DIR": str(folder / "data"), **surroundings(hub, folder)}
    return subprocess.Popen(
        [sys.executable, str(ROOT / "manage.py"), *words],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        # As from a terminal: what a shell starts in the background ignores Ctrl-C, and hands that down.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip


def test_serve_downloads_what_is_not_here_and_serves_it_then(tiny: FakeHub, tmp_path: Path) -> None:
    tiny.fail("model.safetensors", slowly(1_500_000))
    with Server(tmp_path / "data", ID, "atelier-tiny", **surroundings(tiny, tmp_path)) as own:
        asked: dict[str, Any] = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 4}
        with own.client() as client:
            # Nobody waits for it who wants another one.
            other = client.post("/v1/chat/completions", json={**asked, "model": "atelier-tiny"})
            assert other.status_code == 200
            assert "It is being downloaded" in own.output

            def answers() -> bool:
                status = int(client.post("/v1/chat/completions", json={**asked, "model": ID}).status_code)
                assert status in (200, 503)
                return status == 200

            wait_until(answers, seconds=60)
            shown = client.get(f"/v1/models/{ID}").json()
            assert shown["state"] == "ready"
        assert "org/tiny\thub\there\ttext" in own.run("models")
        assert "hf_never_logged" not in own.output


def test_ctrl_c_keeps_what_is_here_and_the_same_command_goes_on(tiny: FakeHub, tmp_path: Path) -> None:
    assert command(tiny, tmp_path, "migrate", "-v0").wait(60) == 0
    tiny.fail("model.safetensors", slowly(1_000_000))
    first = command(tiny, tmp_path, "download", ID)
    wait_until(lambda: tiny.sent["model.safetensors"] > 500_000 or first.poll() is not None, seconds=60)
    first.send_signal(signal.SIGINT)
    said, _ = first.communicate(timeout=30)
    assert first.returncode == 130 and "the same command goes on from there" in said, said
    assert "Traceback" not in said
    again = command(tiny, tmp_path, "download", ID)
    said, _ = again.communicate(timeout=60)
    assert again.returncode == 0 and "org/tiny is here, 6.2 MB" in said, said
    assert tiny.resumed and tiny.resumed[-1][1] > 300_000


def test_serve_offline_says_what_is_missing(tiny: FakeHub, tmp_path: Path) -> None:
    refused = command(tiny, tmp_path, "serve", ID, "--offline", "--port", "0")
    said, _ = refused.communicate(timeout=60)
    assert refused.returncode == 1 and "org/tiny is not here, or not all of it" in said, said
    assert tiny.asked == []


@pytest.mark.parametrize(
    ("flags", "says"),
    [(["--download-timeout", "0"], "--download-timeout must be"), (["--download-retries", "-1"], "must be from 0")],
)
def test_serve_refuses_limits_that_make_no_sense(tiny: FakeHub, tmp_path: Path, flags: list[str], says: str) -> None:
    refused = command(tiny, tmp_path, "serve", ID, *flags)
    said, _ = refused.communicate(timeout=60)
    assert refused.returncode == 1 and says in said, said
