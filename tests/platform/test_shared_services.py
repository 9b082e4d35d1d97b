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
    with (
        postgresql_server() as database_url,
        Server(tmp_path_factory.mktemp("shared"), DATABASE_URL=database_url, ATELIER_REDIS_URL=redis_url) as server,
    ):
        yield server


@pytest.fixture
def second_gateway(shared):
    """The base URL of another gateway on the same engines, database and Redis."""
    port = free_port()
    command = [sys.executable, str(ROOT / "manage.py"), "gateway", "--port", str(port), "--name", "second"]
    process = subprocess.Popen(command, env=shared.environment)
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


def test_two_gateways_answer_alike_and_share_the_ledger(shared, second_gateway):
    before = len(shared.ledger())
    first, second = (ask(url, shared.key).json() for url in (shared.base_url, second_gateway))
    assert first["choices"] == second["choices"]
    records = shared.settled(before, 2)
    assert len({record["gateway"] for record in records}) == 2
    assert [record["completion_tokens"] for record in records] == [first["usage"]["completion_tokens"]] * 2


def test_a_revoked_key_dies_at_both_gateways_within_a_second(shared, second_gateway):
    key = shared.run("createkey", "--user", "admin", "--quiet").strip()
    urls = (shared.base_url, second_gateway)
    assert [ask(url, key).status_code for url in urls] == [200, 200]
    shared.run("revokekey", key)
    time.sleep(1)
    assert [ask(url, key).status_code for url in urls] == [401, 401]


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
