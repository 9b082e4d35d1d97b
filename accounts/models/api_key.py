"""API keys as they are stored: a digest and the first characters, never the key."""

from collections.abc import Iterable
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from accounts.models.people import Team, User
from accounts.models.priority import PriorityClass, lower_of
from accounts.permissions import Action, allows


class ApiKeyQuerySet(models.QuerySet["ApiKey"]):
    def unrevoked(self) -> "ApiKeyQuerySet":
        """Expired ones and those of inactive users included."""
        return self.filter(revoked_at=None)

    def live(self) -> "ApiKeyQuerySet":
        """Those that open the door now."""
        return self.unrevoked().filter(
            Q(expires_at=None) | Q(expires_at__gt=timezone.now()),
            user__is_active=True,
        )

    def for_user(self, user: User) -> "ApiKeyQuerySet":
        return self.filter(user=user)


class Scope(models.TextChoices):
    """What a key may be used for."""

    MODELS = "models", "see models and their state"
    GENERATE = "generate", "have text generated"
    EMBED = "embed", "have texts embedded and ranked"
    USAGE = "usage", "see its usage and limits"
    BATCH = "batch", "store files and run batches"
    MANAGE = "manage", "do under /api what its user may do there"


def default_scopes() -> list[str]:
    """All that clients of models need. To manage is to be asked for: such a key can issue others."""
    return [scope for scope in Scope.values if scope != Scope.MANAGE]


MOST_LISTED = 64
"""Models, or networks, that one key may name."""


class ApiKey(models.Model):
    class State(models.TextChoices):
        LIVE = "live"
        EXPIRED = "expired"
        REVOKED = "revoked"
        INACTIVE = "inactive"  # its user is

    LAST_USED_RESOLUTION = timedelta(minutes=1)

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="keys")
    team = models.ForeignKey(Team, on_delete=models.PROTECT, null=True, blank=True, related_name="keys")
    """Which of the user's teams its usage counts for; None: the user alone."""
    note = models.CharField(max_length=200, blank=True)
    scopes = models.JSONField(default=default_scopes)
    """Of `Scope`."""
    allowed_models = models.JSONField(default=list, blank=True)
    """Names of the models that it may be used for; empty: all."""
    allowed_networks = models.JSONField(default=list, blank=True)
    """Where it may be used from, such as `10.0.0.0/8`; empty: anywhere."""
    priority = models.CharField(
        max_length=12,
        choices=PriorityClass,
        default=PriorityClass.API,
        help_text="The class of the queue for requests that name none; at most its team's.",
    )
    prefix = models.CharField(max_length=20, editable=False)
    """How the key begins, to tell keys apart; too short to guess the rest from."""
    digest = models.CharField(max_length=64, unique=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)
    """True to a minute or so: it is not written on every request."""

    objects = models.Manager.from_queryset(ApiKeyQuerySet)()

    class Meta:
        verbose_name = "API key"
        constraints = [
            models.CheckConstraint(
                condition=Q(expires_at=None) | Q(expires_at__gt=F("created_at")), name="key_expires_after_creation"
            ),
            models.CheckConstraint(condition=Q(priority__in=PriorityClass.values), name="key_priority_known"),
        ]

    def __str__(self) -> str:
        return f"{self.prefix}…"

    def clean(self) -> None:
        if not self._state.adding:
            return
        self.scopes = _texts("scopes", self.scopes)
        if not self.scopes or not set(self.scopes) <= set(Scope.values):
            raise ValidationError({"scopes": f"Choose from {', '.join(Scope.values)}; at least one."})
        self.allowed_models = _texts("allowed_models", self.allowed_models)
        networks = parsed_networks(_texts("allowed_networks", self.allowed_networks))
        self.allowed_networks = [str(network) for network in networks]
        if self.expires_at and self.expires_at <= timezone.now():
            raise ValidationError({"expires_at": "The key would have expired already; choose a time to come."})
        if lower_of(self.priority, self.highest_class()) != self.priority:
            whose = f"team {self.team}'s keys" if self.team else "a key without a team"
            raise ValidationError({"priority": f"{self.highest_class()} is the first class that {whose} may use."})
        user: User | None = getattr(self, "user", None)
        if user and not user.is_active:
            raise ValidationError({"user": f"{user.username} is inactive; activate the user first."})
        if user and user.is_service_account() and self.team_id != user.service_of_id:
            message = f"{user.username} is a service account of team {user.service_of}: its keys are for that team."
            raise ValidationError({"team": message})
        if user and self.team:
            self._clean_role(user.role_in(self.team), user, self.team)

    def _clean_role(self, role: str | None, user: User, team: Team) -> None:
        if role is None:
            raise ValidationError({"team": f"{user.username} is not in team {team}; add the user to it first."})
        if not allows(role, Action.OWN_KEYS):
            raise ValidationError(
                {"team": f"{user.username} is a {role} in team {team}, and those have no keys for it."}
            )

    def is_revoked(self) -> bool:
        return self.revoked_at is not None

    def is_expired(self) -> bool:
        return self.expires_at is not None and self.expires_at <= timezone.now()

    def is_live(self) -> bool:
        """Whether it opens the door now. One query, unless the user is loaded."""
        return self.state() == self.State.LIVE

    def state(self) -> State:
        """One query, unless the user is loaded."""
        if self.is_revoked():
            return self.State.REVOKED
        if self.is_expired():
            return self.State.EXPIRED
        return self.State.LIVE if self.user.is_active else self.State.INACTIVE

    def highest_class(self) -> str:
        """The first class of the queue that it may use. One query, unless the team is loaded."""
        return self.team.highest_class if self.team else PriorityClass.API

    def needs_touch(self) -> bool:
        """Whether `last_used_at` is old enough to be written again."""
        return self.last_used_at is None or timezone.now() - self.last_used_at > self.LAST_USED_RESOLUTION

    def facts(self) -> dict[str, Any]:
        """What the audit log says of it. Up to two queries, unless user and team are loaded."""
        limits = {name: getattr(self, name) for name in ("allowed_models", "allowed_networks") if getattr(self, name)}
        if set(self.scopes) != set(default_scopes()):
            limits["scopes"] = self.scopes
        if self.priority != PriorityClass.API:
            limits["priority"] = self.priority
        return {
            **limits,
            "prefix": self.prefix,
            "user": self.user.username,
            "team": self.team.name if self.team else None,
            "note": self.note,
            "expires_at": self.expires_at,
        }


def parsed_networks(texts: Iterable[str]) -> list[IPv4Network | IPv6Network]:
    """Raises ValidationError for one that is none."""
    found = []
    for text in texts:
        try:
            found.append(ip_network(text, strict=False))
        except ValueError:
            message = f"“{text[:60]}” is no network, such as 10.0.0.0/8, 192.168.1.7 or fd00::/8."
            raise ValidationError({"allowed_networks": message}) from None
    return found


def _texts(name: str, given: Any) -> list[str]:
    """Each once, in their order."""
    if not isinstance(given, list) or not all(isinstance(each, str) and 0 < len(each) <= 200 for each in given):
        raise ValidationError({name: "Give a list of texts of up to 200 characters."})
    if not all(each.isprintable() for each in given):
        raise ValidationError({name: "Only printable characters."})
    if len(given) > MOST_LISTED:
        raise ValidationError({name: f"At most {MOST_LISTED}."})
    return list(dict.fromkeys(given))
