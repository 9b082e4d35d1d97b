"""What the ledger has of a counter: the one truth that counters are a memory of."""

from datetime import datetime

from django.db.models import Q

from accounts import usage
from accounts.models import Quota, UsageRecord
from accounts.quotas.counters import UNIT
from accounts.quotas.periods import Period
from accounts.quotas.rules import Rule, Used

Metric = Quota.Metric


def settled(rule: Rule, period: Period) -> int:
    """What requests that began in the period and have ended used of the rule's metric, in UNITs. As `usage.total`: the
    rows of old ones need not be there any more."""
    sums = usage.total(start=period.start, end=period.end, where=scope_of(rule))
    if rule.metric == Metric.REQUESTS:
        return sums.requests * rule.charge(Used())
    return rule.charge(Used(sums.prompt_tokens, sums.cached_tokens, sums.completion_tokens, sums.engine_seconds))


def settled_share(rule: Rule, now: datetime) -> float | None:
    """Of the limit that holds now, what requests that have ended used of it: 1.0 is all. None for what runs at once,
    which the ledger does not say, and for a limit of nothing."""
    limit = rule.limit_at(now)
    if rule.metric == Metric.CONCURRENCY or not limit:
        return None
    return settled(rule, rule.period(now)) / (limit * UNIT)


def used_now(rule: Rule, now: datetime) -> float:
    """In the metric's own units, as far as the ledger knows: of requests that have ended in the running period; of
    requests at once, those that run. One query."""
    if rule.metric == Metric.CONCURRENCY:
        return UsageRecord.objects.filter(scope_of(rule), state=UsageRecord.State.RUNNING).count()
    return settled(rule, rule.period(now)) / UNIT


def scope_of(rule: Rule) -> Q:
    """The requests that it holds for; of their daily sums, too."""
    named = {"team_id": rule.team_id, "user_id": rule.user_id, "key_id": rule.key_id, "model": rule.model or None}
    return Q(**{name: value for name, value in named.items() if value is not None})
