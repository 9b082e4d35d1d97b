"""When somebody leaves."""

from dataclasses import dataclass

from django.core.exceptions import ValidationError
from django.db import transaction

from accounts import audit
from accounts.invitations import do_revoke_invitations_of
from accounts.models import User
from accounts.recovery import do_remove_second_factor
from accounts.services import do_change_user, do_remove_member, do_revoke_all_keys, do_set_password


@dataclass(frozen=True, slots=True)
class Offboarded:
    keys: int
    teams: list[str]
    invitations: int


@transaction.atomic
def do_offboard_user(user: User, *, acting_user: User | None) -> Offboarded:
    """The user may do nothing any more, at once, and nothing comes back by activating it again: its keys are revoked,
    its memberships, rights, sessions and links for a new password have ended, the invitations that it made are void.
    What it has done stays in the ledger and the audit log. Raises ValidationError for the last active admin, and for a
    service account."""
    if user.is_service_account():
        raise ValidationError(f"{user.username} is a service account: its team removes it.")
    do_change_user(user, acting_user=acting_user, is_active=False, is_staff=False, is_superuser=False)
    user.refresh_from_db()
    # Sessions and links are bound to the password.
    do_set_password(user, None, acting_user=acting_user)
    do_remove_second_factor(user, acting_user=acting_user)
    keys = do_revoke_all_keys(user, acting_user=acting_user)
    memberships = list(user.memberships.select_related("user", "team").order_by("pk"))
    for membership in memberships:
        do_remove_member(membership, acting_user=acting_user)
    invitations = do_revoke_invitations_of(user, acting_user=acting_user)
    done = Offboarded(keys, sorted(membership.team.name for membership in memberships), invitations)
    after = {"keys_revoked": keys, "teams": done.teams, "invitations_revoked": invitations}
    audit.record("user.offboarded", user, acting_user=acting_user, after=after)
    return done
