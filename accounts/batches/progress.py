"""What a worker writes of a batch while it has the lease of it. Synchronous; each is one transaction.

A lease is taken by one statement that changes a row only while nobody else has it, and all that follows is written
only while it is held: two workers can't write to one batch, whatever died or stood still in between.
"""

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from accounts import audit
from accounts.models import Batch, BatchLine

LEASE = timedelta(seconds=10)
"""After which a batch is taken from a worker that is not heard of any more."""
Status = Batch.Status
State = BatchLine.State


class LeaseLost(Exception):
    """Another worker may have the batch by now, or it is gone. Nothing was written."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """Of an answer, as its own `usage` says."""

    input: int = 0
    cached: int = 0
    output: int = 0
    reasoning: int = 0


NO_TOKENS = Tokens()


def claim() -> Batch | None:
    """The due batch that has waited longest, leased; None: there is none."""
    for candidate in Batch.objects.due()[:10]:
        lease, now = secrets.token_hex(16), timezone.now()
        if Batch.objects.due().filter(pk=candidate.pk).update(lease=lease, leased_until=now + LEASE):
            return Batch.objects.get(pk=candidate.pk)
    return None


def renew(batch: Batch) -> None:
    """Holds the lease for longer, and reads the batch's status anew. Raises LeaseLost."""
    _held(batch, leased_until=timezone.now() + LEASE)
    batch.refresh_from_db(fields=["status"])


def put_off(batch: Batch, seconds: float = 0) -> None:
    """Gives the lease back; nobody takes the batch up for so long. A batch that has been lost meanwhile stays so."""
    now = timezone.now()
    due = min(now + timedelta(seconds=seconds), max(now, batch.expires_at))
    held = Batch.objects.filter(pk=batch.pk, lease=batch.lease)
    held.exclude(status=Status.CANCELLING).update(lease="", leased_until=None, due_at=due)
    # Cancelled meanwhile: nothing to wait for.
    held.update(lease="", leased_until=None)


def forget_lines(batch: Batch) -> None:
    """Its input is read from the beginning. Raises LeaseLost."""
    with transaction.atomic():
        _held(batch)
        batch.lines.all().delete()


def add_lines(batch: Batch, lines: Sequence[BatchLine]) -> None:
    """Raises LeaseLost."""
    with transaction.atomic():
        _held(batch, leased_until=timezone.now() + LEASE)
        BatchLine.objects.bulk_create(lines)


def begin(batch: Batch, *, total: int, model: str) -> None:
    """Its input is as it should be: its lines run from now on. Raises LeaseLost."""
    with transaction.atomic():
        _held(batch, total=total, model=model)
        waiting = Batch.objects.filter(pk=batch.pk, status=Status.VALIDATING)
        waiting.update(status=Status.IN_PROGRESS, in_progress_at=timezone.now())
    batch.refresh_from_db()


def record_answer(line: BatchLine, *, batch: Batch, answer: str, is_error: bool, tokens: Tokens) -> None:
    """The line's one answer, and what it adds to the batch's sums. Raises LeaseLost, also where it has one already."""
    state = State.FAILED if is_error else State.COMPLETED
    with transaction.atomic():
        waiting = BatchLine.objects.filter(pk=line.pk, state=State.WAITING)
        if not waiting.update(state=state, answer=answer):
            raise LeaseLost
        _held(
            batch,
            **{state.value: F(state.value) + 1},
            input_tokens=F("input_tokens") + tokens.input,
            cached_tokens=F("cached_tokens") + tokens.cached,
            output_tokens=F("output_tokens") + tokens.output,
            reasoning_tokens=F("reasoning_tokens") + tokens.reasoning,
        )


def record_fault(line: BatchLine, *, batch: Batch) -> int:
    """Something died on it. How often that has been. Raises LeaseLost."""
    with transaction.atomic():
        _held(batch)
        BatchLine.objects.filter(pk=line.pk).update(faults=F("faults") + 1)
    line.refresh_from_db(fields=["faults"])
    return line.faults


def close_waiting(batch: Batch, lines: Iterable[tuple[BatchLine, str]]) -> None:
    """These lines will not run any more; each with its answer, which says why. Raises LeaseLost."""
    with transaction.atomic():
        closed = 0
        for line, answer in lines:
            waiting = BatchLine.objects.filter(pk=line.pk, state=State.WAITING)
            closed += waiting.update(state=State.FAILED, answer=answer)
        _held(batch, failed=F("failed") + closed, leased_until=timezone.now() + LEASE)


def finalize(batch: Batch) -> None:
    """All lines have ended. Raises LeaseLost."""
    _held(batch)
    running = Batch.objects.filter(pk=batch.pk, status=Status.IN_PROGRESS)
    running.update(status=Status.FINALIZING, finalizing_at=timezone.now())
    batch.refresh_from_db()


def end(batch: Batch, status: str, *, errors: Sequence[dict[str, Any]] = (), **files: str) -> None:
    """The last of it. To be called in the transaction that finishes its files: output_file_id and error_file_id.
    Raises LeaseLost."""
    with transaction.atomic():
        stored = Batch.objects.select_for_update().filter(pk=batch.pk, lease=batch.lease).first()
        if stored is None or stored.is_finished():
            raise LeaseLost
        before = {"status": stored.status}
        if stored.status == Status.CANCELLING and status == Status.COMPLETED:
            # Nothing was left to run, but whoever cancelled it was promised that.
            status = Status.CANCELLED
        stored.status, stored.ended_at, stored.errors = status, timezone.now(), [*stored.errors, *errors]
        stored.lease, stored.leased_until = "", None
        for name, id in files.items():
            setattr(stored, name, id)
        stored.save()
        counts = {"total": stored.total, "completed": stored.completed, "failed": stored.failed}
        audit.record("batch.ended", stored, acting_user=None, before=before, after={"status": status, **counts})


def _held(batch: Batch, **changes: Any) -> None:
    """Changes the batch where the lease is still held. Raises LeaseLost."""
    rows = Batch.objects.filter(pk=batch.pk, lease=batch.lease, leased_until__gt=timezone.now())
    if not rows.update(**(changes or {"lease": batch.lease})):
        raise LeaseLost
