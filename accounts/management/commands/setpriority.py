from argparse import ArgumentParser
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import CommandError

from accounts.management.base import AccountCommand, refusal
from accounts.models.priority import LEAST_WEIGHT, MOST_WEIGHT, PriorityClass
from accounts.services import do_change_team, do_change_user


class Command(AccountCommand):
    help = "Says what share of the machine a team or a user has beside others, and which class a team's keys may use."

    def add_arguments(self, parser: ArgumentParser) -> None:
        who = parser.add_mutually_exclusive_group(required=True)
        who.add_argument("--team", metavar="NAME")
        who.add_argument("--user", metavar="NAME")
        parser.add_argument(
            "--weight", type=float, help=f"from {LEAST_WEIGHT:g} to {MOST_WEIGHT:g}; 1 is the usual one"
        )
        parser.add_argument("--highest-class", choices=PriorityClass.values, help="the first that its keys may use")

    def handle(
        self,
        *args: Any,
        team: str | None,
        user: str | None,
        weight: float | None,
        highest_class: str | None,
        **options: Any,
    ) -> None:
        changes: dict[str, Any] = {"weight": weight, "highest_class": highest_class}
        changes = {name: value for name, value in changes.items() if value is not None}
        if not changes:
            raise CommandError("Say what to change: --weight or --highest-class.")
        if user is not None and highest_class is not None:
            raise CommandError("--highest-class: teams have one, users don't; give the team with --team.")
        try:
            if user is not None:
                do_change_user(self.user_named(user), acting_user=None, **changes)
            elif (found := self.team_named(team)) is not None:
                do_change_team(found, acting_user=None, **changes)
        except ValidationError as error:
            raise refusal(error, {"weight": "--weight", "highest_class": "--highest-class"}) from error
        said = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in changes.items())
        self.stdout.write(f"{user or team}: {said}.")
