"""The verbs. Each is one transaction that holds its audit row, and says its event when that has committed.

`acting_user` is who does it; None is the command line or the platform itself. Input that can't be is refused with
django.core.exceptions.ValidationError, whose messages name what to change.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.utils import timezone

from accounts import audit, events, keys
from accounts.models import ApiKey, Invitation, Membership, Rollups, Team, User
from accounts.models.api_key import default_scopes
from accounts.models.priority import PriorityClass, lower_of
from accounts.permissions import Action, allows
from accounts.quotas.rules import CHANGED as QUOTAS_CHANGED


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A new key. `raw` exists only here: show it once, store it nowhere."""

    row: ApiKey
    raw: str = field(repr=False)


# --- Users ---------------------------------------------------------------------------------------------------------


@transaction.atomic
def do_create_user(
    username: str, *, password: str | None, email: str = "", is_admin: bool = False, acting_user: User | None
) -> User:
    """A new user; an admin may do everything. Without a password nobody can sign in as it, but it may own keys."""
    user = User(username=username, email=email, is_staff=is_admin, is_superuser=is_admin)
    user.set_password(password)
    user.full_clean()
    user.save()
    audit.record(
        "user.created",
        user,
        acting_user=acting_user,
        after={"username": username, "email": email, "is_admin": is_admin},
    )
    return user


@transaction.atomic
def do_change_user(user: User, *, acting_user: User | None, **changes: Any) -> None:
    """Set fields of a user, `groups` and `user_permissions` included; the password has a verb of its own.

    Deactivating or activating one takes effect on its keys at once.
    """
    if not (changes.get("is_active", True) and changes.get("is_superuser", True)):
        refuse_to_lose_the_last_admin(user)
    stored = User.objects.select_for_update().get(pk=user.pk)
    before = {name: _plain(stored, name) for name in changes}
    for name, value in changes.items():
        if User._meta.get_field(name).many_to_many:
            getattr(stored, name).set(value)
        else:
            setattr(stored, name, value)
    stored.full_clean()
    stored.save()
    after = {name: _plain(stored, name) for name in changes}
    audit.record("user.changed", stored, acting_user=acting_user, before=before, after=after)
    events.publish_on_commit("user.changed", user_id=stored.pk)


@transaction.atomic
def do_set_password(user: User, password: str | None, *, acting_user: User | None) -> None:
    """None takes the password away. Sessions of the user end; keys stay."""
    if password is not None and user.is_service_account():
        raise ValidationError(f"{user.username} is a service account: nobody signs in as it, so it has no password.")
    user.set_password(password)
    user.save(update_fields=["password"])
    audit.record(
        "user.password_set", user, acting_user=acting_user, after={"password_is_set": user.has_usable_password()}
    )


@transaction.atomic
def do_delete_user(user: User, *, acting_user: User | None) -> None:
    """The user and its keys go, at once, and the invitations it made; its usage stays in the ledger under its name."""
    # Sums that name the user may be about to be written.
    Rollups.hold()
    refuse_to_lose_the_last_admin(user)
    audit.record(
        "user.deleted",
        user,
        acting_user=acting_user,
        before={
            "username": user.username,
            "keys": list(user.keys.unrevoked().values_list("prefix", flat=True)),
            "invitations": Invitation.objects.undecided().filter(invited_by=user).update(revoked_at=timezone.now()),
        },
    )
    events.publish_on_commit("user.changed", user_id=user.pk)
    user.delete()


def refuse_to_lose_the_last_admin(user: User) -> None:
    """Raises ValidationError where nobody but this user could administer the platform. Call it inside the transaction
    that takes the user's rights away: of two that each take the other's, the second waits and is refused."""
    # In one order everywhere.
    admins = list(User.objects.select_for_update().filter(is_active=True, is_superuser=True).order_by("pk"))
    if admins == [user]:
        raise ValidationError(f"{user.username} is the last active admin; make somebody else an admin first.")


# --- Teams ---------------------------------------------------------------------------------------------------------


@transaction.atomic
def do_create_team(name: str, *, acting_user: User | None, **more: Any) -> Team:
    """more: fields that are not to have their defaults, such as `time_zone`."""
    team = Team(name=name, **more)
    team.full_clean()
    team.save()
    audit.record("team.created", team, acting_user=acting_user, after={"name": name, **more})
    return team


@transaction.atomic
def do_change_team(team: Team, *, acting_user: User | None, **changes: Any) -> None:
    """Set its name, time zone, weight or highest class, which take hold at once. Who is in it has verbs of its own."""
    stored = Team.objects.select_for_update().get(pk=team.pk)
    before = {name: getattr(stored, name) for name in changes}
    for name, value in changes.items():
        setattr(stored, name, value)
    stored.full_clean()
    stored.save()
    audit.record("team.changed", stored, acting_user=acting_user, before=before, after=changes)
    # Days of its quotas begin at another hour.
    events.publish_on_commit(QUOTAS_CHANGED)
    events.publish_on_commit("team.changed", team_id=stored.pk)


@transaction.atomic
def do_delete_team(team: Team, *, acting_user: User | None) -> None:
    """Only a team that never had keys or usage can go: history stays."""
    if team.is_in_use():
        raise ValidationError(f"Team {team} has keys or usage and has to stay; revoke its keys instead.")
    members = list(team.users.values_list("username", flat=True))
    audit.record("team.deleted", team, acting_user=acting_user, before={"name": team.name, "members": members})
    team.delete()


@transaction.atomic
def do_add_member(
    team: Team, user: User, *, role: str = Membership.Role.MEMBER, acting_user: User | None
) -> Membership:
    membership = Membership(team=team, user=user, role=role)
    membership.full_clean()
    membership.save()
    audit.record("member.added", membership, acting_user=acting_user, after=membership.facts())
    return membership


@transaction.atomic
def do_change_role(membership: Membership, role: str, *, acting_user: User | None) -> None:
    """Of one whose new role has no keys, those for this team are revoked."""
    stored = Membership.objects.select_for_update(of=("self",)).select_related("user", "team").get(pk=membership.pk)
    if role != Membership.Role.OWNER:
        _keep_an_owner(stored, acting_user)
    before, stored.role = stored.role, role
    stored.full_clean()
    stored.save()
    audit.record("member.role_changed", stored, acting_user=acting_user, before={"role": before}, after={"role": role})
    if not allows(role, Action.OWN_KEYS):
        _revoke(ApiKey.objects.for_user(stored.user).filter(team=stored.team), acting_user=acting_user)


@transaction.atomic
def do_remove_member(membership: Membership, *, acting_user: User | None) -> None:
    """The user's keys for this team are revoked with it."""
    if membership.user.is_service_account():
        raise ValidationError(f"{membership.user} is a service account of the team: remove that instead.")
    _keep_an_owner(membership, acting_user)
    audit.record("member.removed", membership, acting_user=acting_user, before=membership.facts())
    _revoke(ApiKey.objects.for_user(membership.user).filter(team=membership.team), acting_user=acting_user)
    membership.delete()


def _keep_an_owner(membership: Membership, acting_user: User | None) -> None:
    """Who leaves a team without an owner has to be somebody who can give it another. Raises ValidationError."""
    if membership.role != Membership.Role.OWNER or acting_user is None or acting_user.is_superuser:
        return
    owners = Membership.objects.select_for_update(of=("self",)).filter(team=membership.team, role=membership.role)
    if len(owners.order_by("pk")) == 1:
        raise ValidationError(
            f"{membership.user} is the only owner of {membership.team}: make somebody else one first."
        )


# --- Keys ----------------------------------------------------------------------------------------------------------


@transaction.atomic
def do_issue_key(
    user: User,
    *,
    note: str = "",
    team: Team | None = None,
    expires_at: datetime | None = None,
    scopes: Sequence[str] | None = None,
    allowed_models: Sequence[str] = (),
    allowed_networks: Sequence[str] = (),
    priority: str = PriorityClass.API,
    acting_user: User | None,
) -> IssuedKey:
    """A new key of the user, for one of its teams if named; of a service account, for its team in any case. scopes:
    None for the usual ones. The rest is as in ApiKey. Only the answer holds the key itself."""
    raw = keys.generate()
    row = ApiKey(
        user=user,
        team=team or user.service_of,
        note=note,
        expires_at=expires_at,
        scopes=default_scopes() if scopes is None else list(scopes),
        allowed_models=list(allowed_models),
        allowed_networks=list(allowed_networks),
        priority=priority,
        prefix=keys.visible_prefix(raw),
        digest=keys.digest(raw),
    )
    row.full_clean()
    row.save()
    audit.record("key.issued", row, acting_user=acting_user, after=row.facts())
    return IssuedKey(row, raw)


@transaction.atomic
def do_rotate_key(key: ApiKey, *, overlap: timedelta, acting_user: User | None) -> IssuedKey:
    """A new key that may do what this one may, with quotas like its; this one works for as long as the overlap."""
    old = ApiKey.objects.select_for_update(of=("self",)).select_related("user", "team").get(pk=key.pk)
    if not old.is_live():
        raise ValidationError(f"{old} does not work any more ({old.state().value}); issue a new key instead.")
    issued = do_issue_key(
        old.user,
        note=old.note,
        team=old.team,
        expires_at=old.expires_at,
        scopes=old.scopes,
        allowed_models=old.allowed_models,
        allowed_networks=old.allowed_networks,
        priority=lower_of(old.priority, old.highest_class()),
        acting_user=acting_user,
    )
    for quota in old.quotas.all():
        quota.pk, quota._state.adding, quota.key = None, True, issued.row
        quota.identity = quota.identified()
        quota.save()
        audit.record("quota.set", quota, acting_user=acting_user, after=quota.facts())
    ends = timezone.now() + overlap
    old.expires_at = ends if old.expires_at is None else min(old.expires_at, ends)
    old.save(update_fields=["expires_at"])
    after = {"by": issued.row.prefix, "expires_at": old.expires_at}
    audit.record("key.rotated", old, acting_user=acting_user, after=after)
    # Whoever remembers it remembers for how long it is good.
    events.publish_on_commit("key.revoked", digest=old.digest)
    events.publish_on_commit(QUOTAS_CHANGED)
    return issued


@transaction.atomic
def do_revoke_key(key: ApiKey, *, acting_user: User | None) -> bool:
    """The key stops working at once, in every process. False: it was revoked already."""
    return _revoke(ApiKey.objects.filter(pk=key.pk), acting_user=acting_user) == 1


@transaction.atomic
def do_revoke_all_keys(user: User, *, team: Team | None = None, acting_user: User | None) -> int:
    """Of a team: those for it only. How many were revoked; those that were already don't count."""
    candidates = ApiKey.objects.for_user(user)
    return _revoke(candidates if team is None else candidates.filter(team=team), acting_user=acting_user)


def _revoke(candidates: models.QuerySet[ApiKey], *, acting_user: User | None) -> int:
    now = timezone.now()
    # Locked in one order everywhere, so that two who revoke the same keys wait instead of deadlocking.
    locked = candidates.filter(revoked_at=None).select_for_update(of=("self",)).order_by("pk")
    revoked = list(locked.select_related("user", "team"))
    for key in revoked:
        key.revoked_at = now
        key.save(update_fields=["revoked_at"])
        audit.record("key.revoked", key, acting_user=acting_user, before=key.facts(), after={"revoked_at": now})
        events.publish_on_commit("key.revoked", digest=key.digest)
    return len(revoked)


def _plain(user: User, name: str) -> Any:
    """A field's value as the audit log holds it: related things by their names."""
    value = getattr(user, name)
    if isinstance(value, models.Manager):
        related: Iterable[models.Model] = value.all()
        return sorted(str(thing) for thing in related)
    return value
