from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import CommandError
from django.db import transaction
from django.utils import timezone

from accounts.management.base import AccountCommand, refusal
from accounts.models import Scope
from accounts.models.priority import PriorityClass
from accounts.own_teams import do_create_own_team, team_for_key
from accounts.services import do_issue_key
from accounts.terminal import print_secret

MAX_DAYS = 36_500
ARGUMENTS = {
    "user": "--user", "note": "--note", "team": "--team", "allowed_models": "--model", "allowed_networks": "--network",
    "priority": "--class",
}  # fmt: skip


class Command(AccountCommand):
    help = "Issues an API key to a user and prints it, once."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--user", metavar="NAME", required=True)
        parser.add_argument("--note", metavar="TEXT", default="", help="what it is for")
        parser.add_argument("--expires", metavar="DAYS", type=int, help="days until it expires; never, if left out")
        parser.add_argument(
            "--team", metavar="T", help="what its usage counts for; the user's own or only team, if left out"
        )
        parser.add_argument(
            "--scope", action="append", choices=Scope.values, help="what it may do; all but manage, if left out"
        )
        parser.add_argument("--model", action="append", metavar="NAME", help="the only one it may use; repeatable")
        parser.add_argument("--network", action="append", metavar="CIDR", help="where it may be used from; repeatable")
        parser.add_argument(
            "--class",
            dest="priority",
            choices=PriorityClass.values,
            default=PriorityClass.API,
            help="whose turn its requests get, unless they say; at most its team's (default %(default)s)",
        )
        parser.add_argument("--quiet", action="store_true", help="print the key and nothing else")

    @transaction.atomic
    def handle(
        self,
        *args: Any,
        user: str,
        note: str,
        expires: int | None,
        team: str | None,
        quiet: bool,
        scope: list[str] | None,
        model: list[str] | None,
        network: list[str] | None,
        priority: str,
        **options: Any,
    ) -> None:
        owner = self.user_named(user)
        if expires is not None and not 1 <= expires <= MAX_DAYS:
            raise CommandError(f"--expires: give a number of days from 1 to {MAX_DAYS}, not {expires}.")
        expires_at = timezone.now() + timedelta(days=expires) if expires is not None else None
        try:
            joined = self.team_named(team) or team_for_key(owner) or do_create_own_team(owner, acting_user=None)
            issued = do_issue_key(
                owner,
                note=note,
                team=joined,
                expires_at=expires_at,
                scopes=scope,
                allowed_models=model or [],
                allowed_networks=network or [],
                priority=priority,
                acting_user=None,
            )
        except ValidationError as error:
            raise refusal(error, ARGUMENTS) from error
        if quiet:
            self.stdout.write(issued.raw)
            return
        until = f"until {expires_at:%Y-%m-%d %H:%M %Z}" if expires_at else "until it is revoked"
        self.stdout.write(f"Issued {issued.row.prefix}… to {owner.username}, good {until}.")
        print_secret(self.stdout, "Key (shown only now)", issued.raw)
