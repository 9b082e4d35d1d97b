from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import CommandError
from django.utils import timezone

from accounts.management.base import AccountCommand, refusal
from accounts.models import Quota
from accounts.quotas.verbs import do_boost_quota, do_delete_quota, do_set_quota

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
                quota = do_set_quota(**named, limit=options["limit"], is_soft=options["soft"], **more, acting_user=None)
                self.stdout.write(f"Set {quota}." if not quota.is_soft else f"Set {quota}, as a warning.")
                return
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

    def stored(self, named: dict[str, Any]) -> Quota:
        wanted = Quota(**named, limit=0)
        try:
            return Quota.objects.get(identity=wanted.identified())
        except Quota.DoesNotExist:
            raise CommandError(f"There is no quota of {wanted.unit} for {wanted.subject}.") from None
