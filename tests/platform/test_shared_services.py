"""The same platform with PostgreSQL and Redis: for several gateways, and for several hosts."""

import subprocess
import sys
import time

import httpx
import pytest

from tests.support.server import ROOT, Server, free_port
from tests.support.services import postgresql_server
from tests.support.streams import Stream, body, endless


@pytest.fixture(scope="module")
def shared(tmp_path_factory, redis_url):
    """Two gateways."""
    folder = tmp_path_factory.mktemp("shared")
    with (
        postgresql_server() as database_url,
        Server(folder, gateways=2, DATABASE_URL=database_url, ATELIER_REDIS_URL=redis_url) as server,
    ):
        yield server


def start_gateway(shared, name, port):
    command = [sys.executable, str(ROOT / "manage.py"), "gateway", "--port", str(port), "--name", name]
    return subprocess.Popen(
        command, env=shared.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


@pytest.fixture
def third_gateway(shared):
    """The base URL of another gateway on the same engines, database and Redis, started by itself."""
    port = free_port()
    process = start_gateway(shared, "third", port)
    url = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 30
    while True:
        try:
            if httpx.get(f"{url}/health/ready").status_code == 200:
                break
        except httpx.TransportError:
            assert time.monotonic() < deadline
        time.sleep(0.1)
    yield url
    process.terminate()
    process.wait(20)


def ask(url, key, **fields):
    headers = {"authorization": f"Bearer {key}"}
    asked = body("Hello", stream=False, **fields)
    # An engine that has just died is waited for, which takes its time on a busy machine.
    return httpx.post(f"{url}/v1/chat/completions", headers=headers, json=asked, timeout=60)


def test_gateways_answer_alike_and_share_the_ledger(shared, third_gateway):
    before = len(shared.ledger())
    answers = [ask(url, shared.key).json() for url in (*shared.base_urls, third_gateway)]
    assert answers[0]["choices"] == answers[1]["choices"] == answers[2]["choices"]
    records = shared.settled(before, 3)
    assert len({record["gateway"] for record in records}) == 3
    assert [record["completion_tokens"] for record in records] == [answers[0]["usage"]["completion_tokens"]] * 3


def test_a_revoked_key_dies_at_all_gateways_within_a_second(shared, third_gateway):
    key = shared.run("createkey", "--user", "admin", "--quiet").strip()
    urls = (*shared.base_urls, third_gateway)
    assert [ask(url, key).status_code for url in urls] == [200, 200, 200]
    shared.run("revokekey", key)
    time.sleep(1)
    assert [ask(url, key).status_code for url in urls] == [401, 401, 401]


def test_gateways_share_what_a_limit_leaves(shared, third_gateway):
    shared.run("createuser", "limited")
    key = shared.run("createkey", "--user", "limited", "--quiet").strip()
    shared.run("setquota", "--user", "limited", "--metric", "requests", "--window", "day", "--limit", "4")
    urls = (*shared.base_urls, third_gateway) * 2
    assert sorted(ask(url, key).status_code for url in urls) == [200, 200, 200, 200, 429, 429]


def test_a_second_gateway_of_the_same_name_does_not_start(shared, third_gateway):
    second = start_gateway(shared, "third", free_port())
    said, _ = second.communicate(timeout=60)
    assert second.returncode == 1
    assert "'third' is running already" in said and "--name" in said and "Traceback" not in said


def test_a_killed_gateway_comes_back_and_the_others_stay(shared):
    first, second = shared.ports
    shared.gateway(first).kill()
    assert ask(shared.base_urls[1], shared.key).status_code == 200
    deadline = time.monotonic() + 30
    while True:
        try:
            assert ask(shared.base_urls[0], shared.key).status_code == 200
            break
        except httpx.TransportError:
            assert time.monotonic() < deadline
            time.sleep(0.1)
    assert f"[gateway {first}] ended (killed by SIGKILL)" in shared.output
    assert f"[gateway {second}] ended" not in shared.output


def test_an_engines_death_is_settled_here_too(shared):
    before = len(shared.ledger())
    stream = Stream(shared, endless(max_tokens=3000))
    assert stream.started.wait(20)
    shared.kill_engine()
    stream.join(5)
    assert stream.seen[-1]["error"]["code"] == "engine_error"
    assert shared.settled(before, 1)[0]["outcome"] == "engine_error"
    assert ask(shared.base_url, shared.key).status_code == 200


def test_the_worker_works_off_the_queue(shared):
    assert_session_is_cleared(shared)


def test_the_worker_works_off_the_queue_in_a_folder(server):
    assert_session_is_cleared(server)


def assert_session_is_cleared(server):
    """A job that this process asks for is done by the worker's."""
    server.run("shell", "-c", EXPIRED_SESSION + "clear_sessions.delay()")
    deadline = time.monotonic() + 20
    while "0 sessions" not in server.run("shell", "-c", COUNT):
        assert time.monotonic() < deadline
        time.sleep(0.5)


EXPIRED_SESSION = """
from datetime import timedelta
from django.contrib.sessions.models import Session
from django.utils import timezone
from accounts.tasks import clear_sessions
Session.objects.create(session_key="old", session_data="", expire_date=timezone.now() - timedelta(days=1))
"""
COUNT = """
from django.contrib.sessions.models import Session
print(Session.objects.filter(session_key="old").count(), "sessions")
"""
