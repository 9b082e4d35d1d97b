"""What the ledger has of a counter: the one truth that counters are a memory of."""

from datetime import datetime

from django.db.models import Count, Q, Sum

from accounts.models import Quota, UsageRecord
from accounts.quotas.counters import UNIT
from accounts.quotas.periods import Period
from accounts.quotas.rules import Rule, Used

Metric = Quota.Metric


def settled(rule: Rule, period: Period) -> int:
    """What requests that began in the period and have ended used of the rule's metric, in UNITs. One query, by an
    index on who or what the rule names."""
    rows = UsageRecord.objects.filter(scope_of(rule, period.start)).exclude(state=UsageRecord.State.RUNNING)
    if period.end is not None:
        rows = rows.filter(started_at__lt=period.end)
    sums = rows.order_by().aggregate(
        requests=Count("pk", filter=~Q(outcome=UsageRecord.Outcome.REFUSED)),
        prompt=Sum("prompt_tokens"),
        cached=Sum("cached_tokens"),
        completion=Sum("completion_tokens"),
        seconds=Sum("engine_seconds"),
    )
    if rule.metric == Metric.REQUESTS:
        return int(sums["requests"]) * rule.charge(Used())
    return rule.charge(Used(sums["prompt"] or 0, sums["cached"] or 0, sums["completion"] or 0, sums["seconds"] or 0.0))


def settled_share(rule: Rule, now: datetime) -> float | None:
    """Of the limit that holds now, what requests that have ended used of it: 1.0 is all. None for what runs at once,
    which the ledger does not say, and for a limit of nothing. One query."""
    limit = rule.limit_at(now)
    if rule.metric == Metric.CONCURRENCY or not limit:
        return None
    return settled(rule, rule.period(now)) / (limit * UNIT)


def used_now(rule: Rule, now: datetime) -> float:
    """In the metric's own units, as far as the ledger knows: of requests that have ended in the running period; of
    requests at once, those that run. One query."""
    if rule.metric == Metric.CONCURRENCY:
        return UsageRecord.objects.filter(scope_of(rule, None), state=UsageRecord.State.RUNNING).count()
    return settled(rule, rule.period(now)) / UNIT


def scope_of(rule: Rule, start: datetime | None) -> Q:
    """The requests that it holds for, from a moment on."""
    named = {"team_id": rule.team_id, "user_id": rule.user_id, "key_id": rule.key_id, "model": rule.model or None}
    scope = Q(**{name: value for name, value in named.items() if value is not None})
    return scope if start is None else scope & Q(started_at__gte=start)
