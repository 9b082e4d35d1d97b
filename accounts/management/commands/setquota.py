from argparse import ArgumentParser
from datetime import datetime, timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import CommandError
from django.utils import timezone

from accounts.management.base import AccountCommand, refusal
from accounts.models import Quota
from accounts.quotas.rules import rule_of
from accounts.quotas.verbs import do_boost_quota, do_delete_quota, do_set_quota, draft
from accounts.quotas.what_if import MOST_DAYS, MOST_ROWS, what_if
from accounts.terminal import print_table

ARGUMENTS = {
    name: f"--{name.replace('_', '-')}"
    for name in ("limit", "metric", "window", "model", "key", "user", "team", "warn_percent",
                 "input_weight", "cached_weight", "output_weight", "amount", "ends_at")
}  # fmt: skip
ARGUMENTS |= {"amount": "--boost", "ends_at": "--for"}


MOST_HOURS = 24 * 366


class Command(AccountCommand):
    help = "Limits what a team, user, key or model may use, alone or in combination. Takes hold at once."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--team", metavar="NAME")
        parser.add_argument("--user", metavar="NAME")
        parser.add_argument("--key", metavar="PREFIX", help="how the key begins, as listkeys shows it")
        parser.add_argument("--model", metavar="NAME", default="")
        parser.add_argument("--metric", choices=Quota.Metric.values, required=True)
        parser.add_argument("--window", choices=Quota.Window.values, default="", help="none for concurrency")
        what = parser.add_mutually_exclusive_group(required=True)
        what.add_argument("--limit", metavar="N", type=int)
        what.add_argument("--boost", metavar="N", type=int, help="so much more, --for some hours")
        what.add_argument("--remove", action="store_true", help="the quota goes")
        parser.add_argument("--for", dest="hours", metavar="HOURS", type=float, help="how long --boost holds")
        parser.add_argument("--soft", action="store_true", help="warns, and stops nobody")
        parser.add_argument("--warn-percent", metavar="P", type=int, default=80)
        parser.add_argument("--input-weight", metavar="W", default="1", help="what a token of a prompt counts")
        parser.add_argument("--cached-weight", metavar="W", default="1", help="the same, if the prefix cache had it")
        parser.add_argument(
            "--what-if",
            action="store_true",
            help="with --limit: sets nothing, and says what it would have refused lately",
        )
        parser.add_argument("--days", metavar="N", type=float, default=30, help="how far --what-if looks back (30)")
        parser.add_argument("--output-weight", metavar="W", default="1", help="what a token of an answer counts")

    def handle(self, *args: Any, **options: Any) -> None:
        named = {
            "team": self.team_named(options["team"]),
            "user": self.user_named(options["user"]) if options["user"] is not None else None,
            "key": self.key_named(options["key"]) if options["key"] is not None else None,
            "model": options["model"],
            "metric": options["metric"],
            "window": options["window"],
        }
        try:
            if options["limit"] is not None:
                names = ("warn_percent", "input_weight", "cached_weight", "output_weight")
                more = {name: options[name] for name in names}
                if options["what_if"]:
                    self.try_out(draft(**named, limit=options["limit"], **more), options["days"])
                    return
                quota = do_set_quota(**named, limit=options["limit"], is_soft=options["soft"], **more, acting_user=None)
                self.stdout.write(f"Set {quota}." if not quota.is_soft else f"Set {quota}, as a warning.")
                return
            if options["what_if"]:
                raise CommandError("--what-if needs --limit N.")
            quota = self.stored(named)
            if options["remove"]:
                self.stdout.write(f"Removed {quota}.")
                do_delete_quota(quota, acting_user=None)
                return
            if options["hours"] is None or not 0 < options["hours"] <= MOST_HOURS:
                raise CommandError(f"--boost needs --for HOURS, up to {MOST_HOURS}.")
            ends_at = timezone.now() + timedelta(hours=options["hours"])
            boost = do_boost_quota(quota, amount=options["boost"], ends_at=ends_at, acting_user=None)
            self.stdout.write(f"Boosted {quota}: {boost}.")
        except ValidationError as error:
            raise refusal(error, ARGUMENTS) from error

    def try_out(self, quota: Quota, days: float) -> None:
        if not 0 < days <= MOST_DAYS:
            raise CommandError(f"--days: give a number of days up to {MOST_DAYS}.")
        end = timezone.now()
        found = what_if(rule_of(quota), start=end - timedelta(days=days), end=end)
        over = found.over
        metric = Quota.Metric(quota.metric).label.lower()
        self.stdout.write(
            f"{quota}, since {moment(found.start)}: of {found.requests:,} requests {over.requests:,} would have been "
            f"refused, and {over.amount:,.10g} {metric} not used, in {found.exceeded:,} of {found.windows:,} windows."
        )
        if not found.is_whole:
            self.stdout.write(f"There was more before that: only the latest {MOST_ROWS:,} requests are looked at.")
        if found.users:
            rows = [[name, f"{each.requests:,}", f"{each.amount:,.10g}"] for name, each in found.users]
            print_table(self.stdout, ("user", "refused", "not used"), rows)
            rows = [
                [moment(each.start), f"{each.used:,.10g}", f"{each.over.requests:,}", f"{each.over.amount:,.10g}"]
                for each in found.worst
            ]
            print_table(self.stdout, ("window", "used", "refused", "not used"), rows)

    def stored(self, named: dict[str, Any]) -> Quota:
        wanted = Quota(**named, limit=0)
        try:
            return Quota.objects.get(identity=wanted.identified())
        except Quota.DoesNotExist:
            raise CommandError(f"There is no quota of {wanted.unit} for {wanted.subject}.") from None


def moment(when: datetime | None) -> str:
    return f"{when:%Y-%m-%d %H:%M %Z}" if when else "ever"
