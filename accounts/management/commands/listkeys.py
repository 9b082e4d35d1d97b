from argparse import ArgumentParser
from datetime import datetime
from typing import Any

from accounts.management.base import AccountCommand
from accounts.models import ApiKey
from accounts.terminal import print_table

HEADERS = ("key", "user", "team", "state", "note", "created", "expires", "last used")


class Command(AccountCommand):
    help = "Lists API keys, newest first: how they begin and what became of them."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--user", metavar="NAME", help="only this user's")

    def handle(self, *args: Any, user: str | None, **options: Any) -> None:
        keys = ApiKey.objects.select_related("user", "team").order_by("-created_at", "-pk")
        if user is not None:
            keys = keys.for_user(self.user_named(user))
        print_table(self.stdout, HEADERS, [self.row(key) for key in keys])

    def row(self, key: ApiKey) -> list[str]:
        moments = [day(key.created_at), day(key.expires_at), day(key.last_used_at)]
        team = key.team.name if key.team else "-"
        return [key.prefix, key.user.username, team, key.state().value, key.note or "-", *moments]


def day(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d}" if moment else "-"
