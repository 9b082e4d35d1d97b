"""Reservations whose gateway died between Redis and the ledger."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from channels.db import database_sync_to_async

from accounts import ledger, tasks
from accounts.authentication import Principal
from accounts.models import User
from accounts.quotas.limiter import STEP, Limiter, Reservation
from accounts.quotas.lost import lost, settle_lost
from accounts.quotas.redis_counters import RedisCounters
from accounts.quotas.rules import Rules, Scope, Used
from accounts.quotas.verbs import do_set_quota
from tests.accounts.admin_pages import open_record

pytestmark = pytest.mark.django_db(transaction=True)


class Gateway:
    def __init__(self, principal: Principal, url: str) -> None:
        self.principal = principal
        self.counters = RedisCounters(url)
        self.limiter = Limiter(Rules(), self.counters)
        self.scope = Scope(principal.key_id, principal.user_id, principal.team_id, "atelier-tiny")

    async def reserve(self, id: str) -> Reservation:
        return await self.limiter.reserve(id, self.scope, prompt_tokens=100, most=10_000)

    async def open(self, id: str) -> None:
        await database_sync_to_async(open_record)(self.principal, id)

    async def close(self, id: str, outcome: str = "stop", **figures: Any) -> None:
        numbers = {"prompt_tokens": 0, "cached_tokens": 0, "completion_tokens": 0, "engine_seconds": 0.0, **figures}
        await database_sync_to_async(ledger.settle)(
            id, outcome=outcome, queue_ms=0, ttft_ms=None, duration_ms=1, **numbers
        )

    async def used(self) -> dict[str, float]:
        """By metric, of the quotas without an end."""
        standings = await self.limiter.standings(self.scope)
        return {each.rule.metric: each.used for each in standings if each.rule.window == "total"}


@pytest_asyncio.fixture
async def gateway(principal: Principal, redis_counters: str) -> AsyncIterator[Gateway]:
    def limit() -> None:
        for metric in ("tokens", "requests"):
            do_set_quota(
                metric=metric, window="total", limit=100_000, user=User.objects.get(), acting_user=None,
                **({"output_weight": 3} if metric == "tokens" else {}),
            )  # fmt: skip

    await database_sync_to_async(limit)()
    made = Gateway(principal, redis_counters)
    yield made
    await made.counters.close()


async def test_one_that_never_reached_the_ledger_is_given_back(gateway: Gateway) -> None:
    await gateway.reserve("gone")
    assert await gateway.used() == {"tokens": 100 + 3 * STEP, "requests": 1}
    seen = await lost(gateway.counters)
    assert {request for _, request in seen} == {"gone"} and len(seen) == 4, "the key's own policy included"
    assert await settle_lost(gateway.counters, seen) == 4
    assert await gateway.used() == {"tokens": 0, "requests": 0}
    assert await lost(gateway.counters) == set()


async def test_one_that_was_closed_in_the_ledger_alone_is_charged(gateway: Gateway) -> None:
    for id in ("ran", "refused"):
        await gateway.reserve(id)
        await gateway.open(id)
    await gateway.close("ran", prompt_tokens=90, completion_tokens=7)
    await gateway.close("refused", "refused")
    assert await settle_lost(gateway.counters, await lost(gateway.counters)) == 8
    assert await gateway.used() == {"tokens": 90 + 3 * 7, "requests": 1}


async def test_one_that_runs_or_has_just_ended_is_left_alone(gateway: Gateway) -> None:
    running, ending = await gateway.reserve("runs"), await gateway.reserve("ends")
    seen = await lost(gateway.counters)
    assert len(seen) == 8, "they are not in the ledger yet"
    await gateway.open("runs")
    await gateway.open("ends")
    await gateway.close("ends", prompt_tokens=90)
    used = Used(prompt_tokens=90)
    await gateway.limiter.settle("ends", gateway.scope, ending.started, used)
    assert await settle_lost(gateway.counters, seen) == 0
    assert await gateway.used() == {"tokens": 100 + 3 * STEP + 90, "requests": 2}
    await gateway.limiter.release(running)


async def test_its_own_gateway_comes_first(gateway: Gateway) -> None:
    """Whoever is second changes nothing."""
    held = await gateway.reserve("slow")
    seen = await lost(gateway.counters)
    await gateway.limiter.release(held)
    for counter, request in seen:
        assert not await gateway.counters.settle_held(request, counter, 1000)
    assert await gateway.used() == {"tokens": 0, "requests": 0}


async def test_the_worker_does_it(
    gateway: Gateway, settings: Any, monkeypatch: Any, redis_counters: str, beside: Any
) -> None:
    # The worker looks twice, with a pause that lets requests begin; here none does, and the test need not wait.
    monkeypatch.setattr(tasks, "BEGINNING_SECONDS", 0.01)
    await gateway.reserve("gone")
    settings.REDIS_URL = ""
    assert await beside(tasks.settle_lost_reservations) == 0
    settings.REDIS_URL = redis_counters
    assert await beside(tasks.settle_lost_reservations) == 4
    assert await beside(tasks.settle_lost_reservations) == 0
