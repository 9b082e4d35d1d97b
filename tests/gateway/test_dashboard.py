"""The admin's first page, with an engine, without one, and with a ledger."""

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from channels.db import database_sync_to_async
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from accounts import ledger
from accounts.models import ApiKey, Team, UsageRecord, User
from accounts.quotas.verbs import do_set_quota
from accounts.services import do_create_team, do_create_user
from console.dashboard import failures, today
from inference.admin import engines as admin
from inference.models import Deployment, Engine
from tests.gateway.local import LocalGateway
from tests.gateway.scripts import answers
from tests.gateway.test_engine_pages import STATS
from tests.gateway.test_live_requests import cookie_of, look
from tests.gateway.test_requests import principal

INDEX, PART = reverse("admin:index"), reverse("console-dashboard")
NONE = {"prompt_tokens": 0, "cached_tokens": 0, "completion_tokens": 0}


@pytest.fixture(autouse=True)
def nothing_remembered() -> Iterator[None]:
    cache.clear()
    yield
    cache.clear()


def used(request_id: str, *, outcome: str = "stop", team: Team | None = None, **figures: Any) -> UsageRecord:
    key = ApiKey.objects.get()
    who = principal(user_id=key.user_id, key_id=key.pk, team_id=team.pk if team else None)
    ledger.open_record(
        request_id=request_id, principal=who, model="scripted", endpoint="chat.completions", stream=False,
        gateway="other", estimated_prompt_tokens=1,
    )  # fmt: skip
    ledger.settle(
        request_id, outcome=outcome, queue_ms=1, ttft_ms=1, duration_ms=1, engine_seconds=0.1, **{**NONE, **figures}
    )
    return UsageRecord.objects.get(request_id=request_id)


def text(page: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", page).split())


async def shown(gateway: LocalGateway, cookie: str, path: str = PART) -> str:
    answer = await look(gateway, path, cookie)
    assert answer.status == 200
    return text(answer.body.decode())


async def test_what_the_engines_do(gateway: LocalGateway) -> None:
    cookie = await cookie_of(is_admin=True)
    async with gateway.engine(answers, stats=STATS):
        for path in (INDEX, PART):
            said = await shown(gateway, cookie, path)
            assert "Running now 3 41 waiting in the queue" in said
            assert "Prefix-cache hits 75 %" in said
            assert "scripted ready 3 of 32 rows taken, 41 waiting" in said
            assert "limit: 86 % of 16.0" in said and "new requests are refused" in said
            # A pace takes two heartbeats, and there was one.
            assert "Tokens a second – known in a moment" in said
            assert re.search(r"Memory of this machine [\d.]+ %", said)


async def test_without_an_engine_it_opens_all_the_same(gateway: LocalGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    # The real limit, only shorter: nobody waits for the whole of it here.
    monkeypatch.setattr(admin, "PATIENCE_SECONDS", 0.05)
    cookie = await cookie_of(is_admin=True)
    assert "Running now – no engine answers" in await shown(gateway, cookie)
    failed = {"state": Engine.State.FAILED, "last_error": "<b>no such file</b>", "restarts": 1}
    await database_sync_to_async(Engine.objects.update)(**failed)
    page = (await look(gateway, INDEX, cookie)).body.decode()
    assert "could not be loaded" in page and "&lt;b&gt;no such file" in page and "<b>no such" not in page
    await database_sync_to_async(Engine.objects.update)(state=Engine.State.READY, restarts=1_234)
    assert "restarted 1,234 times" in await shown(gateway, cookie)
    await database_sync_to_async(Deployment.objects.all().delete)()
    assert "No model is served." in await shown(gateway, cookie)


async def test_who_used_what_today_and_what_went_wrong(gateway: LocalGateway) -> None:
    def prepare() -> UsageRecord:
        team = do_create_team("<i>Vision</i>", acting_user=None)
        used("a", team=team, prompt_tokens=600, cached_tokens=100, completion_tokens=150)
        used("b", prompt_tokens=200, completion_tokens=50)
        yesterday = used("c", outcome="engine_error", prompt_tokens=7)
        UsageRecord.objects.filter(pk=yesterday.pk).update(started_at=timezone.now() - timedelta(days=2))
        return used("d", outcome="timeout")

    failed = await database_sync_to_async(prepare)()
    cookie = await cookie_of(is_admin=True)
    async with gateway.engine(answers, stats=STATS):
        page = (await look(gateway, PART, cookie)).body.decode()
    assert "&lt;i&gt;Vision&lt;/i&gt;" in page
    said = text(page)
    assert "Tokens today 1,000 in 3 requests" in said
    assert "&lt;/i&gt; 75 % 750 tokens in 1 request no team 25 % 250 tokens in 2 requests" in said
    assert "Failed in 24 hours 1" in said and "timeout" in said and "gwen" not in said.split("What went wrong")[0]
    assert reverse("admin:accounts_usagerecord_change", args=[failed.pk]) in page


async def test_limits_that_are_nearly_used_up(gateway: LocalGateway) -> None:
    def prepare() -> None:
        gwen = User.objects.get(username="gwen")
        used("a", prompt_tokens=900)
        do_set_quota(metric="tokens", window="day", limit=1_000, user=gwen, acting_user=None)
        do_set_quota(metric="tokens", window="month", limit=1_000_000, user=gwen, acting_user=None)
        do_set_quota(metric="requests", window="day", limit=1, model="scripted", is_soft=True, acting_user=None)
        do_set_quota(metric="requests", window="hour", limit=0, model="locked", acting_user=None)
        do_set_quota(metric="concurrency", limit=5, acting_user=None)

    await database_sync_to_async(prepare)()
    cookie = await cookie_of(is_admin=True)
    said = await shown(gateway, cookie)
    assert "user gwen 90 % 900 of 1,000 tokens a day" in said
    assert "model scripted 100 % 1 of 1 requests a day; beyond it a warning" in said
    assert "model locked 100 % 0 of 0 requests an hour" in said
    assert "1,000,000" not in said and "everyone" not in said


async def test_each_sees_what_they_may(gateway: LocalGateway) -> None:
    sections = {
        "view_engine": ["Running now", "Engines"],
        "view_usagerecord": ["Tokens today", "Teams today", "What went wrong"],
        "view_quota": ["Limits nearly used up"],
    }
    async with gateway.engine(answers, stats=STATS):
        for permission in (*sections, ""):
            cookie = await cookie_of(*([permission] if permission else []))
            said = await shown(gateway, cookie, INDEX)
            for needed, titles in sections.items():
                assert all((title in said) == (needed == permission) for title in titles), (permission, needed)
            await database_sync_to_async(User.objects.filter(username__startswith="staff").delete)()
    assert (await look(gateway, PART, "")).status == 302


def indexes_of(query: str) -> str:
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET LOCAL enable_seqscan = off")  # for so few rows it would rather read the table
        cursor.execute(f"EXPLAIN {'QUERY PLAN ' if connection.vendor == 'sqlite' else ''}{query}")
        return str(cursor.fetchall())


def test_the_ledger_is_read_by_index_only(db: None) -> None:
    with CaptureQueriesContext(
        connection,
    ) as queries:
        failures()
        today()
    of_ledger = [each["sql"] for each in queries if "accounts_usagerecord" in each["sql"]]
    assert len(queries) == 4 and len(of_ledger) == 3
    plans = [indexes_of(sql) for sql in of_ledger]
    assert all("usage_outcome_started" in plan for plan in plans[:2]), plans
    assert "usage_not_rolled_up" in plans[2] and "SCAN accounts_usagerecord" not in plans[2], plans
    with CaptureQueriesContext(connection) as queries:
        list(UsageRecord.objects.running().select_related("team"))
    assert "usage_running" in indexes_of(queries[0]["sql"])


def test_in_a_process_that_is_no_gateway(db: None, client: Client) -> None:
    client.force_login(do_create_user("root", password=None, is_admin=True, acting_user=None))
    said = text(client.get(INDEX).content.decode())
    assert "Dashboard" in said and "No model is served." in said and "Limits nearly" not in said
