from argparse import ArgumentParser
from typing import Any

from django.core.exceptions import ValidationError

from accounts.management.base import AccountCommand, refusal
from accounts.offboarding import do_offboard_user


class Command(AccountCommand):
    help = "Ends all that a user may do: keys, teams, sessions, invitations. What it has used stays in the ledger."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("username", metavar="NAME")

    def handle(self, *args: Any, username: str, **options: Any) -> None:
        user = self.user_named(username, "NAME")
        try:
            done = do_offboard_user(user, acting_user=None)
        except ValidationError as error:
            raise refusal(error, {}) from error
        teams = ", ".join(done.teams) or "no team"
        self.stdout.write(
            f"{user.username} is out: {done.keys} keys and {done.invitations} invitations revoked, left {teams}."
        )
