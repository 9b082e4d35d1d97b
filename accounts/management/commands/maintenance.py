from argparse import ArgumentParser
from datetime import datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import CommandError

from accounts.management.base import AccountCommand, moment, refusal
from accounts.models import Maintenance
from accounts.notices import do_set_maintenance

ARGUMENTS = {"message": "--message", "until": "--until"}


class Command(AccountCommand):
    help = "Refuses new requests while the platform is being worked on; running ones go on to their end."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("state", choices=["on", "off", "show"], nargs="?", default="show")
        parser.add_argument("--message", metavar="TEXT", help="why, in a sentence that users get to read")
        parser.add_argument(
            "--until", metavar="TIME", type=moment, help="when it will likely be over, as 18:30 or 2026-12-24T18:30"
        )
        parser.add_argument("--for-everyone", action="store_true", help="keys of administrators are refused as well")

    def handle(
        self, *args: Any, state: str, message: str | None, until: datetime | None, for_everyone: bool, **options: Any
    ) -> None:
        if state != "on" and (message is not None or until is not None or for_everyone):
            raise CommandError("--message, --until and --for-everyone go with `maintenance on`.")
        if state == "show":
            stored = Maintenance.stored()
        elif state == "off":
            stored = do_set_maintenance(is_on=False, acting_user=None)
        else:
            try:
                stored = do_set_maintenance(
                    is_on=True, message=message or "", until=until, lets_admins_in=not for_everyone, acting_user=None
                )
            except ValidationError as error:
                raise refusal(error, ARGUMENTS) from error
        if not stored.is_on:
            self.stdout.write("Maintenance is off.")
            return
        who = "new requests are refused" + (", but for administrators' keys." if stored.lets_admins_in else ".")
        self.stdout.write(f"Maintenance is on: {who} Users read: {stored.sentence()}")
