"""Batches: files of requests that are worked on when nothing else is to be done. `accounts.batches` has the verbs."""

import uuid
from typing import Any

from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from accounts.models.api_key import ApiKey
from accounts.models.people import Team, User


def new_batch_id() -> str:
    return f"batch_{uuid.uuid4().hex}"


class BatchQuerySet(models.QuerySet["Batch"]):
    def unfinished(self) -> "BatchQuerySet":
        return self.filter(status__in=Batch.UNFINISHED)

    def due(self) -> "BatchQuerySet":
        """Those that a worker may take up now, the one that has waited longest first."""
        now = timezone.now()
        free = Q(leased_until=None) | Q(leased_until__lte=now)
        return self.unfinished().filter(free, due_at__lte=now).order_by("due_at", "pk")

    def owned_by(self, *, user_id: int, team_id: int | None) -> "BatchQuerySet":
        """Those that keys of this user for this team (None: for no team) have made."""
        owned = self.filter(user_id=user_id)
        return owned.filter(team=None) if team_id is None else owned.filter(team_id=team_id)


class Batch(models.Model):
    class Status(models.TextChoices):
        VALIDATING = "validating"
        IN_PROGRESS = "in_progress"
        FINALIZING = "finalizing"
        CANCELLING = "cancelling"
        COMPLETED = "completed"
        FAILED = "failed"
        EXPIRED = "expired"
        CANCELLED = "cancelled"

    UNFINISHED = (Status.VALIDATING, Status.IN_PROGRESS, Status.FINALIZING, Status.CANCELLING)

    batch_id = models.CharField(max_length=40, unique=True, default=new_batch_id)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="batches", db_index=False)
    team = models.ForeignKey(Team, on_delete=models.CASCADE, null=True, related_name="batches")
    key = models.ForeignKey(ApiKey, on_delete=models.SET_NULL, null=True, related_name="batches")
    """Whose limits hold, and what its usage is charged to. A batch ends with its key."""
    endpoint = models.CharField(max_length=64)
    """The path that its lines are for."""
    # Files may be deleted, or expire; their names stay.
    input_file_id = models.CharField(max_length=40)
    output_file_id = models.CharField(max_length=40, blank=True)
    error_file_id = models.CharField(max_length=40, blank=True)
    output_seconds = models.PositiveIntegerField(null=True)
    """How long the files that it writes live; None: as all files do."""
    metadata = models.TextField(blank=True)
    """JSON. Text, for PostgreSQL's jsonb refuses the null character, which a client's words may hold."""
    model = models.CharField(max_length=200, blank=True)
    """That of all of its lines; empty where they name several, and until they have been read."""
    errors = models.JSONField(default=list)
    """What was wrong with the input, or why it was given up: objects with code, message, param and line."""

    status = models.CharField(max_length=12, choices=Status, default=Status.VALIDATING)
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()
    in_progress_at = models.DateTimeField(null=True)
    finalizing_at = models.DateTimeField(null=True)
    cancelling_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True, db_index=True)
    """Indexed for the worker, which deletes what ended long ago."""

    total = models.PositiveIntegerField(default=0)
    completed = models.PositiveIntegerField(default=0)
    failed = models.PositiveIntegerField(default=0)
    # Of its lines' final answers.
    input_tokens = models.PositiveBigIntegerField(default=0)
    cached_tokens = models.PositiveBigIntegerField(default=0)
    output_tokens = models.PositiveBigIntegerField(default=0)
    reasoning_tokens = models.PositiveBigIntegerField(default=0)

    # Which worker has it. The lease is a secret: with it, requests are made in the key's name.
    lease = models.CharField(max_length=32, blank=True, editable=False)
    leased_until = models.DateTimeField(null=True, editable=False)
    due_at = models.DateTimeField(default=timezone.now, editable=False)
    """Not to be taken up before."""

    objects = models.Manager.from_queryset(BatchQuerySet)()

    class Meta:
        verbose_name_plural = "batches"
        ordering = ["-created_at", "-pk"]
        indexes = [
            models.Index(fields=["user", "created_at", "id"], name="batch_user_created"),
            # The worker's look for work, every few seconds. Nearly empty, whatever the table's size.
            models.Index(
                fields=["due_at"],
                condition=Q(status__in=["validating", "in_progress", "finalizing", "cancelling"]),
                name="batch_due",
            ),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(status__in=["validating", "in_progress", "finalizing", "cancelling"], ended_at__isnull=True)
                | Q(status__in=["completed", "failed", "expired", "cancelled"], ended_at__isnull=False),
                name="batch_status_agrees",
            ),
            models.CheckConstraint(
                condition=Q(total__gte=F("completed") + F("failed")), name="batch_counts_within_total"
            ),
        ]

    def __str__(self) -> str:
        return self.batch_id

    def is_finished(self) -> bool:
        return self.status not in self.UNFINISHED

    def facts(self) -> dict[str, Any]:
        """What the audit log says of it. Up to two queries, unless user and team are loaded."""
        return {
            "user": self.user.username,
            "team": self.team.name if self.team else None,
            "endpoint": self.endpoint,
            "input_file": self.input_file_id,
            "status": self.status,
        }


class BatchLine(models.Model):
    """One request of a batch that runs. When it has ended, its output files hold the answers and the lines go."""

    class State(models.TextChoices):
        WAITING = "waiting"
        COMPLETED = "completed"
        FAILED = "failed"

    batch = models.ForeignKey(Batch, on_delete=models.CASCADE, related_name="lines", db_index=False)
    number = models.PositiveIntegerField()
    """Of the line in the input file, from 1 on."""
    custom_id = models.CharField(max_length=512)
    # Where in the input file it is.
    offset = models.PositiveBigIntegerField()
    length = models.PositiveIntegerField()
    state = models.CharField(max_length=9, choices=State, default=State.WAITING)
    faults = models.PositiveSmallIntegerField(default=0)
    """How often an engine or a gateway died on it."""
    answer = models.TextField(blank=True)
    """The line of an output file, in JSON, that it has become."""

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["batch", "number"], name="batch_line_once"),
            # An answer is written once: with it the line's state changes, and never again.
            models.CheckConstraint(
                condition=Q(state="waiting", answer="") | (~Q(state="waiting") & ~Q(answer="")),
                name="batch_line_answered_once",
            ),
        ]
        indexes = [
            # The next lines to run.
            models.Index(fields=["batch", "faults", "number"], condition=Q(state="waiting"), name="batch_line_waiting"),
        ]

    def __str__(self) -> str:
        return f"line {self.number} of {self.batch_id}"
