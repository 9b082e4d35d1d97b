from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import CommandError

from accounts.invitations import do_invite
from accounts.links import absolute
from accounts.management.base import AccountCommand, refusal
from accounts.models import Membership
from accounts.models.invitation import LIFETIME, LONGEST
from accounts.terminal import print_secret


class Command(AccountCommand):
    help = "Invites somebody to a team and prints the link, once."

    def add_arguments(self, parser: ArgumentParser) -> None:
        roles = Membership.Role.values
        parser.add_argument("--team", metavar="T", required=True)
        parser.add_argument("--role", choices=roles, default=Membership.Role.MEMBER, help="in the team (member)")
        parser.add_argument("--email", metavar="E", default="", help="whom it is for; becomes the new user's address")
        parser.add_argument(
            "--days", metavar="N", type=int, default=LIFETIME.days, help=f"how long it is good ({LIFETIME.days})"
        )
        parser.add_argument("--quiet", action="store_true", help="print the link and nothing else")

    def handle(self, *args: Any, team: str, role: str, email: str, days: int, quiet: bool, **options: Any) -> None:
        found = self.team_named(team)
        assert found is not None
        if not 1 <= days <= LONGEST.days:
            raise CommandError(f"--days: give a number of days from 1 to {LONGEST.days}, not {days}.")
        try:
            issued = do_invite(found, role=role, email=email, lifetime=timedelta(days=days), acting_user=None)
        except ValidationError as error:
            raise refusal(error, {"email": "--email", "role": "--role", "expires_at": "--days"}) from error
        if quiet:
            self.stdout.write(absolute(issued.path))
            return
        until = f"{issued.row.expires_at:%Y-%m-%d %H:%M %Z}"
        self.stdout.write(f"Invited to team {found} as {role}; the link works once, until {until}.")
        print_secret(self.stdout, "Link (shown only now)", absolute(issued.path))
