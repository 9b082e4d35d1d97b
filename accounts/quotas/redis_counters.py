"""The same counters in Redis, for several gateways: each operation is one script, which Redis runs undisturbed.

A counter is a hash: `=` what was settled, `+` what is held in all, `r:<request>` what each request holds, `v` how often
something was settled while the rest of it was unknown. Requests at once are a sorted set of their ids by the time at
which the place is free again. That time is Redis's own, which all gateways share, whatever their clocks say.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import redis.asyncio
from redis.commands.core import AsyncScript

from accounts.quotas.counters import LEASE_SECONDS, UNIT, Demand, Granted, Short, Unknown, Verdict

PREFIX = "atelier:quota:"
ANSWER_SECONDS = 2.0
VERSION_SECONDS = 3600
"""How long a counter that is unknown is remembered to have been settled."""

NOW = """
local function now(given)
  if given ~= '' then return tonumber(given) end
  local time = redis.call('TIME')
  return tonumber(time[1]) + tonumber(time[2]) / 1000000
end
"""
# Numbers in Lua are doubles, which hold whole numbers to 2^53: limits are kept below.
TAKE = (
    NOW
    + """
local request, present, place = ARGV[1], now(ARGV[2]), tonumber(ARGV[3])
local least, tokens = tonumber(ARGV[4]), tonumber(ARGV[5])
local used, unknown = {}, {'unknown'}
local function demand(i)
  local at = 6 + (i - 1) * 5
  return ARGV[at], tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4])
end
for i, key in ipairs(KEYS) do
  if demand(i) == 'lease' then
    redis.call('ZREMRANGEBYSCORE', key, '-inf', string.format('%.6f', present))
    used[i] = redis.call('ZCARD', key) * UNIT
    if redis.call('ZSCORE', key, request) then used[i] = used[i] - UNIT end
  else
    local found = redis.call('HMGET', key, '=', '+', 'v')
    if found[1] then
      used[i] = tonumber(found[1]) + tonumber(found[2] or 0)
    else
      unknown[#unknown + 1] = i
      unknown[#unknown + 1] = tonumber(found[3] or 0)
    end
  end
end
if #unknown > 1 then return unknown end
for i = 1, #KEYS do
  local kind, base, unit, limit = demand(i)
  if limit >= 0 then
    local room = limit - used[i] - base
    if room < unit * least then return {'short', i, used[i]} end
    if unit > 0 then tokens = math.min(tokens, math.floor(room / unit)) end
  end
end
for i, key in ipairs(KEYS) do
  local kind, base, unit, limit, lasts = demand(i)
  if kind == 'lease' then
    redis.call('ZADD', key, string.format('%.6f', present + place), request)
    redis.call('EXPIRE', key, place)
    used[i] = used[i] + UNIT
  else
    local amount = base + unit * tokens
    if amount ~= 0 then
      redis.call('HINCRBY', key, 'r:' .. request, string.format('%.0f', amount))
      redis.call('HINCRBY', key, '+', string.format('%.0f', amount))
    end
    redis.call('EXPIRE', key, string.format('%.0f', lasts))
    used[i] = used[i] + amount
  end
end
local answer = {'granted', tokens}
for i = 1, #KEYS do answer[i + 2] = used[i] end
return answer
""".replace("UNIT", str(UNIT))
)

SEED = """
local version = tonumber(redis.call('HGET', KEYS[1], 'v') or 0)
if redis.call('HEXISTS', KEYS[1], '=') == 0 and version == tonumber(ARGV[3]) then
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[1], '=', ARGV[1])
  redis.call('EXPIRE', KEYS[1], ARGV[2])
end
"""

SETTLE = """
for i, key in ipairs(KEYS) do
  if ARGV[i + 2] == 'lease' then
    redis.call('ZREM', key, ARGV[1])
  elseif redis.call('HEXISTS', key, '=') == 1 then
    local held = redis.call('HGET', key, 'r:' .. ARGV[1])
    if held then
      redis.call('HDEL', key, 'r:' .. ARGV[1])
      redis.call('HINCRBY', key, '+', string.format('%.0f', -tonumber(held)))
    end
    redis.call('HINCRBY', key, '=', ARGV[i + 2])
  else
    redis.call('HINCRBY', key, 'v', 1)
    redis.call('EXPIRE', key, ARGV[2])
  end
end
"""

SETTLE_HELD = """
local held = redis.call('HGET', KEYS[1], 'r:' .. ARGV[1])
if not held then return 0 end
redis.call('HDEL', KEYS[1], 'r:' .. ARGV[1])
redis.call('HINCRBY', KEYS[1], '+', string.format('%.0f', -tonumber(held)))
redis.call('HINCRBY', KEYS[1], '=', ARGV[2])
return 1
"""

RENEW = (
    NOW
    + """
for _, key in ipairs(KEYS) do
  redis.call('ZADD', key, 'XX', string.format('%.6f', now(ARGV[2]) + ARGV[3]), ARGV[1])
  redis.call('EXPIRE', key, ARGV[3])
end
"""
)

USED = (
    NOW
    + """
local answer = {}
for i, key in ipairs(KEYS) do
  if redis.call('TYPE', key).ok == 'zset' then
    answer[i] = redis.call('ZCOUNT', key, '(' .. string.format('%.6f', now(ARGV[1])), '+inf') * UNIT
  else
    local found = redis.call('HMGET', key, '=', '+')
    answer[i] = found[1] and tonumber(found[1]) + tonumber(found[2] or 0)
  end
end
return answer
""".replace("UNIT", str(UNIT))
)


class RedisCounters:
    """Raises redis.RedisError where Redis does not answer. To be closed. clock: None for Redis's own."""

    def __init__(self, url: str, clock: Callable[[], float] | None = None) -> None:
        # No socket_timeout: with one, redis-py sends by asyncio.wait_for, which in Python 3.11 may lose a cancellation,
        # so that a request would go on whose client has left.
        self._redis = redis.asyncio.Redis.from_url(url, socket_timeout=None, socket_connect_timeout=ANSWER_SECONDS)
        self._clock = clock
        self._renew = self._redis.register_script(RENEW)
        self._take = self._redis.register_script(TAKE)
        self._seed = self._redis.register_script(SEED)
        self._settle = self._redis.register_script(SETTLE)
        self._settle_held = self._redis.register_script(SETTLE_HELD)
        self._used = self._redis.register_script(USED)

    async def take(self, request: str, demands: Sequence[Demand], *, least: int, wanted: int) -> Verdict:
        arguments: list[str | int | float] = [request, self._now(), int(LEASE_SECONDS), least, wanted]
        for each in demands:
            limit = -1 if each.limit is None else each.limit
            arguments += ["lease" if each.lease else "counter", each.base, each.unit, limit, each.lasts]
        answer: list[Any] = await self._call(
            self._take, keys=[PREFIX + each.counter for each in demands], args=arguments
        )
        match answer[0]:
            case b"granted":
                return Granted(answer[1], answer[2:])
            case b"short":
                return Short(answer[1] - 1, answer[2])
        return Unknown({at - 1: version for at, version in zip(answer[1::2], answer[2::2], strict=True)})

    async def seed(self, counter: str, settled: int, lasts: float, version: int) -> None:
        await self._call(self._seed, keys=[PREFIX + counter], args=[settled, int(lasts), version])

    async def settle(self, request: str, charges: Mapping[str, int], leases: Sequence[str] = ()) -> None:
        if keys := [PREFIX + name for name in (*charges, *leases)]:
            args: list[str | int] = [request, VERSION_SECONDS, *charges.values(), *(["lease"] * len(leases))]
            await self._call(self._settle, keys=keys, args=args)

    async def used(self, counters: Sequence[str]) -> list[int | None]:
        if not counters:
            return []
        found: list[int | None] = await self._call(
            self._used, keys=[PREFIX + name for name in counters], args=[self._now()]
        )
        return found

    async def renew(self, request: str, leases: Sequence[str]) -> None:
        if leases:
            await self._call(
                self._renew, keys=[PREFIX + name for name in leases], args=[request, self._now(), int(LEASE_SECONDS)]
            )

    async def held(self) -> set[tuple[str, str]]:
        """Every counter with every request that holds something of it. Reads all counters."""
        found = set()
        async for key in self._redis.scan_iter(f"{PREFIX}*", count=500, _type="hash"):
            fields: list[Any] = await self._redis.hkeys(key)
            found |= {(key.decode()[len(PREFIX) :], name[2:].decode()) for name in fields if name.startswith(b"r:")}
        return found

    async def settle_held(self, request: str, counter: str, charge: int) -> bool:
        """As `settle`, of one counter, where the request still holds something of it; False where it does not."""
        return bool(await self._call(self._settle_held, keys=[PREFIX + counter], args=[request, charge]))

    async def forget(self, counters: Sequence[str]) -> None:
        if counters:
            await self._redis.delete(*(PREFIX + name for name in counters))

    async def close(self) -> None:
        await self._redis.aclose()

    def _now(self) -> float | str:
        return "" if self._clock is None else self._clock()

    async def _call(self, script: AsyncScript, *, keys: Sequence[str], args: Sequence[str | int | float]) -> Any:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await script(keys=list(keys), args=list(args))
        except TimeoutError:
            raise redis.TimeoutError(f"Redis did not answer within {ANSWER_SECONDS:g} seconds") from None
