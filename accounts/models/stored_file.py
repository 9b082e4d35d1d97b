"""Files that clients uploaded, and those that batches have written: for their owner alone, until they expire or are
deleted. Their bytes are rows of the database, so that every gateway and every worker has them, on whichever host."""

import uuid

from django.db import models
from django.utils import timezone

from accounts.models.people import Team, User

CHUNK_BYTES = 1 << 20
"""What one row holds: a write or a deletion holds nobody up for longer than that takes."""
LONGEST_NAME = 255


def new_file_id() -> str:
    return f"file-{uuid.uuid4().hex}"


class StoredFileQuerySet(models.QuerySet["StoredFile"]):
    def live(self) -> "StoredFileQuerySet":
        return self.filter(is_whole=True, expires_at__gt=timezone.now())

    def owned_by(self, *, user_id: int, team_id: int | None) -> "StoredFileQuerySet":
        """Those that keys of this user for this team (None: for no team) have made."""
        owned = self.filter(user_id=user_id)
        return owned.filter(team=None) if team_id is None else owned.filter(team_id=team_id)


class StoredFile(models.Model):
    class Purpose(models.TextChoices):
        ASSISTANTS = "assistants"
        BATCH = "batch"
        BATCH_OUTPUT = "batch_output"
        EVALS = "evals"
        FINE_TUNE = "fine-tune"
        USER_DATA = "user_data"
        VISION = "vision"

    file_id = models.CharField(max_length=40, unique=True, default=new_file_id)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="files", db_index=False)
    team = models.ForeignKey(Team, on_delete=models.CASCADE, null=True, related_name="files")
    filename = models.CharField(max_length=LONGEST_NAME)
    purpose = models.CharField(max_length=12, choices=Purpose)
    size = models.PositiveBigIntegerField(default=0)
    """Bytes."""
    is_whole = models.BooleanField(default=False)
    """All of it is there. Until then, and while it is being deleted, nobody gets to see it."""
    made_by = models.CharField(max_length=40, blank=True)
    """The id of the batch that wrote it; empty for an upload."""
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField(db_index=True)
    """Indexed for the worker, which deletes the expired ones."""

    objects = models.Manager.from_queryset(StoredFileQuerySet)()

    class Meta:
        verbose_name = "file"
        ordering = ["-created_at", "-pk"]
        indexes = [
            # An owner's list, page by page.
            models.Index(fields=["user", "created_at", "id"], name="file_user_created"),
            # What a batch had begun to write when its worker died. Nearly empty.
            models.Index(fields=["made_by"], condition=models.Q(is_whole=False), name="file_unfinished"),
        ]

    def __str__(self) -> str:
        return self.file_id


class FileChunk(models.Model):
    file = models.ForeignKey(StoredFile, on_delete=models.CASCADE, related_name="chunks", db_index=False)
    number = models.PositiveIntegerField()
    """From 0 on; each but the last holds CHUNK_BYTES."""
    data = models.BinaryField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["file", "number"], name="file_chunk_once")]

    def __str__(self) -> str:
        return f"{self.number} of {self.file_id}"
