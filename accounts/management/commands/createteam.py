from argparse import ArgumentParser
from typing import Any

from django.core.exceptions import ValidationError

from accounts.management.base import AccountCommand, refusal
from accounts.services import do_create_team


class Command(AccountCommand):
    help = "Creates a team."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", metavar="NAME")
        parser.add_argument("--time-zone", metavar="ZONE", default="", help="whose days its quotas go by")

    def handle(self, *args: Any, name: str, time_zone: str, **options: Any) -> None:
        try:
            team = do_create_team(name, time_zone=time_zone, acting_user=None)
        except ValidationError as error:
            raise refusal(error, {"name": "NAME", "time_zone": "--time-zone"}) from error
        self.stdout.write(f"Created team {team}.")
