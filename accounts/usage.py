"""What was used, added up from the ledger."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Count, Q, QuerySet, Sum

from accounts.models import UsageRecord

GROUPS = {"user": "username", "team": "team__name", "key": "key_prefix", "model": "model", "endpoint": "endpoint"}
"""What usage can be added up by, and the ledger's name for it."""


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
    names = [GROUPS[name] for name in by]
    rows: QuerySet[UsageRecord, Any] = UsageRecord.objects.exclude(state=UsageRecord.State.RUNNING).order_by()
    if start is not None:
        rows = rows.filter(started_at__gte=start)
    if end is not None:
        rows = rows.filter(started_at__lt=end)
    if where is not None:
        rows = rows.filter(where)
    sums = {
        "requests": Count("pk", filter=~Q(outcome=UsageRecord.Outcome.REFUSED)),
        **{name: Sum(name) for name in ("prompt_tokens", "cached_tokens", "completion_tokens", "engine_seconds")},
    }
    found = list(rows.values(*names).annotate(**_apart(sums))) if names else [rows.aggregate(**_apart(sums))]
    added = [
        Sums(
            of={name: row[GROUPS[name]] for name in by},
            **{name: row[f"sum_{name}"] or 0 for name in sums},
        )
        for row in found
    ]
    return sorted(added, key=lambda each: (-each.total_tokens, -each.requests, str(each.of)))


def _apart(sums: dict[str, Any]) -> dict[str, Any]:
    """By names that the ledger has no column of."""
    return {f"sum_{name}": each for name, each in sums.items()}
