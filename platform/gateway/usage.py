"""`GET /v1/usage`: what the key that asks has used."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from channels.db import database_sync_to_async
from django.conf import settings
from django.db.models import Q
from django.utils import timezone
from msgspec import Struct

from accounts.authentication import Principal
from accounts.models import Quota, Scope, Team
from accounts.quotas.periods import period
from accounts.quotas.rules import zone_of
from accounts.rollups import midnight
from accounts.usage import DAY, Sums, used, used_by_time
from gateway import errors
from gateway.answers import encode
from gateway.endpoint import KeyedEndpoint
from gateway.queries import LARGEST_TIME, given_in, number_of, some_of

GROUPS = ("day", "model", "endpoint")
PARAMETERS = {"start", "end", "group_by"}
USUAL_DAYS = 30
MOST_DAYS = 366
"""That may be asked for one by one."""


class Amounts(Struct, kw_only=True):
    requests: int
    """Those that ran and have ended."""
    input_tokens: int
    """Cached ones included."""
    input_cached_tokens: int
    output_tokens: int
    gpu_seconds: float
    cost: Decimal | None
    """In `currency`; null where nothing of it had a price."""


class PeriodUsage(Amounts, kw_only=True):
    since: datetime
    """When the period began."""


class GroupUsage(Amounts, kw_only=True):
    """day, model and endpoint are null where nobody grouped by them."""

    day: date | None
    """In UTC."""
    model: str | None
    endpoint: str | None


class KeyUsage(Struct, kw_only=True):
    object: str = "usage"
    key: str
    """How the key begins."""
    currency: str
    time_zone: str
    """In which today, the week (from Monday) and the month begin: the team's, as for quotas."""
    today: PeriodUsage
    week: PeriodUsage
    month: PeriodUsage
    start: datetime
    end: datetime
    """Exclusive."""
    group_by: list[str]
    data: list[GroupUsage]
    """Of requests that began from start to end. By days, then most tokens first."""


@dataclass(frozen=True, slots=True)
class Query:
    start: datetime
    end: datetime
    by: tuple[str, ...]


class OwnUsage(KeyedEndpoint):
    needs = Scope.USAGE

    async def handle(self, body: bytes) -> None:
        now = timezone.now()
        query = read(given_in(self.scope, PARAMETERS), now)
        await self.answer(encode(await database_sync_to_async(look_up)(query, self.principal, now)))


def read(given: dict[str, list[str]], now: datetime) -> Query:
    """Raises ApiError."""
    by = some_of(given, "group_by", GROUPS) or ("day", "model")
    end = moment_of(given, "end") or now
    last = (end - timedelta(microseconds=1)).date()
    start = moment_of(given, "start") or midnight(last) - (USUAL_DAYS - 1) * DAY
    if end < start:
        raise errors.invalid("`end` must not be before `start`.", param="end")
    if "day" in by and end - start > MOST_DAYS * DAY:
        raise errors.invalid(
            f"`start`: at most {MOST_DAYS} days can be told apart; begin later, or leave day out of `group_by`.",
            param="start",
        )
    return Query(start, end, by)


def moment_of(given: dict[str, list[str]], name: str) -> datetime | None:
    """A day, which begins in UTC, or Unix seconds. Raises ApiError."""
    if name not in given:
        return None
    text = given[name][-1]
    if text.isdigit():
        return datetime.fromtimestamp(0, UTC) + timedelta(seconds=number_of(given, name, 0, 0, LARGEST_TIME))
    try:
        day = date.fromisoformat(text) if len(text) == 10 else None
    except ValueError:
        day = None
    if day is None or day.year < 1970:
        raise errors.invalid(f"`{name}` must be a day such as 2026-12-01, or Unix seconds.", param=name)
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def look_up(query: Query, principal: Principal, now: datetime) -> KeyUsage:
    team = None if principal.team_id is None else Team.objects.filter(pk=principal.team_id).first()
    zone_name = (team.time_zone if team else "") or settings.TIME_ZONE
    own = Q(key_id=principal.key_id)

    def in_period(window: str) -> PeriodUsage:
        since = period(window, now, zone_of(zone_name)).start
        assert since is not None
        [sums] = used(start=since, end=None, where=own)
        return PeriodUsage(since=since, **amounts(sums))

    return KeyUsage(
        key=principal.key_prefix,
        currency=settings.CURRENCY,
        time_zone=zone_name,
        today=in_period(Quota.Window.DAY),
        week=in_period(Quota.Window.WEEK),
        month=in_period(Quota.Window.MONTH),
        start=query.start,
        end=query.end,
        group_by=list(query.by),
        data=groups(query, own),
    )


def groups(query: Query, own: Q) -> list[GroupUsage]:
    by: Sequence[str] = [name for name in query.by if name != "day"]
    found: list[tuple[datetime | None, Sums]]
    if "day" in query.by:
        found = [*used_by_time(start=query.start, end=query.end, width=DAY, by=by, where=own)]
    else:
        found = [(None, sums) for sums in used(start=query.start, end=query.end, by=by, where=own)]
    return [
        GroupUsage(
            day=begins.date() if begins else None,
            model=sums.of.get("model"),
            endpoint=sums.of.get("endpoint"),
            **amounts(sums),
        )
        for begins, sums in found
    ]


def amounts(sums: Sums) -> dict[str, Any]:
    return {
        "requests": sums.requests,
        "input_tokens": sums.prompt_tokens,
        "input_cached_tokens": sums.cached_tokens,
        "output_tokens": sums.completion_tokens,
        "gpu_seconds": sums.engine_seconds,
        "cost": sums.cost,
    }
