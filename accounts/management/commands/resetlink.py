from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError

from accounts.links import absolute
from accounts.management.base import AccountCommand, refusal
from accounts.recovery import do_make_reset_link
from accounts.terminal import print_secret


class Command(AccountCommand):
    help = "Prints a link under which a user chooses a new password, once."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("username", metavar="NAME")

    def handle(self, *args: Any, username: str, **options: Any) -> None:
        user = self.user_named(username, "NAME")
        try:
            path = do_make_reset_link(user, acting_user=None)
        except ValidationError as error:
            raise refusal(error, {}) from error
        hours = settings.PASSWORD_RESET_TIMEOUT // 3600
        self.stdout.write(f"{user.username} can choose a new password for {hours} hours; the link works once.")
        print_secret(self.stdout, "Link (shown only now)", absolute(path))
