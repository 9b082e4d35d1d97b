"""Ways back in, without a mail server: links for a new password, and what only whoever has the machine may do."""

from dataclasses import dataclass, field

from allauth.mfa.models import Authenticator
from django.contrib.auth.tokens import default_token_generator
from django.core.exceptions import ValidationError
from django.db import transaction
from django.urls import reverse
from django.utils.encoding import force_bytes
from django.utils.http import urlsafe_base64_encode

from accounts import audit
from accounts.models import User
from accounts.own_teams import do_create_own_team
from accounts.passwords import readable_password
from accounts.services import do_change_user, do_create_user, do_set_password


@dataclass(frozen=True, slots=True)
class Recovered:
    """An admin's new password. It exists only here: show it once, store it nowhere."""

    user: User
    is_new: bool
    password: str = field(repr=False)


@transaction.atomic
def do_make_reset_link(user: User, *, acting_user: User | None) -> str:
    """The path of a page where whoever has it chooses the user's password: for PASSWORD_RESET_TIMEOUT seconds, until
    the password changes or the user signs in. Show it once, store it nowhere."""
    if not user.is_active:
        raise ValidationError(f"{user.username} is inactive; activate the user first.")
    if user.is_service_account():
        raise ValidationError(f"{user.username} is a service account: nobody signs in as it, so it has no password.")
    audit.record("user.reset_link_made", user, acting_user=acting_user)
    uid = urlsafe_base64_encode(force_bytes(user.pk))
    return reverse("password_reset_link", args=[uid, default_token_generator.make_token(user)])


@transaction.atomic
def do_remove_second_factor(user: User, *, acting_user: User | None) -> bool:
    """The password alone is enough again. False: it was anyway."""
    held = Authenticator.objects.select_for_update().filter(user=user).order_by("pk")
    kinds = [authenticator.type for authenticator in held]
    if not kinds:
        return False
    held.delete()
    audit.record("user.second_factor_removed", user, acting_user=acting_user, before={"factors": kinds})
    return True


@transaction.atomic
def do_recover_admin(username: str) -> Recovered:
    """An active admin of that name, made if there is none, with a new password and without a second factor; for the
    command line alone."""
    password = readable_password()
    user = User.objects.filter(username=username).first()
    if user is None:
        user = do_create_user(username, password=password, is_admin=True, acting_user=None)
        do_create_own_team(user, acting_user=None)
        is_new = True
    else:
        is_new = False
        rights = {name: True for name in ("is_active", "is_staff", "is_superuser") if not getattr(user, name)}
        if rights:
            do_change_user(user, acting_user=None, **rights)
            user.refresh_from_db()
        do_set_password(user, password, acting_user=None)
        do_remove_second_factor(user, acting_user=None)
    audit.record("user.recovered", user, acting_user=None, after={"is_new": is_new})
    return Recovered(user, is_new, password)
