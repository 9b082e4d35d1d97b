"""The ledger added up by days. Only `accounts.rollups` writes it."""

from datetime import date

from django.db import models

from accounts.models.api_key import ApiKey
from accounts.models.people import Team, User
from accounts.models.price import Price


class UsageDaily(models.Model):
    """What one key used in a day, in UTC, of a model through an endpoint, at one price: the sums of those rows of the
    ledger that are marked as rolled up, and of no others."""

    day = models.DateField()
    # As in UsageRecord: names outlive what they name.
    user = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="usage_daily", db_index=False)
    username = models.CharField(max_length=150)
    team = models.ForeignKey(Team, on_delete=models.PROTECT, null=True, related_name="usage_daily", db_index=False)
    key = models.ForeignKey(ApiKey, on_delete=models.SET_NULL, null=True, related_name="usage_daily", db_index=False)
    key_prefix = models.CharField(max_length=20)
    model = models.CharField(max_length=200)
    endpoint = models.CharField(max_length=64)
    price = models.ForeignKey(Price, on_delete=models.PROTECT, null=True, related_name="usage_daily")
    """That held when its requests began; None: there was none."""

    requests = models.PositiveBigIntegerField(default=0)
    """Those that ran; refused ones are apart, and the two after them are among these."""
    refused = models.PositiveBigIntegerField(default=0)
    failed = models.PositiveBigIntegerField(default=0)
    """By an error of an engine, a timeout, or because nobody saw the end."""
    cancelled = models.PositiveBigIntegerField(default=0)
    """By the client, or because it went away."""
    prompt_tokens = models.PositiveBigIntegerField(default=0)
    cached_tokens = models.PositiveBigIntegerField(default=0)
    completion_tokens = models.PositiveBigIntegerField(default=0)
    engine_micros = models.PositiveBigIntegerField(default=0)
    """Microseconds of an engine's time: whole numbers add up to the same in any order."""

    class Meta:
        verbose_name = "usage"
        verbose_name_plural = "usage"
        ordering = ["-day", "pk"]
        indexes = [
            models.Index(fields=["day"], name="daily_day"),
            # A user's, key's, team's or model's usage over a period.
            models.Index(fields=["user", "day"], name="daily_user_day"),
            models.Index(fields=["key", "day"], name="daily_key_day"),
            models.Index(fields=["team", "day"], name="daily_team_day"),
            models.Index(fields=["model", "day"], name="daily_model_day"),
            # The same by name, for those who are gone; and the names that there are.
            models.Index(fields=["username", "day"], name="daily_username_day"),
        ]

    def __str__(self) -> str:
        return f"{self.day} {self.username} {self.key_prefix} {self.model}"


class Rollups(models.Model):
    """The one row that says how far the ledger has been cut, and that whoever rolls up holds meanwhile."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    kept_from = models.DateField(null=True)
    """The first day, in UTC, whose rows are all there: of those before, only the sums may be. None: all are there."""

    class Meta:
        constraints = [models.CheckConstraint(condition=models.Q(id=1), name="rollups_one_row")]

    def __str__(self) -> str:
        return f"kept from {self.kept_from or 'the beginning'}"

    @classmethod
    def hold(cls) -> "Rollups":
        """Waits for whoever holds it, and holds it to the end of the transaction that this has to be called in."""
        return cls.objects.select_for_update().get_or_create(pk=1)[0]

    @classmethod
    def first_day_kept(cls) -> date | None:
        """`kept_from`. One query."""
        row = cls.objects.first()
        return row.kept_from if row else None
