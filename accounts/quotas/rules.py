"""The limits that a request meets: those that are stored, and a generous one for every key."""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from decimal import Decimal
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from channels.db import database_sync_to_async
from django.conf import settings

from accounts import events
from accounts.models import Quota
from accounts.quotas.counters import UNIT
from accounts.quotas.periods import Period, period
from accounts.snapshot import Snapshot

MAX_AGE_SECONDS = 30.0
"""How long a snapshot may serve when an event was lost."""
CHANGED = "quotas.changed"

T = TypeVar("T")
Run = Callable[[Callable[[], Any]], Awaitable[Any]]
"""Does work on the database for an event loop."""
Metric = Quota.Metric
Window = Quota.Window


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose request it is, and for what."""

    key_id: int
    user_id: int
    team_id: int | None
    model: str


@dataclass(frozen=True, slots=True)
class Used:
    """What a request has used in the end."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    """Of the prompt's."""
    completion_tokens: int = 0
    engine_seconds: float = 0.0
    counts: bool = True
    """As a request: one that was refused does not."""


@dataclass(frozen=True, slots=True)
class Weights:
    """What a token counts, in UNITs."""

    input: int = UNIT
    cached: int = UNIT
    output: int = UNIT


@dataclass(frozen=True, slots=True)
class Boost:
    amount: int
    starts_at: datetime
    ends_at: datetime


@dataclass(frozen=True, slots=True)
class Rule:
    """A quota as it is applied. id: as stored, or the key's for its default policy."""

    id: str
    metric: str
    window: str
    limit: int
    unit: str
    """Such as "tokens a day"; `subject` whom it is for, in words that its own user may read."""
    subject: str
    zone: tzinfo
    team_id: int | None = None
    user_id: int | None = None
    key_id: int | None = None
    model: str = ""
    is_soft: bool = False
    warn_percent: int = 80
    weights: Weights = Weights()
    boosts: tuple[Boost, ...] = ()

    def matches(self, scope: Scope) -> bool:
        return (
            self.team_id in (None, scope.team_id)
            and self.user_id in (None, scope.user_id)
            and self.key_id in (None, scope.key_id)
            and self.model in ("", scope.model)
        )

    def period(self, now: datetime) -> Period:
        return Period(None, None) if self.metric == Metric.CONCURRENCY else period(self.window, now, self.zone)

    def counter(self, period: Period) -> str:
        return f"{self.id}@{period.name}"

    def limit_at(self, now: datetime) -> int:
        """Boosts included."""
        return self.limit + sum(boost.amount for boost in self.boosts if boost.starts_at <= now < boost.ends_at)

    def demand(self, prompt_tokens: int) -> tuple[int, int]:
        """What a request takes from its beginning on, and for each token of its answer; in UNITs. How long the engine
        will work nobody knows: there has to be some time left."""
        match self.metric:
            case Metric.TOKENS:
                return prompt_tokens * self.weights.input, self.weights.output
            case Metric.GPU_SECONDS:
                return 1, 0
        return UNIT, 0

    def charge(self, used: Used) -> int:
        """In UNITs."""
        match self.metric:
            case Metric.REQUESTS:
                return UNIT if used.counts else 0
            case Metric.TOKENS:
                fresh = used.prompt_tokens - used.cached_tokens
                tokens = fresh * self.weights.input + used.cached_tokens * self.weights.cached
                return tokens + used.completion_tokens * self.weights.output
            case Metric.GPU_SECONDS:
                return round(used.engine_seconds * UNIT)
        return 0


def zone_of(name: str) -> tzinfo:
    return ZoneInfo(name or settings.TIME_ZONE)


def rule_of(quota: Quota) -> Rule:
    """Of one with its team, user, key and boosts loaded; or of one that is not stored."""
    boosts = quota.boosts.all() if quota.pk else ()
    return Rule(
        id=f"q{quota.pk}.{quota.activations}" if quota.activations else f"q{quota.pk}",
        metric=quota.metric,
        window=quota.window,
        limit=quota.limit,
        unit=quota.unit,
        subject=quota.subject,
        zone=zone_of(quota.team.time_zone if quota.team else ""),
        team_id=quota.team_id,
        user_id=quota.user_id,
        key_id=quota.key_id,
        model=quota.model,
        is_soft=quota.is_soft,
        warn_percent=quota.warn_percent,
        weights=Weights(
            *(_in_units(weight) for weight in (quota.input_weight, quota.cached_weight, quota.output_weight))
        ),
        boosts=tuple(Boost(boost.amount, boost.starts_at, boost.ends_at) for boost in boosts),
    )


def _in_units(weight: Decimal) -> int:
    return int(weight * UNIT)


def default_rules(key_id: int) -> list[Rule]:
    """The policy that holds for every key which has no quota of its own of that metric and window."""
    limits = {
        Metric.REQUESTS: (settings.KEY_REQUESTS_PER_MINUTE, "requests a minute"),
        Metric.TOKENS: (settings.KEY_TOKENS_PER_MINUTE, "tokens a minute"),
    }
    return [
        Rule(f"k{key_id}-{metric}", metric, Window.MINUTE, limit, unit, "each key", UTC, key_id=key_id)
        for metric, (limit, unit) in limits.items()
    ]


def stored_rules() -> list[Rule]:
    """Two queries."""
    quotas = Quota.objects.in_force().select_related("team", "user", "key")
    # Boosts to come are in it, too: the snapshot may be in force when they begin.
    return [rule_of(quota) for quota in quotas.prefetch_related("boosts")]


async def in_a_thread(work: Callable[[], T]) -> T:
    result: T = await database_sync_to_async(work)()
    return result


class Rules:
    """A snapshot of all rules, which events keep fresh. Belongs to one event loop. run: how it reads the database."""

    def __init__(self, run: Run = in_a_thread) -> None:
        self._snapshot: Snapshot[list[Rule]] = Snapshot(lambda: run(stored_rules), max_age=MAX_AGE_SECONDS)

    async def of(self, scope: Scope) -> list[Rule]:
        """Those that hold for it, the key's default policy included. At most one read per MAX_AGE_SECONDS."""
        return applying(await self._snapshot.get(), scope)

    async def all(self) -> list[Rule]:
        """Those that are stored; for default policies see `of`."""
        return await self._snapshot.get()

    async def watch(self) -> None:
        """Runs as long as the gateway."""
        await self._snapshot.drop_at(events.subscribe(CHANGED))


def applying(rules: Iterable[Rule], scope: Scope) -> list[Rule]:
    found = [rule for rule in rules if rule.matches(scope)]
    own = {(rule.metric, rule.window) for rule in found if rule.key_id is not None and not rule.model}
    return [*found, *(rule for rule in default_rules(scope.key_id) if (rule.metric, rule.window) not in own)]
