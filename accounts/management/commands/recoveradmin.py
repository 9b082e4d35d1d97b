from argparse import ArgumentParser
from typing import Any

from django.core.exceptions import ValidationError

from accounts.first_run import FIRST_ADMIN
from accounts.management.base import AccountCommand, refusal
from accounts.recovery import do_recover_admin
from accounts.terminal import print_secret


class Command(AccountCommand):
    help = "Makes a user an active admin with a new password and no second factor, and prints the password, once."

    def add_arguments(self, parser: ArgumentParser) -> None:
        help = f"created if there is none of that name ({FIRST_ADMIN})"
        parser.add_argument("username", metavar="NAME", nargs="?", default=FIRST_ADMIN, help=help)

    def handle(self, *args: Any, username: str, **options: Any) -> None:
        try:
            recovered = do_recover_admin(username)
        except ValidationError as error:
            raise refusal(error, {"username": "NAME"}) from error
        verb = "Created" if recovered.is_new else "Recovered"
        self.stdout.write(f"{verb} admin {recovered.user.username}; it has no second factor.")
        print_secret(self.stdout, "Password (shown only now)", recovered.password)
