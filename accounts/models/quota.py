"""Limits on what a team, a user, a key or a model may use, alone or in combination."""

from decimal import Decimal
from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from accounts.models.api_key import ApiKey
from accounts.models.people import Team, User

LARGEST_LIMIT = 10**12
"""In thousandths, which is what is counted in, still a whole number to every database and to Lua."""
LARGEST_WEIGHT = 1000


class QuotaQuerySet(models.QuerySet["Quota"]):
    def in_force(self) -> "QuotaQuerySet":
        return self.filter(is_active=True)

    def holding_for(self, user: User) -> "QuotaQuerySet":
        """Those that some request of the user's meets."""
        teams = Q(team=None) | Q(team__in=user.memberships.values("team"))
        return self.in_force().filter(teams, Q(user=None) | Q(user=user), Q(key=None) | Q(key__user=user))


class Quota(models.Model):
    """Holds for every request of all that it names: one that names a user and a model holds for what this user asks of
    this model. One that names nothing holds for everybody together."""

    class Metric(models.TextChoices):
        REQUESTS = "requests"
        TOKENS = "tokens"
        GPU_SECONDS = "gpu_seconds", "GPU-seconds"
        CONCURRENCY = "concurrency", "requests at once"

    class Window(models.TextChoices):
        MINUTE = "minute"
        HOUR = "hour"
        DAY = "day"
        WEEK = "week"
        MONTH = "month"
        TOTAL = "total"

    team = models.ForeignKey(Team, on_delete=models.CASCADE, null=True, blank=True, related_name="quotas")
    user = models.ForeignKey(User, on_delete=models.CASCADE, null=True, blank=True, related_name="quotas")
    key = models.ForeignKey(ApiKey, on_delete=models.CASCADE, null=True, blank=True, related_name="quotas")
    model = models.CharField(max_length=200, blank=True)
    """A model's name; it need not be served yet."""
    metric = models.CharField(max_length=12, choices=Metric)
    window = models.CharField(max_length=8, choices=Window, blank=True)
    """Empty for what runs at once."""
    limit = models.PositiveBigIntegerField(validators=[MaxValueValidator(LARGEST_LIMIT)])
    is_soft = models.BooleanField(default=False)
    """Whoever goes beyond is warned, not stopped."""
    warn_percent = models.PositiveSmallIntegerField(
        default=80, validators=[MinValueValidator(1), MaxValueValidator(100)]
    )
    # What a token of each kind counts. Only for tokens.
    input_weight = models.DecimalField(max_digits=7, decimal_places=3, default=Decimal(1))
    cached_weight = models.DecimalField(max_digits=7, decimal_places=3, default=Decimal(1))
    output_weight = models.DecimalField(max_digits=7, decimal_places=3, default=Decimal(1))
    is_active = models.BooleanField(default=True)
    activations = models.PositiveIntegerField(default=0, editable=False)
    """How often it has been switched on again: what is used meanwhile is in the ledger, not in its counters."""
    created_at = models.DateTimeField(auto_now_add=True)
    identity = models.CharField(max_length=300, unique=True, editable=False)
    """What it limits, in one text: databases differ on whether two NULLs are alike."""

    objects = models.Manager.from_queryset(QuotaQuerySet)()

    class Meta:
        ordering = ["pk"]
        constraints = [
            models.CheckConstraint(
                condition=Q(metric="concurrency", window="") | (~Q(metric="concurrency") & ~Q(window="")),
                name="quota_window_unless_at_once",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.limit:,} {self.unit} for {self.subject}"

    @property
    def unit(self) -> str:
        """Such as "tokens a day"."""
        name = self.Metric(self.metric).label.lower() if self.metric != self.Metric.GPU_SECONDS else "GPU-seconds"
        match self.window:
            case "":
                return name
            case self.Window.TOTAL:
                return f"{name} in total"
            case self.Window.HOUR:
                return f"{name} an hour"
            case window:
                return f"{name} a {window}"

    @property
    def subject(self) -> str:
        """Whom it is for, in words. Up to three queries, unless they are loaded."""
        named = [
            f"{name} {thing}"
            for name, thing in (("team", self.team), ("user", self.user), ("key", self.key), ("model", self.model))
            if thing
        ]
        return ", ".join(named) or "everyone"

    def clean(self) -> None:
        self.clean_meaning()
        self.identity = self.identified()
        if Quota.objects.filter(identity=self.identity).exclude(pk=self.pk).exists():
            raise ValidationError(f"There is a quota of {self.unit} for {self.subject} already; change that one.")

    def clean_meaning(self) -> None:
        """Raises ValidationError for what makes no sense, whatever other quotas there are."""
        if self.metric == self.Metric.CONCURRENCY and self.window:
            raise ValidationError({"window": "Requests at once are counted now, not over a window; leave it empty."})
        if self.metric != self.Metric.CONCURRENCY and not self.window:
            raise ValidationError({"window": f"Choose a window: {', '.join(self.Window.values)}."})
        for name in ("input_weight", "cached_weight", "output_weight"):
            if not 0 <= getattr(self, name) <= LARGEST_WEIGHT:
                raise ValidationError({name: f"A weight must be from 0 to {LARGEST_WEIGHT}."})
        if self.key and self.user and self.key.user_id != self.user.pk:
            raise _never("key", f"{self.key} is not a key of {self.user.username}")
        if self.key and self.team and self.key.team_id != self.team.pk:
            raise _never("key", f"{self.key} is not a key for team {self.team}")
        if self.user and self.team and not self.user.is_member_of(self.team):
            raise _never("user", f"{self.user.username} is not in team {self.team}")

    def identified(self) -> str:
        who = ((name, getattr(self, f"{name}_id")) for name in ("team", "user", "key"))
        parts = [f"{name}={id}" for name, id in who if id is not None]
        return " ".join([*parts, f"{self.metric}/{self.window}", self.model])

    def facts(self) -> dict[str, Any]:
        """What the audit log says of it."""
        return {
            "for": self.subject,
            "unit": self.unit,
            "limit": self.limit,
            "is_soft": self.is_soft,
            "warn_percent": self.warn_percent,
            "weights": [float(self.input_weight), float(self.cached_weight), float(self.output_weight)],
            "is_active": self.is_active,
        }


def _never(name: str, reason: str) -> ValidationError:
    return ValidationError({name: f"{reason}, so this would never hold."})


class QuotaBoost(models.Model):
    """More, for a while."""

    quota = models.ForeignKey(Quota, on_delete=models.CASCADE, related_name="boosts")
    amount = models.PositiveBigIntegerField(validators=[MinValueValidator(1), MaxValueValidator(LARGEST_LIMIT)])
    starts_at = models.DateTimeField(default=timezone.now)
    ends_at = models.DateTimeField()
    note = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-starts_at", "-pk"]
        constraints = [
            models.CheckConstraint(condition=Q(ends_at__gt=F("starts_at")), name="boost_ends_after_its_start"),
        ]

    def __str__(self) -> str:
        return f"+{self.amount:,} until {self.ends_at:%Y-%m-%d %H:%M %Z}"

    def clean(self) -> None:
        if self.ends_at and self.ends_at <= max(self.starts_at, timezone.now()):
            raise ValidationError({"ends_at": "It would be over already; choose a later time."})

    def facts(self) -> dict[str, Any]:
        """What the audit log says of it."""
        return {"amount": self.amount, "starts_at": self.starts_at, "ends_at": self.ends_at, "note": self.note}
