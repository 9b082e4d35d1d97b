import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError
from django.core.serializers.json import DjangoJSONEncoder

from accounts.management.base import AccountCommand
from accounts.models import AuditEvent
from accounts.terminal import print_table

MOST = 10_000
HEADERS = ("when", "actor", "action", "target", "before", "after")


class Command(AccountCommand):
    help = "Shows who changed what, the latest first."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--last", metavar="N", type=int, default=50, help="so many events (50)")
        parser.add_argument("--action", metavar="NAME", help="only these, such as key.revoked, or key for all of keys")
        parser.add_argument("--actor", metavar="USER", help="only what this user did")
        parser.add_argument("--json", action="store_true", help="a list of objects, for programs")

    def handle(self, *args: Any, last: int, action: str | None, actor: str | None, **options: Any) -> None:
        if not 1 <= last <= MOST:
            raise CommandError(f"--last: give a number from 1 to {MOST}.")
        events = AuditEvent.objects.order_by("-created_at", "-pk")
        if action is not None:
            events = events.filter(action=action) if "." in action else events.filter(action__startswith=f"{action}.")
        if actor is not None:
            events = events.filter(actor_name=actor)
        found = list(events[:last])
        if options["json"]:
            rows = [dict(zip(HEADERS, self.row(event), strict=True)) for event in found]
            self.stdout.write(json.dumps(rows, indent=2, cls=DjangoJSONEncoder))
            return
        print_table(self.stdout, HEADERS, [[text(value) for value in self.row(event)] for event in found])

    def row(self, event: AuditEvent) -> list[Any]:
        target = f"{event.target_type} {event.target_label}"
        return [event.created_at, event.actor_name or None, event.action, target, event.before, event.after]


def text(value: Any) -> str:
    if value is None:
        return "-"
    if hasattr(value, "strftime"):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    return value if isinstance(value, str) else json.dumps(value, cls=DjangoJSONEncoder)
