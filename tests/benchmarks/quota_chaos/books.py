"""What is asked of the database and of Redis. Runs in the server's own environment (`manage.py shell -c`), and prints
JSON."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterable
from typing import Any

import redis
from django.conf import settings
from django.db import transaction
from django.utils import timezone

from accounts.models import ApiKey, UsageRecord
from accounts.quotas.counters import LEASE_SECONDS, UNIT
from accounts.quotas.limiter import STEP
from accounts.quotas.lost import lost, settle_lost
from accounts.quotas.periods import Period
from accounts.quotas.redis_counters import PREFIX, RedisCounters
from accounts.quotas.rules import Rule, Scope, default_rules, stored_rules
from accounts.quotas.seeding import settled
from accounts.quotas.verbs import do_set_quota
from accounts.services import do_add_member, do_create_team, do_create_user, do_issue_key
from tests.benchmarks.quota_chaos import MODEL

BEGINNING_SECONDS = 3.0


def build(requests: int) -> None:
    """Five users, two of them in a team, with quotas of every kind, some of which so many requests will use up. Prints
    the keys."""
    team = do_create_team("chaos", time_zone="Asia/Kolkata", acting_user=None)
    users = [do_create_user(f"user{number}", password=None, acting_user=None) for number in range(5)]
    for user in users[:2]:
        do_add_member(team, user, acting_user=None)
    keys = [
        do_issue_key(user, team=team if number < 2 else None, acting_user=None) for number, user in enumerate(users)
    ]

    def limit(metric: str, window: str, limit: int, **whom: Any) -> None:
        do_set_quota(metric=metric, window=window, limit=limit, acting_user=None, **whom)

    limit("tokens", "day", 30 * requests, team=team)
    limit("tokens", "hour", 15 * requests, user=users[2])
    limit("requests", "week", max(1, requests // 8), user=users[3])
    limit("concurrency", "", 3, user=users[4])
    limit("tokens", "month", 150 * requests, user=users[4], input_weight=2, cached_weight="0.5", output_weight=3)
    limit("tokens", "total", 10**9, model=MODEL)
    limit("requests", "minute", 10**6, key=keys[0].row)
    limit("gpu_seconds", "total", 10**6)
    print(json.dumps([key.raw for key in keys]))


@transaction.atomic
def build_for_load(count: int, few: int, at_once: int) -> None:
    """So many users with a key each. Every tenth may ask only `few` times, the one after it `at_once` times at once.
    Prints the keys."""
    keys = []
    for number in range(count):
        user = do_create_user(f"load{number}", password=None, acting_user=None)
        keys.append(do_issue_key(user, acting_user=None).raw)
        if number % 10 == 0:
            do_set_quota(metric="requests", window="total", limit=few, user=user, acting_user=None)
        elif number % 10 == 1:
            do_set_quota(metric="concurrency", limit=at_once, user=user, acting_user=None)
        else:
            do_set_quota(metric="tokens", window="total", limit=10**9, user=user, acting_user=None)
    print(json.dumps(keys))


def audit() -> None:
    """Prints {"faults": what the books have against it, "figures": what there is to tell, "standings": see there}."""
    rows = list(UsageRecord.objects.all())
    rules = stored_rules() + [rule for key in ApiKey.objects.all() for rule in default_rules(key.pk)]
    periods = {
        (rule.id, period.name): (rule, period) for rule in rules for period in {rule.period(r.started_at) for r in rows}
    }
    figures: dict[str, Any] = {"outcomes": Counter(row.outcome for row in rows), "periods": len(periods)}
    faults = [f"{row.request_id} is still running" for row in rows if row.is_running()]
    faults += overshot(periods.values(), figures)
    if settings.REDIS_URL:
        figures["lost"] = asyncio.run(give_back())
        faults += left_behind(periods, rows)
    print(json.dumps({"faults": faults, "figures": figures, "standings": standings()}))


def overshot(periods: Iterable[tuple[Rule, Period]], figures: dict[str, Any]) -> list[str]:
    """By more than a step of an answer."""
    faults, slightly, reached = [], [], 0
    for rule, period in periods:
        if rule.metric not in ("tokens", "requests"):
            continue
        used = settled(rule, period)
        over = used - rule.limit * UNIT
        reached += over >= -UNIT * 10
        if over > 0:
            slightly.append(f"{rule.unit} for {rule.subject}: {over / UNIT:g} over {rule.limit}")
        if over > (STEP * rule.weights.output if rule.metric == "tokens" else 0):
            faults.append(f"{slightly[-1]} in {period.name}")
    figures |= {"limits_reached": reached, "overshot": slightly}
    return faults


async def give_back() -> int:
    """What the worker does now and then."""
    counters = RedisCounters(settings.REDIS_URL)
    try:
        seen = await lost(counters)
        await asyncio.sleep(BEGINNING_SECONDS if seen else 0)
        return await settle_lost(counters, seen)
    finally:
        await counters.close()


def left_behind(periods: dict[tuple[str, str], tuple[Rule, Period]], rows: list[UsageRecord]) -> list[str]:
    """Counters that say anything but the ledger, and what is still held of them."""
    faults = []
    ended = {row.request_id for row in rows if not row.is_running()}
    with redis.Redis.from_url(settings.REDIS_URL, decode_responses=True) as client:
        if taken(client, ended):
            # The place of a request whose gateway was killed is free when its lease is over; unless somebody renews it.
            time.sleep(LEASE_SECONDS + 1)
        faults += [f"{key}: {id} has a place" for key, id in taken(client, ended)]
        for key in client.scan_iter(f"{PREFIX}*", _type="hash"):
            content: dict[str, str] = client.hgetall(key)
            if "=" not in content:
                continue
            rule_id, _, period = key.removeprefix(PREFIX).partition("@")
            known = periods.get((rule_id, period))
            truth = settled(*known) if known else 0
            # Seconds are rounded for each request here, and once in all there.
            leeway = len(rows) if known and known[0].metric == "gpu_seconds" else 0
            if abs(int(content["="]) - truth) > leeway:
                faults.append(f"{key} says {content['=']}, the ledger {truth}")
            held = [name for name in content if name.startswith("r:")]
            if held or int(content.get("+", 0)):
                faults.append(f"{key} holds {content.get('+')} for {held}")
    return faults


def taken(client: redis.Redis, ended: set[str]) -> list[tuple[str, str]]:
    """Places of these requests that nobody else may have now."""
    seconds, microseconds = client.time()
    now = f"({seconds + microseconds / 1e6:.6f}"
    keys = client.scan_iter(f"{PREFIX}*", _type="zset")
    return [(key, id) for key in keys for id in client.zrangebyscore(key, now, "+inf") if id in ended]


def standings() -> dict[str, dict[str, float]]:
    """What `/v1/key` has to say to each key, by its prefix: what is used of its limits now, minutes left out."""
    found = {}
    now = timezone.now()
    for key in ApiKey.objects.all():
        scope = Scope(key.pk, key.user_id, key.team_id, MODEL)
        rules = [rule for rule in stored_rules() if rule.matches(scope) and rule.window != "minute"]
        found[key.prefix] = {
            f"{rule.metric} {rule.window} {rule.subject}": settled(rule, rule.period(now)) / UNIT
            if rule.metric != "concurrency"
            else 0.0
            for rule in rules
        }
    return found
