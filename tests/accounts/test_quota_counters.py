"""The two stores of counters do the same."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
import redis

from accounts.quotas import redis_counters
from accounts.quotas.counters import LEASE_SECONDS, Counters, Demand, Granted, LocalCounters, Short, Unknown
from accounts.quotas.redis_counters import PREFIX, RedisCounters


class Clock:
    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest_asyncio.fixture(params=["local", "redis"])
async def counters(request: pytest.FixtureRequest, clock: Clock) -> AsyncIterator[Counters]:
    store: Counters
    if request.param == "local":
        store = LocalCounters(clock)
    else:
        store = RedisCounters(request.getfixturevalue("redis_url"), clock)
    yield store
    await store.close()


@pytest.fixture
def name() -> str:
    """A counter that nobody else uses: Redis is shared."""
    return f"test-{uuid4().hex}"


def demand(clock: Clock, counter: str, base: int = 0, unit: int = 0, limit: int | None = 1000, **more: Any) -> Demand:
    return Demand(counter, base, unit, limit, 600, **more)


async def take(store: Counters, request: str, *demands: Demand, least: int = 0, wanted: int = 0) -> Any:
    return await store.take(request, demands, least=least, wanted=wanted)


async def known(store: Counters, clock: Clock, *names: str, settled: int = 0) -> None:
    for each in names:
        await store.seed(each, settled, 600, 0)


async def test_what_is_unknown_has_to_be_seeded(counters: Counters, clock: Clock, name: str):
    assert await counters.used([name]) == [None]
    assert await take(counters, "a", demand(clock, name, 10)) == Unknown({0: 0})
    await known(counters, clock, name, settled=100)
    assert await counters.used([name]) == [100]
    await known(counters, clock, name, settled=700)
    assert await counters.used([name]) == [100], "it is known already"
    assert await take(counters, "a", demand(clock, name, 10)) == Granted(0, [110])


async def test_all_or_nothing(counters: Counters, clock: Clock, name: str):
    small, large = f"{name}-s", f"{name}-l"
    await known(counters, clock, small, large)
    verdict = await take(counters, "a", demand(clock, large, 500), demand(clock, small, 500, limit=499))
    assert verdict == Short(1, 0)
    assert await counters.used([small, large]) == [0, 0]


async def test_as_many_tokens_as_all_of_them_allow(counters: Counters, clock: Clock, name: str):
    first, second = f"{name}-1", f"{name}-2"
    await known(counters, clock, first, second)
    demands = demand(clock, first, 100, 2, limit=1000), demand(clock, second, 0, 3, limit=600)
    assert await take(counters, "a", *demands, least=1, wanted=1000) == Granted(200, [500, 600])
    assert await take(counters, "b", *demands, least=1, wanted=1000) == Short(1, 600)
    assert await take(counters, "b", demands[0], least=1, wanted=50) == Granted(
        50,
        [
            700,
        ],
    )


async def test_a_soft_limit_stops_nobody(counters: Counters, clock: Clock, name: str):
    await known(counters, clock, name, settled=5000)
    assert await take(counters, "a", demand(clock, name, 10, 1, limit=None), least=1, wanted=90) == Granted(90, [5100])


async def test_exactly_the_limit_fits(counters: Counters, clock: Clock, name: str):
    await known(counters, clock, name)
    assert await take(counters, "a", demand(clock, name, 1000)) == Granted(0, [1000])
    assert await take(counters, "b", demand(clock, name, 1)) == Short(0, 1000)
    assert await take(counters, "b", demand(clock, name, 0)) == Granted(0, [1000])


async def test_a_limit_of_nothing(counters: Counters, clock: Clock, name: str):
    await known(counters, clock, name)
    assert await take(counters, "a", demand(clock, name, 1, limit=0)) == Short(0, 0)


async def test_settling_replaces_what_was_held(counters: Counters, clock: Clock, name: str):
    await known(counters, clock, name)
    await take(counters, "a", demand(clock, name, 100, 1), least=1, wanted=200)
    await take(counters, "a", demand(clock, name, 0, 1), least=1, wanted=200)
    await take(counters, "b", demand(clock, name, 50))
    await counters.settle("a", {name: 123})
    assert await counters.used([name]) == [173]
    await counters.settle("b", {name: 0})
    assert await counters.used([name]) == [123]
    await counters.settle("of a former life", {name: 7})
    assert await counters.used([name]) == [130]


async def test_less_may_be_taken_back(counters: Counters, clock: Clock, name: str):
    """A prompt that was thought longer than it is; whatever the limit has become meanwhile."""
    await known(counters, clock, name)
    await take(counters, "a", demand(clock, name, 800))
    assert await take(counters, "a", demand(clock, name, -300)) == Granted(0, [500])
    await counters.settle("a", {name: 500})
    assert await counters.used([name]) == [500]


async def test_what_was_settled_while_it_was_unknown_is_in_the_ledger(counters: Counters, clock: Clock, name: str):
    """A seed that was read before does not count."""
    verdict = await take(counters, "a", demand(clock, name, 10))
    await counters.settle("b", {name: 40})
    await counters.seed(name, 0, 600, verdict.versions[0])
    verdict = await take(counters, "a", demand(clock, name, 10))
    assert isinstance(verdict, Unknown)
    await counters.seed(name, 40, 600, verdict.versions[0])
    assert await take(counters, "a", demand(clock, name, 10)) == Granted(0, [50])


async def test_forgotten_counters_are_seeded_anew(counters: Counters, clock: Clock, name: str):
    await known(counters, clock, name, settled=9)
    await counters.forget([name])
    assert await counters.used([name]) == [None]


async def test_places_at_once(counters: Counters, clock: Clock, name: str):
    place = demand(clock, name, 1000, limit=2000, lease=True)
    assert await take(counters, "a", place) == Granted(0, [1000])
    assert await take(counters, "b", place) == Granted(0, [2000])
    assert await take(counters, "c", place) == Short(0, 2000)
    assert await take(counters, "b", place) == Granted(0, [2000]), "its own place is no obstacle"
    assert await counters.used([name]) == [2000]
    await counters.settle("a", {}, [name])
    assert await take(counters, "c", place) == Granted(0, [2000])


async def test_a_place_that_is_gone_may_be_given_back(counters: Counters, clock: Clock, name: str):
    place = demand(clock, name, 1000, limit=1000, lease=True)
    await counters.settle("a", {}, [name])
    assert await take(counters, "a", place) == Granted(0, [1000])
    await counters.settle("a", {}, [name])
    await counters.settle("a", {}, [name])
    assert await take(counters, "b", place) == Granted(0, [1000])


async def test_a_place_that_nobody_renews_is_free_again(counters: Counters, clock: Clock, name: str):
    place = demand(clock, name, 1000, limit=2000, lease=True)
    await take(counters, "a", place)
    await take(counters, "b", place)
    clock.now += LEASE_SECONDS * 0.7
    await counters.renew("a", [name])
    await counters.renew("unknown", [name])
    clock.now += LEASE_SECONDS * 0.7
    assert await take(counters, "c", place) == Granted(0, [2000])
    assert await take(counters, "d", place) == Short(0, 2000)


async def test_large_numbers_are_exact(counters: Counters, clock: Clock, name: str):
    limit = 10**15
    await known(counters, clock, name, settled=limit - 7)
    assert await take(counters, "a", demand(clock, name, 6, limit=limit)) == Granted(0, [limit - 1])
    assert await take(counters, "b", demand(clock, name, 2, limit=limit)) == Short(0, limit - 1)
    await counters.settle("a", {name: 7})
    assert await counters.used([name]) == [limit]


async def test_many_at_once_never_get_more_than_there_is(counters: Counters, clock: Clock, name: str):
    await known(counters, clock, name)

    async def one(number: int) -> int:
        verdict = await take(counters, f"r{number}", demand(clock, name, 3, 1), least=1, wanted=20)
        return verdict.tokens + 3 if isinstance(verdict, Granted) else 0

    taken = await asyncio.gather(*(one(number) for number in range(100)))
    assert sum(taken) == (await counters.used([name]))[0]
    assert 996 < sum(taken) <= 1000


async def test_a_sweep_forgets_no_settling_that_a_seed_does_not_know_of(clock: Clock):
    store = LocalCounters(clock)
    verdict = await take(store, "a", demand(clock, "late", 10))
    await store.settle("b", {"late": 40})
    clock.now += 61
    await take(store, "c")
    await store.seed("late", 0, 600, verdict.versions[0])
    assert await store.used(["late"]) == [None]


async def test_places_in_redis_are_held_by_its_own_clock(redis_url: str, clock: Clock, name: str):
    """A gateway whose clock is ahead takes nobody's place away."""
    store = RedisCounters(redis_url)
    try:
        place = demand(clock, name, 1000, limit=1000, lease=True)
        assert await take(store, "a", place) == Granted(0, [1000])
        await store.renew("a", [name])
        assert await store.used([name]) == [1000]
        assert await take(store, "b", place) == Short(0, 1000)
        assert 0 < await store._redis.ttl(PREFIX + name) <= LEASE_SECONDS
        assert 0 < await store._redis.zscore(PREFIX + name, "a") - time.time() <= LEASE_SECONDS + 1
    finally:
        await store.close()


async def test_local_counters_of_the_past_go(clock: Clock):
    store = LocalCounters(clock)
    await store.seed("past", 5, 10, 0)
    await store.seed("present", 5, 600, 0)
    clock.now += 61
    await take(store, "a", demand(clock, "present", 1))
    assert await store.used(["past", "present"]) == [None, 6]


async def test_counters_of_the_past_go_from_redis(redis_url: str, clock: Clock, name: str):
    store = RedisCounters(redis_url, clock)
    try:
        await known(store, clock, name)
        await take(store, "a", demand(clock, name, 1))
        left = await store._redis.pttl(PREFIX + name)
        assert 590_000 < left <= 600_000
    finally:
        await store.close()


async def test_being_cancelled_is_not_lost(redis_url: str, name: str):
    """Whenever it comes, while Redis is asked: who asks is a request whose client may leave."""
    store = RedisCounters(redis_url)
    try:
        await take(store, "warm", Demand(name, 0, 0, None, 600))
        for turns in range(12):
            asking = asyncio.ensure_future(store.used([name]))
            for _ in range(turns):
                await asyncio.sleep(0)
            if asking.cancel():
                await asyncio.wait([asking])
                assert asking.cancelled(), turns
        assert await store.used([name]) == [None]
    finally:
        await store.close()


async def test_redis_that_says_nothing(monkeypatch: pytest.MonkeyPatch, name: str):
    # Less patience, so that the test need not have the real one. The server is real, and says nothing.
    monkeypatch.setattr(redis_counters, "ANSWER_SECONDS", 0.1)
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    store = RedisCounters(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0")
    with pytest.raises(redis.RedisError):
        await store.used([name])
    await store.close()
    server.close()
