"""Reservations in Redis that nobody will settle any more: their gateway died between the counters and the ledger, or
Redis did not answer when they ended. (What a gateway has in its own memory is gone with it.)"""

from functools import partial

from accounts.models import UsageRecord
from accounts.quotas.redis_counters import RedisCounters
from accounts.quotas.rules import Rule, Run, Used, default_rules, in_a_thread, stored_rules

Held = tuple[str, str]
"""A counter, and the request that holds something of it."""


async def lost(counters: RedisCounters, run: Run = in_a_thread) -> set[Held]:
    """Those whose request does not run, by the ledger. One that is just beginning or ending may be among them: look
    twice. One query."""
    held = await counters.held()
    running: set[str] = await run(partial(_running, {request for _, request in held}))
    return {each for each in held if each[1] not in running}


async def settle_lost(counters: RedisCounters, seen: set[Held], run: Run = in_a_thread) -> int:
    """What the ledger says takes the place of what is still held; how many. seen: lost for longer than any request
    takes to begin or end."""
    charges: dict[Held, int] = await run(partial(_charges, seen & await lost(counters, run)))
    done = [await counters.settle_held(request, counter, charge) for (counter, request), charge in charges.items()]
    return sum(done)


def _running(requests: set[str]) -> set[str]:
    rows = UsageRecord.objects.filter(request_id__in=requests, state=UsageRecord.State.RUNNING)
    return set(rows.values_list("request_id", flat=True)) if requests else set()


def _charges(found: set[Held]) -> dict[Held, int]:
    """Three queries."""
    if not found:
        return {}
    rows = {row.request_id: row for row in UsageRecord.objects.filter(request_id__in={each for _, each in found})}
    rules: dict[str, Rule] = {rule.id: rule for rule in stored_rules()}
    for key in {row.key_id for row in rows.values() if row.key_id is not None}:
        rules |= {rule.id: rule for rule in default_rules(key)}
    return {
        (counter, request): rule.charge(_used(row))
        # One that never ran, and one of a rule that is no more, give back what they held.
        if (row := rows.get(request)) and (rule := rules.get(counter.partition("@")[0]))
        else 0
        for counter, request in found
    }


def _used(row: UsageRecord) -> Used:
    refused = row.outcome == UsageRecord.Outcome.REFUSED
    return Used(row.prompt_tokens, row.cached_tokens, row.completion_tokens, row.engine_seconds, counts=not refused)
