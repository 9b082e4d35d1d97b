from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from accounts.management.base import AccountCommand
from accounts.services import do_revoke_all_keys, do_revoke_key


class Command(AccountCommand):
    help = "Revokes an API key, or all of a user's; they stop working at once."

    def add_arguments(self, parser: ArgumentParser) -> None:
        which = parser.add_mutually_exclusive_group(required=True)
        which.add_argument(
            "key", metavar="PREFIX", nargs="?", help="how the key begins, as listkeys shows it; or the whole key"
        )
        which.add_argument("--all-of", metavar="USER", help="all keys of this user")

    def handle(self, *args: Any, key: str | None, all_of: str | None, **options: Any) -> None:
        if key is None:
            user = self.user_named(all_of or "", "--all-of")
            self.stdout.write(f"Revoked {do_revoke_all_keys(user, acting_user=None)} keys of {user.username}.")
            return
        found = self.key_named(key, "PREFIX")
        if not do_revoke_key(found, acting_user=None):
            raise CommandError(f"PREFIX: {found} was revoked by someone else just now.")
        self.stdout.write(f"Revoked {found} of {found.user.username}.")
