"""The ledger: one row per request, opened before it runs and closed once. Only `accounts.ledger` writes it."""

from math import floor

from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from accounts.models.api_key import ApiKey
from accounts.models.people import Team, User

FAILED = ("engine_error", "interrupted", "timeout")
"""Outcomes that somebody should look into."""


class UsageRecordQuerySet(models.QuerySet["UsageRecord"]):
    def running(self) -> "UsageRecordQuerySet":
        """In no order: few as they are, SQLite would rather read the whole table than sort them."""
        return self.filter(state=UsageRecord.State.RUNNING).order_by()

    def failed(self) -> "UsageRecordQuerySet":
        return self.filter(outcome__in=FAILED)


class UsageRecord(models.Model):
    class State(models.TextChoices):
        RUNNING = "running"
        SETTLED = "settled"
        INTERRUPTED = "interrupted"

    class Outcome(models.TextChoices):
        STOP = "stop"
        LENGTH = "length"
        DISCONNECTED = "disconnected"
        CANCELLED = "cancelled"
        ENGINE_ERROR = "engine_error"
        TIMEOUT = "timeout"
        REFUSED = "refused"
        INTERRUPTED = "interrupted"

    request_id = models.CharField(max_length=64, unique=True)
    # Who it was outlives the user and the key: their names are kept beside the references. Teams with usage stay.
    key = models.ForeignKey(ApiKey, on_delete=models.SET_NULL, null=True, related_name="usage", db_index=False)
    key_prefix = models.CharField(max_length=20)
    user = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="usage", db_index=False)
    username = models.CharField(max_length=150)
    team = models.ForeignKey(Team, on_delete=models.PROTECT, null=True, related_name="usage", db_index=False)
    model = models.CharField(max_length=200)
    endpoint = models.CharField(max_length=64)
    stream = models.BooleanField()
    gateway = models.CharField(max_length=64)
    """The identity of the gateway process that opened it, and that alone may declare it interrupted."""

    state = models.CharField(max_length=12, choices=State, default=State.RUNNING)
    outcome = models.CharField(max_length=12, choices=Outcome, blank=True)
    """Empty while it runs."""
    estimated_prompt_tokens = models.PositiveIntegerField(default=0)
    prompt_tokens = models.PositiveIntegerField(default=0)
    cached_tokens = models.PositiveIntegerField(default=0)
    """Of the prompt tokens, those whose prefill the cache saved."""
    completion_tokens = models.PositiveIntegerField(default=0)
    # None means unknown, so that an average leaves it out: it still runs, or nobody was left to measure.
    queue_ms = models.FloatField(null=True)
    ttft_ms = models.FloatField(null=True)
    duration_ms = models.FloatField(null=True)
    engine_seconds = models.FloatField(default=0)
    """Its share of the engine's time; over all requests they add up to the steps' time."""
    started_at = models.DateTimeField(default=timezone.now)
    ended_at = models.DateTimeField(null=True)
    is_rolled_up = models.BooleanField(default=False)
    """Whether UsageDaily has it. Set once, in the transaction that adds it there."""

    objects = models.Manager.from_queryset(UsageRecordQuerySet)()

    class Meta:
        ordering = ["-started_at", "-pk"]
        indexes = [
            # The admin's list; what began within hours.
            models.Index(fields=["started_at", "id"], name="usage_started"),
            # A user's, key's, team's or model's usage over a period.
            models.Index(fields=["user", "started_at"], name="usage_user_started"),
            models.Index(fields=["key", "started_at"], name="usage_key_started"),
            models.Index(fields=["team", "started_at"], name="usage_team_started"),
            models.Index(fields=["model", "started_at"], name="usage_model_started"),
            # The admin's list of those that ended so, and what went wrong lately (`failed`).
            models.Index(fields=["outcome", "started_at", "id"], name="usage_outcome_started"),
            # What sums have to add to the roll-ups, and what to roll up next. Small, whatever the table's size.
            models.Index(fields=["started_at", "id"], condition=Q(is_rolled_up=False), name="usage_not_rolled_up"),
            # ledger.running_of(): what a gateway's former life left. Nearly empty, whatever the table's size.
            models.Index(fields=["gateway"], condition=Q(state="running"), name="usage_running"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=(
                    Q(state="running", outcome="", ended_at__isnull=True)
                    | Q(
                        state="settled",
                        outcome__in=[
                            "stop", "length", "disconnected", "cancelled",
                            "engine_error", "timeout", "refused", "interrupted",
                        ],
                        ended_at__isnull=False,
                    )
                    | Q(state="interrupted", outcome="interrupted", ended_at__isnull=False)
                ),
                name="usage_state_agrees",
            ),
            models.CheckConstraint(
                condition=Q(cached_tokens__lte=F("prompt_tokens")), name="usage_cached_within_prompt"
            ),
            models.CheckConstraint(
                condition=Q(is_rolled_up=False) | ~Q(state="running"), name="usage_rolled_up_has_ended"
            ),
            # Null passes: SQL refuses a row only where a check is false.
            models.CheckConstraint(
                condition=Q(queue_ms__gte=0, ttft_ms__gte=0, duration_ms__gte=0, engine_seconds__gte=0),
                name="usage_times_not_negative",
            ),
        ]  # fmt: skip

    def __str__(self) -> str:
        return self.request_id

    def is_running(self) -> bool:
        return self.state == self.State.RUNNING

    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens

    def engine_micros(self) -> int:
        return micros(self.engine_seconds)


def micros(seconds: float) -> int:
    """Microseconds, which add up to the same in any order. As `accounts.usage` has the database do it, to the bit."""
    return floor(seconds * 1_000_000 + 0.5)
