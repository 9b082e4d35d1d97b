import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import redis
import zmq
from django.db import transaction

from accounts import events
from accounts.events import RESUMED, Event, Hub
from accounts.models import User
from accounts.services import IssuedKey, do_change_user, do_delete_user, do_revoke_all_keys, do_revoke_key

SECONDS = 30
PROJECT = Path(__file__).resolve().parents[2]


class Listener:
    """A subscription that stands when the test goes on."""

    def __init__(self, *topics: str) -> None:
        self._events = events.subscribe(*topics)

    async def __aenter__(self) -> "Listener":
        assert await self.next() == Event(RESUMED, {})
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._events.aclose()

    async def next(self) -> Event:
        return await asyncio.wait_for(anext(self._events), SECONDS)


async def publish(topic: str, **payload: Any) -> None:
    await asyncio.to_thread(events.publish, topic, **payload)


async def test_an_event_reaches_every_subscriber(transport: str):
    async with Listener("apple.ripe") as one, Listener("apple.ripe", "pear.ripe") as two:
        await publish("apple.ripe", tree=7, note="été")
        expected = Event("apple.ripe", {"tree": 7, "note": "été"})
        assert await one.next() == expected
        assert await two.next() == expected


async def test_only_the_topics_asked_for_arrive(transport: str):
    async with Listener("apple.ripe") as listener:
        await publish("pear.ripe")
        await publish("apple.ripe.soon")
        await publish("apple.ripe", last=True)
        assert await listener.next() == Event("apple.ripe", {"last": True})


async def test_events_of_one_thread_keep_their_order_over_redis(redis_events: str):
    async with Listener("count") as listener:
        for number in range(50):
            await publish("count", number=number)
        assert [(await listener.next()).payload["number"] for _ in range(50)] == list(range(50))


async def test_many_threads_publish_at_once(transport: str):
    async with Listener("count") as listener:
        await asyncio.gather(*(publish("count", number=number) for number in range(100)))
        assert {(await listener.next()).payload["number"] for _ in range(100)} == set(range(100))


async def test_a_body_that_cannot_be_read_is_left_out(transport: str):
    module = events.over_redis if transport == "redis" else events.over_zeromq
    async with Listener("apple.ripe") as listener:
        await asyncio.to_thread(module.send, "apple.ripe", b"\xff not json")
        await asyncio.to_thread(module.send, "apple.ripe", b"[1, 2]")
        await publish("apple.ripe", good=True)
        # Each ZeroMQ publish has a connection of its own, so the bad ones may still be under way behind this one.
        assert await listener.next() == Event("apple.ripe", {"good": True})
        await publish("apple.ripe", last=True)
        assert await listener.next() == Event("apple.ripe", {"last": True})


async def test_a_payload_that_cannot_be_written_raises_nothing(transport: str, caplog: pytest.LogCaptureFixture):
    await publish("apple.ripe", tree=object())
    assert "apple.ripe could not be published" in caplog.text


async def test_a_subscriber_resumes_when_the_hub_comes_back(hub: Hub):
    async with Listener("apple.ripe") as listener:
        hub.__exit__(None, None, None)
        assert not hub.is_alive()
        with Hub() as second:
            assert await listener.next() == Event(RESUMED, {})
            await publish("apple.ripe")
            assert (await listener.next()).topic == "apple.ripe"
            assert second.is_alive()


async def test_a_subscriber_resumes_when_its_connection_to_redis_breaks(redis_events: str):
    async with Listener("apple.ripe") as listener:
        with redis.Redis.from_url(redis_events) as admin:
            admin.execute_command("CLIENT", "KILL", "TYPE", "PUBSUB")
        assert await listener.next() == Event(RESUMED, {})
        await publish("apple.ripe")
        assert await listener.next() == Event("apple.ripe", {})


async def test_a_subscriber_resumes_after_redis_refused_it_for_a_while(redis_events: str):
    with redis.Redis.from_url(redis_events) as admin:
        async with Listener("apple.ripe") as listener:
            admin.execute_command("ACL", "SETUSER", "default", "off")
            try:
                admin.execute_command("CLIENT", "KILL", "TYPE", "PUBSUB")
                waiting = asyncio.ensure_future(listener.next())
                await asyncio.sleep(2.5 * events.over_redis.RECONNECT_SECONDS)
                assert not waiting.done()
            finally:
                admin.execute_command("ACL", "SETUSER", "default", "on")
            assert await waiting == Event(RESUMED, {})
            await publish("apple.ripe")
            assert await listener.next() == Event("apple.ripe", {})


def process_of_its_own(code: str, data_dir: Path) -> "subprocess.Popen[str]":
    """`code` where Django is set up, as a command line would do it."""
    script = f"import sys; sys.path[:0] = ['.', 'platform']; import django; django.setup(); {code}"
    variables = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "atelier.settings",
        "ATELIER_DATA_DIR": str(data_dir),
        "ATELIER_REDIS_URL": "",
    }
    return subprocess.Popen(
        [sys.executable, "-c", script], cwd=PROJECT, env=variables, stdout=subprocess.PIPE, text=True
    )


@pytest.fixture
def data_dir(tmp_path: Path, settings: Any) -> Path:
    """A data folder as a child process sees it, with its sockets where the settings of this process say."""
    from atelier.data_dir import make_private, socket_dir

    settings.REDIS_URL = ""
    settings.SOCKET_DIR = make_private(socket_dir(tmp_path))
    return tmp_path


async def test_a_process_that_ends_at_once_delivers(data_dir: Path):
    code = "from accounts import events; events.publish('apple.ripe', tree=7)"
    with Hub():
        async with Listener("apple.ripe") as listener:
            with process_of_its_own(code, data_dir) as process:
                assert await listener.next() == Event("apple.ripe", {"tree": 7})
            assert process.returncode == 0


def test_a_process_that_ends_waits_for_its_last_event_to_leave(data_dir: Path):
    # It lingers longer than the usual half second, so that a slow machine can't miss the moment.
    code = (
        "from accounts.events import over_zeromq; over_zeromq.LINGER_MS = 60_000; "
        "over_zeromq.send('apple.ripe', b'{}'); print('sent', flush=True)"
    )
    with process_of_its_own(code, data_dir) as process, zmq.Context() as context, context.socket(zmq.PULL) as inbox:
        assert process.stdout is not None
        assert process.stdout.readline() == "sent\n"
        time.sleep(2)  # without waiting it would be gone by now
        inbox.bind(events.over_zeromq.inbox_address())
        assert inbox.poll(SECONDS * 1000)
        assert inbox.recv_multipart() == [b"apple.ripe", b"{}"]
    assert process.returncode == 0


def test_without_a_hub_a_process_still_ends(data_dir: Path):
    code = "from accounts import events; [events.publish('apple.ripe') for _ in range(20)]"
    with process_of_its_own(code, data_dir) as process:
        assert process.wait(timeout=120) == 0


def test_without_redis_publishing_is_quick_and_silent(settings: Any, caplog: pytest.LogCaptureFixture):
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    start = time.monotonic()
    events.publish("apple.ripe")
    assert time.monotonic() - start < 10
    assert "apple.ripe could not be published" in caplog.text


# --- What services say


@contextlib.asynccontextmanager
async def heard(*topics: str) -> AsyncIterator[Callable[[], Any]]:
    async with Listener(*topics) as listener:
        yield listener.next


@pytest.mark.django_db(transaction=True)
async def test_a_revoke_is_said_when_it_has_committed(hub: Hub, issued: IssuedKey, beside: Any):
    def revoke_and_roll_back() -> None:
        with contextlib.suppress(ZeroDivisionError), transaction.atomic():
            do_revoke_key(issued.row, acting_user=None)
            _ = 1 / 0

    async with heard("key.revoked", "marker") as next_event:
        await beside(revoke_and_roll_back)
        await publish("marker")
        assert (await next_event()).topic == "marker"
        await beside(lambda: do_revoke_key(issued.row, acting_user=None))
        assert await next_event() == Event("key.revoked", {"digest": issued.row.digest})


@pytest.mark.django_db(transaction=True)
async def test_changes_of_a_user_are_said(hub: Hub, issued: IssuedKey, owner: User, beside: Any):
    pk = owner.pk
    async with heard("user.changed", "key.revoked") as next_event:
        await beside(lambda: do_change_user(owner, is_active=False, acting_user=None))
        assert await next_event() == Event("user.changed", {"user_id": pk})
        await beside(lambda: do_revoke_all_keys(owner, acting_user=None))
        assert (await next_event()).topic == "key.revoked"
        await beside(lambda: do_delete_user(owner, acting_user=None))
        assert await next_event() == Event("user.changed", {"user_id": pk})
