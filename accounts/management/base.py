"""What the account commands share: errors that say what to do, and how a user is looked up."""

from argparse import ArgumentTypeError
from datetime import datetime, time, timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError
from django.utils import timezone

from accounts import keys
from accounts.models import ApiKey, Team, User
from accounts.terminal import printable


class AccountCommand(BaseCommand):
    def execute(self, *args: Any, **options: Any) -> str | None:
        try:
            return super().execute(*args, **options)
        except DatabaseError as error:
            raise CommandError(
                f"The database does not do what was asked ({error}). If it is new, run `atelier migrate` first; "
                "otherwise check DATABASE_URL and ATELIER_DATA_DIR."
            ) from error

    def user_named(self, name: str, argument: str = "--user") -> User:
        try:
            return User.objects.get(username=name)
        except User.DoesNotExist:
            raise CommandError(f"{argument}: there is no user {name!r}; create it with `atelier createuser`.") from None

    def team_named(self, name: str | None) -> Team | None:
        if name is None:
            return None
        try:
            return Team.objects.get(name=name)
        except Team.DoesNotExist:
            raise CommandError(f"--team: there is no team {name!r}; `createuser --team` makes one.") from None

    def key_named(self, text: str, argument: str = "--key") -> ApiKey:
        """The unrevoked key that begins so, or is so. Never puts more of `text` into a message than its visible
        prefix: it may be a whole key."""
        name = printable(keys.visible_prefix(text))
        if len(text) > keys.VISIBLE_LENGTH:
            if not keys.is_well_formed(text):
                raise CommandError(
                    f"{argument}: what begins with {name} is longer than a prefix and not a whole key; mind a typo. "
                    "Give the prefix as listkeys shows it, or the key exactly."
                )
            candidates = ApiKey.objects.filter(digest=keys.digest(text))
        else:
            candidates = ApiKey.objects.filter(prefix=text)
        matches = list(candidates.unrevoked().select_related("user").order_by("pk"))
        if len(matches) == 1:
            return matches[0]
        if matches:
            lines = "".join(f"\n  {key} of {key.user.username}, {printable(key.note) or '-'}" for key in matches)
            raise CommandError(f"{argument}: {len(matches)} keys begin with {name}; give the whole key.{lines}")
        if candidates.exists():
            raise CommandError(f"{argument}: {name}… is revoked already.")
        raise CommandError(f"{argument}: no key begins with {name}; see `atelier listkeys`.")


def refusal(error: ValidationError, arguments: dict[str, str]) -> CommandError:
    """A ValidationError in the words of the command line: each field under the name of its argument."""
    if not hasattr(error, "error_dict"):
        return CommandError(" ".join(error.messages))
    lines = (f"{arguments.get(name, name)}: {' '.join(texts)}" for name, texts in error.message_dict.items())
    return CommandError("\n".join(lines))


def moment(text: str) -> datetime:
    """A time that an argument names, in ATELIER_TIME_ZONE unless it says another: `2026-12-24T18:30`, or `18:30` for
    the next one. Raises ArgumentTypeError."""
    try:
        clock = time.fromisoformat(text)
    except ValueError:
        try:
            named = datetime.fromisoformat(text)
        except ValueError:
            raise ArgumentTypeError(f"“{text[:40]}” is no time, such as 18:30 or 2026-12-24T18:30.") from None
        return named if timezone.is_aware(named) else timezone.make_aware(named)
    now = timezone.localtime()
    found = datetime.combine(now.date(), clock, clock.tzinfo or now.tzinfo)
    return found if found > now else found + timedelta(days=1)
