"""What the account commands share: errors that say what to do, and how a user is looked up."""

from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from accounts.models import User


class AccountCommand(BaseCommand):
    def execute(self, *args: Any, **options: Any) -> str | None:
        try:
            return super().execute(*args, **options)
        except DatabaseError as error:
            raise CommandError(
                f"The database does not do what was asked ({error}). If it is new, run `atelier migrate` first; "
                "otherwise check DATABASE_URL and ATELIER_DATA_DIR."
            ) from error

    def user_named(self, name: str) -> User:
        try:
            return User.objects.get(username=name)
        except User.DoesNotExist:
            raise CommandError(f"--user: there is no user {name!r}; create it with `atelier createuser`.") from None


def refusal(error: ValidationError, arguments: dict[str, str]) -> CommandError:
    """A ValidationError in the words of the command line: each field under the name of its argument."""
    if not hasattr(error, "error_dict"):
        return CommandError(" ".join(error.messages))
    lines = (f"{arguments.get(name, name)}: {' '.join(texts)}" for name, texts in error.message_dict.items())
    return CommandError("\n".join(lines))
