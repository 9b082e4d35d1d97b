"""Adding the ledger up by days, and forgetting its rows where that is wanted. The only writer of UsageDaily.

A row of the ledger is in the sums if and only if it is marked so, and is marked in the transaction that adds it. It
does not matter, then, when a row is closed, by whom, or what the clocks said: sums and unmarked rows together are
always the whole ledger, and running this twice does nothing.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone

from accounts.models import Rollups, UsageDaily, UsageRecord
from accounts.models.usage_record import FAILED, micros
from accounts.prices import price_when_begun

CHUNK = 2_000
"""Rows in one transaction: on SQLite, so long nobody else writes."""
PAUSE_SECONDS = 0.02
"""Between two of them, for those who wait."""
IDENTITY = ("day", "user_id", "username", "team_id", "key_id", "key_prefix", "model", "endpoint", "price_id")
CANCELLED = {UsageRecord.Outcome.CANCELLED, UsageRecord.Outcome.DISCONNECTED}
FIGURES = (
    "requests", "refused", "failed", "cancelled",
    "prompt_tokens", "cached_tokens", "completion_tokens", "engine_micros",
)  # fmt: skip
"""What is added up."""
TOKENS = ("prompt_tokens", "cached_tokens", "completion_tokens")


def roll_up() -> int:
    """Adds every row that has ended and is not in the sums yet; how many. In chunks, each a transaction. Of several who
    do this at once, one does and the others wait and go on with the rest."""
    total = 0
    while True:
        done = _roll_up_chunk()
        total += done
        if done < CHUNK:
            break
        time.sleep(PAUSE_SECONDS)
    if total and connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            # Else SQLite would not know how few rows are not in the sums; PostgreSQL looks by itself.
            cursor.execute("PRAGMA analysis_limit = 1000")
            cursor.execute(f"ANALYZE {UsageRecord._meta.db_table}")
    return total


def forget_old_records(now: datetime | None = None) -> int:
    """Deletes what is older than ATELIER_USAGE_RETENTION_DAYS, whole days in UTC, and has been added up; how many rows.
    In chunks, each a transaction."""
    if not settings.USAGE_RETENTION_DAYS:
        return 0
    first = (now or timezone.now()).astimezone(UTC).date() - timedelta(days=settings.USAGE_RETENTION_DAYS)
    with transaction.atomic():
        held = Rollups.hold()
        # Before the first of them goes: who reads meanwhile must not add up half a day.
        if held.kept_from is None or held.kept_from < first:
            held.kept_from = first
            held.save(update_fields=["kept_from"])
    old = UsageRecord.objects.filter(is_rolled_up=True, started_at__lt=midnight(first)).order_by("started_at", "pk")
    total = 0
    while True:
        with transaction.atomic():
            Rollups.hold()
            deleted, _ = UsageRecord.objects.filter(pk__in=list(old.values_list("pk", flat=True)[:CHUNK])).delete()
        total += deleted
        if deleted < CHUNK:
            return total
        time.sleep(PAUSE_SECONDS)


def midnight(day: date) -> datetime:
    """With which the day begins, in UTC."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


@transaction.atomic
def _roll_up_chunk() -> int:
    Rollups.hold()
    rows = list(
        UsageRecord.objects.filter(is_rolled_up=False)
        .exclude(state=UsageRecord.State.RUNNING)
        .annotate(price_id=price_when_begun())
        .order_by("started_at", "pk")
        .values("pk", "started_at", "outcome", "engine_seconds", *TOKENS, *(set(IDENTITY) - {"day"}))[:CHUNK]
    )
    sums: defaultdict[tuple[Any, ...], Counter[str]] = defaultdict(Counter)
    for row in rows:
        row["day"] = row["started_at"].astimezone(UTC).date()
        sums[tuple(row[name] for name in IDENTITY)].update(_figures(row))
    _add(sums)
    UsageRecord.objects.filter(pk__in=[row["pk"] for row in rows]).update(is_rolled_up=True)
    return len(rows)


def _figures(row: Mapping[str, Any]) -> dict[str, int]:
    refused = row["outcome"] == UsageRecord.Outcome.REFUSED
    return {
        "requests": int(not refused),
        "refused": int(refused),
        "failed": int(row["outcome"] in FAILED),
        "cancelled": int(row["outcome"] in CANCELLED),
        **{name: row[name] for name in TOKENS},
        "engine_micros": micros(row["engine_seconds"]),
    }


def _add(sums: Mapping[tuple[Any, ...], Mapping[str, int]]) -> None:
    """To be called by whoever holds Rollups: nobody else adds rows of the same identity meanwhile."""
    known = _known({identity[0] for identity in sums})
    more, new = [], []
    for identity, figures in sums.items():
        if (pk := known.get(identity)) is not None:
            more.append([*(figures[name] for name in FIGURES), pk])
        else:
            new.append(UsageDaily(**dict(zip(IDENTITY, identity, strict=True)), **figures))
    with connection.cursor() as cursor:
        # Not through the ORM, whose expressions take longer than the database does.
        added = ", ".join(f"{name} = {name} + %s" for name in FIGURES)
        cursor.executemany(f"UPDATE {UsageDaily._meta.db_table} SET {added} WHERE id = %s", more)
    UsageDaily.objects.bulk_create(new)


def _known(days: Iterable[date]) -> dict[tuple[Any, ...], int]:
    """Users of the same name that are gone may have left several rows alike: any of them will do."""
    rows = UsageDaily.objects.filter(day__in=list(days)).values_list(*IDENTITY, "pk")
    return {tuple(identity): pk for *identity, pk in rows}
