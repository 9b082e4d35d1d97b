"""Usage as CSV: RFC 4180, in UTF-8, with names that no spreadsheet takes for formulas."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.db.models import QuerySet

from accounts import keyset
from accounts.models import Price, UsageRecord
from accounts.prices import price_when_begun, rounded
from accounts.usage import Sums

CHUNK = 1_000
"""Rows that are in memory at once."""
FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n")
SUMS = (
    "requests", "refused", "failed", "cancelled", "prompt_tokens", "cached_tokens", "completion_tokens",
    "engine_seconds", "cost",
)  # fmt: skip
RECORD = (
    "request_id", "started_at", "ended_at", "user", "team", "key", "model", "endpoint", "stream", "gateway", "state",
    "outcome", "prompt_tokens", "cached_tokens", "completion_tokens", "queue_ms", "ttft_ms", "duration_ms",
    "engine_seconds", "cost", "currency",
)  # fmt: skip


def of_sums(by: Sequence[str], rows: Iterable[Sums]) -> str:
    """With a line of headers. by: as the sums were asked for."""
    lines = [[*row.of.values(), *(getattr(row, name) for name in SUMS), _currency(row.cost)] for row in rows]
    return _text([[*by, *SUMS, "currency"], *lines])


def of_daily_sums(by: Sequence[str], rows: Iterable[tuple[datetime, Sums]]) -> str:
    """The same, with the day of each in front."""
    lines = [
        [f"{begins:%Y-%m-%d}", *row.of.values(), *(getattr(row, name) for name in SUMS), _currency(row.cost)]
        for begins, row in rows
    ]
    return _text([["day", *by, *SUMS, "currency"], *lines])


def of_records(rows: QuerySet[UsageRecord]) -> Iterator[str]:
    """The ledger's rows, the oldest first: a line of headers, then CHUNK lines at a time, each of one query more. No
    more than that is in memory, however many there are."""
    yield _text([RECORD])
    prices = Price.objects.in_bulk()
    wanted = rows.select_related("team").annotate(price_id=price_when_begun())
    for found in keyset.chunks(wanted, "started_at", CHUNK):
        yield _text(_line(row, prices) for row in found)


def _line(row: Any, prices: dict[int, Price]) -> list[Any]:
    """row: a UsageRecord with the id of its price."""
    cost = None
    if (price := prices.get(row.price_id)) and not row.is_running():
        cost = rounded([price.cost(
            prompt_tokens=row.prompt_tokens, cached_tokens=row.cached_tokens,
            completion_tokens=row.completion_tokens, engine_micros=row.engine_micros(),
        )])  # fmt: skip
    return [
        row.request_id, row.started_at, row.ended_at, row.username, row.team and row.team.slug, row.key_prefix,
        row.model, row.endpoint, row.stream, row.gateway, row.state, row.outcome, row.prompt_tokens, row.cached_tokens,
        row.completion_tokens, row.queue_ms, row.ttft_ms, row.duration_ms, row.engine_seconds, cost, _currency(cost),
    ]  # fmt: skip


def _currency(cost: Any) -> str | None:
    return None if cost is None else settings.CURRENCY


def _text(lines: Iterable[Iterable[Any]]) -> str:
    out = io.StringIO()
    csv.writer(out).writerows([_cell(value) for value in line] for line in lines)
    return out.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        # A quote in front, as spreadsheets mark text. Some of them drop spaces before they look for a formula.
        value = value.replace("\0", "")
        return f"'{value}" if value.startswith(FORMULAS) or value.lstrip().startswith(FORMULAS[:4]) else value
    return value
