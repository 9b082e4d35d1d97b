"""From quotas in the database to what a request may have."""

from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import pytest_asyncio
from channels.db import database_sync_to_async
from django.conf import settings
from django.utils import timezone

from accounts import ledger
from accounts.authentication import Principal
from accounts.models import ApiKey, Quota, Team, UsageRecord, User
from accounts.quotas.counters import Counters, LocalCounters
from accounts.quotas.limiter import STEP, Limiter, LimitReached
from accounts.quotas.redis_counters import RedisCounters
from accounts.quotas.rules import Rules, Scope, Used
from accounts.quotas.verbs import do_boost_quota, do_change_quota, do_delete_quota, do_set_quota

pytestmark = pytest.mark.django_db(transaction=True)

MODEL = "atelier-tiny"
HUGE = 10**9
NOW = datetime(2026, 11, 21, 12, 0, 30, tzinfo=UTC)


class World:
    """A limiter on a clock of the test's own, and a user who asks."""

    def __init__(self, principal: Principal, counters: Counters) -> None:
        self.now = NOW
        self.principal = principal
        self.scope = Scope(principal.key_id, principal.user_id, principal.team_id, MODEL)
        self.counters = counters
        self.limiter = self.another()
        self._number = 0

    def another(self) -> Limiter:
        """As another gateway, or this one after its start, has it."""
        return Limiter(Rules(), self.counters, clock=lambda: self.now)

    async def begin(self, prompt: int = 10, most: int = HUGE, scope: Scope | None = None) -> Any:
        self._number += 1
        return await self.limiter.reserve(f"req{self._number}", scope or self.scope, prompt_tokens=prompt, most=most)

    async def end(self, reservation: Any, **used: Any) -> None:
        await self.record(reservation.request_id, reservation.started, **used)
        await self.limiter.settle(reservation.request_id, reservation.scope, reservation.started, Used(**used))

    async def record(self, request_id: str, started: datetime, **used: Any) -> None:
        """The ledger's part."""

        def write() -> None:
            ledger.open_record(
                request_id=request_id, principal=self.principal, model=MODEL, endpoint="chat.completions", stream=True,
                gateway="g", estimated_prompt_tokens=1,
            )  # fmt: skip
            figures = {"prompt_tokens": 0, "cached_tokens": 0, "completion_tokens": 0, "engine_seconds": 0.0, **used}
            counts = figures.pop("counts", True)
            ledger.settle(
                request_id, outcome="stop" if counts else "refused", queue_ms=0, ttft_ms=None, duration_ms=1, **figures
            )
            UsageRecord.objects.filter(request_id=request_id).update(started_at=started)

        await database_sync_to_async(write)()

    async def used(self, quota: Quota) -> float:
        [standing] = [each for each in await self.limiter.standings(self.scope) if each.rule.id == f"q{quota.pk}"]
        return standing.used

    async def refused(self, **request: Any) -> LimitReached:
        with pytest.raises(LimitReached) as reached:
            await self.begin(**request)
        return reached.value


@pytest_asyncio.fixture(params=["local", "redis"])
async def world(request: pytest.FixtureRequest, principal: Principal) -> AsyncIterator[World]:
    if request.param == "local":
        counters: Counters = LocalCounters()
    else:
        counters = RedisCounters(request.getfixturevalue("redis_counters"))
    yield World(principal, counters)
    await counters.close()


async def quota(world: World, metric: str = "tokens", window: str = "day", limit: int = 1000, **more: Any) -> Quota:
    """For the user of these tests, unless it says otherwise. Takes hold at once."""
    who = {"user_id": world.principal.user_id} if not {"team", "key", "model", "everyone"} & more.keys() else {}
    more.pop("everyone", None)

    def write() -> Quota:
        user = User.objects.get(pk=who["user_id"]) if who else None
        return do_set_quota(metric=metric, window=window, limit=limit, user=user, acting_user=None, **more)

    made = await database_sync_to_async(write)()
    world.limiter = world.another()
    return made


async def test_every_key_has_a_generous_policy(world: World):
    standings = {each.rule.metric: each for each in (await world.begin()).standings()}
    assert standings["requests"].limit == settings.KEY_REQUESTS_PER_MINUTE == 6_000
    assert standings["tokens"].limit == settings.KEY_TOKENS_PER_MINUTE == 10_000_000
    assert (standings["requests"].used, standings["tokens"].used) == (1, 10 + STEP)


async def test_a_keys_own_quota_takes_its_place(world: World):
    key = await database_sync_to_async(ApiKey.objects.get)(pk=world.principal.key_id)
    await quota(world, "requests", "minute", 2, key=key)
    standings = (await world.begin()).standings()
    assert sorted((each.rule.metric, each.limit) for each in standings) == [("requests", 2), ("tokens", 10_000_000)]
    await world.begin()
    reached = await world.refused()
    assert (reached.rule.metric, reached.used, reached.limit, reached.seconds) == ("requests", 2, 2, 30)
    world.now += timedelta(seconds=30)
    await world.begin()


async def test_tokens_are_used_up_to_the_last_one(world: World):
    made = await quota(world, limit=1000)
    first = await world.begin(prompt=100)
    assert first.tokens == STEP and await world.used(made) == 100 + STEP
    assert await world.limiter.grow(first, HUGE) == STEP
    assert await world.limiter.grow(first, HUGE) == STEP
    assert await world.limiter.grow(first, HUGE) == 1000 - 100 - 3 * STEP
    assert await world.limiter.grow(first, HUGE) == 0
    reached = await world.refused(prompt=1)
    assert (reached.used, reached.limit) == (1000, 1000)
    await world.end(first, prompt_tokens=100, completion_tokens=300)
    assert await world.used(made) == 400


async def test_no_more_is_reserved_than_can_be_said(world: World):
    made = await quota(world)
    request = await world.begin(prompt=10, most=5)
    assert request.tokens == 5 and await world.used(made) == 15
    nothing = await world.begin(prompt=10, most=0)
    assert nothing.tokens == 0 and await world.used(made) == 25


async def test_all_limits_are_checked_before_any_is_charged(world: World):
    day = await quota(world, limit=5000)
    await quota(world, "tokens", "hour", limit=50)
    await world.refused(prompt=60)
    assert await world.used(day) == 0


async def test_the_true_length_of_the_prompt(world: World):
    made = await quota(world)
    request = await world.begin(prompt=10, most=1)
    await world.limiter.correct(request, 700)
    assert await world.used(made) == 701
    await world.limiter.correct(request, 300)
    assert await world.used(made) == 301
    with pytest.raises(LimitReached):
        await world.limiter.correct(request, 1000)
    assert await world.used(made) == 301
    await world.limiter.release(request)
    assert await world.used(made) == 0
    request = await world.begin(prompt=800)
    assert request.tokens == 200
    await world.limiter.correct(request, 950)
    assert request.tokens == 50 and await world.used(made) == 1000, "the answer gets what the prompt leaves"
    await world.limiter.release(request)
    assert await world.used(made) == 0


async def test_weights(world: World):
    made = await quota(world, limit=1000, input_weight=1, cached_weight="0.1", output_weight=3)
    request = await world.begin(prompt=400, most=HUGE)
    assert request.tokens == 200
    await world.end(request, prompt_tokens=400, cached_tokens=300, completion_tokens=20)
    assert await world.used(made) == 100 + 30 + 60


async def test_gpu_seconds_are_known_in_the_end(world: World):
    made = await quota(world, "gpu_seconds", "total", 10)
    first, second = await world.begin(), await world.begin()
    await world.end(first, engine_seconds=9.75)
    assert await world.used(made) == pytest.approx(9.751)
    await world.end(second, engine_seconds=0.5)
    reached = await world.refused()
    assert (reached.used, reached.seconds) == (10.25, None)


async def test_requests_that_were_refused_do_not_count(world: World):
    made = await quota(world, "requests", "day", 2)
    await world.end(await world.begin(), counts=False)
    await world.end(await world.begin(), prompt_tokens=3)
    assert await world.used(made) == 1


async def test_requests_at_once(world: World):
    made = await quota(world, "concurrency", "", 2)
    first, _ = await world.begin(), await world.begin()
    reached = await world.refused()
    assert (reached.rule.metric, reached.used, reached.limit, reached.seconds) == ("concurrency", 2, 2, None)
    await world.limiter.renew(first)
    await world.end(first)
    assert await world.used(made) == 1
    await world.begin()


async def test_what_the_ledger_has_counts_from_the_start(world: World):
    """As after a restart, and for a quota that is new."""
    await world.record("old", NOW - timedelta(hours=2), prompt_tokens=300, cached_tokens=100, completion_tokens=50)
    await world.record("older", NOW - timedelta(hours=13), prompt_tokens=5000)
    made = await quota(world, limit=1000)
    assert await world.used(made) == 350
    assert (await world.refused(prompt=651)).used == 350
    assert (await world.begin(prompt=640)).tokens == 10


async def test_a_new_window_begins_with_nothing(world: World):
    made = await quota(world, limit=100)
    request = await world.begin(prompt=90, most=10)
    await world.refused(prompt=1)
    world.now += timedelta(days=1)
    assert await world.used(made) == 0
    await world.end(request, prompt_tokens=90, completion_tokens=10)
    assert await world.used(made) == 0, "it counts for the day on which it began"


async def test_days_are_those_of_the_team(world: World):
    def move() -> Team:
        team = Team.objects.get(pk=world.principal.team_id)
        team.time_zone = "Asia/Tokyo"
        team.save()
        return team

    team = await database_sync_to_async(move)()
    made = await quota(world, limit=100, team=team)
    await world.record("req-a", NOW, prompt_tokens=60)
    assert await world.used(made) == 60
    world.now = datetime(2026, 11, 21, 15, 0, 0, tzinfo=UTC)  # midnight there
    assert await world.used(made) == 0
    assert (await world.begin()).entries[0].rule.zone == ZoneInfo("Asia/Tokyo")


async def test_a_soft_limit_warns(world: World):
    made = await quota(world, limit=100, is_soft=True, warn_percent=50)
    request = await world.begin(prompt=500, most=1)
    [standing] = [each for each in request.standings() if each.rule.id == f"q{made.pk}"]
    assert standing.warns and standing.used == 501 and standing.left == 0


async def test_a_boost_holds_for_its_time(world: World):
    made = await quota(world, limit=100)
    await database_sync_to_async(do_boost_quota)(
        made, amount=50, starts_at=NOW, ends_at=timezone.now() + timedelta(days=3650), acting_user=None
    )
    world.limiter = world.another()
    assert (await world.begin(prompt=150, most=0)).entries[0].used == 150_000
    assert (await world.refused(prompt=1)).limit == 150
    world.now += timedelta(days=4000)
    assert (await world.refused(prompt=101)).limit == 100


async def test_only_for_those_that_it_names(world: World):
    made = await quota(world, limit=10, model="another")
    other = Scope(world.scope.key_id, world.scope.user_id, world.scope.team_id, "another")
    await world.begin(prompt=500)
    await world.refused(prompt=500, scope=other)
    stranger = Scope(world.scope.key_id + 1, world.scope.user_id + 1, None, "another")
    assert (await world.refused(prompt=500, scope=stranger)).rule.id == f"q{made.pk}", "everyone's, for that model"


async def test_one_that_is_changed_or_deleted(world: World):
    made = await quota(world, limit=100)
    await world.begin(prompt=80, most=0)
    await database_sync_to_async(do_change_quota)(made, limit=50, acting_user=None)
    world.limiter = world.another()
    reached = await world.refused(prompt=1)
    assert (reached.used, reached.limit) == (80, 50)
    await database_sync_to_async(do_change_quota)(made, is_active=False, acting_user=None)
    world.limiter = world.another()
    await world.begin(prompt=10_000)
    await database_sync_to_async(do_delete_quota)(made, acting_user=None)


async def test_what_is_used_while_one_is_switched_off_counts(world: World):
    made = await quota(world, limit=100)
    await world.end(await world.begin(prompt=10, most=0), prompt_tokens=10)
    await database_sync_to_async(do_change_quota)(made, is_active=False, acting_user=None)
    world.limiter = world.another()
    await world.end(await world.begin(prompt=70, most=0), prompt_tokens=70)
    await database_sync_to_async(do_change_quota)(made, is_active=True, acting_user=None)
    world.limiter = world.another()
    reached = await world.refused(prompt=30)
    assert (reached.used, reached.limit) == (80, 100)


@pytest.mark.parametrize("world", ["redis"], indirect=True)
async def test_several_gateways_share_what_there_is(world: World, redis_url: str):
    """Each with rules and a connection of its own."""
    made = await quota(world, limit=1000)
    stores = [RedisCounters(redis_url) for _ in range(3)]
    granted = 0
    for number in range(30):
        limiter = Limiter(Rules(), stores[number % 3], clock=lambda: world.now)
        with suppress(LimitReached):
            granted += 20 + (await limiter.reserve(f"g{number}", world.scope, prompt_tokens=20, most=30)).tokens
    assert granted == 1000 == await world.used(made)
    for store in stores:
        await store.close()


async def test_what_a_gateway_that_died_has_reserved_is_given_back(world: World):
    made = await quota(world, limit=1000)
    lost = await world.begin(prompt=100)
    assert await world.used(made) > 100
    after = world.another()
    await world.record(lost.request_id, lost.started, prompt_tokens=100, completion_tokens=7)
    await after.settle(lost.request_id, world.scope, lost.started, Used(100, 0, 7))
    assert await world.used(made) == 107
