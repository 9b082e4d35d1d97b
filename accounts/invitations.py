"""Who may invite somebody to a team does it here; whoever calls these has checked that. As in `services`, each verb is
one transaction that holds its audit row."""

import secrets
from dataclasses import dataclass, field
from datetime import timedelta

from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.urls import reverse
from django.utils import timezone
from django.utils.crypto import salted_hmac

from accounts import audit
from accounts.models import Invitation, Membership, Team, User
from accounts.models.invitation import LIFETIME
from accounts.services import do_add_member, do_create_user


@dataclass(frozen=True, slots=True)
class IssuedInvitation:
    """A new invitation. `path`, which leads to it, exists only here: show it once, store it nowhere."""

    row: Invitation
    path: str = field(repr=False)


@transaction.atomic
def do_invite(
    team: Team,
    *,
    role: str = Membership.Role.MEMBER,
    email: str = "",
    lifetime: timedelta = LIFETIME,
    acting_user: User | None,
) -> IssuedInvitation:
    """Whoever has the link may join the team in that role, once, for as long as `lifetime`."""
    token = secrets.token_urlsafe(32)
    row = Invitation(
        team=team,
        role=role,
        email=User.objects.normalize_email(email),
        digest=_digest(token),
        invited_by=acting_user,
        expires_at=timezone.now() + lifetime,
    )
    row.full_clean()
    row.save()
    audit.record("invitation.made", row, acting_user=acting_user, after=row.facts())
    return IssuedInvitation(row, reverse("invitation_link", args=[token]))


def invitation_of(token: str) -> Invitation | None:
    """The open invitation that a link is for. One query."""
    return Invitation.objects.open().filter(digest=_digest(token)).select_related("team").first()


@transaction.atomic
def do_accept_invitation(invitation: Invitation, *, acting_user: User) -> Membership:
    """The user joins the team. Raises ValidationError where it is in it already, which leaves the invitation open, and
    for an invitation that is not open any more."""
    locked = _open(invitation)
    if acting_user.is_member_of(locked.team):
        raise ValidationError(f"You are in the team {locked.team} already.")
    membership = do_add_member(locked.team, acting_user, role=locked.role, acting_user=acting_user)
    locked.accepted_at = timezone.now()
    locked.accepted_by = acting_user
    locked.save(update_fields=["accepted_at", "accepted_by"])
    audit.record("invitation.accepted", locked, acting_user=acting_user, after={"user": acting_user.username})
    return membership


@transaction.atomic
def do_accept_as_new_user(invitation: Invitation, *, username: str, password: str) -> User:
    """A new user, who joins the team. Raises ValidationError for a name that can't be, and as above."""
    locked = _open(invitation)
    if locked.email and User.objects.filter(email__iexact=locked.email).exists():
        raise ValidationError(f"There is a user with the address {locked.email} already: sign in to join the team.")
    user = do_create_user(username, password=password, email=locked.email, acting_user=None)
    do_accept_invitation(locked, acting_user=user)
    return user


@transaction.atomic
def do_revoke_invitation(invitation: Invitation, *, acting_user: User | None) -> bool:
    """Its link leads nowhere any more. False: it was accepted or revoked already."""
    return _revoke(Invitation.objects.filter(pk=invitation.pk), acting_user) == 1


@transaction.atomic
def do_revoke_invitations_of(user: User, *, acting_user: User | None) -> int:
    """Those that the user made and nobody has accepted; how many."""
    return _revoke(Invitation.objects.filter(invited_by=user), acting_user)


def _revoke(candidates: models.QuerySet[Invitation], acting_user: User | None) -> int:
    undecided = candidates.filter(accepted_at=None, revoked_at=None).select_for_update(of=("self",)).order_by("pk")
    revoked = list(undecided.select_related("team"))
    for invitation in revoked:
        invitation.revoked_at = timezone.now()
        invitation.save(update_fields=["revoked_at"])
        audit.record("invitation.revoked", invitation, acting_user=acting_user, before=invitation.facts())
    return len(revoked)


def _open(invitation: Invitation) -> Invitation:
    """The row, locked."""
    locked = Invitation.objects.select_for_update(of=("self",)).select_related("team").get(pk=invitation.pk)
    if not locked.is_open():
        raise ValidationError("This invitation can't be used any more; ask for a new one.")
    return locked


def _digest(token: str) -> str:
    return salted_hmac("accounts.invitations", token, algorithm="sha256").hexdigest()
