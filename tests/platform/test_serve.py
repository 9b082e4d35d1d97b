"""`serve` as an operator meets it: first start, second start, mistakes, and the way down."""

import contextlib
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import time

import httpx
import psutil
import pytest

from atelier.data_dir import socket_dir
from inference.sources import BUILTIN_FOLDER
from tests.support.server import ROOT, Server, free_port
from tests.support.streams import Stream, body, endless

MANAGE = str(ROOT / "manage.py")


def serve(data_dir, *arguments, **environment):
    """What `serve` says when it refuses, and its exit code."""
    done = subprocess.run(
        [sys.executable, MANAGE, "serve", *arguments],
        env={**os.environ, "ATELIER_DATA_DIR": str(data_dir), **environment},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def own(tmp_path):
    """A server that the test may stop or harm."""
    with Server(tmp_path / "data") as server:
        yield server


def test_the_first_start_shows_password_and_key_once(own):
    assert own.key.startswith("sk-atelier-") and own.password
    assert own.output.count(own.key) == 1 and own.output.count(own.password) == 1
    with own.client() as client:
        assert client.get("/v1/models").status_code == 200
    for file in own.data_dir.rglob("*"):
        if file.is_file() and not file.name.startswith("serve-"):
            assert own.key.encode() not in file.read_bytes(), f"the key is stored in {file}"
    key = own.key
    own.stop()
    own.start()
    assert "sk-atelier-" not in own.output and "password" not in own.output
    own.key = key
    with own.client() as client:
        assert client.get("/v1/models").status_code == 200, "the key of the first start still works"


def test_the_admin_lets_the_first_user_in(own):
    with httpx.Client(base_url=own.base_url, follow_redirects=True) as browser:
        page = browser.get("/admin/")
        form = {
            "login": "admin",
            "password": own.password,
            "csrfmiddlewaretoken": browser.cookies["csrftoken"],
            "next": "/admin/",
        }
        page = browser.post("/account/login/", data=form, headers={"referer": str(page.url)})
        assert page.status_code == 200 and "Log out" in page.text
        style = browser.get("/static/unfold/css/styles.css")
        assert style.status_code == 200 and "css" in style.headers["content-type"]


def test_what_it_stores_is_for_its_owner_only(own):
    assert stat.S_IMODE(own.data_dir.stat().st_mode) == 0o700 or own.data_dir.stat().st_uid == os.getuid()
    assert stat.S_IMODE((own.data_dir / "secret_key").stat().st_mode) == 0o600
    assert stat.S_IMODE(socket_dir(own.data_dir).stat().st_mode) == 0o700


def test_sigterm_lets_streams_finish_and_leaves_nothing_behind(own):
    children = own.children()
    assert len(children) >= 3
    stream = Stream(own, endless(max_tokens=400))
    assert stream.started.wait(20)
    own.process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    with own.client() as client:
        refused = client.post("/v1/chat/completions", json=body())
        assert refused.status_code == 503 and refused.json()["error"]["code"] == "draining"
    stream.join(30)
    assert stream.seen[-1] == "[DONE]" and stream.error is None
    assert own.process.wait(30) == 0
    assert [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE] == []
    assert [row["outcome"] for row in own.ledger()] == ["length"]


def test_a_killed_supervisor_takes_its_children_with_it(own):
    children = own.children()
    own.process.kill()
    own.process.wait()
    gone, alive = psutil.wait_procs(children, timeout=15)
    assert not alive, alive
    assert len(gone) >= 3


def test_one_folder_one_supervisor(own):
    code, said = serve(own.data_dir, "--port", str(free_port()))
    assert code != 0
    assert "running already" in said and "ATELIER_DATA_DIR" in said and "Traceback" not in said


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["/no/such/model"], "no such folder"),
        (["builtin:nobody"], "atelier-tiny"),
        (["not a model!"], "no such folder"),
        (["--port", "99999"], "--port"),
        (["--host", "203.0.113.77"], "--host"),
        (["--gateways", "0"], "--gateways must be at least 1"),
        (["--gateways", "1000000"], "--gateways can be at most 64"),
        (["--gateways", "3"], "3 gateways need Redis"),
        (["--max-num-seqs", "0"], "--max-num-seqs: must be a whole number from 1 to 1024, not 0"),
        (["--kv-bits", "3"], "--kv-bits: must be one of none, 8, 4, not 3"),
        (["--media-dir", "/no/such/folder"], "--media-dir must be a folder that exists"),
        (["--allow-media-host", "nas.local", "--allow-media-host", "http://nas.local"], "--allow-media-host: 'http:"),
        (["--disable-prefix-cache", "--cache-strategy", "paged"], "--disable-prefix-cache and --cache-strategy paged"),
    ],
)
def test_mistakes_are_named_before_anything_starts(tmp_path, arguments, says):
    code, said = serve(tmp_path, *arguments)
    assert code != 0 and says in said and "Traceback" not in said


def test_a_taken_port_is_named(own, tmp_path):
    code, said = serve(tmp_path / "other", "--port", str(own.port))
    assert code != 0 and str(own.port) in said and "ATELIER_PORT" in said


@pytest.mark.parametrize(
    ("name", "value"),
    [("ATELIER_PORT", "eighty"), ("ATELIER_DEBUG", "maybe"), ("ATELIER_TIMEOUT", "-1"),
     ("ATELIER_MEDIA_DIR", "/no/such/folder"), ("ATELIER_ALLOW_MEDIA_HOSTS", "nas.local:0"),
     ("ATELIER_MAX_MEDIA", "0")],
)  # fmt: skip
def test_a_wrong_setting_is_named(tmp_path, name, value):
    code, said = serve(tmp_path, **{name: value})
    assert code != 0 and name in said and value in said and "Traceback" not in said


def test_engine_options_reach_the_engine_and_are_kept(own):
    def engine_flags():
        words = own.child("inference.engine").cmdline()
        return words[words.index("--endpoint") + 2 :]

    def batching():
        with own.client() as client:
            (model,) = client.get("/v1/models").json()["data"]
        return model["batching"], model["batching_reason"]

    def restart(*arguments):
        own.stop()
        own.arguments = arguments
        own.start()

    assert engine_flags() == [] and "Options" not in own.output
    restart("--max-num-seqs", "3", "--timeout", "900")
    assert engine_flags() == ["--max-num-seqs=3", "--timeout=900"]
    assert "atelier-tiny: --max-num-seqs=3 --timeout=900 (until now: the defaults)" in own.output
    assert float(own.child("worker").environ()["ATELIER_TIMEOUT"]) == 900, "or it would give such requests up early"
    restart()
    assert engine_flags() == ["--max-num-seqs=3", "--timeout=900"]
    assert "Options  atelier-tiny: --max-num-seqs=3 --timeout=900\n" in own.output
    restart("--deterministic")
    assert engine_flags() == ["--deterministic"]
    assert batching() == ("single", "--deterministic")
    assert "atelier-tiny: --deterministic (until now: --max-num-seqs=3 --timeout=900)" in own.output
    restart("--runtime-mode", "auto")
    assert engine_flags() == []
    assert batching() == ("batched", None)
    assert "atelier-tiny: the defaults (until now: --deterministic)" in own.output


def test_options_that_were_stored_wrongly_are_named_and_the_others_are_served(own):
    own.stop()
    with contextlib.closing(sqlite3.connect(own.data_dir / "atelier.sqlite3")) as database, database:
        database.execute("""update inference_model set engine_options = '{"kv_bits": 3}'""")
    folder = own.data_dir / "other"
    shutil.copytree(BUILTIN_FOLDER / "atelier-tiny", folder)
    own.arguments, key = ("atelier-tiny", str(folder)), own.key
    own.start()
    own.key = key
    assert "serves other" in own.output and "Failed   atelier-tiny: --kv-bits must be one of none, 8, 4" in own.output
    with own.client() as client:
        states = {model["id"]: model["state"] for model in client.get("/v1/models").json()["data"]}
        assert states == {"atelier-tiny": "failed", "other": "ready"}
    assert own.child("inference.engine").cmdline().count("other") == 1, "the one engine there is"
    own.stop()
    own.arguments = ("atelier-tiny", "--kv-bits", "8")
    own.start()
    assert "serves atelier-tiny" in own.output and "(until now: a mistake: --kv-bits must be" in own.output


def test_a_model_from_a_folder_is_known_by_path_and_name(tmp_path):
    folder = tmp_path / "my-model"
    shutil.copytree(BUILTIN_FOLDER / "atelier-tiny", folder)
    with Server(tmp_path / "data", str(folder), "atelier-tiny") as server, server.client() as client:
        listed = client.get("/v1/models").json()["data"]
        assert [model["id"] for model in listed] == ["my-model", "atelier-tiny"]
        for name in ("my-model", str(folder), "default", "atelier-tiny"):
            answer = client.post("/v1/chat/completions", json=body("Hello", stream=False, model=name))
            assert answer.status_code == 200, name
            assert answer.json()["model"] == ("atelier-tiny" if name == "atelier-tiny" else "my-model")


def test_a_data_folder_with_a_long_path_has_its_sockets_elsewhere(tmp_path):
    """A Unix socket's path ends at 103 bytes."""
    folder = tmp_path / ("long" * 12) / ("longer" * 12)
    with Server(folder) as server, server.client() as client:
        answer = client.post("/v1/chat/completions", json=body("Hello", stream=False))
        assert answer.status_code == 200
        assert not (folder / "run").exists()


def test_a_model_that_can_not_be_loaded_is_named_and_the_others_are_served(tmp_path):
    """The first start's password and key are shown all the same."""
    broken = tmp_path / "broken"
    shutil.copytree(BUILTIN_FOLDER / "atelier-tiny", broken)
    (broken / "model.safetensors").write_bytes(b"no weights")
    with Server(tmp_path / "data", "atelier-tiny", str(broken)) as server, server.client() as client:
        assert "serves atelier-tiny" in server.output and "Failed   broken" in server.output
        assert client.post("/v1/chat/completions", json=body(stream=False, max_tokens=2)).status_code == 200
        states = {model["id"]: model["state"] for model in client.get("/v1/models").json()["data"]}
        assert states == {"atelier-tiny": "ready", "broken": "failed"}


@pytest.mark.parametrize(
    ("command", "ours"), [("createsuperuser", "createuser NAME --admin"), ("changepassword", "resetlink NAME")]
)
def test_what_would_leave_nothing_in_the_audit_log_is_refused(command: str, ours: str):
    done = subprocess.run([sys.executable, MANAGE, command], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and f"use `atelier {ours}`" in done.stderr


def test_the_version_is_ours():
    done = subprocess.run([sys.executable, MANAGE, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Atelier ")
