from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import CommandError

from accounts.management.base import AccountCommand, refusal
from accounts.services import do_rotate_key
from accounts.terminal import print_secret

MOST_HOURS = 24 * 90


class Command(AccountCommand):
    help = "Issues a key in the place of another, which works for a while longer."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("key", metavar="PREFIX", help="how the key begins, as listkeys shows it; or the whole key")
        parser.add_argument("--overlap", metavar="HOURS", type=float, default=24, help="how long both work (24)")
        parser.add_argument("--quiet", action="store_true", help="print the new key and nothing else")

    def handle(self, *args: Any, key: str, overlap: float, quiet: bool, **options: Any) -> None:
        if not 0 <= overlap <= MOST_HOURS:
            raise CommandError(f"--overlap: give hours from 0 to {MOST_HOURS}.")
        old = self.key_named(key, "PREFIX")
        try:
            issued = do_rotate_key(old, overlap=timedelta(hours=overlap), acting_user=None)
        except ValidationError as error:
            raise refusal(error, {}) from error
        if quiet:
            self.stdout.write(issued.raw)
            return
        old.refresh_from_db()
        self.stdout.write(
            f"Issued {issued.row} to {old.user.username}; {old} works until {old.expires_at:%Y-%m-%d %H:%M %Z}."
        )
        print_secret(self.stdout, "Key (shown only now)", issued.raw)
