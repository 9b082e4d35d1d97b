"""The first admin, made when there is no user at all."""

from dataclasses import dataclass, field

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from accounts.models import User
from accounts.own_teams import do_create_own_team
from accounts.passwords import readable_password
from accounts.services import do_create_user, do_issue_key

FIRST_ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class FirstRun:
    """The first admin's credentials. They exist only here: show them once, store them nowhere."""

    username: str
    password: str = field(repr=False)
    key: str = field(repr=False)


def do_create_first_admin() -> FirstRun | None:
    """The user `admin` with a random password, its own team and a first key, if there is no user at all; else None.

    Of two processes that try at once, one creates and the other gets None: the name is unique.
    """
    if User.objects.exists():
        return None
    password = readable_password()
    try:
        with transaction.atomic():
            user = do_create_user(FIRST_ADMIN, password=password, is_admin=True, acting_user=None)
            team = do_create_own_team(user, acting_user=None)
            issued = do_issue_key(user, team=team, note="first key", acting_user=None)
    except (IntegrityError, ValidationError):
        if User.objects.exists():
            return None
        raise
    return FirstRun(user.username, password, issued.raw)
