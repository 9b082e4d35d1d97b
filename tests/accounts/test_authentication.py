import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from accounts import authentication, events, keys
from accounts.authentication import KeyResolver, Principal, load_principal
from accounts.models import ApiKey, Team, User
from accounts.services import IssuedKey, do_change_team, do_change_user, do_delete_user, do_issue_key, do_revoke_key

Beside = Callable[[Callable[[], Any]], Awaitable[Any]]

with_database = pytest.mark.django_db(transaction=True)


def revoke_unheard(key: ApiKey) -> None:
    """As if the event had been lost: only who asks the database notices."""
    ApiKey.objects.filter(pk=key.pk).update(revoked_at=timezone.now())


async def until(condition: Callable[[], Awaitable[bool]], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not await condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        await asyncio.sleep(0.01)


@with_database
async def test_a_key_says_who_it_is(issued: IssuedKey, owner: User, team: Team):
    assert await KeyResolver().resolve(issued.raw) == Principal(
        key_id=issued.row.pk,
        key_prefix=issued.row.prefix,
        user_id=owner.pk,
        username="olga",
        team_id=team.pk,
        expires_at=None,
    )


@pytest.mark.parametrize("raw", ["", "nonsense", "sk-atelier-", "sk-atelier-" + "0" * 46, "\ud800", "é" * 57])
async def test_a_malformed_key_costs_no_query(raw: str):
    # This test may not use the database: a query would fail it.
    assert await KeyResolver().resolve(raw) is None


async def test_a_typo_costs_no_query():
    key = keys.generate()
    assert await KeyResolver().resolve(key[:-1] + ("a" if key[-1] != "a" else "b")) is None


@with_database
async def test_an_unknown_key_is_nobody(issued: IssuedKey):
    assert await KeyResolver().resolve(keys.generate()) is None


@with_database
async def test_revoked_and_inactive_are_nobody(issued: IssuedKey, stranger: User, beside: Beside):
    other = await beside(lambda: do_issue_key(stranger, acting_user=None))
    await beside(lambda: do_revoke_key(issued.row, acting_user=None))
    await beside(lambda: do_change_user(stranger, is_active=False, acting_user=None))
    assert await KeyResolver().resolve(issued.raw) is None
    assert await KeyResolver().resolve(other.raw) is None


@with_database
async def test_a_remembered_key_is_not_asked_for_again(issued: IssuedKey, beside: Beside):
    resolver = KeyResolver()
    first = await resolver.resolve(issued.raw)
    await beside(lambda: revoke_unheard(issued.row))
    assert await resolver.resolve(issued.raw) == first
    resolver.forget(issued.row.digest)
    assert await resolver.resolve(issued.raw) is None


@with_database
async def test_memory_ends(issued: IssuedKey, beside: Beside):
    resolver = KeyResolver(lifetime=0.01)
    assert await resolver.resolve(issued.raw)
    await beside(lambda: revoke_unheard(issued.row))
    await asyncio.sleep(0.02)
    assert await resolver.resolve(issued.raw) is None


def test_a_lost_event_costs_half_a_minute_at_most():
    assert authentication.LIFETIME_SECONDS <= 30


@with_database
async def test_a_remembered_key_expires_on_time(owner: User, beside: Beside):
    soon = timezone.now() + timedelta(seconds=3)
    issued = await beside(lambda: do_issue_key(owner, expires_at=soon, acting_user=None))
    resolver = KeyResolver()
    assert await resolver.resolve(issued.raw)
    await asyncio.sleep((soon - timezone.now()).total_seconds() + 0.01)
    assert await resolver.resolve(issued.raw) is None


@with_database
async def test_a_miss_is_remembered_until_a_user_changes(owner: User, beside: Beside):
    resolver, raw = KeyResolver(), keys.generate()
    assert await resolver.resolve(raw) is None
    row = ApiKey(user=owner, prefix=keys.visible_prefix(raw), digest=keys.digest(raw))
    await beside(row.save)
    assert await resolver.resolve(raw) is None
    resolver.forget_user(owner.pk)
    assert await resolver.resolve(raw)


@with_database
async def test_misses_do_not_pile_up(issued: IssuedKey, monkeypatch: pytest.MonkeyPatch):
    # A smaller bound, so that the test need not ask the database a thousand times.
    monkeypatch.setattr(authentication, "MAX_MISSES", 3)
    resolver = KeyResolver()
    assert await resolver.resolve(issued.raw)
    for _ in range(10):
        assert await resolver.resolve(keys.generate()) is None
    assert len(resolver._misses) == 3
    assert len(resolver._principals) == 1


@with_database
async def test_forgetting_a_user_leaves_strangers_alone(issued: IssuedKey, stranger: User, beside: Beside):
    other = await beside(lambda: do_issue_key(stranger, acting_user=None))
    resolver = KeyResolver()
    assert await resolver.resolve(issued.raw)
    assert await resolver.resolve(other.raw)
    await beside(lambda: revoke_unheard(issued.row))
    await beside(lambda: revoke_unheard(other.row))
    resolver.forget_user(issued.row.user_id)
    assert await resolver.resolve(issued.raw) is None
    assert await resolver.resolve(other.raw)


@with_database
@pytest.mark.parametrize("forget", ["key", "user", "all"])
async def test_an_answer_older_than_a_revoke_is_not_remembered(
    issued: IssuedKey, beside: Beside, monkeypatch: pytest.MonkeyPatch, forget: str
):
    read, go_on = threading.Event(), threading.Event()

    def slow_load(digest: str) -> Principal | None:
        principal = load_principal(digest)
        read.set()
        assert go_on.wait(60)
        return principal

    # The real query, held up between its answer and the resolver: no other way hits that moment each time.
    monkeypatch.setattr(authentication, "load_principal", slow_load)
    resolver = KeyResolver()
    stale = asyncio.ensure_future(resolver.resolve(issued.raw))
    assert await asyncio.to_thread(read.wait, 60)
    await beside(lambda: do_revoke_key(issued.row, acting_user=None))
    match forget:
        case "key":
            resolver.forget(issued.row.digest)
        case "user":
            resolver.forget_user(issued.row.user_id)
        case "all":
            resolver.forget_all()
    go_on.set()
    assert await stale is not None  # it asked before the revoke
    assert await resolver.resolve(issued.raw) is None


@with_database
async def test_a_revoke_elsewhere_takes_effect_at_once(transport: str, issued: IssuedKey, owner: User, beside: Beside):
    lost, heard, kept = [await beside(lambda: do_issue_key(owner, acting_user=None)) for _ in range(3)]
    # A long memory, so that nothing but the events can make it forget.
    resolver = KeyResolver(lifetime=3600)
    assert await resolver.resolve(lost.raw)
    await beside(lambda: revoke_unheard(lost.row))
    watching = asyncio.ensure_future(resolver.watch())
    try:
        # It forgets everything when its subscription stands, since events may have passed before.
        await until(lambda: is_refused(resolver, lost.raw), seconds=30)
        assert await resolver.resolve(heard.raw)
        assert await resolver.resolve(kept.raw)
        await beside(lambda: do_revoke_key(heard.row, acting_user=None))
        await until(lambda: is_refused(resolver, heard.raw), seconds=5)
        assert await resolver.resolve(kept.raw)
        await beside(lambda: do_change_user(owner, is_active=False, acting_user=None))
        await until(lambda: is_refused(resolver, kept.raw), seconds=5)
        await beside(lambda: do_change_user(owner, is_active=True, acting_user=None))
        await until(lambda: is_known(resolver, kept.raw), seconds=5)
        await beside(lambda: do_delete_user(owner, acting_user=None))
        await until(lambda: is_refused(resolver, kept.raw), seconds=5)
        assert not watching.done()
    finally:
        watching.cancel()


@with_database
async def test_a_teams_new_weight_takes_effect_at_once(transport: str, issued: IssuedKey, team: Team, beside: Beside):
    resolver = KeyResolver(lifetime=3600)

    async def weighs(weight: float) -> bool:
        principal = await resolver.resolve(issued.raw)
        return principal is not None and principal.weight == weight

    watching = asyncio.ensure_future(resolver.watch())
    try:
        # Only the events can tell it of the second, and that they are heard the first has shown.
        for weight, seconds in ((2.0, 30), (3.0, 5)):
            await weighs(1.0)
            await beside(lambda weight=weight: do_change_team(team, weight=weight, acting_user=None))
            await until(lambda weight=weight: weighs(weight), seconds=seconds)
    finally:
        watching.cancel()


@with_database
async def test_a_strange_event_does_not_end_the_watch(hub: object, issued: IssuedKey, beside: Beside):
    resolver = KeyResolver()
    watching = asyncio.ensure_future(resolver.watch())
    try:
        for payload in ({}, {"digest": 5}, {"user_id": "all"}):
            await asyncio.to_thread(events.publish, "key.revoked", **payload)
            await asyncio.to_thread(events.publish, "user.changed", **payload)
        assert await resolver.resolve(issued.raw)
        await beside(lambda: do_revoke_key(issued.row, acting_user=None))
        await until(lambda: is_refused(resolver, issued.raw), seconds=5)
        assert not watching.done()
    finally:
        watching.cancel()


async def is_refused(resolver: KeyResolver, raw: str) -> bool:
    return await resolver.resolve(raw) is None


async def is_known(resolver: KeyResolver, raw: str) -> bool:
    return await resolver.resolve(raw) is not None


def test_last_used_is_written_once_a_minute(issued: IssuedKey, django_assert_num_queries: Any):
    digest = issued.row.digest
    with django_assert_num_queries(2):
        assert load_principal(digest)
    issued.row.refresh_from_db()
    first = issued.row.last_used_at
    assert first is not None
    with django_assert_num_queries(1):
        assert load_principal(digest)
    long_ago = timezone.now() - timedelta(minutes=2)
    ApiKey.objects.update(last_used_at=long_ago)
    with django_assert_num_queries(2):
        assert load_principal(digest)
    issued.row.refresh_from_db()
    assert issued.row.last_used_at is not None
    assert issued.row.last_used_at >= first
    with django_assert_num_queries(1):
        assert load_principal(keys.digest(keys.generate())) is None
