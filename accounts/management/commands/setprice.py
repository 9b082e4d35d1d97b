from argparse import ArgumentParser
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.management.base import CommandError
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from accounts.management.base import AccountCommand, refusal
from accounts.models import Price
from accounts.prices import do_set_price, do_withdraw_price
from accounts.terminal import print_table

PRICES = ("input", "cached", "output", "gpu_hour")
ARGUMENTS = {name: f"--{name.replace('_', '-')}" for name in PRICES} | {"valid_from": "--from", "model": "MODEL"}
WORDS = {
    "input": "a million prompt tokens",
    "cached": "a million of them from the cache",
    "output": "a million tokens of answers",
    "gpu_hour": "a GPU-hour",
}


class Command(AccountCommand):
    help = "Sets what a model costs, for showing who has used how much; without a model, shows the prices."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("model", metavar="MODEL", nargs="?")
        parser.add_argument("--input", metavar="PRICE", help="of a million prompt tokens")
        parser.add_argument("--cached", metavar="PRICE", help="of those that the prefix cache had (as --input)")
        parser.add_argument("--output", metavar="PRICE", help="of a million tokens of answers")
        parser.add_argument("--gpu-hour", metavar="PRICE", help="of an hour of an engine's time")
        parser.add_argument(
            "--from", dest="valid_from", metavar="TIME",
            help="when it begins to hold, such as 2026-12-01T00:00, in ATELIER_TIME_ZONE (the next minute)",
        )  # fmt: skip
        parser.add_argument("--withdraw", action="store_true", help="take back the price that begins --from TIME")

    def handle(self, *args: Any, model: str | None, **options: Any) -> None:
        if model is None:
            self.show()
            return
        moment = self.moment(options["valid_from"])
        given = {name: self.number(name, options[name]) for name in PRICES if options[name] is not None}
        try:
            if options["withdraw"]:
                if moment is None:
                    raise CommandError("--withdraw: say --from when it would hold.")
                price = next((each for each in Price.objects.filter(valid_from=moment) if each.model == model), None)
                if price is None:
                    raise CommandError("--withdraw: no price of this model begins --from then.")
                self.stdout.write(f"Withdrew the price of {price}.")
                do_withdraw_price(price, acting_user=None)
                return
            if not given:
                raise CommandError(f"Give at least one of {', '.join(ARGUMENTS[name] for name in PRICES)}; 0 is free.")
            price = do_set_price(model, **given, valid_from=moment, acting_user=None)
        except ValidationError as error:
            raise refusal(error, ARGUMENTS) from error
        said = ", ".join(
            f"{getattr(price, name).normalize():f} {WORDS[name]}" for name in PRICES if getattr(price, name)
        )
        self.stdout.write(f"Set the price of {price}: {said or 'free'}, in {settings.CURRENCY}.")

    def show(self) -> None:
        rows = [
            [
                price.model,
                f"{price.valid_from:%Y-%m-%d %H:%M}",
                *(f"{getattr(price, name).normalize():f}" for name in PRICES),
            ]
            for price in Price.objects.all()
        ]
        print_table(self.stdout, ("model", "from", *(name.replace("_", " ") for name in PRICES)), rows)

    def number(self, name: str, text: str) -> Decimal:
        try:
            return Decimal(text)
        except InvalidOperation:
            raise CommandError(f"{ARGUMENTS[name]}: {text!r} is no price, such as 0.25.") from None

    def moment(self, text: str | None) -> datetime | None:
        if text is None:
            return None
        try:
            moment = parse_datetime(text)
        except ValueError:
            moment = None
        if moment is None or not 1970 <= moment.year < 9999:
            raise CommandError("--from: give a time, such as 2026-12-01T00:00.")
        return moment if timezone.is_aware(moment) else timezone.make_aware(moment)
