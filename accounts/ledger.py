"""The usage ledger's only writer. A row is opened once and closed once, whatever happens in between.

Synchronous: a coroutine wraps these in `sync_to_async`. Each is one statement, so it is whole or not at all.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import datetime

from django.db.models import Q
from django.utils import timezone

from accounts.authentication import Principal
from accounts.models import UsageRecord

State = UsageRecord.State
Outcome = UsageRecord.Outcome


@dataclass(frozen=True, slots=True)
class RunningRecord:
    request_id: str
    model: str
    key_id: int | None
    user_id: int | None
    team_id: int | None
    started_at: datetime


def open_record(
    *,
    request_id: str,
    principal: Principal,
    model: str,
    endpoint: str,
    stream: bool,
    gateway: str,
    estimated_prompt_tokens: int,
    started_at: datetime | None = None,
) -> None:
    """Enter a request that is about to run. started_at: which windows of quotas it counts for; None: now.

    Raises django.db.IntegrityError when the request id is taken, or the key, user or team has just been deleted.
    """
    UsageRecord.objects.create(
        request_id=request_id,
        key_id=principal.key_id,
        key_prefix=principal.key_prefix,
        user_id=principal.user_id,
        username=principal.username,
        team_id=principal.team_id,
        model=model,
        endpoint=endpoint,
        stream=stream,
        gateway=gateway,
        estimated_prompt_tokens=estimated_prompt_tokens,
        started_at=started_at or timezone.now(),
    )


def settle(
    request_id: str,
    *,
    outcome: str,
    prompt_tokens: int,
    cached_tokens: int,
    completion_tokens: int,
    queue_ms: float,
    ttft_ms: float | None,
    duration_ms: float,
    engine_seconds: float,
) -> bool:
    """Close a running row with its true figures. False: it was closed already (or never opened); nothing changed.

    Safe against itself in other threads and processes: exactly one caller gets True.
    Raises ValueError for an unknown outcome, IntegrityError for figures that can't be (negative, more tokens cached
    than prompted).
    """
    return _close(
        request_id,
        state=State.SETTLED,
        outcome=Outcome(outcome),
        prompt_tokens=prompt_tokens,
        cached_tokens=cached_tokens,
        completion_tokens=completion_tokens,
        queue_ms=queue_ms,
        ttft_ms=ttft_ms,
        duration_ms=duration_ms,
        engine_seconds=engine_seconds,
    )


def running_of(gateway: str) -> list[RunningRecord]:
    """The rows that this gateway's former life left open, oldest first. One query on a partial index."""
    return _running(Q(gateway=gateway))


def running_of_user(user_id: int, id: str) -> list[str]:
    """The ledger's ids of this user's running requests that `id` may mean: their own, the one that their client chose
    (theirs begin with it and a dot), or that of an answer (they are what follows its prefix)."""
    rests = [rest for mark in "-_" if (rest := id.partition(mark)[2])]
    names = [id, *rests, *(f"req_{rest}" for rest in rests)]
    rows = UsageRecord.objects.filter(user_id=user_id, state=State.RUNNING)
    return list(
        rows.filter(Q(request_id__in=names) | Q(request_id__startswith=f"{id}.")).values_list("request_id", flat=True)
    )


def outcomes_of(request_ids: Iterable[str]) -> list[str]:
    """How these requests ended; empty for one that is running."""
    return list(UsageRecord.objects.filter(request_id__in=list(request_ids)).values_list("outcome", flat=True))


def interrupt(request_id: str, *, prompt_tokens: int = 0, completion_tokens: int = 0) -> bool:
    """Close a running row whose end nobody saw, with what is known of it. False as in `settle`."""
    return _close(
        request_id,
        state=State.INTERRUPTED,
        outcome=Outcome.INTERRUPTED,
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
    )


def running_since_before(moment: datetime) -> list[RunningRecord]:
    """Those of any gateway that have been running since then. One query on a partial index."""
    return _running(Q(started_at__lt=moment))


def _running(where: Q) -> list[RunningRecord]:
    rows = UsageRecord.objects.filter(where, state=State.RUNNING).order_by("pk")
    return [RunningRecord(**row) for row in rows.values(*(field.name for field in fields(RunningRecord)))]


def _close(request_id: str, **values: object) -> bool:
    rows = UsageRecord.objects.filter(request_id=request_id, state=State.RUNNING)
    return rows.update(ended_at=timezone.now(), **values) == 1
