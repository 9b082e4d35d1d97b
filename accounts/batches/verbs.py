"""What people do with batches. Each is one transaction that holds its audit row."""

from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from accounts import audit
from accounts.authentication import Principal
from accounts.models import Batch, BatchLine, StoredFile, User

WINDOWS = {"24h": timedelta(hours=24)}
"""How long a batch may take, by the name that clients use."""
LINES_AT_ONCE = 200
"""That one statement deletes, so that no other writer waits long."""


class FileNotFound(Exception):
    """The owner has none of that id."""


class WrongPurpose(Exception):
    """The file was uploaded for something else."""


class TooManyBatches(Exception):
    """The owner has as many unfinished ones as may be."""


class AlreadyEnded(Exception):
    """There is nothing left to cancel."""


@transaction.atomic
def do_create_batch(
    principal: Principal,
    *,
    endpoint: str,
    input_file_id: str,
    window: str,
    metadata: str = "",
    output_seconds: int | None = None,
) -> Batch:
    """window: of `WINDOWS`; metadata: JSON. A worker finds it within seconds.

    Raises FileNotFound, WrongPurpose, TooManyBatches.
    """
    mine = StoredFile.objects.live().owned_by(user_id=principal.user_id, team_id=principal.team_id)
    # Locked, so that it is not deleted before the batch is there to keep it.
    file = mine.select_for_update().filter(file_id=input_file_id).first()
    if file is None:
        raise FileNotFound
    if file.purpose != StoredFile.Purpose.BATCH:
        raise WrongPurpose
    if Batch.objects.unfinished().filter(user_id=principal.user_id).count() >= settings.BATCHES_PER_USER:
        raise TooManyBatches
    now = timezone.now()
    batch = Batch.objects.create(
        user_id=principal.user_id,
        team_id=principal.team_id,
        key_id=principal.key_id,
        endpoint=endpoint,
        input_file_id=file.file_id,
        metadata=metadata,
        output_seconds=output_seconds,
        created_at=now,
        due_at=now,
        expires_at=now + WINDOWS[window],
    )
    audit.record("batch.created", batch, acting_user=batch.user, after=batch.facts())
    return batch


@transaction.atomic
def do_cancel_batch(batch: Batch, *, acting_user: User | None) -> Batch:
    """Its worker stops what runs and writes the files of what has ended; until then it is `cancelling`. Cancelling it
    again changes nothing. Raises AlreadyEnded."""
    stored = Batch.objects.select_for_update().get(pk=batch.pk)
    if stored.is_finished():
        raise AlreadyEnded
    if stored.status != Batch.Status.CANCELLING:
        before = {"status": stored.status}
        stored.status = Batch.Status.CANCELLING
        stored.cancelling_at = stored.due_at = timezone.now()
        stored.save(update_fields=["status", "cancelling_at", "due_at"])
        audit.record("batch.cancelled", stored, acting_user=acting_user, before=before, after={"status": stored.status})
    return stored


def delete_ended() -> int:
    """Deletes what is left of batches that ended long ago, and the lines of those that ended at all; how many batches.

    Their files have lifetimes of their own.
    """
    ended = Batch.objects.exclude(status__in=Batch.UNFINISHED)
    for batch in ended.filter(lines__isnull=False).distinct():
        remove_lines(batch)
    long_ago = timezone.now() - timedelta(days=settings.FILES_TTL_DAYS)
    deleted, _ = ended.filter(ended_at__lte=long_ago).delete()
    return deleted


def remove_lines(batch: Batch) -> None:
    """In several statements."""
    while lines := list(batch.lines.values_list("pk", flat=True)[:LINES_AT_ONCE]):
        BatchLine.objects.filter(pk__in=lines).delete()
