import json
from argparse import ArgumentParser
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError
from django.db.models import Q
from django.utils import timezone
from django.utils.dateparse import parse_date

from accounts import exports
from accounts.management.base import AccountCommand
from accounts.models import UsageRecord
from accounts.terminal import print_table
from accounts.usage import GROUPS, Sums, used

MOST_DAYS = 36_500
FIGURES = ("requests", "prompt_tokens", "cached_tokens", "completion_tokens", "engine_seconds", "cost")


class Command(AccountCommand):
    help = "Adds up what was used, from the ledger, or writes the ledger's rows."

    def add_arguments(self, parser: ArgumentParser) -> None:
        period = parser.add_mutually_exclusive_group()
        period.add_argument("--days", metavar="N", type=float, default=30, help="so far back (30); 0: all there is")
        period.add_argument(
            "--start", metavar="DATE", help="from this day on, such as 2026-12-01, in ATELIER_TIME_ZONE"
        )
        parser.add_argument("--end", metavar="DATE", help="until this day, which is not in it any more")
        parser.add_argument(
            "--by", metavar="WHAT", default="user", help=f"one or several of {', '.join(GROUPS)}, with commas (user)"
        )
        parser.add_argument("--user", metavar="NAME", help="only this user's")
        parser.add_argument("--team", metavar="NAME", help="only this team's")
        parser.add_argument("--model", metavar="NAME", help="only of this model")
        parser.add_argument("--records", action="store_true", help="each request instead of sums, as CSV, oldest first")
        form = parser.add_mutually_exclusive_group()
        form.add_argument("--json", action="store_true", help="a list of objects, for programs")
        form.add_argument("--csv", metavar="FILE", help="CSV into this file; -: to the standard output")

    def handle(self, *args: Any, **options: Any) -> None:
        by = list(dict.fromkeys(name.strip() for name in options["by"].split(",") if name.strip()))
        if unknown := [name for name in by if name not in GROUPS]:
            raise CommandError(f"--by: {', '.join(unknown)}; choose from {', '.join(GROUPS)}.")
        start, end = self.period(options)
        where = Q()
        if options["user"] is not None:
            # By name: usage stays when its user is gone.
            where &= Q(username=_name("--user", options["user"]))
        if options["team"] is not None:
            where &= Q(team=self.team_named(_name("--team", options["team"])))
        if options["model"] is not None:
            where &= Q(model=_name("--model", options["model"]))
        if options["records"]:
            if options["json"]:
                raise CommandError("--records: these are CSV; leave --json out.")
            spans = {"started_at__gte": start, "started_at__lt": end}
            rows = UsageRecord.objects.filter(where, **{name: at for name, at in spans.items() if at is not None})
            self.write_csv(options["csv"] or "-", exports.of_records(rows))
            return
        found = used(start=start, end=end, by=by, where=where)
        if options["csv"]:
            self.write_csv(options["csv"], [exports.of_sums(by, found)])
        elif options["json"]:
            self.stdout.write(json.dumps([{**row.of, **figures(row)} for row in found], indent=2, default=str))
        else:
            headers = (*by, *(name.replace("_", " ") for name in FIGURES))
            lines = [
                [*(value or "-" for value in row.of.values()), *map(shown, figures(row).values())] for row in found
            ]
            print_table(self.stdout, headers, lines)

    def period(self, options: dict[str, Any]) -> tuple[datetime | None, datetime | None]:
        end = _midnight("--end", options["end"])
        if options["start"] is not None:
            start = _midnight("--start", options["start"])
            if start and end and end <= start:
                raise CommandError("--end: must come after --start.")
            return start, end
        if not 0 <= options["days"] <= MOST_DAYS:
            raise CommandError(f"--days: give a number of days from 0 to {MOST_DAYS}.")
        return (timezone.now() - timedelta(days=options["days"]) if options["days"] else None), end

    def write_csv(self, file: str, texts: Iterable[str]) -> None:
        if file == "-":
            for text in texts:
                self.stdout.write(text, ending="")
            return
        try:
            # Line ends are CSV's own, on every system.
            with Path(file).open("w", encoding="utf-8", newline="") as out:
                out.writelines(texts)
        except (OSError, ValueError) as error:
            raise CommandError(f"--csv: {file!r} can't be written: {error}.") from error


def figures(row: Sums) -> dict[str, Any]:
    return {name: getattr(row, name) for name in FIGURES}


def shown(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:,.1f}" if isinstance(value, float) else f"{value:,}"


def _midnight(argument: str, text: str | None) -> datetime | None:
    """With which that day begins in the platform's time zone."""
    if text is None:
        return None
    try:
        day = parse_date(text)
    except ValueError:
        day = None
    if day is None or not 1970 <= day.year < 9999:
        raise CommandError(f"{argument}: give a day, such as 2026-12-01.")
    return timezone.make_aware(datetime(day.year, day.month, day.day))


def _name(argument: str, text: str) -> str:
    if "\0" in text:
        raise CommandError(f"{argument}: names have no null characters.")
    return text
