"""Invitations to a team as they are stored: a digest, never the link."""

from datetime import timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q
from django.utils import timezone

from accounts.models.people import Membership, Team, User

LIFETIME = timedelta(days=7)
LONGEST = timedelta(days=365)


class InvitationQuerySet(models.QuerySet["Invitation"]):
    def open(self) -> "InvitationQuerySet":
        """Those that can still be accepted."""
        return self.filter(accepted_at=None, revoked_at=None, expires_at__gt=timezone.now())

    def undecided(self) -> "InvitationQuerySet":
        """Neither accepted nor revoked; expired ones included."""
        return self.filter(accepted_at=None, revoked_at=None)


class Invitation(models.Model):
    """Whoever has the link may join the team, once: as a new user, or as one that there is."""

    class State(models.TextChoices):
        OPEN = "open"
        ACCEPTED = "accepted"
        EXPIRED = "expired"
        REVOKED = "revoked"

    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="invitations")
    role = models.CharField(max_length=10, choices=Membership.Role, default=Membership.Role.MEMBER)
    email = models.EmailField(blank=True)
    """Whom it is for; a user made from it has this address."""
    digest = models.CharField(max_length=64, unique=True, editable=False)
    invited_by = models.ForeignKey(
        User, on_delete=models.SET_NULL, null=True, blank=True, related_name="invitations_made", editable=False
    )
    """None: the command line, or a user who is gone."""
    accepted_by = models.ForeignKey(
        User, on_delete=models.SET_NULL, null=True, blank=True, related_name="invitations_accepted", editable=False
    )
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()
    accepted_at = models.DateTimeField(null=True, blank=True, editable=False)
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects = models.Manager.from_queryset(InvitationQuerySet)()

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(accepted_at=None) | Q(revoked_at=None), name="invitation_decided_once"),
        ]

    def __str__(self) -> str:
        return f"invitation {self.pk} to {self.team}"

    def clean(self) -> None:
        if self._state.adding and not timezone.now() < self.expires_at <= timezone.now() + LONGEST:
            raise ValidationError({"expires_at": f"Choose a time within {LONGEST.days} days from now."})

    def state(self) -> State:
        if self.accepted_at is not None:
            return self.State.ACCEPTED
        if self.revoked_at is not None:
            return self.State.REVOKED
        return self.State.OPEN if self.expires_at > timezone.now() else self.State.EXPIRED

    def is_open(self) -> bool:
        return self.state() == self.State.OPEN

    def facts(self) -> dict[str, Any]:
        """What the audit log says of it. One query, unless the team is loaded."""
        return {"team": self.team.name, "role": self.role, "email": self.email, "expires_at": self.expires_at}
