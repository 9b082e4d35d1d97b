import json
from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.core.management.base import CommandError
from django.db.models import Q
from django.utils import timezone

from accounts.management.base import AccountCommand
from accounts.terminal import print_table
from accounts.usage import GROUPS, Sums, used

MOST_DAYS = 36_500
FIGURES = ("requests", "prompt_tokens", "cached_tokens", "completion_tokens", "engine_seconds")


class Command(AccountCommand):
    help = "Adds up what was used, from the ledger."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--days", metavar="N", type=float, default=30, help="so far back (30); 0: all there is")
        parser.add_argument(
            "--by", metavar="WHAT", default="user", help=f"one or several of {', '.join(GROUPS)}, with commas (user)"
        )
        parser.add_argument("--user", metavar="NAME", help="only this user's")
        parser.add_argument("--team", metavar="NAME", help="only this team's")
        parser.add_argument("--model", metavar="NAME", help="only of this model")
        parser.add_argument("--json", action="store_true", help="a list of objects, for programs")

    def handle(self, *args: Any, **options: Any) -> None:
        by = [name.strip() for name in options["by"].split(",") if name.strip()]
        if unknown := [name for name in by if name not in GROUPS]:
            raise CommandError(f"--by: {', '.join(unknown)}; choose from {', '.join(GROUPS)}.")
        if not 0 <= options["days"] <= MOST_DAYS:
            raise CommandError(f"--days: give a number of days from 0 to {MOST_DAYS}.")
        start = timezone.now() - timedelta(days=options["days"]) if options["days"] else None
        where = Q()
        if options["user"] is not None:
            # By name: usage stays when its user is gone.
            where &= Q(username=options["user"])
        if options["team"] is not None:
            where &= Q(team=self.team_named(options["team"]))
        if options["model"] is not None:
            where &= Q(model=options["model"])
        rows = used(start=start, end=None, by=by, where=where)
        if options["json"]:
            self.stdout.write(json.dumps([{**row.of, **figures(row)} for row in rows], indent=2))
            return
        headers = (*by, *(name.replace("_", " ") for name in FIGURES))
        print_table(self.stdout, headers, [[*(value or "-" for value in row.of.values()), *shown(row)] for row in rows])


def figures(row: Sums) -> dict[str, float]:
    return {name: getattr(row, name) for name in FIGURES}


def shown(row: Sums) -> list[str]:
    return [f"{value:,.1f}" if isinstance(value, float) else f"{value:,}" for value in figures(row).values()]
