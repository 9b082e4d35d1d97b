"""What was used: the sums of whole days, and the ledger's rows for the rest.

However a span of time is put together, the answer is what the ledger's rows alone would say. One statement asks for
all of it: whoever rolls up in between moves rows from one part to another, and each has to be seen once.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

from django.conf import settings
from django.db.models import BigIntegerField, Count, F, Q, QuerySet, Sum, Value
from django.db.models.functions import Cast, Floor, TruncDate, TruncHour, TruncMinute
from django.utils import timezone

from accounts.authentication import Principal
from accounts.models import Price, Rollups, UsageDaily, UsageRecord, User
from accounts.models.usage_record import FAILED
from accounts.permissions import Action, allows, may
from accounts.prices import price_when_begun, rounded
from accounts.rollups import CANCELLED, FIGURES, midnight

GROUPS = {"user": "username", "team": "team__slug", "key": "key_prefix", "model": "model", "endpoint": "endpoint"}
"""What usage can be added up by, and what both the ledger and its daily sums call it."""
DAY = timedelta(days=1)
FINE = {timedelta(minutes=1): TruncMinute, timedelta(hours=1): TruncHour}
"""Buckets of less than a day."""

_REFUSED = Q(outcome=UsageRecord.Outcome.REFUSED)
_OF_ROWS: dict[str, Any] = {
    "sum_requests": Count("pk", filter=~_REFUSED),
    "sum_refused": Count("pk", filter=_REFUSED),
    "sum_failed": Count("pk", filter=Q(outcome__in=FAILED)),
    "sum_cancelled": Count("pk", filter=Q(outcome__in=CANCELLED)),
    "sum_prompt_tokens": Sum("prompt_tokens"),
    "sum_cached_tokens": Sum("cached_tokens"),
    "sum_completion_tokens": Sum("completion_tokens"),
    # Whole numbers add up to the same in any order. See `usage_record.micros`.
    "sum_engine_micros": Sum(Cast(Floor(F("engine_seconds") * 1_000_000.0 + 0.5), BigIntegerField())),
}
_OF_DAYS: dict[str, Any] = {f"sum_{name}": Sum(name) for name in FIGURES}
"""By names that neither table has a column of."""


class RowsForgotten(Exception):
    """What was asked for needs rows that are not kept any more. kept_from: the first day that has them."""

    def __init__(self, kept_from: date) -> None:
        super().__init__(f"of requests before {kept_from} only daily sums are kept")
        self.kept_from = kept_from


@dataclass(frozen=True, slots=True)
class Sums:
    """of: by the names of GROUPS; None where a request had none, such as no team."""

    of: dict[str, str | None]
    requests: int
    """Those that ran: refused ones are apart, failed and cancelled ones are among these."""
    refused: int
    failed: int
    cancelled: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    engine_micros: int
    cost: Decimal | None
    """In the currency of ATELIER_CURRENCY. None: none of it had a price."""

    @property
    def engine_seconds(self) -> float:
        return self.engine_micros / 1_000_000

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


def used(*, start: datetime | None, end: datetime | None, by: Sequence[str] = (), where: Q | None = None) -> list[Sums]:
    """Of requests that began in [start, end) and have ended, most tokens first. Without a group one, maybe of nothing.
    Of a day whose rows are not kept any more, all counts for a span that it begins in.

    where: on what ledger and daily sums both have: GROUPS, and the ids of user, team and key. Up to three queries.
    Raises KeyError for a group that there is not."""
    found = _added(_parts(start, end, where), by, daily=False, priced=True)
    if not by and not found:
        return [_sums((), by, Counter(), None)]
    return sorted(found.values(), key=_most_first)


def used_by_time(
    *, start: datetime, end: datetime | None, width: timedelta, by: Sequence[str] = (), where: Q | None = None
) -> list[tuple[datetime, Sums]]:
    """The same for each day, hour or minute (in UTC) in which there was something, by its beginning.

    Raises KeyError for another width, and RowsForgotten for hours and minutes of days that have none any more."""
    if width == DAY:
        found = _added(_parts(start, end, where), by, daily=True, priced=True)
        dated = [(midnight(begins), sums) for (begins, *_), sums in found.items()]
    else:
        truncated = FINE[width]("started_at", tzinfo=UTC)
        if (kept := _first_day_kept(start)) and start < midnight(kept):
            raise RowsForgotten(kept)
        found = _added([_ended(where, start, end).annotate(begins=truncated)], by, daily=True, priced=True)
        dated = [(begins, sums) for (begins, *_), sums in found.items()]
    return sorted(dated, key=lambda each: (each[0], _most_first(each[1])))


def total(*, start: datetime | None, end: datetime | None, where: Q) -> Sums:
    """What `used` says without groups, but without its cost. One query, or two for spans that begin or end a month ago
    and longer."""
    found = _added(_parts(start, end, where), (), daily=False, priced=False)
    return next(iter(found.values()), _sums((), (), Counter(), None))


def visible_to(principal: Principal) -> Q:
    """What a key may see: its user's own; that of its team, if its user may see it; a platform admin's all. Up to two
    queries."""
    own = Q(user_id=principal.user_id)
    user = User.objects.filter(pk=principal.user_id).first()
    if user is None:
        return own
    if may(user, Action.PLATFORM):
        return Q()
    if principal.team_id is not None and allows(user.role_in(principal.team_id), Action.TEAM_USAGE):
        return own | Q(team_id=principal.team_id)
    return own


# --- What a span is put together from ------------------------------------------------------------------------------


def _parts(start: datetime | None, end: datetime | None, where: Q | None) -> list[QuerySet[Any]]:
    """Rows at the edges, and of the whole days between them the sums and those rows that are not in them yet."""
    start, end = _kept(start), _kept(end)
    first, last = start and _midnight_from(start), end and _midnight_until(end)
    if first and last and first >= last:
        return [_ended(where, start, end)]
    parts: list[QuerySet[Any]] = []
    if start and first and start < first:
        parts.append(_ended(where, start, first))
    if end and last and last < end:
        parts.append(_ended(where, last, end))
    days = UsageDaily.objects.order_by()
    if first:
        days = days.filter(day__gte=first.date())
    if last:
        days = days.filter(day__lt=last.date())
    # By their ids, else SQLite would rather look through all that somebody ever used than through these few.
    fresh = _ended(None, first, last).filter(is_rolled_up=False).values("pk")
    return [
        days if where is None else days.filter(where),
        *parts,
        _ended(where, None, None).filter(pk__in=fresh),
    ]


def _ended(where: Q | None, start: datetime | None, end: datetime | None) -> QuerySet[UsageRecord]:
    rows = UsageRecord.objects.exclude(state=UsageRecord.State.RUNNING).order_by()
    if start is not None:
        rows = rows.filter(started_at__gte=start)
    if end is not None:
        rows = rows.filter(started_at__lt=end)
    return rows if where is None else rows.filter(where)


def _kept(moment: datetime | None) -> datetime | None:
    """The moment itself, or if the day's rows are not kept, the midnight that follows."""
    if moment is None or (kept := _first_day_kept(moment)) is None or moment >= midnight(kept):
        return moment
    return _midnight_from(moment)


def _first_day_kept(moment: datetime) -> date | None:
    """None, without a query, where rows of that moment can't have been forgotten."""
    if moment > timezone.now() - timedelta(days=settings.LEAST_RETENTION_DAYS - 1):
        return None
    return Rollups.first_day_kept()


def _midnight_until(moment: datetime) -> datetime:
    return midnight(moment.astimezone(UTC).date())


def _midnight_from(moment: datetime) -> datetime:
    until = _midnight_until(moment)
    return until if until == moment or until.date() == date.max else until + DAY


# --- Adding it up --------------------------------------------------------------------------------------------------


def _added(
    parts: Sequence[QuerySet[Any]], by: Sequence[str], *, daily: bool, priced: bool
) -> dict[tuple[Any, ...], Sums]:
    """By groups, and before them, if daily, by what the parts call `begins`: days, unless they say otherwise."""
    figures: defaultdict[tuple[Any, ...], Counter[str]] = defaultdict(Counter)
    by_price: defaultdict[tuple[Any, ...], dict[int, Counter[str]]] = defaultdict(dict)
    names = [GROUPS[name] for name in by]
    for *group, price, values in _asked(parts, [*(["begins"] if daily else []), *names], priced):
        figures[tuple(group)].update(values)
        if price is not None:
            by_price[tuple(group)].setdefault(price, Counter()).update(values)
    prices = Price.objects.in_bulk({price for found in by_price.values() for price in found}) if by_price else {}
    costs = {
        group: rounded(_cost(prices[price], values) for price, values in found.items())
        for group, found in by_price.items()
    }
    return {group: _sums(group[daily:], by, values, costs.get(group)) for group, values in figures.items()}


def _asked(parts: Sequence[QuerySet[Any]], names: Sequence[str], priced: bool) -> Iterator[tuple[Any, ...]]:
    """Of each group of each part: what it is of, the id of its price or None, and its figures."""
    selects = []
    for part in parts:
        of_days = part.model is UsageDaily
        given: dict[str, Any] = {}
        if "begins" in names and "begins" not in part.query.annotations:
            given["begins"] = F("day") if of_days else TruncDate("started_at", tzinfo=UTC)
        # A constant where nobody asks for it: something has to be grouped by.
        price: Any = F("price_id") if of_days else price_when_begun()
        given["priced"] = price if priced else Value(None, output_field=BigIntegerField())
        columns = _OF_DAYS if of_days else _OF_ROWS
        grouped = part.annotate(**given).values(*names, "priced").annotate(**columns)
        selects.append(grouped.values_list(*names, "priced", *columns))
    rows = selects[0].union(*selects[1:], all=True) if len(selects) > 1 else selects[0]
    for row in rows:
        group, price, values = row[: len(names)], row[len(names)], row[len(names) + 1 :]
        if any(values):
            yield (*group, price, dict(zip(FIGURES, (int(value or 0) for value in values), strict=True)))


def _cost(price: Price, figures: Counter[str]) -> Fraction:
    names = ("prompt_tokens", "cached_tokens", "completion_tokens", "engine_micros")
    return price.cost(**{name: figures[name] for name in names})


def _sums(of: Sequence[str | None], by: Sequence[str], figures: Counter[str], cost: Decimal | None) -> Sums:
    return Sums(dict(zip(by, of, strict=True)), **{name: figures[name] for name in FIGURES}, cost=cost)


def _most_first(sums: Sums) -> tuple[int, int, str]:
    return (-sums.total_tokens, -sums.requests, str(sums.of))
