"""What was used, added up from the ledger."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.models import Count, Q, QuerySet, Sum
from django.db.models.functions import TruncDay, TruncHour, TruncMinute

from accounts.authentication import Principal
from accounts.models import UsageRecord, User
from accounts.permissions import Action, allows, may

GROUPS = {"user": "username", "team": "team__slug", "key": "key_prefix", "model": "model", "endpoint": "endpoint"}
"""What usage can be added up by, and the ledger's name for it."""


SUMS: dict[str, Any] = {
    "sum_requests": Count("pk", filter=~Q(outcome=UsageRecord.Outcome.REFUSED)),
    "sum_prompt_tokens": Sum("prompt_tokens"),
    "sum_cached_tokens": Sum("cached_tokens"),
    "sum_completion_tokens": Sum("completion_tokens"),
    "sum_engine_seconds": Sum("engine_seconds"),
}
"""By names that the ledger has no column of."""
TRUNCATIONS: dict[timedelta, Any] = {
    timedelta(minutes=1): TruncMinute,
    timedelta(hours=1): TruncHour,
    timedelta(days=1): TruncDay,
}


@dataclass(frozen=True, slots=True)
class Sums:
    """of: by the names of GROUPS; None where a request had none, such as no team."""

    of: dict[str, str | None]
    requests: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    engine_seconds: float

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


def used(*, start: datetime | None, end: datetime | None, by: Sequence[str] = (), where: Q | None = None) -> list[Sums]:
    """Of requests that began in [start, end) and have ended, most tokens first. One query. Raises KeyError for a group
    that there is not."""
    rows = _ended(start, end, where)
    names = [GROUPS[name] for name in by]
    found = list(rows.values(*names).annotate(**SUMS)) if names else [rows.aggregate(**SUMS)]
    return sorted((_sums(row, by) for row in found), key=_most_first)


def used_by_time(
    *, start: datetime, end: datetime, width: timedelta, by: Sequence[str] = (), where: Q | None = None
) -> list[tuple[datetime, Sums]]:
    """The same for each day, hour or minute (in UTC) in which there was something, by its beginning. One query. Raises
    KeyError for another width."""
    begins = TRUNCATIONS[width]("started_at", tzinfo=UTC)
    names = [GROUPS[name] for name in by]
    rows = _ended(start, end, where).annotate(begins=begins).values("begins", *names).annotate(**SUMS)
    return sorted(((row["begins"], _sums(row, by)) for row in rows), key=lambda each: (each[0], _most_first(each[1])))


def visible_to(principal: Principal) -> Q:
    """The rows that a key may see: its user's own; those of its team, if its user may see them; a platform admin's all.
    Up to two queries."""
    own = Q(user_id=principal.user_id)
    user = User.objects.filter(pk=principal.user_id).first()
    if user is None:
        return own
    if may(user, Action.PLATFORM):
        return Q()
    if principal.team_id is not None and allows(user.role_in(principal.team_id), Action.TEAM_USAGE):
        return own | Q(team_id=principal.team_id)
    return own


def _ended(start: datetime | None, end: datetime | None, where: Q | None) -> QuerySet[UsageRecord]:
    rows = UsageRecord.objects.exclude(state=UsageRecord.State.RUNNING).order_by()
    if start is not None:
        rows = rows.filter(started_at__gte=start)
    if end is not None:
        rows = rows.filter(started_at__lt=end)
    return rows if where is None else rows.filter(where)


def _sums(row: dict[str, Any], by: Sequence[str]) -> Sums:
    return Sums({name: row[GROUPS[name]] for name in by}, **{name[4:]: row[name] or 0 for name in SUMS})


def _most_first(sums: Sums) -> tuple[int, int, str]:
    return (-sums.total_tokens, -sums.requests, str(sums.of))
