from argparse import ArgumentParser
from datetime import datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import CommandError

from accounts.management.base import AccountCommand, moment, refusal
from accounts.notices import do_announce, do_take_down_announcements


class Command(AccountCommand):
    help = "Shows a line on every page of the site."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("text", metavar="TEXT", nargs="?")
        parser.add_argument("--clear", action="store_true", help="takes down all that are shown now or would be")
        parser.add_argument("--from", dest="starts_at", metavar="TIME", type=moment, help="now, if left out")
        parser.add_argument(
            "--until", dest="ends_at", metavar="TIME", type=moment, help="as 18:30 or 2026-12-24T18:30; until --clear"
        )

    def handle(
        self,
        *args: Any,
        text: str | None,
        clear: bool,
        starts_at: datetime | None,
        ends_at: datetime | None,
        **options: Any,
    ) -> None:
        if clear == (text is not None):
            raise CommandError("Give a TEXT to announce, or --clear.")
        if text is None:
            count = do_take_down_announcements(acting_user=None)
            self.stdout.write(f"Took down {count} announcement{'' if count == 1 else 's'}.")
            return
        try:
            made = do_announce(text, starts_at=starts_at, ends_at=ends_at, acting_user=None)
        except ValidationError as error:
            raise refusal(error, {"text": "TEXT", "starts_at": "--from", "ends_at": "--until"}) from error
        self.stdout.write(f"Announced: {made.text}")
