"""Accounts of a team's programs. Whoever calls these verbs has checked who may."""

import re

from django.core.exceptions import ValidationError
from django.db import transaction

from accounts import audit, events
from accounts.models import Membership, Team, User
from accounts.services import do_revoke_all_keys

NAME = re.compile(r"[\w.+-]{1,48}")


@transaction.atomic
def do_create_service_account(team: Team, name: str, *, acting_user: User | None) -> User:
    """A user that is a program of the team's, called `name@team`: names of other teams' are nobody's business, so they
    can't be in the way. It has keys for this team only, and nobody can sign in as it."""
    if not NAME.fullmatch(name):
        raise ValidationError({"name": "Give up to 48 letters, digits and any of . + - _."})
    user = User(username=f"{name}@{team.slug}", service_of=team)
    if User.objects.filter(username=user.username).exists():
        raise ValidationError({"name": f"There is, or was, a {user.username}; choose another name."})
    user.set_unusable_password()
    user.full_clean()
    user.save()
    Membership.objects.create(team=team, user=user)
    audit.record(
        "service_account.created", user, acting_user=acting_user, after={"username": user.username, "team": team.name}
    )
    return user


@transaction.atomic
def do_delete_service_account(account: User, *, acting_user: User | None) -> None:
    """It and its keys stop working, for good. Its history stays, and so its name."""
    stored = User.objects.select_for_update(of=("self",)).select_related("service_of").get(pk=account.pk)
    if stored.service_of is None:
        raise ValidationError(f"{stored.username} is no service account.")
    if not stored.is_active:
        raise ValidationError(f"{stored.username} was removed already.")
    stored.is_active = False
    stored.save(update_fields=["is_active"])
    before = {"username": stored.username, "team": stored.service_of.name}
    audit.record("service_account.deleted", stored, acting_user=acting_user, before=before)
    do_revoke_all_keys(stored, acting_user=acting_user)
    events.publish_on_commit("user.changed", user_id=stored.pk)
